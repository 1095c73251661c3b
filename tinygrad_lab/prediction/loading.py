"""From a file to a Predictor: its networks, what their outputs mean, and its fold models."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tinygrad_lab.checks import is_positive_integer
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.prediction.architecture import REFUSALS
from tinygrad_lab.prediction.conformal import Calibration
from tinygrad_lab.prediction.files import load_networks, refuse
from tinygrad_lab.prediction.predictor import Predictor


def load_predictor(path: str | os.PathLike[str]) -> Predictor:
    """Load a model that `Predictor.save` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : path

    Returns
    -------
    Predictor
        Its predictions are those of the saved one to the bit, on the same machine and with the same versions. `details` has
        those of the saved one, and "versions".

    Raises
    ------
    WeightsError
        If the file is damaged, of another kind, or of a newer version, or if it has a layer of a class that is not registered
        in this process.
    OSError
        If there is no file, or it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import tinygrad_lab as tl
    >>> net = tl.Linear(1, 1, rng=np.random.default_rng(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tl.Predictor(net).save(f"{folder}/model.safetensors")
    ...     loaded = load_predictor(f"{folder}/model.safetensors")
    >>> bool((loaded.predict([2.0]) == tl.Predictor(net).predict([2.0])).all())
    True
    """
    networks, arrays, facts, versions = load_networks(path)
    try:
        return _restored(networks, arrays, facts, versions)
    except (*REFUSALS, RecursionError) as error:
        refuse(path, error)


def _restored(
    networks: dict[str, Layer], arrays: dict[str, np.ndarray], facts: dict[str, Any], versions: dict[str, str]
) -> Predictor:
    counts = [facts["networks"], *facts["fold_networks"]]
    if not all(is_positive_integer(count) for count in counts) or sum(counts) != len(networks):
        raise ValueError(f"has {len(networks)} networks, expected the {counts} that it declares")
    models = [[networks.pop(f"network{i}") for i in range(counts[0])]]
    models += [[networks.pop(f"fold{fold}_{i}") for i in range(count)] for fold, count in enumerate(counts[1:])]
    details = facts["details"]
    if not isinstance(details, dict) or not isinstance(facts["flat"], bool):
        raise ValueError("has no details")
    predictor = Predictor(
        models[0][0],
        facts["task"],
        facts["classes"],
        models[0][1:],
        flat=facts["flat"],
        details=details | {"versions": versions},
    )
    if len(models) > 1 or arrays:
        calibration = Calibration(arrays.pop("folds"), arrays.pop("scores"))
        if arrays or calibration.folds.max() >= len(models) - 1:
            raise ValueError("its fold models do not fit their samples")
        predictor.fold_models = tuple(map(tuple, models[1:]))
        predictor.calibration = calibration
    return predictor
