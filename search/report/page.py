"""The page itself: contents and illustrations, put into the template and written to one file."""

import base64
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from numpy.typing import ArrayLike

from search.output import written
from search.ranking.ranking import Ranking
from search.report.contents import constants, failures, has_stopped, number, plural, ranking_table, winners
from search.report.illustrations import (
    illustrate,
    learning_illustrations,
    luck_illustrations,
    score_illustrations,
    stability_illustrations,
)
from search.run.retraining import Retrained
from tinygrad_lab.storage.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.ranking.comparison import ComparedConfiguration, Comparison
    from search.ranking.optimism import Optimism

FOLDER = Path(__file__).parent
TOP = 20  # how many of the best the figures show


def write_report(
    folder: str | os.PathLike[str],
    ranking: Ranking,
    *,
    title: str = "Report of a search",
    question: str = "Which configuration predicts best on points that it has not seen?",
    retrained: Retrained | None = None,
    comparison: "Comparison | None" = None,
    simplest: "ComparedConfiguration | None" = None,
    optimism: "Optimism | None" = None,
    nested: object = None,
    seed_losses: ArrayLike | None = None,
    figures: "Sequence[tuple[str, str, Figure]]" = (),
    facts: Sequence[tuple[str, str]] = (),
    commands: Sequence[str] = (),
) -> Path:
    """Write a search's report, ``index.html``: one page that needs no network and no other file.

    Parameters
    ----------
    folder : path
        Where to write; made if it is missing.
    ranking : Ranking
        Of the search.
    title, question : str
        What stands at the top.
    retrained : Retrained, optional
        The best, trained again and tested: the second winner, test losses and learning curves.
    comparison : Comparison, optional
        The differences to the best, with their intervals.
    simplest : ComparedConfiguration, optional
        The simplest configuration within one standard error of the best, such as `Comparison.simplest` returns.
    optimism : Optimism, optional
        What choosing by the test loss adds to it, over seeds.
    nested : object, optional
        The result of a nested cross-validation; its text is shown.
    seed_losses : array_like, optional
        Test losses of the network of the lowest test loss, or of the best without `retrained`, from other seeds.
    figures : sequence of (str, str, matplotlib.figure.Figure)
        More figures to show, each with its caption and, in words, what it shows.
    facts : sequence of (str, str)
        How long it took and on what it ran, as names and values; `search.report.machine.machine_facts` gives some.
    commands : sequence of str
        How to do it again, line by line.

    Returns
    -------
    pathlib.Path
        Of the page.

    Raises
    ------
    SearchError
        If the file cannot be written; an older one is then as it was.

    Examples
    --------
    >>> import tempfile
    >>> from search import Outcome
    >>> from search.ranking.ranking import rank
    >>> ranking = rank([{"lr": 0.1}], {('{"lr":0.1}', 0): Outcome("done", 0.75)}, n_folds=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_report(folder, ranking, title="Learning rates")
    ...     page.name, "<h1>Learning rates</h1>" in page.read_text(encoding="utf-8")
    ('index.html', True)
    """
    several = optimism is not None and len(optimism.losses) > 1
    luck = (
        ("The lowest of many test losses" if several else "The test loss from many seeds", optimism),
        ("The whole procedure, cross-validated", nested),
    )
    lowest = retrained.best_by_test.test_loss if retrained is not None and retrained.done else None
    text = _render(
        title=title,
        question=question,
        summary=_summary(ranking),
        cards=[*winners(ranking, retrained, comparison, simplest)],
        comparison=comparison,
        prose=[(name, str(result)) for name, result in luck if result is not None],
        luck_figures=[*luck_illustrations(comparison, seed_losses, lowest, TOP)],
        figures=[illustrate(*figure) for figure in figures],
        score_figures=[*score_illustrations(ranking, TOP)],
        learning_figures=[
            *learning_illustrations(retrained),
            *stability_illustrations(ranking, None if optimism is None else optimism.losses, TOP),
        ],
        caption=_caption(ranking),
        ranking=ranking_table(ranking, retrained, comparison),
        constants=constants(ranking),
        statuses=sorted({row.status for row in ranking}),
        failures=failures(ranking, retrained),
        facts=facts,
        commands=commands,
    )
    target = Path(folder, "index.html")
    with written(target, kind="folder"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.write(text.encode())
    return target


def _summary(ranking: Ranking) -> list[tuple[str, str]]:
    """Return the numbers that stand at the top: names and values."""
    statuses = Counter(row.status for row in ranking)
    summary = [("configurations", f"{len(ranking):,}")]
    if len(ranking):
        folds = len(ranking[0].losses) // ranking.repeats
        summary.append((plural(folds, "fold"), str(folds)))
        if ranking.repeats > 1:
            summary.append(("repeats", str(ranking.repeats)))
        if statuses["stopped"]:
            summary.append(("stopped early", f"{statuses['stopped']:,}"))
        summary.append(("failed or diverged", f"{len(ranking) - statuses['done'] - statuses['stopped']:,}"))
    if statuses["done"]:
        summary.append(("lowest mean validation loss", number(ranking[0].mean)))
    return summary


def _caption(ranking: Ranking) -> str:
    """Return what stands above the table: in which order its rows are."""
    best_first = "All configurations, lowest mean validation loss first"
    return f"{best_first}, then those stopped, the latest first, then all others" if has_stopped(ranking) else best_first


def _render(**contents: Any) -> str:
    """Put the contents into the template; whatever they hold is text there, never markup."""
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("page.html.jinja")
    # Own style and script alone are allowed to act, by their hashes: even markup that got in could do nothing.
    return template.render(style=style, script=script, style_hash=_hash(style), script_hash=_hash(script), **contents)


def _hash(text: str) -> str:
    """Return the name of a style or script in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
