"""Saved models: from a file to something that predicts, in a process that does not know how it was built.

file --load_predictor--> Predictor, or TableModel if the file describes the columns of a table
"""

from __future__ import annotations

import os
from typing import Any

import models.networks  # noqa: F401 (it registers the networks of this package)
from models.tables import Description, TableModel
from models.tables.model import DETAIL
from tinygrad_lab import WeightsError, load_predictor


def load_model(path: str | os.PathLike[str]) -> Any:
    """Load a model that `save` of an estimator, of a search's model or of a Predictor wrote. Nothing in it is executed.

    Parameters
    ----------
    path : path

    Returns
    -------
    Predictor or TableModel
        A TableModel, which predicts from data frames and files too, if the model was made for a table.

    Raises
    ------
    WeightsError
        If the file is damaged, of another kind, or of a newer version, or if it has a layer of a class that is not known.
    OSError
        If there is no file, or it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from models import MLPRegressor
    >>> x = np.linspace(-2.0, 2.0, 60)[:, None]
    >>> regressor = MLPRegressor((8,), epochs=5, standardize=True, random_state=0).fit(x, x[:, 0] ** 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     regressor.save(f"{folder}/square.safetensors")
    ...     model = load_model(f"{folder}/square.safetensors")
    >>> bool((model.predict(x) == regressor.predict(x)).all())
    True
    """
    predictor = load_predictor(path)
    if DETAIL not in predictor.details:
        return predictor
    try:
        return TableModel(predictor, Description.from_json(predictor.details[DETAIL]))
    except ValueError as error:
        raise WeightsError(f"{os.fspath(path)}: {error}") from None
