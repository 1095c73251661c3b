"""What the estimators share: from checked samples to a trained network, from the start or after an earlier training.

X, y, sample_weight --> WeightedSamples --hold out--> training set --> scalers, targets --> Trainer --> network_, history_
                                         '--> validation set ----------^               ^
                      warm_start, partial_fit: the network, the optimizer's state and the history so far
"""
# mypy: allow-subclassing-any

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from models.builders import Parts, compose_trainer
from models.estimators.continuation import Continuation
from models.estimators.samples import WeightedSamples, fit_scaler, scaled
from models.networks import MultilayerPerceptron
from models.parts import OptimizerFactory, get_loss
from tinygrad_lab import (
    Activation,
    Callback,
    History,
    Initializer,
    Layer,
    Loss,
    Penalty,
    Predictor,
    PreparedNetwork,
    Scheduler,
    Standardize,
    Tensor,
    Trainer,
)
from tinygrad_lab.autodiff.graph import without_gradients_of
from tinygrad_lab.nn.mode import entered
from tinygrad_lab.training.data import check_weights

LearnTargets = Callable[[WeightedSamples], None]


class NetworkEstimator(BaseEstimator, ABC):
    """An estimator whose `fit` trains a network.

    A subclass stores its parameters in ``__init__``, among them the ones named here. It makes the network, says which parts
    train it, and encodes the targets.
    """

    clip_norm: float | None
    epochs: int
    batch_size: int | None
    shuffle: bool
    standardize: bool
    validation_fraction: float | None
    callbacks: Sequence[Callback]
    engine: str
    warm_start: bool
    random_state: int | RandomState | None

    network_: Layer
    history_: History
    n_iter_: int
    callbacks_: Sequence[Callback]
    x_scaler_: StandardScaler | None
    _optimizer_state: dict[str, np.ndarray]
    _seed: int

    _target_checks: ClassVar[dict[str, bool]]
    """Options for scikit-learn's check of y."""

    @abstractmethod
    def _make_network(self, in_features: int, out_features: int, rng: np.random.Generator) -> Layer:
        """Make a new network, with initial weights from `rng`."""

    @abstractmethod
    def _make_parts(self) -> Parts:
        """Make the loss, the optimizer, the learning rate and the penalty of a training."""

    @abstractmethod
    def _learn_targets(self, train: WeightedSamples) -> None:
        """Learn from the training set what `_encode` and the predictions need."""

    @abstractmethod
    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Convert checked targets to the targets of the loss."""

    @abstractmethod
    def _count_outputs(self) -> int:
        """Return the number of outputs of the network."""

    @abstractmethod
    def _describe_outputs(self) -> dict[str, Any]:
        """Return what the outputs of the network mean: keywords of `Predictor`."""

    @abstractmethod
    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        """Return the labels by which a held-out fraction is stratified, or None."""

    # Learning --------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 (scikit-learn's name)
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Self:
        """Train a new network. With `warm_start`, train the existing network for `epochs` more epochs.

        Parameters
        ----------
        X : array_like or DataFrame, shape (samples, features)
        y : array_like, shape (samples,), or (samples, outputs) for several outputs of a regressor
        sample_weight : array_like, shape (samples,), optional
            Scaled to a mean of 1. A sample of weight 0 is left out. If the whole set is one batch, a sample of weight 2 counts
            like two equal samples.
        validation : pair of array_like, optional
            ``(X, y)`` to evaluate after every epoch, without weights. The scalers of the training set standardise them.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If the data or a parameter are not as expected.
        NonFiniteLossError
            If the training diverges. The network that a warm start began with is then unchanged.
        """
        goes_on = self.warm_start and hasattr(self, "network_")
        learn_targets = None if goes_on else self._learn_targets
        self.callbacks_ = deepcopy(self.callbacks)  # a callback changes during a training, but fit must not change parameters
        return self._learn(
            X, y, sample_weight, learn_targets, validation, self.epochs, self.callbacks_, self.validation_fraction
        )

    def _learn(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        learn_targets: LearnTargets | None,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        epochs: int = 1,
        callbacks: Sequence[Callback] = (),
        validation_fraction: float | None = None,
    ) -> Self:
        """Call `learn_targets` and train from the start. If it is None, continue where the last training ended."""
        begins = learn_targets is not None
        if begins:
            # If this fit fails, the old network must not remain: it would not fit the new scalers.
            self.__dict__.pop("network_", None)
            self._seed = _seed(self.random_state)
        train = self._check_samples(X, y, sample_weight, reset=begins)
        held_out = None if validation is None else self._check_validation(validation)
        if validation_fraction is not None:
            if held_out is not None:
                raise ValueError(
                    f"fit: validation is given beside validation_fraction={validation_fraction!r}, expected one of them"
                )
            train, held_out = train.split(validation_fraction, self._seed, self._strata(train.y))
        if learn_targets is not None:
            self.x_scaler_ = fit_scaler(train.x, train.weight) if self.standardize else None
            learn_targets(train)
        return self._train(train, held_out, begins, epochs, callbacks)

    def _train(
        self, train: WeightedSamples, held_out: WeightedSamples | None, begins: bool, epochs: int, callbacks: Sequence[Callback]
    ) -> Self:
        trainer = self._make_trainer(train.x.shape[1], self._count_outputs())
        if not begins:
            trainer.model.load_state_dict(self.network_.state_dict())
            trainer.optimizer.load_state_dict(self._optimizer_state)
            epochs += self.history_.epochs
            callbacks = [Continuation(self.history_), *callbacks]
        trainer.fit(
            *self._arrays(train),
            None if held_out is None else self._arrays(held_out),
            epochs=epochs,
            sample_weight=train.mean_one_weight,
            callbacks=callbacks,
        )
        self.network_ = trainer.model
        self._optimizer_state = trainer.optimizer.state_dict()
        self.history_ = trainer.history
        self.n_iter_ = self.history_.epochs
        return self

    def _arrays(self, samples: WeightedSamples) -> tuple[np.ndarray, np.ndarray]:
        return scaled(self.x_scaler_, samples.x), self._encode(samples.y)

    def _make_trainer(self, in_features: int, out_features: int) -> Trainer:
        """Make a new network and the Trainer around it. The seed decides the initial weights and the order of the samples."""
        return compose_trainer(
            self._make_network(in_features, out_features, np.random.default_rng(self._seed)),
            **self._make_parts(),
            clip_norm=self.clip_norm,
            epochs=self.epochs,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            seed=self._seed,
            engine=self.engine,
        )

    # Checks ----------------------------------------------------------------------------------------------------------

    def _check_samples(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        reset: bool,
    ) -> WeightedSamples:
        x, targets = validate_data(self, X, y, reset=reset, dtype=np.float64, **self._target_checks)
        if sample_weight is None:
            return WeightedSamples(x, targets)
        given = np.asarray(sample_weight)
        if given.size and not given.any():
            raise ValueError("sample_weight is zero everywhere, expected a weight above 0 for at least one sample")
        weight = check_weights("sample_weight", given, len(x), x.dtype)
        present = weight > 0
        return WeightedSamples(x[present], targets[present], weight[present])

    def _check_validation(self, validation: Any) -> WeightedSamples:
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise ValueError("fit: validation is no pair, expected (X, y)")
        return self._check_samples(*validation, reset=False)

    # Prediction ------------------------------------------------------------------------------------------------------

    def _compute_output(self, X: ArrayLike) -> Tensor:  # noqa: N803
        check_is_fitted(self, "network_")
        x = validate_data(self, X, reset=False, dtype=np.float64)
        network, inputs = self.network_, scaled(self.x_scaler_, x)
        with entered(None):  # evaluation mode; `no_grad` would be in the way of a network that differentiates
            return without_gradients_of(network.parameters(), lambda: network(inputs)).detach()

    # Files -----------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trained model to one file in the safetensors format, which `models.load_model` reads in any process.

        The predictions of what it returns are those of this estimator to the bit. It can predict, not train.

        Parameters
        ----------
        path : path
            By custom it ends with ``.safetensors``.

        Raises
        ------
        NotFittedError
            If nothing was trained.
        TypeError, ValueError
            If the network has a layer or an activation of an unknown class; see `tinygrad_lab.register_layer`.
        OSError
            If the folder cannot be written. `path` is then as it was.
        """
        check_is_fitted(self, "network_")
        inputs, targets = _as_layer(self.x_scaler_), _as_layer(getattr(self, "y_scaler_", None))
        network = self.network_ if inputs is None and targets is None else PreparedNetwork(inputs, self.network_, targets)
        details: dict[str, Any] = {"estimator": type(self).__name__}
        if hasattr(self, "feature_names_in_"):
            details["feature_names"] = self.feature_names_in_.tolist()
        Predictor(network, **self._describe_outputs(), details=details).save(path)


