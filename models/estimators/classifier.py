"""The classifier: class labels from a network of any depth.

labels --> 0, 1, ... --> loss on the network's logits          X --> logits --softmax--> probabilities --> labels
"""
# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets

from models.estimators.base import PerceptronEstimator
from models.estimators.samples import WeightedSamples
from models.parts import OptimizerFactory
from tinygrad_lab import Activation, Callback, Initializer, Loss, Penalty, Scheduler


class MLPClassifier(ClassifierMixin, PerceptronEstimator):
    """A network of any depth for class labels, trained by any parts of tinygrad_lab.

    The network has one output for each class, its logit. The softmax of the logits gives the probabilities.

    Parameters
    ----------
    hidden : sequence of int
        The number of units of each hidden layer. An empty sequence makes a linear model.
    activation : str, Activation or sequence of these
        One for all hidden layers, or one for each.
    weight_init : Initializer, optional
        The default is that of `Linear`.
    loss : str or Loss
        ``"cross_entropy"``, or a Loss that takes logits and integer labels. Such a Loss has ``class_labels = True``.
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
    standardize : bool
        Whether to scale each feature to mean 0 and standard deviation 1 in the training set.
    validation_fraction : float or None
        The share of the samples of each class that `fit` holds out at random, and evaluates after every epoch.
    callbacks : sequence of Callback
        `fit` calls copies of them. An example is ``[EarlyStopping(patience=20)]``, which needs validation data.
    engine : {"auto", "eager", "replay", "compiled"}
    warm_start : bool
        Whether `fit` continues the last training for `epochs` more, with its weights, optimizer state, scaler and epoch.
    random_state : int, RandomState or None
        The seed of the initial weights, the held-out samples and their order. With an integer, the initial weights are those
        of a network made with ``numpy.random.default_rng(integer)``.

    Attributes
    ----------
    classes_ : ndarray of shape (classes,)
        The labels, sorted.
    network_ : MultilayerPerceptron
    history_ : History
        Losses and learning rate of each epoch.
    n_iter_ : int
        The number of epochs trained, including warm starts and `partial_fit`.
    callbacks_ : list of Callback
        The copies that the last `fit` called.
    x_scaler_ : StandardScaler or None
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X is a DataFrame.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(80, 2))
    >>> y = np.where(x[:, 0] * x[:, 1] > 0, "same sign", "other sign")
    >>> classifier = MLPClassifier((16,), lr=0.05, epochs=60, random_state=0).fit(x, y)
    >>> classifier.predict([[1.0, 1.0], [1.0, -1.0]])
    array(['same sign', 'other sign'], dtype='<U10')
    >>> classifier.predict_proba([[0.0, 0.0]]).shape
    (1, 2)
    """

    classes_: np.ndarray
    _encoder: LabelEncoder

    _target_checks: ClassVar[dict[str, bool]] = {}

    def __init__(
        self,
        hidden: Sequence[int] = (100,),
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        weight_init: Initializer | None = None,
        loss: str | Loss = "cross_entropy",
        optimizer: str | OptimizerFactory = "adam",
        lr: float | None = None,
        scheduler: Scheduler | None = None,
        penalty: Penalty | None = None,
        clip_norm: float | None = None,
        epochs: int = 200,
        batch_size: int | None = 32,
        shuffle: bool = True,
        standardize: bool = False,
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
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks
        self.engine = engine
        self.warm_start = warm_start
        self.random_state = random_state

    def partial_fit(
        self,
        X: ArrayLike,  # noqa: N803 (scikit-learn's name)
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one more epoch on `X` and `y`. `epochs` calls on a new estimator give the same result as `fit`.

        The first call learns the scaler. Nothing is held out, and no callback is called.

        Parameters
        ----------
        X : array_like or DataFrame, shape (samples, features)
        y : array_like, shape (samples,)
        classes : array_like, shape (classes,)
            All labels of all calls. Only the first call needs them.
        sample_weight : array_like, shape (samples,), optional
            As in `fit`.

        Returns
        -------
        self
        """
        if hasattr(self, "network_"):
            if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
                raise ValueError(f"partial_fit: classes is {classes!r}, expected those of the first call: {self.classes_}")
            return self._learn(X, y, sample_weight, None)
        if classes is None:
            raise ValueError("partial_fit: classes is None in the first call, expected all labels that there will ever be")
        return self._learn(X, y, sample_weight, partial(self._learn_classes, classes))

    def predict(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Return the most probable label of each sample.

        Parameters
        ----------
        X : array_like or DataFrame, shape (samples, features)

        Returns
        -------
        ndarray of shape (samples,)
        """
        logits = self._compute_output(X).numpy()
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Return the probability of each class of `classes_`.

        Parameters
        ----------
        X : array_like or DataFrame, shape (samples, features)

        Returns
        -------
        ndarray of shape (samples, classes)
        """
        return self._compute_output(X).softmax().numpy()

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:  # noqa: N803
        """Return the logarithm of `predict_proba`. It is finite even if a probability underflows.

        Parameters
        ----------
        X : array_like or DataFrame, shape (samples, features)

        Returns
        -------
        ndarray of shape (samples, classes)
        """
        return self._compute_output(X).log_softmax().numpy()

    def _learn_targets(self, train: WeightedSamples) -> None:
        self._learn_classes(train.y, train)

    def _learn_classes(self, labels: ArrayLike, train: WeightedSamples) -> None:
        check_classification_targets(train.y)
        self._encoder = LabelEncoder().fit(labels)
        self.classes_ = self._encoder.classes_

    def _encode(self, y: np.ndarray) -> np.ndarray:
        # LabelEncoder cuts strings to the length of the longest class, so it would take "bigger" for "big".
        if unknown := set(y.tolist()) - set(self.classes_.tolist()):
            raise ValueError(f"y holds {min(unknown, key=str)!r}, expected the classes of the first training: {self.classes_}")
        return self._encoder.transform(y)

    def _count_outputs(self) -> int:
        return len(self.classes_)

    def _describe_outputs(self) -> dict[str, Any]:
        return {"task": "classification", "classes": self.classes_}

    def _strata(self, y: np.ndarray) -> np.ndarray:
        return y

    def _check_loss(self, loss: Loss) -> None:
        if not loss.class_labels:
            raise ValueError(f"MLPClassifier: loss is {loss!r}, expected one of class labels, such as CrossEntropy()")
