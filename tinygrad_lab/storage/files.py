"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file for writing, which replaces `path` at the end of the block.

    Until then, and if the block raises, `path` is as it was. So a reader finds the old content or the new, never a part.

    Parameters
    ----------
    path : path
        Its folder must exist.

    Raises
    ------
    OSError
        If the folder cannot be written, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "note.txt")) as file:
    ...         _ = file.write(b"whole")
    ...     Path(folder, "note.txt").read_bytes()
    b'whole'
    """
    target = Path(path)
    temporary = target.parent / f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink()
