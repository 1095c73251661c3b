"""Trained networks and estimators as scikit-learn's scorers and users' functions see them: predict, and labels.

Trainer --scored_model--> Predictor of codes 0, 1, ... --LabelledModel--> labels as the user wrote them --> a score
"""

from typing import Any

import numpy as np

from search.trials.data import Array
from tinygrad_lab import BinaryCrossEntropy, Predictor, Trainer
from tinygrad_lab.prediction.tasks import sklearn_tags


def scored_model(trainer: Trainer, task: str, n_classes: int = 0) -> Predictor:
    """Return what predicts with a trained network: numbers, or codes of classes and their probabilities.

    Parameters
    ----------
    trainer : Trainer
    task : {"regression", "classification", "multilabel"}
    n_classes : int, default=0
        The number of classes or labels.

    Raises
    ------
    TypeError
        If the task needs probabilities, and outputs that are trained by this loss are no logits; or the other way round.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> net = tl.Linear(1, 2, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.CrossEntropy(), optimizer=tl.SGD(net.parameters(), lr=0.5), epochs=50)
    >>> x = np.array([[-1.0], [-0.5], [0.5], [1.0]])
    >>> history = trainer.fit(x, np.array([0, 0, 1, 1]))
    >>> scored_model(trainer, "classification", 2).predict(x)
    array([0, 0, 1, 1])
    """
    makes_logits = trainer.loss.class_labels or isinstance(trainer.loss, BinaryCrossEntropy)
    if task == "regression" and makes_logits:
        raise TypeError(
            f"{type(trainer.loss).__name__}: this loss makes logits, which cannot be compared with numbers, expected another "
            "such as MeanSquaredError, or task='classification' or 'multilabel'"
        )
    if task == "regression":
        return Predictor.from_trainer(trainer, task=task)
    if not makes_logits:
        raise TypeError(
            f"{type(trainer.loss).__name__}: this loss makes no probabilities, "
            f"expected CrossEntropy or BinaryCrossEntropy for the task {task!r}"
        )
    model = Predictor.from_trainer(trainer, np.arange(n_classes), task)
    if task == "multilabel":  # as scikit-learn's multilabel estimators have them
        model.classes_ = [np.array([0, 1])] * n_classes  # type: ignore[assignment]
    return model


def has_network(trainer: Any) -> bool:
    """Whether a Trainer has a model with a state_dict, unlike estimators and simple objects with fit and evaluate."""
    return hasattr(getattr(trainer, "model", None), "state_dict")


class Wrapped:
    """A model with the attributes of another one."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name != "__sklearn_tags__":  # pickle asks for some before there is a model
            raise AttributeError(name)
        return getattr(self._model, name)


class OwnModel(Wrapped):
    """A model of a user's class, as scikit-learn's scorers expect one: it has a task, and predicts one number as 1-D array.

    Parameters
    ----------
    model : object with predict
    task : {"regression", "classification", "multilabel"}
    n_classes : int
    """

    def __init__(self, model: Any, task: str, n_classes: int) -> None:
        super().__init__(model)
        self._task = task
        if task == "classification":
            self.classes_ = getattr(model, "classes_", np.arange(n_classes))

    def predict(self, x: Array) -> Array:
        """Return the prediction for each sample."""
        found = np.asarray(self._model.predict(x))
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 and self._task != "multilabel" else found

    def __sklearn_tags__(self) -> Any:
        return sklearn_tags(self._task)


class LabelledModel(Wrapped):
    """A model of codes 0, 1, ... that predicts the labels as the user wrote them.

    Parameters
    ----------
    model : object with predict
    classes : ndarray
        The label of each code.
    """

    def __init__(self, model: Any, classes: Array) -> None:
        super().__init__(model)
        self.classes_ = classes

    def predict(self, x: Array) -> Array:
        """Return the label of each sample."""
        return np.asarray(self.classes_[np.asarray(self._model.predict(x), dtype=np.intp)])


def is_estimator(built: Any) -> bool:
    """Whether a builder has returned an estimator as scikit-learn's: it has fit and predict, and no evaluate.

    Examples
    --------
    >>> is_estimator(object())
    False
    """
    has = {name for name in ("fit", "predict", "evaluate") if callable(getattr(built, name, None))}
    return has == {"fit", "predict"}


def fit_estimator(estimator: Any, x: Array, y: Array, weight: Array | None = None) -> None:
    """Fit an estimator or a pipeline. Weights go to the last step of a pipeline.

    Raises
    ------
    TypeError
        If there are weights, and the estimator does not take them.
    """
    if weight is None:
        estimator.fit(x, y)
        return
    steps = getattr(estimator, "steps", None)
    name = "sample_weight" if steps is None else f"{steps[-1][0]}__sample_weight"
    estimator.fit(x, y, **{name: weight})