class PerceptronEstimator(NetworkEstimator):
    """An estimator with a network of any depth, trained by any parts of tinygrad_lab."""

    hidden: Sequence[int]
    activation: str | Activation | Sequence[str | Activation]
    weight_init: Initializer | None
    loss: str | Loss
    optimizer: str | OptimizerFactory
    lr: float | None
    scheduler: Scheduler | None
    penalty: Penalty | None

    @abstractmethod
    def _check_loss(self, loss: Loss) -> None:
        """Refuse a loss that does not take the targets of this estimator."""

    def _make_network(self, in_features: int, out_features: int, rng: np.random.Generator) -> Layer:
        return MultilayerPerceptron(
            in_features, self.hidden, out_features, activation=self.activation, weight_init=self.weight_init, rng=rng
        )

    def _make_parts(self) -> Parts:
        loss = get_loss(self.loss)
        self._check_loss(loss)
        return Parts(loss=loss, optimizer=self.optimizer, lr=self.lr, scheduler=self.scheduler, penalty=self.penalty)


def _as_layer(scaler: StandardScaler | None) -> Standardize | None:
    """Return the layer that computes what a scaler of scikit-learn does."""
    if scaler is None:
        return None
    layer = Standardize(len(scaler.mean_))
    layer.load_state_dict({"mean": scaler.mean_, "scale": scaler.scale_})
    return layer


def _seed(random_state: int | RandomState | None) -> int:
    """Return an integer unchanged, so that it means the same as in `default_rng`. Otherwise draw an integer."""
    generator = check_random_state(random_state)
    return int(random_state) if isinstance(random_state, Integral) else int(generator.randint(2**31 - 1))
