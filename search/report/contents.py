"""The text of the page: the winners and how they were chosen, the table of the ranking, the failures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.output import plural
from search.ranking.measure import Measure
from search.ranking.ranking import RankedConfiguration, Ranking, mean_and_std, varying_parameters
from search.run.retraining import Retrained, RetrainedConfiguration
from search.space.configuration import Configuration, as_columns
from search.table import are_numbers

if TYPE_CHECKING:
    from search.ranking.comparison import ComparedConfiguration, Comparison

NONE = "–"


@dataclass(frozen=True)
class Card:
    """One winner: its configuration, its numbers, how it was chosen, and a warning about the number that is too low."""

    mark: str  # the CSS class of its colour and shape
    title: str
    configuration: list[tuple[str, str]]
    numbers: list[tuple[str, str]]
    how: str
    caution: str


@dataclass(frozen=True)
class Table:
    """A table of text: the names of the columns, whether each holds numbers, and the cells of each row."""

    names: list[str]
    is_number: list[bool]
    rows: list[list[str]]


def winners(
    ranking: Ranking,
    retrained: Retrained | None,
    comparison: "Comparison | None",
    simplest: "ComparedConfiguration | None",
) -> Iterator[Card]:
    """Yield a card for each way to choose."""
    done = ranking.done
    if not done:
        return
    trained = () if retrained is None else retrained.done
    best = next((row for row in done if trained and row.rank == trained[0].rank), done[0])
    yield _best_by_cross_validation(ranking, best, trained, comparison)
    if retrained is not None and len(trained) > 1:  # one network alone is not a choice by test loss
        yield _best_by_test(trained, retrained.best_by_test, retrained.measure)
    if simplest is not None:
        test = next((row for row in trained if row.rank == simplest.rank), None)
        yield Card(
            "simplest",
            "Simplest of the best",
            as_texts(simplest.configuration),
            [_scored(simplest, ranking.measure), *_tested(test)],
            f"The simplest of the configurations whose mean {ranking.measure.name} is within one standard error of the best.",
            "A rule of thumb: among networks that the folds can hardly distinguish, take the simplest.",
        )


def _best_by_cross_validation(
    ranking: Ranking, best: RankedConfiguration, trained: tuple[RetrainedConfiguration, ...], comparison: "Comparison | None"
) -> Card:
    folds = len(best.losses) // ranking.repeats
    is_halved = has_stopped(ranking)
    count = len(ranking.done) if is_halved else len(ranking)
    measure = ranking.measure
    where = f"{folds} validation {plural(folds, 'fold')}, of {count:,} {plural(count, 'configuration')}"
    how = f"The {measure.best} mean {measure.name} over {where}"
    if is_halved:
        how += " trained to the end"
    if best.rank > 1:
        how += f" and of those that could be trained again; it has rank {best.rank}"
    extreme, side, worse = ("largest", "high", "lower") if measure.is_score else ("smallest", "low", "higher")
    caution = f"The {extreme} of many means is too {side} as an estimate. On new points, expect a {worse} {measure.name}."
    if trained:
        how += ". The test points were not used to choose it."
        caution = (
            f"Its test {measure.name} is a fair estimate of the {measure.name} on new points. Its cross-validation "
            f"{measure.name} is not, because the {extreme} of many means is too {side}."
        )
    compared = next((row for row in comparison or () if row.rank == best.rank), None)
    numbers = [
        (f"mean {measure.validation}", number(best.value)) if compared is None else _scored(compared, measure),
        *_tested(trained[0] if trained else None),
    ]
    return Card("by-folds", "Best by cross-validation", as_texts(best.configuration), numbers, how.rstrip(".") + ".", caution)


def _best_by_test(trained: tuple[RetrainedConfiguration, ...], best: RetrainedConfiguration, measure: Measure) -> Card:
    extreme = "largest" if measure.is_score else "smallest"
    value = f"{measure.best} test {measure.name}"
    how = f"The best {len(trained)} were trained again on all training points; this one has the {value}."
    if best is trained[0]:
        how += " This time it is the same network."
    return Card(
        "by-test",
        value[:1].upper() + value[1:],
        as_texts(best.configuration),
        [(f"mean {measure.validation}", f"{number(best.mean)}, rank {best.rank}"), *_tested(best)],
        how,
        f"The test points chose it, so its test {measure.name} flatters it: it is the {extreme} of {len(trained)}, "
        f"not an estimate of the {measure.name} on new points.",
    )


def _scored(row: "ComparedConfiguration", measure: Measure) -> tuple[str, str]:
    return f"mean {measure.validation} ± standard error", f"{number(row.mean)} ± {number(row.standard_error, 3)}"


def _tested(row: RetrainedConfiguration | None) -> list[tuple[str, str]]:
    if row is None:
        return []
    scores = [(f"test {name}", number(score)) for name, score in row.scores.items()]
    return [*scores, ("test loss", number(row.test_loss)), ("training loss", number(row.train_loss))]


def ranking_table(ranking: Ranking, retrained: Retrained | None, comparison: "Comparison | None") -> Table:
    """Return the ranking as text, with the test losses and the differences to the best if they are known."""
    names, values = _varying_columns(ranking)
    compared = {row.rank: row for row in comparison or ()}
    tested = {row.rank: row.test_value for row in retrained or ()}
    fits = ranking.fold_names
    spread = "std" if comparison is None else "standard error"
    header = ["rank", *names, f"mean {ranking.measure.name}" if ranking.measure.is_score else "mean", spread]
    header += ["difference", "low", "high", "beside the best"] if comparison is not None else []
    header += [f"test {ranking.measure.name}"] if tested else []
    is_halved = has_stopped(ranking)
    header += fits
    header += ["last round"] if is_halved else []
    header += ["status"]
    rows = []
    for row, cells in zip(ranking, values, strict=True):
        other = compared.get(row.rank)
        line = [str(row.rank), *map(str, cells), number(row.value)]
        if comparison is None:
            line.append(number(mean_and_std(row.values)[1] if row.status == "done" else row.std, 3))
        elif other is None:
            line += [NONE] * 5
        else:
            line += [number(value, 3) for value in (other.standard_error, other.difference, other.low, other.high)]
            line.append("worse" if other.is_distinguishable else "not distinguishable")
        line += [number(tested.get(row.rank))] if tested else []
        line += map(number, row.values)
        if is_halved:
            line.append(NONE if row.last_round is None else str(row.last_round))
        rows.append([*line, row.status])
    is_text = {name for name, column in zip(names, zip(*values, strict=True), strict=True) if not are_numbers(column)}
    is_text |= {"status", "beside the best"}
    return Table(header, [name not in is_text for name in header], rows)


def has_stopped(ranking: Ranking) -> bool:
    """Whether the strategy stopped some configurations early."""
    return any(row.status == "stopped" for row in ranking)


def failures(ranking: Ranking, retrained: Retrained | None) -> Table:
    """Return the fits and trainings that failed, crashed or diverged, and why."""
    rows = [
        [
            where,
            str(row.rank),
            ", ".join(f"{name} {text}" for name, text in as_texts(row.configuration)),
            row.status,
            row.reason,
        ]
        for where, ended in (("search", ranking), ("training again", retrained or ()))
        for row in ended
        if row.status not in ("done", "stopped")
    ]
    return Table(["during", "rank", "configuration", "status", "reason"], [False, True, False, False, False], rows)


def as_texts(configuration: Configuration) -> list[tuple[str, str]]:
    """Return the names of a configuration with their values as text, floats to the bit.

    Examples
    --------
    >>> as_texts({"hidden": (75, 50), "lr": 1e-05, "activation": "relu"})
    [('hidden', '(75, 50)'), ('lr', '1e-05'), ('activation', 'relu')]
    """
    return [(name, str(value)) for name, value in configuration.items()]


def number(value: float | None, digits: int = 5) -> str:
    """Return a loss with this number of significant digits, or a dash if there is none.

    Examples
    --------
    >>> number(0.6125), number(12345.6), number(float("nan"))
    ('0.61250', '12346', '–')
    """
    return NONE if value is None or value != value else f"{value:#.{digits}g}".rstrip(".")


def constants(ranking: Ranking) -> list[tuple[str, str]]:
    """Return the settings that all configurations share. They are not columns of the table."""
    varying, _ = _varying_columns(ranking)
    return [pair for pair in as_texts(ranking[0].configuration) if pair[0] not in varying] if len(ranking) else []


def _varying_columns(ranking: Ranking) -> tuple[list[str], list[list[Any]]]:
    varying = varying_parameters(ranking)
    return as_columns([{name: row.configuration.get(name, "") for name in varying} for row in ranking])
