"""The shape of the distribution: version, typing markers, declared dependencies, and the order of the house.

The rooms of `tinygrad_lab` stand in ROOMS from top to bottom; each imports only from rooms above it. An import
counts wherever it is: at the top of a file, inside a function, under `if TYPE_CHECKING`.
"""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

import tinygrad_lab
from tests.helpers import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
FILES = sorted(path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py"))

ROOMS = ["checks", "autodiff", "nn", "optim", "storage", "program", "codegen", "training", "testing"]

# Package -> the packages of this distribution that it may import beside itself.
NEIGHBOURS: dict[str, set[str]] = {"tinygrad_lab": set(), "models": {"tinygrad_lab"}, "search": {"tinygrad_lab"}}

# Optional dependency -> the only place that may import it.
OPTIONAL = {
    "hypothesis": "tinygrad_lab/testing",
    "numba": "tinygrad_lab/codegen/native",
    "optuna": "search/space/optuna",
    "pandas": "search/",
    "sklearn": "models/estimators/",
}


def imports(file: str, source: str) -> Iterator[list[str]]:
    """Yield every imported name with the modules that lead to it: ["tinygrad_lab", "ops", "Op"], also for `.ops`."""
    folder = file.split("/")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = folder[: len(folder) + 1 - node.level] if node.level else []
            module = node.module.split(".") if node.module else []
            yield from ([*start, *module, alias.name] for alias in node.names)


def misplaced_imports(file: str, source: str) -> list[str]:
    """The imports that break the order of the house."""
    return [".".join(name) for name in imports(file, source) if name[0] in PACKAGES and not is_in_order(file, name)]


def is_in_order(file: str, name: list[str]) -> bool:
    package, *inside = PurePosixPath(file).with_suffix("").parts
    if name[0] != package:
        return name[0] in NEIGHBOURS[package]
    if package != "tinygrad_lab" or inside == ["__init__"]:
        return True
    room = inside[0]
    assert room in ROOMS, f"{file}: unknown room; add {room!r} to ROOMS, under every room that it imports"
    # A name of the package itself, as in `from tinygrad_lab import Tensor`, comes from `__init__`, below every room.
    return len(name) > 1 and name[1] in ROOMS[: ROOMS.index(room) + 1]


@pytest.mark.parametrize("file", FILES)
def test_imports_keep_the_order_of_the_house(file):
    assert misplaced_imports(file, (ROOT / file).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("tinygrad_lab/autodiff/ops.py", "from tinygrad_lab.nn.layers import Layer"),
        ("tinygrad_lab/autodiff/ops.py", "from ..nn import layers"),
        ("tinygrad_lab/autodiff/ops.py", "import tinygrad_lab.nn.layers as t"),
        ("tinygrad_lab/nn/layers.py", "def f():\n    from ..optim.hooks import ClipGradNorm"),
        ("tinygrad_lab/nn/layers.py", "if TYPE_CHECKING:\n    from ..training import Trainer"),
        ("tinygrad_lab/nn/layers.py", "from tinygrad_lab import Tensor"),
        ("tinygrad_lab/nn/layers.py", "import tinygrad_lab"),
        ("tinygrad_lab/nn/layers.py", "import search.trials.folds"),
        ("tinygrad_lab/__init__.py", "from models import TwoHiddenLayerNet"),
        ("tinygrad_lab/program/lanes.py", "from ..codegen import compile_program"),
        ("search/space/grid.py", "from models import TwoHiddenLayerNet"),
        ("models/estimator.py", "from search import KFold"),
    ],
)
def test_a_misplaced_import_is_found(file, source):
    assert len(misplaced_imports(file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("tinygrad_lab/autodiff/tensor.py", "from .ops import Op"),
        ("tinygrad_lab/autodiff/tensor.py", "import numpy as np"),
        ("tinygrad_lab/program/__init__.py", "from .lanes import run_lanes"),
        ("tinygrad_lab/program/lanes.py", "from . import replay\nfrom ..autodiff.tensor import Tensor"),
        ("tinygrad_lab/__init__.py", "from .testing import check_grad"),
        ("search/space/grid.py", "import tinygrad_lab as tl\nfrom .folds import KFold"),
    ],
)
def test_an_import_from_above_is_allowed(file, source):
    assert misplaced_imports(file, source) == []


@pytest.mark.parametrize("file", FILES)
def test_every_dependency_is_declared(file):
    declared = {requirement.split(">=")[0].replace("-", "_") for requirement in PYPROJECT["project"]["dependencies"]}
    optional_here = {name for name, place in OPTIONAL.items() if file.startswith(place)}
    known = {*sys.stdlib_module_names, *PACKAGES, *declared, *optional_here}
    used = {name[0] for name in imports(file, (ROOT / file).read_text(encoding="utf-8"))}
    assert used <= known, f"{file} imports {sorted(used - known)}, which pyproject.toml does not declare"


@pytest.mark.parametrize(
    ("statement", "not_loaded"),
    [
        ("import tinygrad_lab", {"matplotlib", "tqdm", "scipy.stats", *OPTIONAL}),
        ("import tinygrad_lab, models, search", set(OPTIONAL)),
    ],
)
def test_an_import_loads_only_what_it_needs(statement, not_loaded):
    script = f"{statement}, sys; print('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not_loaded.isdisjoint(result.stdout.splitlines()), not_loaded.intersection(result.stdout.splitlines())


def test_a_module_is_imported_with_the_first_use_of_its_names():
    script = (
        "import sys, tinygrad_lab as tl; tl.Linear; print([m for m in ('numpy', 'tinygrad_lab.training') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "['numpy']\n"


def test_every_name_of_the_stub_is_public_to_the_program_and_to_type_checkers():
    stub = ast.parse((ROOT / "tinygrad_lab/__init__.pyi").read_text(encoding="utf-8"))
    names = [alias for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [alias.name for alias in names if alias.asname != alias.name] == []  # `import A as A` exports A
    assert sorted(alias.name for alias in names) == tinygrad_lab.__all__ == dir(tinygrad_lab)


def test_a_star_import_brings_every_public_name():
    namespace: dict[str, object] = {}
    exec("from tinygrad_lab import *", namespace)
    assert namespace.keys() - {"__builtins__"} == {*tinygrad_lab.__all__}


def test_every_public_name_is_there_and_no_other():
    assert all(getattr(tinygrad_lab, name) is not None for name in tinygrad_lab.__all__)
    with pytest.raises(AttributeError, match="module 'tinygrad_lab' has no attribute 'Tensr'"):
        tinygrad_lab.Tensr  # noqa: B018


def test_the_version_is_the_one_in_pyproject():
    assert tinygrad_lab.__version__ == PYPROJECT["project"]["version"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package):
    assert (ROOT / package / "py.typed").is_file()
