"""Counts that do not depend on the machine: files, lines and imports of each folder, and function calls of the project.

    python benchmarks/counts.py               # of this checkout
    python benchmarks/counts.py CHECKOUT      # of another one, such as an earlier commit

An import counts wherever it is in a file, also under `TYPE_CHECKING`. A function call counts if the function is defined in one
of the three packages; property access and comprehensions that Python runs as functions are among them.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

PACKAGES = ("tinygrad_lab", "models", "search")
ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()

# Files and imports -------------------------------------------------------------------------------------------------------


def modules() -> dict[str, Path]:
    """Return the files of the packages by the names of their modules."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imports(module: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules of the project that a module imports."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
            start = ".".join([*(parents if node.level else []), *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            found.add(name)
    return found - {"", module}


def circles(graph: dict[str, set[str]]) -> int:
    """Return how many modules import each other in a circle, on whatever way."""
    reached = {module: set(others) for module, others in graph.items()}
    for through in graph:
        for others in reached.values():
            if through in others:
                others |= reached[through]
    return sum(module in others for module, others in reached.items())


def code_lines(path: Path) -> int:
    """Return the number of lines that are neither blank, comment nor docstring."""
    source = path.read_text(encoding="utf-8")
    documented = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            documented |= {*range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)}
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and i not in documented for i, line in lines)


def folder_rows() -> Iterator[tuple[str, int, int, int, int, int]]:
    """Yield for each folder: its name, files, lines, lines of code, imports within it, and modules of it in circles."""
    known = modules()
    folders: dict[str, list[str]] = {}
    for module, path in known.items():
        parts = path.relative_to(ROOT).parent.parts[:2]
        for folder in {parts[0], "/".join(parts)}:
            folders.setdefault(folder, []).append(module)
    for folder in sorted(folders):
        inside = {module: imports(module, known[module], known) & {*folders[folder]} for module in folders[folder]}
        paths = [known[module] for module in folders[folder]]
        total = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
        yield folder, len(paths), total, sum(map(code_lines, paths)), sum(map(len, inside.values())), circles(inside)


def unit_row(package: str) -> tuple[int, int, int]:
    """Return the folders and files directly in a package, the pairs of them with an import, and the imports between them."""
    known = {module: path for module, path in modules().items() if module.startswith(f"{package}.")}
    unit_of = {module: module.split(".")[1] for module in known}
    between = [
        (unit_of[module], unit_of[other])
        for module, path in known.items()
        for other in imports(module, path, known)
        if unit_of[module] != unit_of[other]
    ]
    return len({*unit_of.values()}), len({*between}), len(between)


# Function calls ----------------------------------------------------------------------------------------------------------


def count_calls(function: Callable[[], Any]) -> Counter[str]:
    """Run a function and return how often each function of the project was called."""
    counts: Counter[str] = Counter()
    places = tuple(str(ROOT / package) for package in PACKAGES)

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(places):
            counts[frame.f_code.co_name] += 1

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return counts


def calls_per_update(engine: str) -> float:
    """Return the calls of an update of the report's network: those of 40 epochs less those of 20, by 20 epochs of 10."""
    import tinygrad_lab as tl
    from models import TwoHiddenLayerNet

    x = np.linspace(-1.0, 1.0, 10)

    def calls(epochs: int) -> int:
        net = TwoHiddenLayerNet(1, 75, 50, 1, activation="leaky_relu", rng=np.random.default_rng(0))
        trainer = tl.Trainer(
            net,
            tl.HalfSquaredError(),
            optimizer=tl.SGD(net.parameters(), lr=0.01, hooks=[tl.ClipGradNorm(10.0)]),
            penalty=tl.L1Penalty(1e-3, decoupled=True),
            epochs=epochs,
            batch_size=1,
            shuffle=False,
            engine=engine,
        )
        return count_calls(lambda: trainer.fit(x, x**2)).total()

    calls(1)  # imports and caches
    return (calls(40) - calls(20)) / 200


def calls_per_fit(store: str | None) -> tuple[float, float]:
    """Return the calls of a fit in a search of 48 trivial fits, and how many of them make a canonical text."""
    from search import GridSearch, KFold, ParameterGrid
    from search.testing import build_polynomial

    x = np.linspace(-1.0, 1.0, 12)
    grid = ParameterGrid(degree=[1, 2], lr=[0.1, 0.2, 0.3], epochs=[1, 2])

    def run() -> None:
        GridSearch(build_polynomial, grid, KFold(4), store, workers=1).run(x, x**2, progress=False)

    if store is None:
        run()  # imports and caches
    counts = count_calls(run)
    return counts.total() / 48, counts["canonical_text"] / 48


def main() -> None:
    """Print the tables."""
    import tempfile

    print(f"{'folder':<24} {'files':>5} {'lines':>6} {'code':>6} {'imports':>8} {'in circles':>11}")
    for folder, *numbers in folder_rows():
        print(f"{folder:<24} {numbers[0]:>5} {numbers[1]:>6} {numbers[2]:>6} {numbers[3]:>8} {numbers[4]:>11}")
    for package in PACKAGES:
        units, pairs, between = unit_row(package)
        print(f"{package}: {units} folders and files at the top, {between} imports between them, in {pairs} pairs")
    for engine in ("eager", "replay"):
        print(f"function calls per update, {engine}: {calls_per_update(engine):.1f}")
    with tempfile.TemporaryDirectory() as folder:
        for where, store in (("in memory", None), ("in a store", f"{folder}/search.sqlite")):
            calls, texts = calls_per_fit(store)
            print(f"function calls per fit, results {where}: {calls:.1f}, of which canonical_text: {texts:.1f}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
