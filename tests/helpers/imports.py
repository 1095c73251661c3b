"""What a source file imports, wherever it does: at the top, inside a function, or under `if TYPE_CHECKING`."""

import ast
from collections.abc import Iterator
from pathlib import PurePosixPath


def imported_names(file: str, source: str) -> Iterator[tuple[str, ...]]:
    """Yield every imported name with the modules that lead to it: ("tinygrad_lab", "autodiff", "ops"), also for `.ops`."""
    folder = PurePosixPath(file).parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = folder[: len(folder) + 1 - node.level] if node.level else ()
            module = tuple(node.module.split(".")) if node.module else ()
            yield from ((*start, *module, alias.name) for alias in node.names)
