"""The place of a store: whether the file at its path is still the open one and, if not, where its results are kept.

after each result: the same file? -- moved: it has all results, under its new name
                                  '- removed or replaced: what SQLite still has open is written to a path that is free
"""

import os
import tempfile
from pathlib import Path

from search.store.owner import identity


class Place:
    """The file that a store has open, by its path and by what tells it from other files.

    Parameters
    ----------
    path : path-like
        As the user gave it. It may be a link.
    file : Path
        The file itself.
    """

    def __init__(self, path: str | os.PathLike[str], file: Path) -> None:
        self.file = file
        self._path = os.path.abspath(path)
        self._identity = identity(file)

    def is_kept(self) -> bool:
        """Whether the path still leads to the file."""
        return identity(self.file) == self._identity and os.path.realpath(self._path) == str(self.file)

    def what_happened(self) -> str:
        """Say what happened to the path, as a part of a sentence."""
        is_there = os.path.lexists(self._path)
        return "was replaced by another file or link" if is_there else "was moved or removed"

    def new_name(self) -> str | None:
        """Return where the file is now, if it was only moved and the system tells where."""
        if identity(self.file) == self._identity:
            return str(self.file)
        try:
            for descriptor in os.listdir("/proc/self/fd"):
                name = os.path.realpath(f"/proc/self/fd/{descriptor}")
                if identity(Path(name)) == self._identity:
                    return name
        except OSError:  # not Linux
            pass
        return None

    def rescue(self, content: bytes) -> str | None:
        """Write the content of the store to the first path that is free and can be written; None if there is none."""
        beside = f"{self.file}.rescued"
        for name in (str(self.file), beside, os.path.join(tempfile.gettempdir(), os.path.basename(beside))):
            if name == str(self.file) and not os.path.lexists(name):
                for suffix in ("-wal", "-shm", "-journal"):  # of the removed file: SQLite would read them with the new one
                    Path(f"{name}{suffix}").unlink(missing_ok=True)
            try:
                with open(name, "xb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
            except OSError:
                continue
            return name
        return None
