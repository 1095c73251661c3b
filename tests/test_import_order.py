"""The order of the house: every file imports only from those above it, so that data flows one way and there is no circle.

`ORDER` lists what is in each folder, in reading order. For an import, the test finds the folder in which the paths of the two
files part, and compares their places there. An import counts wherever it is: at the top of a file, inside a function, or
under `if TYPE_CHECKING`, since that too shows which file needs to know which.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.helpers import ROOT
from tests.helpers.imports import imported_names

PACKAGES = ["tinygrad_lab", "models", "search"]

ORDER = {
    "tinygrad_lab": (
        "checks seeds contents autodiff functions transforms returned hyperparameters nn optim storage program codegen "
        "training prediction testing extensions"
    ),
    "tinygrad_lab/autodiff": "ops graph recording functions methods tensor derivatives",
    "tinygrad_lab/autodiff/methods": "elementwise movement reductions protocol",
    "tinygrad_lab/functions": "elementwise reductions sorting movement contractions linalg special values left_out",
    "tinygrad_lab/transforms": "nests evaluation derivatives products backward",
    "tinygrad_lab/nn": "mode naming initializers activations layers regularization normalization preprocessing losses",
    "tinygrad_lab/optim": "penalties hooks optimizer optimizers schedulers",
    "tinygrad_lab/storage": "files digests description arrays weights",
    "tinygrad_lab/program": "lines passes memory replay lanes program capture",
    "tinygrad_lab/codegen": "kinds dimensions passes nests merging source native",
    "tinygrad_lab/training": (
        "columns data history noise step snapshots parameters captured structure changes setup engines "
        "run checkpoints callbacks preparation trainer lanes"
    ),
    "tinygrad_lab/training/snapshots": "users_code nodes reading writing snapshot",
    "tinygrad_lab/training/engines": "engine eager replay compiled choice",
    "tinygrad_lab/testing": "slopes comparison gradients mutants strategies verification",
    "tinygrad_lab/prediction": "architecture rules files tasks conformal calibrated onnx_export predictor loading",
    "models": "networks parts builders report_data tables files estimators",
    "models/estimators": "samples continuation base regressors classifier",
    "models/tables": "cells formats dates header text frames files columns targets roles description "
    "encoder embedding builder model table",
    "search": "errors output table frames space trials testing store pool ranking run report result search command __main__",
    "search/space": "configuration rounds grid union random halving optuna",
    "search/trials": "data folds models scoring baselines watchers seeds containment fits running engine sources surroundings",
    "search/store": "differences fingerprint rows file owner place fork store",
    "search/pool": "builders tasks interrupts serving supervision executors opening",
    "search/ranking": "measure ranking comparison nested optimism stored stores importance export",
    "search/run": "strategy_run plan runner retraining fitted refitting",
    "search/report": "machine inspection figures contents illustrations network card page",
    "search/report/figures": "style models scores leaders networks",
    "search/command": "terminal settings trust searching prediction actions main",
    "search/command/settings": "keys builders data strategies splitters settings",
}

# Package -> the other packages of this distribution that it may import.
NEIGHBOURS: dict[str, set[str]] = {"tinygrad_lab": set(), "models": {"tinygrad_lab"}, "search": {"tinygrad_lab"}}

FILES = sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported_modules(file: str, source: str) -> Iterator[tuple[str, ...]]:
    """Yield the path of every module of this distribution that a source imports: ("tinygrad_lab", "autodiff", "ops")."""
    return (_module_of(name) for name in imported_names(file, source) if name[0] in PACKAGES)


def _module_of(name: tuple[str, ...]) -> tuple[str, ...]:
    """Cut a name down to the module or package that holds it."""
    while len(name) > 1 and not any((ROOT / "/".join(name)).with_suffix(suffix).exists() for suffix in ("", ".py")):
        name = name[:-1]
    return name


def is_in_order(file: str, module: tuple[str, ...]) -> bool:
    """Whether the file may import the module, which may be a package: that is its `__init__`, the last file in it."""
    own = PurePosixPath(file).with_suffix("").parts
    if module[0] != own[0]:
        return module[0] in NEIGHBOURS[own[0]]
    if (ROOT / "/".join(module)).is_dir():
        module = (*module, "__init__")
    depth = next((i for i, (mine, other) in enumerate(zip(own, module, strict=False)) if mine != other), None)
    if depth is None:
        return False  # itself
    order = [*ORDER["/".join(own[:depth])].split(), "__init__"]
    return order.index(module[depth]) < order.index(own[depth])


def misplaced_imports(file: str, source: str) -> list[str]:
    return [".".join(module) for module in imported_modules(file, source) if not is_in_order(file, module)]


@pytest.mark.parametrize("file", FILES)
def test_imports_keep_the_order_of_the_house(file):
    assert misplaced_imports(file, (ROOT / file).read_text(encoding="utf-8")) == []


def test_the_order_lists_every_file_and_no_other():
    found: dict[str, set[str]] = {}
    for file in FILES:
        *folders, name = PurePosixPath(file).with_suffix("").parts
        for depth, inner in enumerate([*folders[1:], name], 1):
            found.setdefault("/".join(folders[:depth]), set()).add(inner)
    assert {folder: {*names.split(), "__init__"} for folder, names in ORDER.items()} == found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("tinygrad_lab/autodiff/ops.py", "from tinygrad_lab.autodiff.tensor import Tensor"),
        ("tinygrad_lab/autodiff/ops.py", "from .tensor import Tensor"),
        ("tinygrad_lab/autodiff/ops.py", "from . import tensor"),
        ("tinygrad_lab/autodiff/ops.py", "import tinygrad_lab.autodiff.tensor as t"),
        ("tinygrad_lab/nn/layers.py", "def f():\n    from .losses import Loss"),
        ("tinygrad_lab/nn/layers.py", "if TYPE_CHECKING:\n    from ..training import Trainer"),
        ("tinygrad_lab/nn/layers.py", "from tinygrad_lab import Tensor"),
        ("tinygrad_lab/nn/layers.py", "import tinygrad_lab"),
        ("tinygrad_lab/nn/layers.py", "import search.trials.folds"),
        ("tinygrad_lab/__init__.py", "from models import TwoHiddenLayerNet"),
        ("tinygrad_lab/program/lanes.py", "from ..codegen import write_source"),
        ("tinygrad_lab/program/replay.py", "if TYPE_CHECKING:\n    from tinygrad_lab.program.program import Program"),
        ("tinygrad_lab/program/lanes.py", "from tinygrad_lab.program import Program"),
        ("search/space/grid.py", "from models import TwoHiddenLayerNet"),
        ("search/space/grid.py", "from search.trials.folds import KFold"),
        ("models/estimators/base.py", "from search import KFold"),
    ],
)
def test_a_misplaced_import_is_found(file, source):
    assert len(misplaced_imports(file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("tinygrad_lab/autodiff/tensor.py", "from .ops import Op"),
        ("tinygrad_lab/autodiff/tensor.py", "import numpy as np"),
        ("tinygrad_lab/program/__init__.py", "from .lanes import LaneBuilder"),
        ("tinygrad_lab/program/lanes.py", "from . import lines\nfrom ..autodiff.tensor import Tensor"),
        ("tinygrad_lab/codegen/kinds.py", "from tinygrad_lab.program import Program"),
        ("tinygrad_lab/__init__.py", "from .testing import check_grad"),
        ("search/space/grid.py", "import tinygrad_lab as tl\nfrom .rounds import OneRound"),
    ],
)
def test_an_import_from_above_is_allowed(file, source):
    assert misplaced_imports(file, source) == []
