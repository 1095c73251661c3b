"""The Predictor: trained networks that predict labels, probabilities and intervals, and their file.

x --networks--> outputs --softmax, sigmoid or nothing, by the task--> mean over the networks --> predict, predict_proba
  --fold networks--> one prediction for each fold --Calibration--> predict_interval, predict_set
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.graph import without_gradients_of
from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.mode import entered
from tinygrad_lab.nn.preprocessing import PreparedNetwork
from tinygrad_lab.prediction import rules  # noqa: F401 (it registers the layers of this package)
from tinygrad_lab.prediction.conformal import Calibration, check_partition
from tinygrad_lab.prediction.files import save_networks
from tinygrad_lab.prediction.onnx_export import write_onnx
from tinygrad_lab.prediction.tasks import (
    TASKS,
    as_classes,
    class_numbers,
    count_inputs,
    count_outputs,
    mean_output,
    raw_output,
    task_of,
)
from tinygrad_lab.training.data import check_rows, check_same_length
from tinygrad_lab.training.trainer import Trainer

Networks = Layer | Sequence[Layer]


class Predictor:
    """A trained network, or the mean of several, that predicts in the units and labels of the data.

    Parameters
    ----------
    network : Layer
        From x to numbers in the units of y, or to logits. `Trainer.network` is one.
    task : {"regression", "classification", "multilabel"}
        What the outputs of the network mean. Classification: the logits of the classes, whose softmax gives the probabilities,
        or a single logit, whose sigmoid gives the probability of the second of two classes. Multilabel: a logit for each
        label.
    classes : array_like, optional
        The labels of the classes, in the order of the outputs. By default 0, 1, 2, ...
    members : sequence of Layer
        More networks of this kind, such as the models of other folds. The predictions are the mean over all of them: of
        outputs for a regression, else of probabilities.
    flat : bool
        Whether the predictions of a regression with one output have shape (samples,), rather than (samples, 1).
    details : mapping, optional
        What else to know about the model, for its file: values that JSON can hold.

    Attributes
    ----------
    networks : tuple of Layer
        The network, then the members.
    classes_ : ndarray of shape (classes,)
        Only of a classification.
    calibration : Calibration or None
        What intervals are made from; see `calibrate`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as expected.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> x = np.linspace(-1.0, 1.0, 40)
    >>> net = tl.Linear(1, 2, rng=np.random.default_rng(0))
    >>> trainer = tl.Trainer(net, tl.CrossEntropy(), optimizer=tl.Adam(net.parameters(), lr=0.1), epochs=50)
    >>> history = trainer.fit(x, (x > 0).astype(int))
    >>> predictor = tl.Predictor.from_trainer(trainer, classes=["low", "high"])
    >>> predictor.predict([-0.5, 0.5])
    array(['low', 'high'], dtype='<U4')
    >>> predictor.predict_proba([[-0.5], [0.5]]).shape
    (2, 2)

    The file holds all of it, so that any process can load it:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     predictor.save(f"{folder}/sign.safetensors")
    ...     tl.load_predictor(f"{folder}/sign.safetensors").predict([0.7])
    array(['high'], dtype='<U4')
    """

    def __init__(
        self,
        network: Layer,
        task: str = "regression",
        classes: ArrayLike | None = None,
        members: Iterable[Layer] = (),
        *,
        flat: bool = True,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        if task not in TASKS:
            raise ValueError(f"Predictor: task is {task!r}, expected {', '.join(TASKS)}")
        if task == "regression" and classes is not None:
            raise ValueError("Predictor: classes are given for a regression, expected None; or give task='classification'")
        self.networks = _as_networks("network", (network, *members))
        self.task = task
        self.flat = flat
        self.details = dict(details or {})
        self.fold_networks: tuple[tuple[Layer, ...], ...] = ()
        self.calibration: Calibration | None = None
        if task != "regression":
            self.classes_ = np.arange(max(2, count_outputs(network))) if classes is None else as_classes(classes)

    @classmethod
    def from_trainer(
        cls,
        trainer: Trainer,
        classes: ArrayLike | None = None,
        task: str | None = None,
        members: Iterable[Trainer] = (),
        **options: Any,
    ) -> Predictor:
        """Return the Predictor of a Trainer's network, which is not copied.

        Parameters
        ----------
        trainer : Trainer
        classes : array_like, optional
        task : str, optional
            By default from the loss: "classification" if it takes class labels. For a BinaryCrossEntropy also, or
            "multilabel" if the network has several outputs. Else "regression".
        members : iterable of Trainer
        **options
            As for `Predictor`.
        """
        if not isinstance(trainer, Trainer):
            raise TypeError(f"Predictor.from_trainer: trainer is {trainer!r}, expected a tinygrad_lab.Trainer")
        task = task_of(trainer.loss, trainer.network) if task is None else task
        return cls(trainer.network, task, classes, [member.network for member in members], **options)

    # Prediction ------------------------------------------------------------------------------------------------------

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Predict numbers or labels.

        Parameters
        ----------
        x : array_like, shape (samples, features)

        Returns
        -------
        ndarray
            For a regression of shape (samples,), or (samples, outputs) if there are several outputs. For a classification
            the most probable label of each sample, of shape (samples,). For a multilabel task 0 or 1, of shape (samples,
            labels).

        Raises
        ------
        TypeError, ValueError
            If x does not fit the network, or is not finite.
        """
        if self.task == "regression":
            return self._shaped(self._means(self.networks, x))
        if len(self.networks) == 1:  # two probabilities may round to the same number where their logits differ
            scores, half = self._run(x, lambda inputs: raw_output(self.networks[0], inputs, self.task, self.classes_)), 0.0
        else:
            scores, half = self._means(self.networks, x), 0.5
        if self.task == "multilabel":
            return (scores >= half).astype(np.int64)
        numbers = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > half).astype(int)
        return self.classes_[numbers]

    def predict_proba(self, x: ArrayLike) -> np.ndarray:
        """Return the probability of each class of `classes_`, or of each label of a multilabel task.

        Parameters
        ----------
        x : array_like, shape (samples, features)

        Returns
        -------
        ndarray of shape (samples, classes)

        Raises
        ------
        TypeError
            For a regression.
        """
        if self.task == "regression":
            raise TypeError("Predictor: predict_proba is for classes, and this is a regression; use predict_interval")
        return self._means(self.networks, x)

    def predict_interval(self, x: ArrayLike, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds between which the true value is with a promised probability (CV+).

        For n samples that were used for `calibrate`, it is at least 2 · coverage - 1 - √(2/n), and close to `coverage` in
        practice, if the new samples are exchangeable with them. For several outputs it holds for each by itself.

        Parameters
        ----------
        x : array_like, shape (samples, features)
        coverage : float, default=0.9

        Returns
        -------
        lower, upper : ndarray
            Of the shape that `predict` returns.

        Raises
        ------
        TypeError
            For classes; see `predict_set`.
        ValueError
            If there are no fold models, or too few samples for this coverage.

        References
        ----------
        Barber, Candès, Ramdas & Tibshirani, Predictive inference with the jackknife+, Annals of Statistics 49, 2021.
        """
        if self.task != "regression":
            raise TypeError(
                f"Predictor: predict_interval is for numbers, and this is a {self.task} task; use predict_set or predict_proba"
            )
        calibration = self._calibrated("predict_interval")
        lower, upper = calibration.interval(np.stack([self._means(models, x) for models in self.fold_networks]), coverage)
        return self._shaped(lower), self._shaped(upper)

    def predict_set(self, x: ArrayLike, coverage: float = 0.9) -> np.ndarray:
        """Return the classes among which the true one is with a promised probability; see `predict_interval`.

        Parameters
        ----------
        x : array_like, shape (samples, features)
        coverage : float, default=0.9

        Returns
        -------
        ndarray of bool, shape (samples, classes)
            Whether a class of `classes_` is in the set. A set may be empty.

        References
        ----------
        Romano, Sesia & Candès, Classification with valid and adaptive coverage, NeurIPS 2020.
        """
        if self.task != "classification":
            raise TypeError(
                f"Predictor: predict_set is for a classification, and this is a {self.task} task; use predict_interval"
            )
        calibration = self._calibrated("predict_set")
        return calibration.sets(np.stack([self._means(models, x) for models in self.fold_networks]), coverage)

    def calibrate(self, fold_networks: Sequence[Networks], held_out: Sequence[ArrayLike], x: ArrayLike, y: ArrayLike) -> None:
        """Learn how far the models of a cross-validation are off on the samples that they have not seen.

        Parameters
        ----------
        fold_networks : sequence of Layer, or of sequences of Layer
            For each fold the network, or the networks, that the other folds trained.
        held_out : sequence of array_like of int
            For each fold the samples that it held out. Each sample is in exactly one of them.
        x, y : array_like
            All samples.

        Raises
        ------
        TypeError, ValueError
            If the folds do not hold out each sample once, or the data do not fit the networks.
        """
        if self.task == "multilabel":
            raise TypeError("Predictor: calibrate is for regression and classification, and this is a multilabel task")
        models = tuple(
            _as_networks(f"fold_networks[{i}]", (one,) if isinstance(one, Layer) else one)
            for i, one in enumerate(fold_networks)
        )
        rows = [np.asarray(part) for part in held_out]
        if len(rows) != len(models):
            raise ValueError(f"Predictor.calibrate: {len(rows)} folds for {len(models)} fold models, expected as many")
        inputs = self._check_inputs(x)
        targets = check_rows("y", y, np.float64) if self.task == "regression" else class_numbers(y, self.classes_)
        check_same_length(x=inputs, y=targets)
        check_partition(rows, len(inputs))
        predictions = [self._means(networks, inputs[part]) for networks, part in zip(models, rows, strict=True)]
        if self.task == "regression":
            if predictions[0].shape[1:] != targets.shape[1:]:
                raise ValueError(f"y has shape {targets.shape}, expected {predictions[0].shape[1]} outputs, as of the networks")
            calibration = Calibration.of_residuals(rows, predictions, targets)
        else:
            calibration = Calibration.of_probabilities(rows, predictions, targets)
        self.fold_networks, self.calibration = models, calibration

    # Files -----------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file in the safetensors format, atomically: weights, architecture, fold models, details.

        Parameters
        ----------
        path : path
            By custom it ends with ``.safetensors``.

        Raises
        ------
        TypeError, ValueError
            If a layer is of an unknown class (see `register_layer`), or `details` holds what JSON cannot hold.
        OSError
            If the folder cannot be written. `path` is then as it was.
        """
        networks = {f"network{i}": network for i, network in enumerate(self.networks)}
        for fold, models in enumerate(self.fold_networks):
            networks |= {f"fold{fold}_{i}": network for i, network in enumerate(models)}
        facts = {
            "task": self.task,
            "classes": None if self.task == "regression" else self.classes_.tolist(),
            "flat": self.flat,
            "networks": len(self.networks),
            "fold_networks": [len(models) for models in self.fold_networks],
            "details": self.details,
        }
        calibration = self.calibration
        arrays = {} if calibration is None else {"folds": calibration.folds, "scores": calibration.scores}
        save_networks(path, networks, arrays, facts)

    def to_onnx(
        self, path: str | os.PathLike[str], in_features: int | None = None, notes: Mapping[str, str] | None = None
    ) -> None:
        """Write the model as an ONNX file, which other programs run for any number of samples.

        Its input is ``x`` of shape (samples, features) in the dtype of the network. Its output is ``prediction`` of shape
        (samples, outputs) or, for classes, ``probabilities`` of shape (samples, classes). The labels are in the metadata, as
        JSON under "classes". Intervals are not exported.

        Parameters
        ----------
        path : path
            By custom it ends with ``.onnx``.
        in_features : int, optional
            The number of features. By default that of the first layer, if it is a Linear or normalizes its input.
        notes : mapping of str to str, optional
            What else to write into the metadata.

        Raises
        ------
        ImportError
            If onnx, the extra of this name, is not installed.
        TypeError, ValueError
            If the networks compute with an op that has no rule; the message names it and the line of code.

        Examples
        --------
        >>> import tempfile
        >>> import tinygrad_lab as tl
        >>> from onnx.reference import ReferenceEvaluator
        >>> predictor = tl.Predictor(tl.Sequential(tl.Linear(2, 1, rng=np.random.default_rng(0)), tl.GELU()))
        >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     predictor.to_onnx(f"{folder}/model.onnx")
        ...     [prediction] = ReferenceEvaluator(f"{folder}/model.onnx").run(None, {"x": x})
        >>> bool(np.allclose(prediction[:, 0], predictor.predict(x), rtol=1e-12))
        True
        """
        notes = {"task": self.task, **(notes or {})}
        if self.task != "regression":
            notes["classes"] = json.dumps(self.classes_.tolist())
        output = "prediction" if self.task == "regression" else "probabilities"
        in_features = count_inputs(self.networks[0]) if in_features is None else in_features
        dtype = np.dtype(self._dtype or np.float64)
        write_onnx(path, lambda x: self._mean_output(self.networks, x), in_features, dtype, output, notes)

    # Parts -----------------------------------------------------------------------------------------------------------

    @property
    def _dtype(self) -> np.dtype | None:
        """The dtype of the parameters, or None if there are none."""
        return next((x.dtype for x in self.networks[0].named_state().values() if x.is_parameter), None)

    def _check_inputs(self, x: ArrayLike) -> np.ndarray:
        network = self.networks[0]
        inputs = network.inputs if isinstance(network, PreparedNetwork) else None
        return check_rows("x", x, self._dtype, missing=inputs is not None and inputs.takes_missing)

    def _means(self, networks: Sequence[Layer], x: ArrayLike) -> np.ndarray:
        """Return the mean output, or the mean probabilities of all classes, over some networks."""
        return self._run(x, lambda inputs: self._mean_output(networks, inputs))

    def _mean_output(self, networks: Sequence[Layer], x: Tensor) -> Tensor:
        return mean_output(networks, x, self.task, None if self.task == "regression" else self.classes_)

    def _run(self, x: ArrayLike, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Return what a function of the checked samples returns, in evaluation mode."""
        inputs = wrap(self._check_inputs(x))
        parameters = [tensor for network in self.networks for tensor in network.parameters()]
        with entered(None):
            return without_gradients_of(parameters, lambda: function(inputs)).numpy()

    def _shaped(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, 0] if self.flat and outputs.shape[1] == 1 else outputs

    def _calibrated(self, method: str) -> Calibration:
        if self.calibration is None:
            raise ValueError(
                f"Predictor: {method} needs the models of a cross-validation in which each sample is held out once; use the "
                "model of a search with such folds (result.best), or call calibrate"
            )
        return self.calibration

    def __repr__(self) -> str:
        members = f", members={len(self.networks) - 1}" if len(self.networks) > 1 else ""
        return f"Predictor({self.networks[0]!r}, task={self.task!r}{members})"

    # scikit-learn's protocol ------------------------------------------------------------------------------------------

    def fit(self, X: Any = None, y: Any = None) -> Predictor:  # noqa: N803, ARG002
        """Refuse: a Predictor is fitted. scikit-learn's scorers and inspection ask only whether there is such a method."""
        raise TypeError(
            "Predictor: fit is called on a trained model, expected a Trainer, an estimator or a search; use those to train"
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        """Describe the task to scikit-learn, which alone calls this."""
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        is_regressor = self.task == "regression"
        return Tags(
            estimator_type="regressor" if is_regressor else "classifier",
            target_tags=TargetTags(required=True, multi_output=self.task != "classification"),
            regressor_tags=RegressorTags() if is_regressor else None,
            classifier_tags=None if is_regressor else ClassifierTags(multi_label=self.task == "multilabel"),
        )


def _as_networks(name: str, networks: Iterable[Any]) -> tuple[Layer, ...]:
    found = tuple(networks)
    for network in found:
        if not isinstance(network, Layer):
            raise TypeError(f"Predictor: {name} is {network!r}, expected a Layer, such as trainer.network")
    if not found:
        raise ValueError(f"Predictor: {name} is empty, expected at least one Layer")
    return found
