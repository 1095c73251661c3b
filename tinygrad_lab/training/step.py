"""The training step: what one update computes, as a pure function of Tensors.

x, y --> model --> loss --> grad --> hooks, in order --> optimizer --> new parameters, new state
          |  ^      ^                  ^                    ^
          |  |  penalty in the loss   decoupled penalty    lr <-- scheduler(epoch)
          |  random numbers of the batch
          new values of the buffers
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.derivatives import grad, no_grad
from tinygrad_lab.autodiff.graph import differentiating, without_gradients_of
from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.nn.activations import Activation
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.losses import Loss
from tinygrad_lab.nn.mode import Buffer, RandomInput, TrainingMode, current_mode, entered
from tinygrad_lab.nn.naming import walk
from tinygrad_lab.nn.preprocessing import PREPARED_IN, PreparedNetwork, Preprocessor
from tinygrad_lab.optim.hooks import GradientHook
from tinygrad_lab.optim.optimizer import Optimizer, State
from tinygrad_lab.optim.penalties import PLACEMENTS, Penalty
from tinygrad_lab.optim.schedulers import Scheduler
from tinygrad_lab.returned import describe
from tinygrad_lab.training.data import check_labels, check_rows, check_same_length, check_weights
from tinygrad_lab.training.noise import EpochNumbers, eager_mode

PARTS_WITH_SETTINGS = (Activation, GradientHook, Layer, Loss, Penalty)
"""The kinds of parts whose Tensors, buffers and random inputs a step reads, however they are nested."""


class Update(NamedTuple):
    """What a training step computes: everything that the update will change.

    Attributes
    ----------
    loss : Tensor of shape ()
        The data loss before the update, plus the penalty of the new parameters, as the report adds them up.
    parameters : list of Tensor
        The new values of the optimizer's parameters.
    state : dict of str to list of Tensor
        The new state of the optimizer.
    buffers : mapping of Buffer to Tensor
        The new values of the buffers that the step has set.
    """

    loss: Tensor
    parameters: Sequence[Tensor]
    state: State
    buffers: Mapping[Buffer, Tensor] = MappingProxyType({})


class TrainingStep:
    """The parts of a training, the step that they make up, and how it is repeated.

    Engines and runs see a Trainer as this class. The Trainer checks the arguments and describes them.
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        penalty: Penalty | None,
        scheduler: Scheduler | None,
        batch_size: int | None,
        shuffle: bool,
        seed: int,
        engine: str,
        inputs: Preprocessor | None = None,
        targets: Preprocessor | None = None,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.penalty = penalty
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.engine = engine
        self.inputs = inputs
        self.targets = targets

    @property
    def network(self) -> Layer:
        """The layer that maps data to predictions in the units of y: the model, with `inputs` and `targets` around it."""
        if self.inputs is None and self.targets is None:
            return self.model
        return PreparedNetwork(self.inputs, self.model, self.targets)

    def training_step(self, x: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> Update:
        """Compute one update and change nothing.

        The result follows from the arguments, the parameters, the buffers, the optimizer's state and the random numbers of
        the open training mode. If none is open, the numbers are those of the first batch of a training.

        Parameters
        ----------
        x, y : Tensor, shape (samples, ...)
            A batch.
        sample_weight : Tensor, shape (samples,), optional

        Returns
        -------
        Update
        """
        mode = current_mode() or eager_mode(EpochNumbers(self.seed, 0), self.random_inputs())
        with entered(mode):
            loss, parameters, state = self._update(x, y, sample_weight)
        return Update(loss, parameters, state, mode.new_values)

    def run_in(self, mode: TrainingMode, batch: Sequence[Tensor]) -> Update:
        """Run `training_step`, which a subclass may have overridden, in a training mode, and return all that it computed.

        Raises
        ------
        TypeError, ValueError
            If it does not return an `Update`, or if it has set a Buffer that is not in the model.
        """
        with entered(mode):
            result = self.training_step(*batch)
        if not isinstance(result, tuple) or len(result) not in (3, 4):
            raise TypeError(f"{type(self).__name__}: training_step returned {describe(result)}, expected an Update")
        if mode.new_values and not mode.new_values.keys() <= {buffer for _, buffer in self.model.named_buffers()}:
            raise ValueError("the step has set a Buffer that is not in the model; make it an attribute of one of the layers")
        return Update(*result[:3], mode.new_values)

    def _update(self, x: Tensor, y: Tensor, sample_weight: Tensor | None) -> tuple[Tensor, list[Tensor], State]:
        optimizer, penalty = self.optimizer, self.penalty
        placement = penalty.placement if penalty is not None else ""
        if penalty and placement not in PLACEMENTS:  # a callback may have set another
            raise ValueError(f"{type(penalty).__name__}: placement is {placement!r}, expected {' or '.join(PLACEMENTS)}")
        parameters = optimizer.parameters
        if not all(parameter.requires_grad for parameter in parameters):
            self._refuse_frozen()

        with differentiating("a training step"):
            data_loss = self.loss(self.model(x), y, sample_weight)
            objective = data_loss + penalty.value(parameters) if penalty and placement == "loss" else data_loss
        if (mode := current_mode()) is not None:
            mode.objective = objective
        gradients = self._with_zeros(grad(objective, parameters, unused="none"))
        with no_grad():
            gradients = optimizer.run_hooks(gradients)
            if penalty and placement == "decoupled":
                gradients = [g + slope for g, slope in zip(gradients, penalty.gradient(parameters), strict=True)]
            updated, state = optimizer.checked_update(parameters, gradients, optimizer.state, optimizer.lr)
            if penalty and placement == "proximal":
                updated = penalty.shrink(updated, optimizer.lr)
            reported = data_loss + penalty.value(updated) if penalty else data_loss
        return reported, updated, state

    def _refuse_frozen(self) -> NoReturn:
        frozen = {id(w) for w in self.optimizer.parameters if not w.requires_grad}
        names = ", ".join(name for name, x in self.model.named_state().items() if id(x) in frozen)
        raise ValueError(
            f"{names or 'a parameter'}: is frozen (requires_grad = False), but the optimizer moves it; "
            "make a new optimizer without it"
        )

    def _with_zeros(self, gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """Replace missing gradients by zeros, with a warning that names the parameters on which the loss does not depend."""
        parameters = self.optimizer.parameters
        unused = {id(w) for w, g in zip(parameters, gradients, strict=True) if g is None}
        names = [name for name, x in self.model.named_state().items() if id(x) in unused] if unused else []
        if names:  # a parameter that is no longer in the model is refused elsewhere
            warnings.warn(
                f"the loss does not depend on {', '.join(names)}, so this step does not train them; if this is meant in every "
                "step, freeze them (requires_grad = False) and do not give them to the optimizer",
                stacklevel=2,
            )
        return [wrap(np.zeros_like(w._array)) if g is None else g for w, g in zip(parameters, gradients, strict=True)]

    def commit(self, parameters: Sequence[Tensor], state: State, buffers: Mapping[Buffer, Tensor]) -> None:
        """Assign the results of `training_step` to the parameters, the optimizer's state and the buffers."""
        self.optimizer.commit(parameters, state)
        for buffer, value in buffers.items():
            buffer.tensor.assign(value)

    def named_objects(self, *kinds: type) -> Iterator[tuple[str, str, Any]]:
        """Yield the objects of some kinds in the parts of the step, however they are nested: part, name in the part, object."""
        optimizer = self.optimizer
        own_fields = {name: x for name, x in vars(optimizer).items() if name != "hooks"}  # hooks have fields of their own
        hooks = {f"hooks.{i}": hook for i, hook in enumerate(optimizer.hooks)}
        parts = {"optimizer": own_fields, **hooks, "penalty": self.penalty, "loss": self.loss, "model": self.model}
        for owner, part in parts.items():
            if part is not None:
                yield from ((owner, found.name, found.value) for found in walk(part, kinds, PARTS_WITH_SETTINGS))

    def random_inputs(self) -> dict[RandomInput, str]:
        """Return the name of each RandomInput of the step. It decides which numbers the RandomInput gives.

        Raises
        ------
        ValueError
            If two of them have the same name.
        """
        names: dict[RandomInput, str] = {}
        for owner, name, source in self.named_objects(RandomInput):
            names.setdefault(source, name if owner == "model" else f"{owner}.{name}")
        for name, count in Counter(names.values()).items():
            if count > 1:
                raise ValueError(f"{name!r} names {count} RandomInputs, expected one; rename a key or an attribute")
        return names

    def data_loss(self, x: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Compute the loss in evaluation mode, without any penalty, and without a graph."""
        with entered(None), np.errstate(all="ignore"):
            return without_gradients_of(self.model.parameters(), lambda: self.loss(self.model(x), y, sample_weight))

    # Evaluation ------------------------------------------------------------------------------------------------------

    def evaluate(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the loss on `x` and `y`, without any penalty. If `targets` scales y, the loss is in the scaled units."""
        return float(self.data_loss(*map(wrap, self._prepared(self._arrays(x, y, sample_weight)))))

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Return the network's output for `x`, of shape (samples, outputs), in the units of y."""
        inputs, network = wrap(self._check_inputs("x", x)), self.network
        with entered(None):
            return without_gradients_of(self.model.parameters(), lambda: network(inputs)).numpy()

    @property
    def _dtype(self) -> np.dtype:
        return self.optimizer.parameters[0].dtype

    def _arrays(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, prefix: str = "") -> list[np.ndarray]:
        """Return data as arrays that fit each other, not yet prepared by `inputs` and `targets`."""
        inputs = self._check_inputs(f"{prefix}x", x)
        labels = check_labels(f"{prefix}y", y) if self.loss.class_labels else None
        dtype = self._dtype if self.targets is None else PREPARED_IN
        targets = check_rows(f"{prefix}y", y, dtype) if labels is None else labels
        check_same_length(**{f"{prefix}x": inputs, f"{prefix}y": targets})
        if self.targets is None:
            self._check_target(f"{prefix}y", targets)
        data = [inputs, targets]
        if sample_weight is not None:
            data.append(check_weights("sample_weight", sample_weight, len(inputs), self._dtype))
        return data

    def _check_inputs(self, name: str, x: ArrayLike) -> np.ndarray:
        if self.inputs is None:
            return check_rows(name, x, self._dtype)
        return check_rows(name, x, PREPARED_IN, missing=self.inputs.takes_missing)

    def _check_target(self, name: str, target: np.ndarray) -> None:
        try:
            self.loss.check_target(target)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def _prepared(self, data: Sequence[np.ndarray], prefix: str = "") -> list[np.ndarray]:
        """Return data as the model and the loss see them."""
        x, y, *weight = data
        if self.inputs is not None:
            x = self._transformed(f"{prefix}x", x, self.inputs)
        if self.targets is not None:
            y = self._transformed(f"{prefix}y", y, self.targets)
            self._check_target(f"{prefix}y, as {type(self.targets).__name__} returns it", y)
        return [x, y, *weight]

    def _transformed(self, name: str, data: np.ndarray, preprocessor: Preprocessor) -> np.ndarray:
        owner = type(preprocessor).__name__
        result = check_rows(f"{name}, as {owner} returns it,", preprocessor.transform(data), self._dtype)
        if len(result) != len(data):
            raise ValueError(f"{owner}: forward returned {len(result)} rows for {len(data)}, expected as many")
        return result
