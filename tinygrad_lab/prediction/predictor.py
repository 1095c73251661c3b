"""The Predictor: trained networks that predict labels, probabilities and intervals, and their file.

x --networks--> outputs --softmax, sigmoid or nothing, by the task--> mean over the networks --> predict, predict_proba
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
from tinygrad_lab.nn.preprocessing import PreparedNetwork, dtype_of
from tinygrad_lab.prediction import rules  # noqa: F401 (it registers the layers of this package)
from tinygrad_lab.prediction.calibrated import CalibratedModel
from tinygrad_lab.prediction.files import save_networks
from tinygrad_lab.prediction.onnx_export import write_onnx
from tinygrad_lab.prediction.tasks import count_inputs, count_outputs, mean_output, raw_output, task_of
from tinygrad_lab.training.data import check_rows
from tinygrad_lab.training.trainer import Trainer


class Predictor(CalibratedModel):
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
    models : tuple of Layer
        The network, then the members.
    classes_ : ndarray of shape (classes,)
        The labels. A regression has none.
    fold_models : tuple of tuple of Layer
        For each fold of `calibrate`, its networks.
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
        if task == "regression" and classes is not None:
            raise ValueError("Predictor: classes are given for a regression, expected None; or give task='classification'")
        super().__init__(task, (network, *members), classes, flat, details)
        if classes is None and task != "regression":
            self.classes_ = np.arange(max(2, count_outputs(network)))

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
        task = task_of(trainer.loss, count_outputs(trainer.network)) if task is None else task
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
            return self._shaped(self._means(self.models, x))
        if len(self.models) == 1:  # two probabilities may round to the same number where their logits differ
            scores, half = self._run(self.models, x, self._logits), 0.0
        else:
            scores, half = self._means(self.models, x), 0.5
        if self.task == "multilabel":
            return (scores > half).astype(np.int64)
        numbers = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > half).astype(int)
        return self.classes_[numbers]

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
        networks = {f"network{i}": network for i, network in enumerate(self.models)}
        for fold, models in enumerate(self.fold_models):
            networks |= {f"fold{fold}_{i}": network for i, network in enumerate(models)}
        facts = {
            "task": self.task,
            "classes": None if self.task == "regression" else self.classes_.tolist(),
            "flat": self.flat,
            "networks": len(self.models),
            "fold_networks": [len(models) for models in self.fold_models],
            "details": self.details,
        }
        calibration = self.calibration
        arrays = {} if calibration is None else {"folds": calibration.folds, "scores": calibration.scores}
        save_networks(path, networks, arrays, facts)

    def to_onnx(
        self, path: str | os.PathLike[str], in_features: int | None = None, notes: Mapping[str, str] | None = None
    ) -> None:
        """Write the model as an ONNX file, which other programs run for any number of samples.

        Its input is ``x`` of shape (samples, features) in the dtype of the network, or in float64 if it prepares its inputs.
        Its output is ``prediction`` of shape (samples, outputs) or, for classes, ``probabilities`` of shape (samples, classes).
        The labels are in the metadata, as JSON under "classes". Intervals are not exported. `GELU` is exported in single
        precision, all else in its own.

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
        >>> predictor = tl.Predictor(tl.Sequential(tl.Linear(2, 1, rng=np.random.default_rng(0)), tl.Tanh()))
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
        in_features = count_inputs(self.models[0]) if in_features is None else in_features
        dtype = dtype_of(self.models[0]) or np.dtype(np.float64)
        write_onnx(path, lambda x: self._mean_output(self.models, x), in_features, dtype, output, notes)

    # Parts -----------------------------------------------------------------------------------------------------------

    def _check_inputs(self, x: ArrayLike) -> np.ndarray:
        network = self.models[0]
        inputs = network.inputs if isinstance(network, PreparedNetwork) else None
        return check_rows("x", x, dtype_of(network), missing=inputs is not None and inputs.takes_missing)

    def _check_models(self, name: str, models: Any) -> tuple[Layer, ...]:
        found = tuple(models)
        for network in found:
            if not isinstance(network, Layer):
                raise TypeError(f"Predictor: {name} has {network!r}, expected a Layer, such as trainer.network")
        if not found:
            raise ValueError(f"Predictor: {name} is empty, expected at least one Layer")
        return found

    def _means(self, models: Sequence[Layer], x: ArrayLike) -> np.ndarray:
        return self._run(models, x, lambda inputs: self._mean_output(models, inputs))

    def _mean_output(self, models: Sequence[Layer], x: Tensor) -> Tensor:
        return mean_output(models, x, self.task, None if self.task == "regression" else self.classes_)

    def _logits(self, x: Tensor) -> Tensor:
        return raw_output(self.models[0], x, self.task, self.classes_)

    def _run(self, models: Sequence[Layer], x: ArrayLike, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Return what a function of the checked samples returns, in evaluation mode, and without links to the models."""
        inputs = wrap(self._check_inputs(x))
        parameters = [tensor for network in models for tensor in network.parameters()]
        with entered(None):
            return without_gradients_of(parameters, lambda: function(inputs)).numpy()

    def __repr__(self) -> str:
        members = f", members={len(self.models) - 1}" if len(self.models) > 1 else ""
        return f"Predictor({self.models[0]!r}, task={self.task!r}{members})"
