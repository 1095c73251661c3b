"""The shape of the distribution: version, typing markers, declared dependencies and public names."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import PurePosixPath
from types import FunctionType

import pytest

import tinygrad_lab
from search import Strategy
from tests.helpers import ROOT
from tests.helpers.imports import imported_names

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
FILES = sorted(path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py"))

# Optional dependency -> the only places that may import it.
OPTIONAL = {
    "hypothesis": "tinygrad_lab/testing",
    "numba": "tinygrad_lab/codegen/native",
    "onnx": "tinygrad_lab/prediction/onnx_export",
    "optuna": "search/",
    "pandas": ("models/tables/", "search/"),
    "sklearn": ("models/estimators/", "search/", "tinygrad_lab/prediction/"),
}


@pytest.mark.parametrize("file", FILES)
def test_every_dependency_is_declared(file):
    declared = {requirement.split(">=")[0].replace("-", "_") for requirement in PYPROJECT["project"]["dependencies"]}
    optional_here = {name for name, place in OPTIONAL.items() if file.startswith(place)}
    known = {*sys.stdlib_module_names, *PACKAGES, *declared, *optional_here}
    used = {name[0] for name in imported_names(file, (ROOT / file).read_text(encoding="utf-8"))}
    assert used <= known, f"{file} imports {sorted(used - known)}, which pyproject.toml does not declare"


@pytest.mark.parametrize(
    ("statement", "not_loaded"),
    [
        ("import tinygrad_lab", {"matplotlib", "tqdm", "scipy.stats", *OPTIONAL}),
        ("import tinygrad_lab, models, search", {"jinja2", *OPTIONAL}),
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
    public = sorted(alias.name for alias in names)
    assert public == tinygrad_lab.__all__ == sorted({*public} & {*dir(tinygrad_lab)})


def test_a_star_import_brings_every_public_name():
    namespace: dict[str, object] = {}
    exec("from tinygrad_lab import *", namespace)
    assert namespace.keys() - {"__builtins__"} == {*tinygrad_lab.__all__}


def test_every_public_name_can_be_imported_and_no_other():
    assert all(getattr(tinygrad_lab, name) is not None for name in tinygrad_lab.__all__)
    with pytest.raises(AttributeError, match="module 'tinygrad_lab' has no attribute 'Tensr'"):
        tinygrad_lab.Tensr  # noqa: B018


def test_the_version_is_the_one_in_pyproject():
    assert tinygrad_lab.__version__ == PYPROJECT["project"]["version"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package):
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("file", [file for file in FILES if not file.endswith("__main__.py")])
def test_public_methods_are_documented_where_they_are_defined(file):
    """An override needs no docstring, and neither does a method of the protocol Strategy. Ruff's rule D102 cannot tell."""
    module = importlib.import_module(".".join(PurePosixPath(file).with_suffix("").parts).removesuffix(".__init__"))
    bare = [
        f"{cls.__name__}.{name}"
        for cls in vars(module).values()
        if isinstance(cls, type) and cls.__module__ == module.__name__ and not cls.__name__.startswith("_")
        for name, method in vars(cls).items()
        if isinstance(method, (FunctionType, property, classmethod, staticmethod)) and not name.startswith("_")
        if not method.__doc__ and not any(hasattr(base, name) for base in (*cls.__mro__[1:], Strategy))
    ]
    assert bare == []


@pytest.mark.parametrize("file", [file for file in FILES if file != "tinygrad_lab/checks.py"])
def test_only_one_place_says_how_to_install_an_extra(file):
    assert not re.search(r"pip install|tinygrad-lab\[", (ROOT / file).read_text(encoding="utf-8")), "expected install_hint"


def test_no_page_installs_from_a_package_index():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    assert [page.name for page in pages if "tinygrad-lab[" in page.read_text(encoding="utf-8")] == []


def test_every_extra_that_a_message_names_exists():
    named = {
        name for file in FILES for name in re.findall(r"install_hint\(['\"](\w+)", (ROOT / file).read_text(encoding="utf-8"))
    }
    assert {"fast", "sklearn", "tables", "optuna"} <= named <= {*PYPROJECT["project"]["optional-dependencies"]}
