"""Optimizers: the rules by which gradients change parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.hyperparameters import Hyperparameter
from tinygrad_lab.optim.hooks import GradientHook
from tinygrad_lab.optim.optimizer import Optimizer, Slots, State


class _Momentum(Hyperparameter):
    """The momentum of `SGD`, which needs a state if it is not 0."""

    def __set__(self, part: Any, value: Any) -> None:
        is_built = self.is_set(part)
        if is_built and not part.state and self.check(type(part).__name__, "momentum", value):
            raise ValueError(
                f"{type(part).__name__}: momentum is {value!r}, expected 0, since it was built with momentum 0 and keeps no "
                "velocity; build it with a momentum above 0"
            )
        super().__set__(part, value)


class SGD(Optimizer):
    """Stochastic gradient descent. With momentum v <- μ v + g, a step is -lr v, or -lr (g + μ v) after Nesterov.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    momentum : float
        μ, from 0 (plain gradient descent) to below 1.
    nesterov : bool
        Whether to look ahead along the momentum (Sutskever et al., ICML 2013), as PyTorch does it.
    hooks : sequence of GradientHook

    Examples
    --------
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.1, momentum=0.9)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    Tensor([ 0.8, -1.6], requires_grad=True)
    """

    momentum = _Momentum(below=1.0)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        hooks: Sequence[GradientHook] = (),
    ) -> None:
        super().__init__(parameters, lr, hooks)
        self.momentum = momentum
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True with momentum 0, expected a momentum above 0")
        if momentum:
            self.add_slots("velocity")

    def rule(self, w: Tensor, g: Tensor, slots: Slots, lr: Tensor, momentum: Tensor) -> tuple[Tensor, Slots]:
        if not slots:
            if self.nesterov:
                raise ValueError("SGD: nesterov is True without a velocity, expected False; build it with a momentum above 0")
            return w - lr * g, slots
        velocity = momentum * slots["velocity"] + g
        direction = g + momentum * velocity if self.nesterov else velocity
        return w - lr * direction, {"velocity": velocity}


class RMSprop(Optimizer):
    """Steps of -lr g / (√v + eps), where v is the running mean of g² (Tieleman & Hinton, lecture 6.5, 2012).

    If g² overflows (|g| above 1e154, or 1e19 in single precision), v is infinite from then on and the parameter stays as it
    is. A Trainer then raises `NonFiniteLossError` at the end. Put a hook such as `ClipGradNorm` before the update if gradients
    can be that large.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    alpha : float
        The share of v that a step keeps, from 0 to below 1.
    eps : float
    hooks : sequence of GradientHook

    Examples
    --------
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = RMSprop([w], lr=0.01)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    Tensor([ 0.9, -1.9], requires_grad=True)
    """

    alpha = Hyperparameter(below=1.0)
    eps = Hyperparameter()

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        hooks: Sequence[GradientHook] = (),
    ) -> None:
        super().__init__(parameters, lr, hooks)
        self.add_slots("square")
        self.alpha = alpha
        self.eps = eps

    def rule(self, w: Tensor, g: Tensor, slots: Slots, lr: Tensor, alpha: Tensor, eps: Tensor) -> tuple[Tensor, Slots]:
        square = alpha * slots["square"] + (1.0 - alpha) * g.square()
        return w - lr * (g / (square.sqrt() + eps)), {"square": square}


class _MomentEstimator(Optimizer):
    """The common part of Adam and AdamW: running means of gradients and of their squares, corrected for their start at 0."""

    beta1 = Hyperparameter(below=1.0)
    beta2 = Hyperparameter(below=1.0)
    eps = Hyperparameter()

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, betas: tuple[float, float], eps: float, hooks: Sequence[GradientHook]
    ) -> None:
        super().__init__(parameters, lr, hooks)
        self.betas = betas
        self.eps = eps
        self.add_slots("mean", "square")
        # The powers β^t of the corrections are state, so that a step is the same function at every t.
        self.state["powers"] = [Tensor(1.0), Tensor(1.0)]

    @property
    def betas(self) -> tuple[Tensor, Tensor]:
        """The shares of the running means that a step keeps: `beta1` and `beta2`. Set both, or one of the two by its name."""
        return self.beta1, self.beta2

    @betas.setter
    def betas(self, betas: tuple[float, float]) -> None:
        owner = type(self)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{owner.__name__}: betas is {betas!r}, expected two numbers")
        self.beta1, self.beta2 = (owner.beta1.check(owner.__name__, f"betas[{i}]", beta) for i, beta in enumerate(betas))

    def shared(self, state: State, lr: Tensor) -> tuple[dict[str, Tensor], State]:
        numbers, _ = super().shared(state, lr)
        powers = [power * beta for power, beta in zip(state["powers"], self.betas, strict=True)]
        corrections = {f"correction{i}": 1.0 - power for i, power in enumerate(powers, start=1)}
        return numbers | corrections, {"powers": powers}

    def _direction(
        self, g: Tensor, slots: Slots, eps: Tensor, beta1: Tensor, beta2: Tensor, correction1: Tensor, correction2: Tensor
    ) -> tuple[Tensor, Slots]:
        """Return m̂ / (√v̂ + eps) and the new running means."""
        mean = beta1 * slots["mean"] + (1.0 - beta1) * g
        square = beta2 * slots["square"] + (1.0 - beta2) * g.square()
        direction = (mean / correction1) / ((square / correction2).sqrt() + eps)
        return direction, {"mean": mean, "square": square}


class Adam(_MomentEstimator):
    """Steps of -lr m̂ / (√v̂ + eps), with running means m of g and v of g², corrected for their start at 0.

    If g² overflows (|g| above 1e154, or 1e19 in single precision), v is infinite from then on and the parameter stays as it
    is. A Trainer then raises `NonFiniteLossError` at the end. Put a hook such as `ClipGradNorm` before the update if gradients
    can be that large.

    Source: Kingma & Ba, ICLR 2015, algorithm 1.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    betas : pair of float
        The shares of m and v that a step keeps, from 0 to below 1.
    eps : float
    hooks : sequence of GradientHook

    Examples
    --------
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    Tensor([ 0.9, -1.9], requires_grad=True)
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        hooks: Sequence[GradientHook] = (),
    ) -> None:
        super().__init__(parameters, lr, betas, eps, hooks)

    def rule(self, w: Tensor, g: Tensor, slots: Slots, lr: Tensor, **numbers: Tensor) -> tuple[Tensor, Slots]:
        direction, new_slots = self._direction(g, slots, **numbers)
        return w - lr * direction, new_slots


class AdamW(_MomentEstimator):
    """Adam with w <- (1 - lr weight_decay) w before each step, whatever the gradient.

    Source: Loshchilov & Hutter, ICLR 2019, algorithm 2.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
    betas : pair of float
        The shares of m and v that a step keeps, from 0 to below 1.
    eps : float
    weight_decay : float
    hooks : sequence of GradientHook

    Examples
    --------
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdamW([w], lr=0.1, weight_decay=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    Tensor([ 0.89, -1.88], requires_grad=True)
    """

    weight_decay = Hyperparameter()

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        hooks: Sequence[GradientHook] = (),
    ) -> None:
        super().__init__(parameters, lr, betas, eps, hooks)
        self.weight_decay = weight_decay

    def shared(self, state: State, lr: Tensor) -> tuple[dict[str, Tensor], State]:
        numbers, shared = super().shared(state, lr)
        numbers["decay"] = 1.0 - lr * numbers.pop("weight_decay")
        return numbers, shared

    def rule(self, w: Tensor, g: Tensor, slots: Slots, lr: Tensor, decay: Tensor, **numbers: Tensor) -> tuple[Tensor, Slots]:
        direction, new_slots = self._direction(g, slots, **numbers)
        return w * decay - lr * direction, new_slots
