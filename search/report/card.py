"""The model card: on which data the best model was fitted, how good it is, what it uses, and how to predict with it.

ranking, baselines --> scores with intervals --.
table ---------------> columns                 +--> ModelCard --> page
refitted models -----> inspection --> figures--'
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np

from search.output import plural
from search.ranking.comparison import corrected_intervals
from search.ranking.ranking import RankedConfiguration, Ranking, mean_and_std
from search.report.contents import NONE, Table, number
from search.report.figures.models import (
    plot_calibration,
    plot_confusion,
    plot_feature_importance,
    plot_partial_dependence,
    plot_predictions,
    plot_residuals,
)
from search.report.illustrations import Illustration, illustrate
from search.report.inspection import Feature, Inspection, inspect_model
from search.run.fitted import FittedEstimator
from search.run.refitting import make_model, refit
from search.trials.baselines import baseline_of
from search.trials.data import Array
from search.trials.fits import Problem
from search.trials.folds import Fold

MOST_TARGETS = 3  # whose predictions are drawn
MOST_LEVELS = 8  # of a category that are listed
MOST_LINES = 6  # outputs in a figure of partial dependence


@dataclass(frozen=True)
class ModelCard:
    """What the page says about the best model.

    Attributes
    ----------
    facts : list of (str, str)
        The data, as names and values.
    scores : Table
        Of the best configuration and the baselines.
    verdict : str
        Whether the model is better than the best baseline.
    columns : Table
        The features.
    quality, features : list of Illustration
        Figures of the predictions, and of what they depend on.
    usage : list of str
        How to load the model and predict, line by line.
    """

    facts: list[tuple[str, str]]
    scores: Table
    verdict: str
    columns: Table
    quality: list[Illustration]
    features: list[Illustration]
    usage: list[str]


def model_card(
    ranking: Ranking, problem: Problem, table: Any, folds: Sequence[Fold], seed: int, progress: bool = True
) -> ModelCard:
    """Fit the best configuration as `SearchResult.best` does, inspect it, and return its card. Needs scikit-learn.

    Parameters
    ----------
    ranking : Ranking
        With a configuration that is done.
    problem : Problem
        The samples of the search.
    table : object or None
        That it was run on. Its attributes `columns`, `targets` and `source` are used if it has them.
    folds : sequence of (training indices, validation indices)
        By which the ranking was made.
    seed : int
        Of the search.
    progress : bool, default=True
        Whether to show a progress bar.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    SearchError
        If a fit fails, or its model cannot predict.
    """
    best = ranking.done[0]
    [refitted] = refit(problem, seed, len(folds), [best.configuration], True, progress)
    refitted.check(best)
    model = make_model(problem, [refitted], len(folds), {})
    fold_models = [make_model(problem, [replace(refitted, whole=one, folds=())], 0, {}) for one in refitted.folds]
    features = _features(table, problem.x.shape[1])
    outputs = _outputs(model, problem, table)
    found = inspect_model(model, fold_models, folds, problem.x, problem.y, model.task, features, outputs, seed)
    scores, verdict = _scores(ranking, folds)
    return ModelCard(
        facts=_facts(problem, table, model.task, outputs),
        scores=scores,
        verdict=verdict,
        columns=_columns(features, problem.x),
        quality=[*_quality(found)],
        features=[*_effects(found)],
        usage=_usage(model, table is not None),
    )


# ---- data ----------------------------------------------------------------------------------------------------------


def _features(table: Any, count: int) -> list[Feature]:
    columns = getattr(table, "columns", None) or ()
    if len(columns) != count:
        return [Feature(f"feature {i}") for i in range(count)]
    return [Feature(str(column.name), column.kind, tuple(map(str, column.levels))) for column in columns]


def _outputs(model: Any, problem: Problem, table: Any) -> list[str]:
    """Return the names of the targets, classes or labels."""
    if model.task == "classification":
        return [str(label) for label in model.classes_]
    count = 1 if problem.y.ndim == 1 else problem.y.shape[1]
    names = [str(name) for name in getattr(table, "targets", None) or ()]
    return names if len(names) == count else ["target"] if count == 1 else [f"target {i}" for i in range(count)]


def _facts(problem: Problem, table: Any, task: str, outputs: Sequence[str]) -> list[tuple[str, str]]:
    targets = [str(name) for name in getattr(table, "targets", None) or ()]
    facts = [
        ("data", str(getattr(table, "source", "") or "arrays")),
        ("samples", f"{len(problem.x):,}"),
        ("features", f"{problem.x.shape[1]:,}"),
        (plural(len(targets), "target"), ", ".join(targets) or ", ".join(outputs)),
        ("task", task),
    ]
    if task == "classification":
        counts = np.bincount(problem.y.astype(int).ravel(), minlength=len(outputs))
        shown = [f"{name} {count:,}" for name, count in zip(outputs, counts, strict=True)]
        more = f", and {len(shown) - MOST_LEVELS} more" if len(shown) > MOST_LEVELS else ""
        facts.append(("classes", ", ".join(shown[:MOST_LEVELS]) + more))
    elif task == "regression":
        for name, column in zip(outputs, problem.y.reshape(len(problem.y), -1).T, strict=True):
            facts.append((f"{name}: lowest, median, highest", _range(column)))
    if getattr(table, "groups", None) is not None:
        facts.append(("groups", f"{len(np.unique(np.asarray(table.groups))):,}"))
    if problem.weight is not None:
        facts.append(("weights", _range(np.asarray(problem.weight))))
    return facts


def _columns(features: Sequence[Feature], x: Array) -> Table:
    rows = []
    for feature, column in zip(features, x.T, strict=True):
        present = column[~np.isnan(column)]
        if feature.kind == "category":
            values = ", ".join(feature.levels[:MOST_LEVELS])
            values += f", and {len(feature.levels) - MOST_LEVELS} more" if len(feature.levels) > MOST_LEVELS else ""
        elif not len(present):
            values = NONE
        elif feature.kind == "date":
            values = " … ".join(str(date(1970, 1, 1) + timedelta(days=float(day))) for day in (present.min(), present.max()))
        else:
            values = _range(present)
        rows.append([feature.name, feature.kind, values, f"{len(column) - len(present):,}"])
    return Table(["feature", "kind", "levels, or lowest, median, highest", "missing"], [False, False, False, True], rows)


def _range(values: Array) -> str:
    return ", ".join(f"{x:.5g}" for x in (values.min(), np.median(values), values.max()))


# ---- scores --------------------------------------------------------------------------------------------------------


def _scores(ranking: Ranking, folds: Sequence[Fold]) -> tuple[Table, str]:
    """Return the scores of the best configuration and the baselines, and whether it is better than the best of these."""
    best = ranking.done[0]
    rows = [best, *(row for row in ranking.baselines if row.status == "done")]
    measure = ranking.measure
    scores = np.array([[*map(measure.shown, row.objectives)] for row in rows])
    by_fold = scores.reshape(len(rows), ranking.repeats, len(folds)).mean(axis=1)
    means, lows, highs = corrected_intervals(by_fold, folds, 0.95)
    gains, gain_lows, gain_highs = corrected_intervals(by_fold[0] - by_fold, folds, 0.95)
    others = list(ranking.score_names[1:]) + (["loss"] if measure.is_score else [])
    names = ["model", measure.name, "low", "high", "best minus this", "low", "high", *others]
    body = [
        [
            _name(row, ranking),
            number(means[i]),
            *(number(x, 3) for x in (lows[i], highs[i])),
            *(number(x, 3) if i else NONE for x in (gains[i], gain_lows[i], gain_highs[i])),
            *(number(row.mean if name == "loss" else mean_and_std(row.scores[name])[0]) for name in others),
        ]
        for i, row in enumerate(rows)
    ]
    table = Table(names, [False, *[True] * (len(names) - 1)], body)
    if len(rows) == 1:
        return table, "There is no baseline to compare it with."
    leading = min(range(1, len(rows)), key=lambda i: rows[i].objective)
    return table, _verdict(
        _name(rows[leading], ranking),
        measure.name,
        measure.is_score,
        *(float(x[leading]) for x in (gains, gain_lows, gain_highs)),
    )


def _verdict(baseline: str, score: str, is_score: bool, gain: float, low: float, high: float) -> str:
    """Say whether the model is better than the best baseline, by the interval of the difference of their scores."""
    interval = "" if np.isnan(low) else f" (95 % interval {low:.3g} to {high:.3g})"
    difference = f"its {score} is {'higher' if gain > 0 else 'lower'} by {abs(gain):.3g}{interval}"
    is_better = (low > 0.0) if is_score else (high < 0.0)
    is_worse = (high < 0.0) if is_score else (low > 0.0)
    named = f"the best baseline ({baseline.removeprefix('baseline: ')})"
    if is_better:
        verdict = f"The model is better than {named}"
    elif is_worse:
        verdict = f"The model is worse than {named}, which should be used instead"
    else:
        verdict = f"The folds cannot tell the model from {named}"
    return f"{verdict}: {difference}. The model is the best of many, so its score is a little too good."


def _name(row: RankedConfiguration, ranking: Ranking) -> str:
    kind = baseline_of(row.configuration)
    return f"best of {len(ranking):,} {plural(len(ranking), 'configuration')}" if kind is None else f"baseline: {kind}"


# ---- figures -------------------------------------------------------------------------------------------------------


def _quality(found: Inspection) -> Iterator[Illustration]:
    """Yield figures of the out-of-fold predictions."""
    unseen = "Each prediction is by a model that was fitted without its sample."
    if found.task == "regression":
        for i, name in enumerate(found.outputs[:MOST_TARGETS]):
            observed, predicted = found.observed[:, i], found.predicted[:, i]
            residuals = observed - predicted
            yield illustrate(
                f"Predicted against observed {name}. On the line they are equal. {unseen}",
                f"{len(observed):,} points; their correlation is {_correlation(observed, predicted):.3g}.",
                plot_predictions(observed, predicted, name),
            )
            yield illustrate(
                f"Residuals of {name}. A mean away from zero, or a long tail, shows predictions that are off to one side.",
                f"Histogram of {len(residuals):,} residuals from {residuals.min():.4g} to {residuals.max():.4g}, "
                f"mean {residuals.mean():.4g}, standard deviation {residuals.std():.4g}.",
                plot_residuals(observed, predicted),
            )
        return
    if found.task == "classification":
        chosen = found.predicted.argmax(axis=1)
        right = chosen == found.observed
        yield illustrate(
            f"Confusion matrix: how often each class is predicted as which. {unseen}",
            f"{right.mean():.1%} of {len(right):,} predicted classes are right.",
            plot_confusion(found.observed, chosen, found.outputs),
        )
        if found.has_probabilities and len(found.outputs) == 2:
            yield _calibration(found.observed == 1, found.predicted[:, 1], found.outputs[1])
        elif found.has_probabilities:
            yield _calibration(right, found.predicted.max(axis=1), "the predicted class")
    elif found.has_probabilities:
        yield _calibration(found.observed == 1, found.predicted, "a label")


def _calibration(is_true: Array, probabilities: Array, name: str) -> Illustration:
    return illustrate(
        f"Calibration: how often {name} is true, by its predicted probability, in groups of equally many samples with 95 % "
        "intervals. On the line, the probabilities are right.",
        f"Calibration curve of {is_true.size:,} probabilities; their mean is {probabilities.mean():.3g}, and "
        f"{is_true.mean():.3g} of them are of something true.",
        plot_calibration(is_true, probabilities, name),
    )


def _effects(found: Inspection) -> Iterator[Illustration]:
    """Yield figures of the importance of the features, and of how the predictions depend on the most important ones."""
    if found.importances:
        first = found.importances[0]
        yield illustrate(
            "Permutation importance of the features, on samples that the model has not seen, with 95 % intervals over the "
            "folds. Features that carry the same information share it, so both can look unimportant.",
            f"Bars; the most important feature is {first.feature.name}, with {first.importance:.3g}.",
            plot_feature_importance(found.importances, found.measure),
        )
    is_binary = found.task == "classification" and len(found.outputs) == 2
    outputs = found.outputs[1:] if is_binary else found.outputs
    label = "mean prediction"
    if found.task != "regression":
        label = f"mean probability of {outputs[0]}" if is_binary else "mean probability"
    effects = [replace(effect, outputs=effect.outputs[:, 1:]) if is_binary else effect for effect in found.effects]
    bounds = _bounds([effect.outputs[:, :MOST_LINES] for effect in effects])
    for shown in effects:
        values = shown.outputs[:, 0]
        yield illustrate(
            f"Partial dependence on {shown.feature.name}: the mean prediction if all samples had this value, and kept their "
            "other features. It may combine values that never occur together.",
            f"The {label} runs from {values.min():.4g} to {values.max():.4g}.",
            plot_partial_dependence(shown, outputs[:MOST_LINES], label, bounds),
        )


def _bounds(outputs: Sequence[Array]) -> tuple[float, float] | None:
    return (min(float(x.min()) for x in outputs), max(float(x.max()) for x in outputs)) if outputs else None


def _correlation(observed: Array, predicted: Array) -> float:
    if not observed.std() or not predicted.std():
        return float("nan")
    return float(np.corrcoef(observed, predicted)[0, 1])


# ---- use -----------------------------------------------------------------------------------------------------------


def _usage(model: Any, is_table: bool) -> list[str]:
    new = '"new.csv"' if is_table else "x_new"
    predict = [f"model.predict({new})"]
    predict.append(
        f"model.predict_interval({new}, coverage=0.9)" if model.task == "regression" else f"model.predict_proba({new})"
    )
    if isinstance(model, FittedEstimator):  # an estimator of scikit-learn, which has no file without pickle
        return ["model = result.best", *predict]
    lines = [
        'result.best.save("model.safetensors")',
        "",
        "# in any process, without the builder",
        "from models import load_model",
        'model = load_model("model.safetensors")',
        *predict,
    ]
    if is_table:
        lines += [
            "",
            "# on the command line, from the store of this search or from the file of the model",
            "tinygrad-lab predict STORE new.csv --out predictions.csv",
            "tinygrad-lab predict model.safetensors new.csv --out predictions.csv",
        ]
    return lines
