"""Write the pages of the API reference: every public name of a package, in the order of the folders.

    tinygrad_lab.__all__, search.__all__, ... --> reference/tinygrad_lab.rst, ... --autosummary--> a page for each name

The lists of public names are the only input, so a new name cannot be forgotten.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("tinygrad_lab", "tinygrad_lab.testing", "models", "search")


def setup(app: Any) -> dict[str, Any]:
    """Write the pages before Sphinx looks for its sources."""
    app.connect("config-inited", write_pages, priority=1)
    return {"parallel_read_safe": True}


def write_pages(app: Any, config: Any) -> None:
    """Write one page for each package, if it has changed. Remove the pages of names that are no longer public."""
    folder = Path(app.srcdir) / "reference"
    public = {f"{package}.{name}" for package in PACKAGES for name in imports(importlib.import_module(package))}
    for path in folder.glob("generated/*.rst"):
        if path.stem not in public:
            path.unlink()
    for package in PACKAGES:
        path = folder / f"{package}.rst"
        text = page(package)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def page(package: str) -> str:
    """Return the reference page of a package as reStructuredText."""
    module = importlib.import_module(package)
    lines = [package, "=" * len(package), "", f".. currentmodule:: {package}", "", first_sentence(module.__doc__), ""]
    for home, names in sections(module).items():
        title = home.rsplit(".", 1)[-1].replace("_", " ").capitalize()
        lines += [title, "-" * len(title), ""] if home != package else []
        lines += [first_sentence(sys.modules[home].__doc__), ""] if home != package else []
        lines += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
        lines += [f"   {name}" for name in names] + [""]
    return "\n".join(lines)


def sections(module: Any) -> dict[str, list[str]]:
    """Return the public names of a module, grouped by the module that defines them, in the order in which it imports them."""
    found: dict[str, list[str]] = {}
    for name, source in imports(module).items():
        home = getattr(getattr(module, name), "__module__", "")
        found.setdefault(home if home.startswith(f"{module.__name__.split('.')[0]}.") else source, []).append(name)
    return found


def imports(module: Any) -> dict[str, str]:
    """Return the public names of a module, without the modules among them, and from where it imports each."""
    file = Path(module.__file__)
    stub = file.with_suffix(".pyi")
    tree = ast.parse((stub if stub.exists() else file).read_text(encoding="utf-8"))
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            source = f"{module.__name__}.{node.module}" if node.level else str(node.module)
            found |= {alias.asname or alias.name: source for alias in node.names}
    public = {*module.__all__, *getattr(module, "_ESTIMATORS", ())}
    return {name: found[name] for name in found if name in public and not inspect.ismodule(getattr(module, name))}


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring as one line."""
    paragraph = " ".join((text or "").strip().split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".") + "."
