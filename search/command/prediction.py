"""The commands that use a model: `save` keeps that of a search, and `predict` applies it to new rows.

STORE --fit the best--> model --save--> model.safetensors --load_model--> model --predict--> predictions.csv
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from search.command.searching import check_output, command, finished
from search.command.settings import PlainTable, Settings, SettingsError, own_models
from search.command.settings.data import READER_KEYS, DataSettings
from search.command.terminal import note, notes_of_warnings, say
from search.errors import SearchError
from search.output import naming_write_errors, write_csv
from search.result import SearchResult

Names = dict[str, list[str]]  # the columns of the new table that name its rows, which are copied to the predictions

WIDTHS = "columns of x and y"  # among the details of a model of a plain table
SQLITE = b"SQLite format 3\0"  # the first bytes of a store


def save(options: argparse.Namespace) -> None:
    """Fit the best configuration, or the simplest that is as good, on the whole training table, and save the model."""
    check_output(options.file, options.store)
    settings, result = finished(options)
    model = _fitted(result, options)
    train, _ = settings.tables
    if isinstance(train, PlainTable):
        model.details[WIDTHS] = [train.x.shape[1], train.y.shape[1]]
    if not hasattr(model, "save"):
        raise SearchError(f"the model is {model!r}, which cannot be saved; use it in Python")
    with naming_write_errors(options.file):
        model.save(options.file)
    say(f"the model is in {options.file}; next: {command('predict', options.file)} NEW.csv --out predictions.csv")


def predict(options: argparse.Namespace) -> None:
    """Predict the rows of a new table with a saved model, or with the best of a search, and write a CSV file."""
    check_output(options.out, options.store, "the model or store")
    check_output(options.out, options.table, "the table")
    reading = {key: getattr(options, key) for key in READER_KEYS if getattr(options, key, None) is not None}
    if _is_store(options.store):
        settings, result = finished(options)
        _check_asked(settings.tables[0], options)
        kept = {key: settings.data.options[key] for key in READER_KEYS if key in settings.data.options}
        x, names = _rows_like(settings, options.table, kept | reading, options.index)
        model = _fitted(result, options)
        _check_asked(getattr(model, "predictor", model), options)
    else:
        model = own_models().load_model(options.store)
        _check_asked(getattr(model, "predictor", model), options)
        x, names = _rows_for(model, options.table, reading, options.index)
    with notes_of_warnings():
        header, columns = _predictions(model, x, options.interval, options.proba)
    write_csv(options.out, [*names, *header], list(zip(*names.values(), *columns, strict=True)))
    say(f"{len(x):,} predictions are in {options.out}")


def _fitted(result: SearchResult, options: argparse.Namespace) -> Any:
    """Fit the best or the simplest configuration on the whole training table."""
    progress = not options.quiet
    return result.simplest(progress=progress) if options.simplest else result.fit(progress=progress)


def _is_store(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE)) == SQLITE
    except OSError as error:
        raise SearchError(f"{path} cannot be read ({error.strerror}); give a store or a saved model") from None


def _check_asked(about: Any, options: argparse.Namespace) -> None:
    if options.proba and getattr(about, "task", None) == "regression":
        raise SearchError("--proba: the model predicts numbers, not classes; leave it out, or give --interval 0.9")
    if options.interval is not None and getattr(about, "calibration", "not known yet") is None:
        raise SearchError(
            '--interval: no fold held out each row once, which an interval needs, as with folds of kind "time"; leave it out'
        )


def _rows_like(settings: Settings, path: Path, reading: dict[str, Any], index: list[str]) -> tuple[Any, Names]:
    """Read new rows and their names for the model of a search, before it is refitted."""
    train, _ = settings.tables
    if not isinstance(train, PlainTable):
        return _rows_for(train.model(None), path, reading, index)
    return _numbers(path, settings.data, index, train.x.shape[1], train.y.shape[1]), {}


def _rows_for(model: Any, path: Path, reading: dict[str, Any], index: list[str]) -> tuple[Any, Names]:
    """Read new rows and their names for a model, which knows the columns of its table if there was one with names."""
    if not hasattr(model, "read_file"):
        width, outputs = getattr(model, "details", {}).get(WIDTHS, (None, 0))
        return _numbers(path, DataSettings(path, None, reading), index, width, outputs), {}
    x, names, notes = model.read_file(path, index, **reading)
    for text in notes:
        note(text)
    return x, names


def _numbers(path: Path, data: DataSettings, index: list[str], width: int | None, outputs: int) -> Any:
    """Read a plain table of x, beside which y may be. `width` is None if the model does not know that of x."""
    if index:
        raise SearchError("--index: the columns of a plain table of numbers have no names; leave it out")
    x = data.read_numbers(path)
    if width is not None and x.shape[1] == width + outputs:
        note(f"{path}: the last column is y" if outputs == 1 else f"{path}: the last {outputs} columns are y")
        x = x[:, :width]
    if width not in (None, x.shape[1]):
        raise SettingsError(f"{path} has {x.shape[1]} columns, expected the {width} of x, as in the training table")
    return x


def _predictions(model: Any, x: Any, interval: float | None, proba: bool) -> tuple[list[str], list[Any]]:
    """Return the names and the columns of the predictions file."""
    predicted = _columns(model.predict(x))
    targets = list(getattr(getattr(model, "description", None), "targets", ()))
    if len(targets) != len(predicted):
        targets = ["prediction"] if len(predicted) == 1 else [f"prediction {i}" for i in range(1, len(predicted) + 1)]
    header, columns = targets, predicted
    predictor = getattr(model, "predictor", model)
    classes = list(getattr(predictor, "classes_", ()))
    if interval is not None and len(classes):
        members = _method(predictor, "predict_set", "--interval")(x, coverage=interval)
        header = [*header, f"one of, at {interval:.0%}"]
        columns = [*columns, [" | ".join(str(c) for c, is_in in zip(classes, row, strict=True) if is_in) for row in members]]
    elif interval is not None:
        bounds = _method(model, "predict_interval", "--interval")(x, coverage=interval)
        for end, bound in zip(("lower", "upper"), bounds, strict=True):
            header = [*header, *(f"{name} {end}" for name in targets)]
            columns = [*columns, *_columns(bound)]
    if proba:
        probabilities = _columns(_method(model, "predict_proba", "--proba")(x))
        header = [*header, *(f"P({label})" for label in (classes if len(classes) == len(probabilities) else targets))]
        columns = [*columns, *probabilities]
    return header, columns


def _method(model: Any, name: str, option: str) -> Any:
    found = getattr(model, name, None)
    if found is None:
        raise SearchError(f"{option}: a {type(model).__name__} has no {name}; leave {option} out")
    return found


def _columns(values: Any) -> list[Any]:
    array = np.asarray(values)
    return [array.tolist()] if array.ndim == 1 else array.T.tolist()
