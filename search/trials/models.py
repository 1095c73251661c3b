"""Trained networks and estimators as scikit-learn's scorers and users' functions see them: predict, and labels.

Trainer --logits or numbers--> NetworkModel --codes 0, 1, ...--> LabelledModel --labels as the user wrote them--> a score
"""

from typing import Any

import numpy as np

from search.trials.data import Array
from tinygrad_lab import BinaryCrossEntropy, CrossEntropy, Trainer


class NetworkModel:
    """The predictions of a trained network: numbers, or codes of classes and their probabilities.

    Parameters
    ----------
    trainer : Trainer
        Its loss says what the outputs are: `CrossEntropy` makes them logits of a softmax, `BinaryCrossEntropy` those of
        sigmoids.
    task : {"regression", "classification", "multilabel"}
    n_classes : int, default=0
        The number of classes or labels.

    Raises
    ------
    TypeError
        If the loss makes no probabilities, and the task needs them.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> net = tl.Linear(1, 2, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.CrossEntropy(), optimizer=tl.SGD(net.parameters(), lr=0.5), epochs=50)
    >>> x, y = np.array([[-1.0], [-0.5], [0.5], [1.0]]), np.array([0, 0, 1, 1])
    >>> history = trainer.fit(x, y)
    >>> model = NetworkModel(trainer, "classification", 2)
    >>> model.predict(x), model.predict_proba(x).shape
    (array([0, 0, 1, 1]), (4, 2))
    """

    def __init__(self, trainer: Trainer, task: str, n_classes: int = 0) -> None:
        if task != "regression" and not isinstance(trainer.loss, CrossEntropy | BinaryCrossEntropy):
            raise TypeError(
                f"{type(trainer.loss).__name__}: this loss makes no probabilities, "
                f"expected CrossEntropy or BinaryCrossEntropy for the task {task!r}"
            )
        self._trainer = trainer
        self._task = task
        self._n_classes = n_classes
        if task == "classification":
            self.classes_: Any = np.arange(n_classes)
        elif task == "multilabel":
            self.classes_ = [np.array([0, 1])] * n_classes  # as scikit-learn's multilabel estimators have them

    def predict(self, x: Array) -> Array:
        """Return numbers, of shape (samples,) for one target; codes of classes; or zeros and ones for each label."""
        if self._task == "classification":
            return np.asarray(self.predict_proba(x).argmax(axis=1))
        if self._task == "multilabel":
            return (self.predict_proba(x) >= 0.5).astype(np.int64)
        output = self._trainer.predict(x)
        return output[:, 0] if output.ndim == 2 and output.shape[1] == 1 else output

    def predict_proba(self, x: Array) -> Array:
        """Return the probabilities of the classes or labels, of shape (samples, classes)."""
        from scipy.special import expit, softmax

        logits = self._trainer.predict(x).astype(np.float64)
        if isinstance(self._trainer.loss, CrossEntropy):
            probabilities = softmax(logits, axis=-1)
        else:
            probabilities = expit(logits)
            if self._task == "classification" and probabilities.shape[1:] == (1,):
                probabilities = np.hstack([1.0 - probabilities, probabilities])
        if probabilities.shape[1:] != (self._n_classes,):
            raise ValueError(
                f"the network has outputs of shape {logits.shape[1:]}, expected one for each of {self._n_classes} classes"
            )
        return np.asarray(probabilities)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        if self._task == "regression":
            return Tags(estimator_type="regressor", target_tags=TargetTags(required=True), regressor_tags=RegressorTags())
        return Tags(estimator_type="classifier", target_tags=TargetTags(required=True), classifier_tags=ClassifierTags())


class LabelledModel:
    """A model of codes 0, 1, ... that predicts the labels as the user wrote them.

    Parameters
    ----------
    model : object with predict
    classes : ndarray
        The label of each code.
    """

    def __init__(self, model: Any, classes: Array) -> None:
        self._model = model
        self.classes_ = classes

    def predict(self, x: Array) -> Array:
        """Return the label of each sample."""
        return np.asarray(self.classes_[np.asarray(self._model.predict(x), dtype=np.intp)])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name != "__sklearn_tags__":  # pickle asks for some before there is a model
            raise AttributeError(name)
        return getattr(self._model, name)


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
