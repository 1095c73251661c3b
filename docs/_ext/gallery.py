"""How sphinx-gallery shows the scripts of `examples/`: their order, their arguments and their figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

DOCS = Path(__file__).resolve().parents[1]
ORDER = (
    "estimate_a_function",
    "predict_a_table",
    "how_autodiff_works",
    "read_a_training_step",
    "own_layer",
    "minimize_rosenbrock",
    "search_by_halving",
    "reproduce_report",
)


def order(file: str) -> int:
    """Return the position of an example. A script that is not in ORDER is an error: it would be missing in the navigation."""
    return ORDER.index(Path(file).stem)


def arguments(gallery_conf: Any, script_vars: Any) -> list[str]:
    """Return the command-line arguments of an example.

    sphinx-gallery runs a script as a module without a file, which worker processes cannot import. So the search has one worker.
    """
    if Path(script_vars["src_file"]).stem == "search_by_halving":
        return ["--out", str(DOCS / "_build" / "halving"), "--workers", "1"]
    return []


def save_figures(block: Any, script_vars: Any, gallery_conf: Any) -> str:
    """Save the Figures that a cell has bound to names, and return the text that shows them.

    The figures of this project are made without pyplot, where sphinx-gallery would look for them.
    """
    shown = script_vars.setdefault("shown_figures", [])
    new = [value for value in script_vars["example_globals"].values() if isinstance(value, Figure) and value not in shown]
    shown.extend(new)
    paths = []
    for figure in new:
        path = next(script_vars["image_path_iterator"])
        figure.savefig(path, dpi=120)
        paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"])
