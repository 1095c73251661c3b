"""The regressors: one with the report's network and training, and one composed of any parts.

y --> standardise (an option) --> network --> back to y's units and shape
"""
# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.preprocessing import StandardScaler

from models.builders import Parts
from models.estimators.base import NetworkEstimator, PerceptronEstimator
from models.estimators.samples import WeightedSamples, fit_scaler, scaled
from models.networks import TwoHiddenLayerNet
from models.parts import OptimizerFactory
from tinygrad_lab import (
    Activation,
    Callback,
    GeometricDecay,
    Initializer,
    L1Penalty,
    Layer,
    Loss,
    Penalty,
    Scheduler,
)
from tinygrad_lab.training.data import check_rows


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """An estimator of one or more real numbers."""

    standardize_y: bool

    y_scaler_: StandardScaler | None
    n_outputs_: int
    _is_flat: bool

    _target_checks: ClassVar[dict[str, bool]] = {"multi_output": True, "y_numeric": True}

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Train for one more epoch on `X` and `y`. `epochs` calls on a new estimator give the same result as `fit`.

        The first call learns the scalers. Nothing is held out, and no callback is called.

        Parameters
        ----------
        X : array_like or DataFrame, shape (samples, features)
        y : array_like, shape (samples,) or (samples, outputs)
        sample_weight : array_like, shape (samples,), optional
            As in `fit`.

        Returns
        -------
        self
        """
        return self._learn(X, y, sample_weight, None if hasattr(self, "network_") else self._learn_targets)

    def predict(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Return the network's output in the units of y.

        Parameters
        ----------
        X : array_like or DataFrame, shape (samples, features)

        Returns
        -------
        ndarray of shape (samples,), or (samples, outputs) if y had two axes
        """
        output = self._compute_output(X).numpy()
        prediction = output if self.y_scaler_ is None else self.y_scaler_.inverse_transform(output)
        return prediction[:, 0] if self._is_flat else prediction

    def _learn_targets(self, train: WeightedSamples) -> None:
        targets = check_rows("y", train.y, np.float64)
        self.y_scaler_ = fit_scaler(targets, train.weight) if self.standardize_y else None
        self.n_outputs_ = targets.shape[1]
        self._is_flat = train.y.ndim == 1

    def _encode(self, y: np.ndarray) -> np.ndarray:
        return scaled(self.y_scaler_, check_rows("y", y, np.float64))

    def _count_outputs(self) -> int:
        return self.n_outputs_

    def _describe_outputs(self) -> dict[str, Any]:
        return {"task": "regression", "flat": self._is_flat}

    def _strata(self, y: np.ndarray) -> None:  # noqa: ARG002
        return None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class TwoHiddenLayerRegressor(NetworkRegressor):
    """The report's network and training. The defaults are the numbers of the report's best network.

    A preset: `MLPRegressor` with two hidden layers, gradient descent on half the squared error, clipping by the global norm,
    then the L1 penalty, and a learning rate that falls by equal ratios from epoch to epoch. By default each update takes one
    sample, in the order of the data.

    Parameters
    ----------
    hidden : pair of int
        The numbers of units of the two hidden layers.
    activation : str or Activation
        The activation of both.
    l1 : float
        The strength of the L1 penalty, added to the gradient after clipping.
    lr, lr_final : float
        The learning rate before the first epoch, and that of the last epoch.
    epochs : int
        The number of passes over the data.
    batch_size : int or None
        The number of samples in an update. None is the whole set.
    clip_norm : float or None
        The largest global norm of a gradient. None does not clip.
    shuffle : bool
        Whether to shuffle the samples before every epoch.
    standardize, standardize_y : bool
        Whether to scale each feature, or each output, to mean 0 and standard deviation 1 in the training set. Losses are then
        in these units, but predictions are in the units of y.
    validation_fraction : float or None
        The share of the samples that `fit` holds out at random, and evaluates after every epoch.
    callbacks : sequence of Callback
        `fit` calls copies of them. An example is ``[EarlyStopping(patience=20)]``, which needs validation data.
    engine : {"auto", "eager", "replay", "compiled"}
    warm_start : bool
        Whether `fit` continues the last training for `epochs` more, with its weights, optimizer state, scalers and epoch.
    random_state : int, RandomState or None
        The seed of the initial weights, the held-out samples and their order. With an integer, the initial weights are those
        of a network made with ``numpy.random.default_rng(integer)``.

    Attributes
    ----------
    network_ : TwoHiddenLayerNet
    history_ : History
        Losses and learning rate of each epoch.
    n_iter_ : int
        The number of epochs trained, including warm starts and `partial_fit`.
    callbacks_ : list of Callback
        The copies that the last `fit` called.
    x_scaler_, y_scaler_ : StandardScaler or None
    n_features_in_, n_outputs_ : int
    feature_names_in_ : ndarray of str
        Only if X is a DataFrame.

    Examples
    --------
    >>> from models import stand_in_data
    >>> (x, y), (x_test, y_test) = stand_in_data()
    >>> regressor = TwoHiddenLayerRegressor(hidden=(10, 10), epochs=50, random_state=0).fit(x[:, None], y)
    >>> regressor.score(x_test[:, None], y_test) > 0.9
    True
    """

    def __init__(
        self,
        hidden: Sequence[int] = (75, 50),
        activation: str | Activation = "leaky_relu",
        *,
        l1: float = 1e-3,
        lr: float = 0.075,
        lr_final: float = 0.001,
        epochs: int = 1000,
        batch_size: int | None = 1,
        clip_norm: float | None = 10.0,
        shuffle: bool = False,
        standardize: bool = False,
        standardize_y: bool = False,
        validation_fraction: float | None = None,
        callbacks: Sequence[Callback] = (),
        engine: str = "auto",
        warm_start: bool = False,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.l1 = l1
        self.lr = lr
        self.lr_final = lr_final
        self.epochs = epochs
        self.batch_size = batch_size
        self.clip_norm = clip_norm
        self.shuffle = shuffle
        self.standardize = standardize
        self.standardize_y = standardize_y
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks
        self.engine = engine
        self.warm_start = warm_start
        self.random_state = random_state

    def _make_network(self, in_features: int, out_features: int, rng: np.random.Generator) -> Layer:
        if isinstance(self.hidden, str) or np.shape(self.hidden) != (2,):
            raise ValueError(f"TwoHiddenLayerRegressor: hidden is {self.hidden!r}, expected two sizes, such as (75, 50)")
        hidden1, hidden2 = self.hidden
        return TwoHiddenLayerNet(in_features, hidden1, hidden2, out_features, activation=self.activation, rng=rng)

    def _make_parts(self) -> Parts:
        return Parts(
            loss="half_squared_error",
            optimizer="sgd",
            scheduler=GeometricDecay(self.lr, self.lr_final, epochs=self.epochs),
            penalty=L1Penalty(self.l1, decoupled=True),
        )


class MLPRegressor(NetworkRegressor, PerceptronEstimator):
    """A network of any depth, trained by any parts of tinygrad_lab.

    Parameters
    ----------
    hidden : sequence of int
        The number of units of each hidden layer. An empty sequence makes a linear model.
    activation : str, Activation or sequence of these
        One for all hidden layers, or one for each.
    weight_init : Initializer, optional
        The default is that of `Linear`.
    loss : str or Loss
        ``"half_squared_error"``, ``"mean_squared_error"``, ``"mean_absolute_error"``, ``"huber"``, or an object.
    optimizer : str or callable
        ``"sgd"``, ``"adam"``, ``"adamw"``, ``"rmsprop"``, or a function of the parameters that returns an Optimizer, such as
        ``functools.partial(SGD, lr=0.1, momentum=0.9)``.
    lr : float, optional
        The learning rate of all epochs. The default is the optimizer's own.
    scheduler : Scheduler, optional
        The learning rate of each epoch. Give either this or `lr`.
    penalty : Penalty, optional
    clip_norm : float or None
        The largest global norm of a gradient, after the optimizer's own hooks. None does not clip.
    epochs : int
        The number of passes over the data.
    batch_size : int or None
        The number of samples in an update. None is the whole set.
    shuffle : bool
        Whether to shuffle the samples before every epoch.
    standardize, standardize_y : bool
        Whether to scale each feature, or each output, to mean 0 and standard deviation 1 in the training set. Losses are then
        in these units, but predictions are in the units of y.
    validation_fraction : float or None
        The share of the samples that `fit` holds out at random, and evaluates after every epoch.
    callbacks : sequence of Callback
        `fit` calls copies of them. An example is ``[EarlyStopping(patience=20)]``, which needs validation data.
    engine : {"auto", "eager", "replay", "compiled"}
    warm_start : bool
        Whether `fit` continues the last training for `epochs` more, with its weights, optimizer state, scalers and epoch.
    random_state : int, RandomState or None
        The seed of the initial weights, the held-out samples and their order. With an integer, the initial weights are those
        of a network made with ``numpy.random.default_rng(integer)``.

    Attributes
    ----------
    network_ : MultilayerPerceptron
    history_ : History
        Losses and learning rate of each epoch.
    n_iter_ : int
        The number of epochs trained, including warm starts and `partial_fit`.
    callbacks_ : list of Callback
        The copies that the last `fit` called.
    x_scaler_, y_scaler_ : StandardScaler or None
    n_features_in_, n_outputs_ : int
    feature_names_in_ : ndarray of str
        Only if X is a DataFrame.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> x = np.linspace(-2.0, 2.0, 60)[:, None]
    >>> y = 100.0 * x[:, 0] ** 2
    >>> regressor = MLPRegressor((16, 16), "tanh", lr=0.02, epochs=60, standardize=True, standardize_y=True, random_state=0)
    >>> regressor.fit(x, y).score(x, y) > 0.99
    True
    >>> search = GridSearchCV(regressor, {"lr": [1e-6, 0.02], "penalty": [None, L1Penalty(1e-3)]}, cv=3).fit(x, y)
    >>> search.best_params_["lr"]
    0.02
    """

    def __init__(
        self,
        hidden: Sequence[int] = (100,),
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        weight_init: Initializer | None = None,
        loss: str | Loss = "half_squared_error",
        optimizer: str | OptimizerFactory = "adam",
        lr: float | None = None,
        scheduler: Scheduler | None = None,
        penalty: Penalty | None = None,
        clip_norm: float | None = None,
        epochs: int = 200,
        batch_size: int | None = 32,
        shuffle: bool = True,
        standardize: bool = False,
        standardize_y: bool = False,
        validation_fraction: float | None = None,
        callbacks: Sequence[Callback] = (),
        engine: str = "auto",
        warm_start: bool = False,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.weight_init = weight_init
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.scheduler = scheduler
        self.penalty = penalty
        self.clip_norm = clip_norm
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.standardize = standardize
        self.standardize_y = standardize_y
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks
        self.engine = engine
        self.warm_start = warm_start
        self.random_state = random_state

    def _check_loss(self, loss: Loss) -> None:
        if loss.class_labels:
            raise ValueError(f"MLPRegressor: loss is {loss!r}, expected one of real numbers, such as HalfSquaredError()")
