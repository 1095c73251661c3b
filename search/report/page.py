"""The page: contents and illustrations are put into the template and written to one file."""

import base64
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from numpy.typing import ArrayLike

from search.errors import printable
from search.output import naming_write_errors, plural
from search.ranking.ranking import Ranking
from search.report.contents import constants, failures, has_stopped, number, ranking_table, winners
from search.report.illustrations import (
    illustrate,
    learning_illustrations,
    luck_illustrations,
    score_illustrations,
    stability_illustrations,
)
from search.run.retraining import Retrained
from search.trials.baselines import baseline_of
from tinygrad_lab.storage.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.ranking.comparison import ComparedConfiguration, Comparison
    from search.ranking.importance import Importance
    from search.ranking.optimism import Optimism
    from search.report.card import ModelCard

FOLDER = Path(__file__).parent
TOP = 20  # how many of the best configurations the figures show


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
    card: "ModelCard | None" = None,
    importance: "Importance | None" = None,
) -> Path:
    """Write the report of a search, ``index.html``. The page needs no network and no other file.

    Parameters
    ----------
    folder : path
        Where to write. It is created if it is missing.
    ranking : Ranking
        The ranking of the search.
    title, question : str
        The text at the top.
    retrained : Retrained, optional
        The best, trained again and tested. They add the second winner, test losses and learning curves.
    comparison : Comparison, optional
        The differences to the best, with their intervals.
    simplest : ComparedConfiguration, optional
        The simplest configuration within one standard error of the best, such as `Comparison.simplest` returns.
    optimism : Optimism, optional
        By how much the lowest test loss is too low, over seeds.
    nested : object, optional
        The result of a nested cross-validation. The page shows its text.
    seed_losses : array_like, optional
        Test losses of the network of the lowest test loss, or of the best without `retrained`, from other seeds.
    figures : sequence of (str, str, matplotlib.figure.Figure)
        More figures, each after its caption and its description in words.
    facts : sequence of (str, str)
        Names and values: how long the search took, and on which machine. `search.report.machine.machine_facts` gives some.
    commands : sequence of str
        The commands that repeat the search, line by line.
    card : ModelCard, optional
        What is known about the best model; `search.report.card.model_card` makes it.
    importance : Importance, optional
        Of the parameters, as `search.parameter_importance` returns it.

    Returns
    -------
    pathlib.Path
        The path of the page.

    Raises
    ------
    SearchError
        If the file cannot be written. An older file is then unchanged.

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
    measure = ranking.measure
    several = optimism is not None and len(optimism.losses) > 1
    luck = (
        (
            f"The {measure.best} of many test {measure.plural}" if several else f"The test {measure.name} from many seeds",
            optimism,
        ),
        ("The whole procedure, cross-validated", nested),
    )
    lowest = retrained.best_by_test.test_value if retrained is not None and retrained.done else None
    text = _render(
        title=title,
        question=question,
        summary=_summary(ranking),
        card=card,
        cards=[*winners(ranking, retrained, comparison, simplest)],
        comparison=comparison,
        prose=[(name, str(result)) for name, result in luck if result is not None],
        luck_figures=[*luck_illustrations(comparison, seed_losses, lowest, TOP, measure)],
        figures=[illustrate(*figure) for figure in figures],
        score_figures=[*score_illustrations(ranking, TOP, importance)],
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
    with naming_write_errors(target, kind="folder"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.write("\n".join(map(printable, text.split("\n"))).encode())
    return target


def _summary(ranking: Ranking) -> list[tuple[str, str]]:
    """Return the numbers at the top of the page, as names and values."""
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
        measure = ranking.measure
        summary.append((f"{measure.best} mean {measure.validation}", number(ranking[0].value)))
        summary += [
            (f"of the baseline {baseline_of(row.configuration)}", number(row.value))
            for row in ranking.baselines
            if row.status == "done"
        ]
    return summary


def _caption(ranking: Ranking) -> str:
    """Return the caption of the table, which says in which order its rows are."""
    best_first = f"All configurations, {ranking.measure.best} mean {ranking.measure.validation} first"
    return f"{best_first}, then those stopped, the latest first, then all others" if has_stopped(ranking) else best_first


def _render(**contents: Any) -> str:
    """Put the contents into the template. They are escaped, so they appear as text, never as markup."""
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
    # The policy allows only this style and this script, by their hashes. Other markup could do nothing.
    return template.render(style=style, script=script, style_hash=_hash(style), script_hash=_hash(script), **contents)


def _hash(text: str) -> str:
    """Return the hash of a style or script, as a content security policy writes it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
