"""Configuration of the documentation site. `python -m sphinx -W --keep-going -b html docs docs/_build/html` builds it.

The build needs the extra `docs` and no network. It runs every script of `examples/`, with warnings as errors.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_ext")]

import matplotlib  # noqa: E402

import tinygrad_lab  # noqa: E402

matplotlib.use("agg")

project = "tinygrad-lab"
author = "The tinygrad-lab developers"
copyright = "the tinygrad-lab developers"
version = release = tinygrad_lab.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "api_pages",
    "source_pages",
]
exclude_patterns = ["_build", "_ext"]
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

# Methods are shown where a class of this project defines them, and at the classes that inherit them.
STOP = "object,ABC,Generic,Protocol,Exception,dict,Mapping,Sequence"

autosummary_generate = True
autosummary_imported_members = True
autodoc_typehints = "none"  # numpydoc's sections name the types
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": STOP, "show-inheritance": True}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

highlight_language = "none"  # of pictures in docstrings; examples say that they are Python
html_sidebars = {page: [] for page in ("installation", "contributing", "changelog")}  # which have no pages below them
html_theme = "pydata_sphinx_theme"
html_title = "tinygrad-lab"
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "tango",
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # reproduce_report.py is shown, but not run: it needs minutes. estimate_a_function.py does the same with a short grid,
    # and tests/examples run the command of the README.
    "filename_pattern": r"/(?!reproduce_report)\w+\.py$",
    "within_subsection_order": "gallery.order",
    "image_scrapers": ("gallery.save_figures",),
    "reset_argv": "gallery.arguments",
    "abort_on_example_error": False,
    "only_warn_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "default_thumb_file": str(HERE / "figures" / "function.png"),
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 5,
}


def escape_markup(app, what, name, obj, options, lines):
    """Escape what docstrings mean literally and reStructuredText would not: the bars of |x|, the star of (*shape, 3)."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = line.split("``")
            parts[::2] = [re.sub(r"\||(?<=[(\s])\*(?=\w+[.,)\[])", r"\\\g<0>", part) for part in parts[::2]]
            lines[i] = "``".join(parts)


def skip_foreign(app, what, name, obj, skip, options):
    """Leave out the methods that scikit-learn gives its estimators. Their docstrings refer to scikit-learn's own site."""
    is_foreign = str(getattr(obj, "__module__", "")).startswith("sklearn.") or re.fullmatch(r"set_\w+_request", name)
    return True if is_foreign else None


def public_bases(app, name, obj, options, bases):
    """Show the public classes behind a private base class."""
    while hidden := [base for base in bases if getattr(base, "__name__", "").startswith("_") or base is object]:
        i = bases.index(hidden[0])
        bases[i : i + 1] = [base for base in hidden[0].__bases__ if base not in bases]


def setup(app):
    """Connect the functions above. The first one runs before numpydoc, which reads the lines too."""
    app.connect("autodoc-process-bases", public_bases)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-docstring", escape_markup, priority=1)
