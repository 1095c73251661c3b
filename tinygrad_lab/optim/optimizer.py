"""The base class of optimizers: how a rule for one parameter is applied to all of them.

    gradients --> hooks, in order --> update(parameters, gradients, state, lr) --> new parameters, new state
                                         |
                                         for each parameter: rule(w, g, slots, lr) --> new w, new slots

`update` is a pure function of Tensors. `step` and the Trainer call it and assign what it returns. The state is a dict of
lists of Tensors. A slot has one Tensor for each parameter; state that all parameters share is a list of any length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.derivatives import no_grad
from tinygrad_lab.autodiff.tensor import Tensor, wrap
from tinygrad_lab.hyperparameters import Hyperparameter
from tinygrad_lab.optim.hooks import GradientHook
from tinygrad_lab.returned import check_initialized, check_tensor, describe

State = dict[str, list[Tensor]]
Slots = dict[str, Tensor]


class Optimizer:
    """The parameters to train, the state of the method, and the hooks on the gradients.

    A subclass has a constructor and a `rule` for a single parameter, which `update` applies to all parameters. A method that
    moves all parameters together overrides `update` instead.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves that require a gradient.
    lr : float
        The learning rate. A Trainer's scheduler sets it before every epoch.
    hooks : sequence of GradientHook
        Run on the gradients in this order before each update.

    Attributes
    ----------
    parameters : list of Tensor
    lr : Tensor of shape ()
    hooks : list of GradientHook
    state : dict of str to list of Tensor

    Examples
    --------
    >>> class SignDescent(Optimizer):
    ...     decay = Hyperparameter(below=1.0)
    ...     def __init__(self, parameters, lr, decay):
    ...         super().__init__(parameters, lr)
    ...         self.add_slots("mean")
    ...         self.decay = decay
    ...     def rule(self, w, g, slots, lr, decay):
    ...         mean = decay * slots["mean"] + (1.0 - decay) * g
    ...         return w - lr * mean.sign(), {"mean": mean}
    >>> w = Tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = SignDescent([w], lr=0.25, decay=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w, optimizer.state
    (Tensor([ 0.75, -0.75], requires_grad=True), {'mean': [Tensor([ 1., -1.])]})
    """

    lr = Hyperparameter()

    def __init__(self, parameters: Iterable[Tensor], lr: float, hooks: Sequence[GradientHook] = ()) -> None:
        owner = type(self).__name__
        if type(self).rule is Optimizer.rule and type(self).update is Optimizer.update:
            raise TypeError(f"{owner}: defines no rule, expected a method rule(w, g, slots, lr, ...)")
        if isinstance(parameters, Tensor) or not isinstance(parameters, Iterable):
            raise TypeError(f"{owner}: parameters is {parameters!r}, expected a list of Tensors such as model.parameters()")
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError(f"{owner}: got no parameters, expected at least one, such as model.parameters()")
        for position, parameter in enumerate(self.parameters):
            if not isinstance(parameter, Tensor) or not parameter.requires_grad or not parameter.is_leaf:
                raise ValueError(f"{owner}: parameters[{position}] is no leaf Tensor that requires a gradient")
            if any(parameter is earlier for earlier in self.parameters[:position]):
                raise ValueError(f"{owner}: parameters[{position}] is there twice, expected each once")
        if isinstance(hooks, GradientHook):
            raise TypeError(f"{owner}: hooks is {hooks!r}, expected a list of hooks: [{hooks!r}]")
        for position, hook in enumerate(hooks):
            if not isinstance(hook, GradientHook):
                raise TypeError(f"{owner}: hooks[{position}] is {hook!r}, expected a GradientHook")
        self.lr = lr
        self.hooks = list(hooks)
        self.state: State = {}

    def __repr__(self) -> str:
        numbers = [f"{name}={x._array}" for name, x in self._hyperparameters().items()]
        return f"{type(self).__name__}({', '.join([*numbers, f'hooks={self.hooks!r}'])})"

    def add_slots(self, *names: str) -> None:
        """Add slots to the state: for each name and parameter a Tensor of zeros, of the parameter's shape and dtype."""
        for name in names:
            self.state[name] = [Tensor(np.zeros_like(w._array)) for w in self.parameters]

    def _hyperparameters(self) -> dict[str, Tensor]:
        """Return the attributes that are single numbers, by name."""
        return {name.lstrip("_"): x for name, x in vars(self).items() if isinstance(x, Tensor) and not x.ndim}

    def rule(self, w: Tensor, g: Tensor, slots: Slots, lr: Tensor, *args: Any, **numbers: Any) -> tuple[Tensor, Slots]:
        """Return the new value of one parameter and its new slots, changing nothing.

        Parameters
        ----------
        w, g : Tensor
            The parameter and its gradient, of one shape and dtype.
        slots : dict of str to Tensor
            What the rule keeps for this parameter.
        lr : Tensor of shape ()
            The learning rate, in the parameter's dtype.
        **numbers : Tensor of shape ()
            What `shared` returns, in the parameter's dtype. By default these are all attributes that are Tensors without
            axes, with the names of the attributes. A rule takes every one of them: it lists those that it reads, and has
            ``**_`` if there are more.
        """
        raise NotImplementedError

    def shared(self, state: State, lr: Tensor) -> tuple[dict[str, Tensor], State]:  # noqa: ARG002 (a subclass may read it)
        """Compute once in an update what all parameters share, in double precision.

        Returns
        -------
        numbers : dict of str to Tensor of shape ()
            The arguments of `rule` by name, the learning rate among them.
        shared : dict of str to list of Tensor
            The new values of that part of the state that all parameters share.
        """
        return self._hyperparameters() | {"lr": lr}, {}

    def update(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], state: State, lr: Tensor
    ) -> tuple[list[Tensor], State]:
        """Return the new parameters and the new state, changing nothing.

        Raises
        ------
        TypeError, ValueError
            If `rule` returns anything but a new parameter and slots like those that it was given.
        """
        numbers, shared = self._checked_shared(state, lr)
        kept = {name: entries for name, entries in state.items() if name not in shared}
        slots: list[Slots] = [{} for _ in parameters]
        if kept:
            for name, entries in kept.items():
                if len(entries) != len(parameters):
                    raise ValueError(
                        f"{type(self).__name__}: state[{name!r}] has {len(entries)} Tensors, expected {len(parameters)}, "
                        "one for each parameter; state that all parameters share is returned by shared"
                    )
            slots = [dict(zip(kept, entries, strict=True)) for entries in zip(*kept.values(), strict=True)]
        converted: dict[np.dtype, dict[str, Tensor]] = {}
        results = []
        for w, g, own in zip(parameters, gradients, slots, strict=True):
            dtype = w._array.dtype
            if dtype not in converted:
                converted[dtype] = {name: x.astype_like(w) for name, x in numbers.items()}
            results.append(self._checked_rule(w, g, own, converted[dtype]))
        new_state = {name: shared[name] if name in shared else [new[name] for _, new in results] for name in state}
        return [w for w, _ in results], new_state

    def _checked_shared(self, state: State, lr: Tensor) -> tuple[dict[str, Tensor], State]:
        result = self.shared(state, lr)
        owner = type(self).__name__
        if not isinstance(result, tuple) or len(result) != 2 or not all(isinstance(x, dict) for x in result):
            raise TypeError(f"{owner}: shared returned {describe(result)}, expected two dicts: numbers and shared state")
        numbers, shared = result
        for name, x in numbers.items():
            check_tensor(self, "shared", x, (), what=f"number {name!r}")
        if not shared.keys() <= state.keys():
            raise ValueError(f"{owner}: shared returned the state {list(shared)}, expected some of {list(state)}")
        for name, entries in shared.items():
            if len(entries) != len(state[name]):
                raise ValueError(f"{owner}: shared returned {len(entries)} of {name!r}, expected {len(state[name])}")
            for i, (old, new) in enumerate(zip(state[name], entries, strict=True)):
                check_tensor(self, "shared", new, old.shape, old.dtype, f"state {name}.{i}")
        return numbers, shared

    def _checked_rule(self, w: Tensor, g: Tensor, slots: Slots, numbers: dict[str, Tensor]) -> tuple[Tensor, Slots]:
        result = self.rule(w, g, slots, **numbers)
        owner = type(self).__name__
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"{owner}: rule returned {describe(result)}, expected the new parameter and its slots")
        value, new_slots = result
        check_tensor(self, "rule", value, w._array.shape, w._array.dtype, "the parameter")
        if not isinstance(new_slots, dict) or new_slots.keys() != slots.keys():
            given = list(new_slots) if isinstance(new_slots, dict) else describe(new_slots)
            raise ValueError(f"{owner}: rule returned the slots {given}, expected {list(slots)}; declare them with add_slots")
        for name, slot in slots.items():
            check_tensor(self, "rule", new_slots[name], slot._array.shape, slot._array.dtype, f"slot {name!r}")
        return value, new_slots

    def checked_update(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], state: State, lr: Tensor
    ) -> tuple[list[Tensor], State]:
        """Return what `update` returns, checked: `step` and the Trainer call it here.

        Raises
        ------
        TypeError, ValueError
            If an `update` of a subclass returns anything but new parameters and a state like those that it was given.
        """
        self.check_built()
        result = self.update(parameters, gradients, state, lr)
        if type(self).update is Optimizer.update:  # which has checked each rule
            return result
        owner = type(self).__name__
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"{owner}: update returned {describe(result)}, expected the new parameters and the state")
        updated, new_state = result
        if not isinstance(updated, (list, tuple)) or len(updated) != len(parameters):
            given = f"{len(updated)} parameters" if isinstance(updated, (list, tuple)) else describe(updated)
            raise ValueError(f"{owner}: update returned {given}, expected a list of {len(parameters)} Tensors")
        for i, (w, value) in enumerate(zip(parameters, updated, strict=True)):
            check_tensor(self, "update", value, w.shape, w.dtype, f"parameter {i}")
        if not isinstance(new_state, dict) or not all(isinstance(entries, (list, tuple)) for entries in new_state.values()):
            raise TypeError(f"{owner}: update returned {describe(new_state)} as the state, expected a dict of lists of Tensors")
        for name, entries in state.items():
            new_entries = new_state.get(name, ())
            if len(new_entries) != len(entries):
                count = len(new_entries)
                raise ValueError(f"{owner}: update returned {count} of the state's {name!r}, expected {len(entries)}")
            for i, (old, new) in enumerate(zip(entries, new_entries, strict=True)):
                check_tensor(self, "update", new, old.shape, old.dtype, f"state {name}.{i}")
        return list(updated), new_state

    def check_built(self) -> None:
        """Raise a TypeError if a constructor has left out something, or if the state is not a dict of lists of Tensors."""
        check_initialized(self, "parameters", "lr", "hooks", "state")
        for name, entries in self.state.items():
            if not isinstance(entries, (list, tuple)) or not all(type(x) is Tensor for x in entries):
                given = describe(entries) if not isinstance(entries, (list, tuple)) else f"a {type(entries).__name__} of others"
                raise TypeError(
                    f"{type(self).__name__}: state[{name!r}] is {given}, expected a list of Tensors; "
                    "add_slots makes one of zeros for each parameter"
                )

    def run_hooks(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients after all hooks.

        Raises
        ------
        TypeError, ValueError
            If a hook does not return a list of Tensors of the shapes and dtypes that it was given.
        """
        changed: Sequence[Tensor] = list(gradients)
        for hook in self.hooks:
            before, changed = changed, hook(list(changed))
            owner = type(hook).__name__
            if not isinstance(changed, (list, tuple)):
                raise ValueError(f"{owner}: returned {describe(changed)}, expected a list of {len(before)} Tensors")
            for i, g in enumerate(changed):
                check_tensor(hook, "__call__", g, what=f"gradient {i}")
            given, returned = [g.shape for g in before], [g.shape for g in changed]
            if returned != given:
                raise ValueError(f"{owner}: returned gradients of shapes {returned}, expected {given}")
            for i, (g, old) in enumerate(zip(changed, before, strict=True)):
                check_tensor(hook, "__call__", g, dtype=old.dtype, what=f"gradient {i}")
        return list(changed)

    def commit(self, parameters: Sequence[Tensor], state: State) -> None:
        """Assign the results of `update`."""
        for parameter, value in zip(self.parameters, parameters, strict=True):
            parameter.assign(value)
        self.state = {name: [wrap(np.asarray(x._array, order="C")) for x in entries] for name, entries in state.items()}

    def step(self) -> None:
        """Update the parameters from their `.grad`. A parameter without one has gradient 0.

        Examples
        --------
        >>> w = Tensor([1.0], requires_grad=True)
        >>> from tinygrad_lab.optim.optimizers import SGD
        >>> optimizer = SGD([w], lr=0.1)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w
        Tensor([0.8], requires_grad=True)
        """
        with no_grad():
            gradients = [Tensor(np.zeros_like(w.data)) if w.grad is None else w.grad for w in self.parameters]
            self.commit(*self.checked_update(self.parameters, self.run_hooks(gradients), self.state, self.lr))

    def zero_grad(self) -> None:
        """Remove the gradients that `backward` has accumulated."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of the state's arrays, named ``name.position``."""
        return {f"{name}.{i}": x.numpy() for name, entries in self.state.items() for i, x in enumerate(entries)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Set the whole state to what `state_dict` returned.

        Raises
        ------
        ValueError
            If the names, shapes or dtypes are not those of this optimizer's state.
        """
        expected = {name: (x.shape, x.dtype) for name, x in self.state_dict().items()}
        given = {name: (np.shape(x), getattr(x, "dtype", None)) for name, x in state.items()}
        if expected != given:
            odd = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
            raise ValueError(f"{type(self).__name__}: state differs from what this optimizer keeps in {', '.join(odd)}")
        self.state = {name: [Tensor(state[f"{name}.{i}"]) for i in range(len(entries))] for name, entries in self.state.items()}
