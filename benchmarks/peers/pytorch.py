"""PyTorch: eager with its own modules and optimizers, and torch.compile of a whole update, under vmap for many models.

As its performance guide advises: gradients set to None, fused optimizers, multi-tensor (foreach) operations, no `item()` but
once an epoch, whole graphs (`fullgraph=True`), Inductor's C++ wrapper (compilation needs a C++ compiler such as g++).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import Unavailable
from problems import Problem, Weights

torch.set_num_threads(1)


class Eager:
    """`nn.Sequential`, `backward`, `clip_grad_norm_`, `torch.optim`. `compiled` compiles the forward and backward pass."""

    def __init__(self, problem: Problem, *, compiled: bool = False) -> None:
        self.problem = problem
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(problem.widths):
            layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(problem.slope) if problem.slope else nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1]).to(getattr(torch, problem.dtype.name))
        self.parameters = list(self.model.parameters())
        with torch.no_grad():
            for parameter, value in zip(self.parameters, problem.weights[0], strict=True):
                parameter.copy_(torch.from_numpy(value))
        optimizer = torch.optim.Adam if problem.optimizer == "adam" else torch.optim.SGD
        self.optimizer = optimizer(self.parameters, lr=problem.lr[0], fused=True)
        x, y = torch.from_numpy(problem.x[0]), torch.from_numpy(problem.y[0])
        self.batches = list(zip(x.split(problem.batch_size), y.split(problem.batch_size), strict=True))
        self.data_loss: Callable[[Tensor, Tensor], Tensor] = self._data_loss
        if compiled:
            _need_compiler()
            self.data_loss = torch.compile(self._data_loss, fullgraph=True, dynamic=False)
        self.epoch_loss = torch.zeros(())

    def _data_loss(self, x: Tensor, y: Tensor) -> Tensor:
        if self.problem.loss == "cross_entropy":
            return functional.cross_entropy(self.model(x), y)
        return 0.5 * functional.mse_loss(self.model(x), y, reduction="sum") / len(x)

    def run(self, epochs: int) -> None:
        """Train for this number of epochs."""
        for epoch in range(epochs):
            self.optimizer.param_groups[0]["lr"] = self.problem.learning_rates(epoch)[0]
            self.epoch_loss = torch.stack([self._update(x, y) for x, y in self.batches]).mean()
            self.epoch_loss.item()

    def _update(self, x: Tensor, y: Tensor) -> Tensor:
        problem, parameters = self.problem, self.parameters
        self.optimizer.zero_grad()
        loss = self.data_loss(x, y)
        loss.backward()
        with torch.no_grad():
            if problem.clip is not None:
                nn.utils.clip_grad_norm_(parameters, problem.clip, foreach=True)
            if problem.l1 is not None:
                gradients = [parameter.grad for parameter in parameters]
                torch._foreach_add_(gradients, torch._foreach_sign(parameters), alpha=problem.l1[0])
            self.optimizer.step()
            if problem.l1 is not None:
                return loss + problem.l1[0] * torch.stack(torch._foreach_norm(parameters, 1)).sum()
            return loss.detach()

    def weights(self) -> list[Weights]:
        """Return the weights of the model."""
        return [[parameter.detach().numpy() for parameter in self.parameters]]

    def loss(self) -> list[float]:
        """Return the mean loss of the last epoch."""
        return [self.epoch_loss.item()]


class Compiled:
    """The report's update as one compiled graph that changes the parameters in place, under `vmap` for several models."""

    def __init__(self, problem: Problem) -> None:
        _need_compiler()
        self.problem = problem
        vmapped = problem.models > 1
        self.update = _compiled_update(problem.slope, problem.clip, vmapped)
        arrays = [np.stack(arrays) for arrays in zip(*problem.weights, strict=True)]
        self.parameters = [torch.from_numpy(array if vmapped else array[0]).clone() for array in arrays]
        self.l1 = self._per_model(problem.l1)
        x, y = (torch.from_numpy(array if vmapped else array[0]) for array in (problem.x, problem.y))
        split = {"split_size": problem.batch_size, "dim": int(vmapped)}
        self.batches = [(a.contiguous(), b.contiguous()) for a, b in zip(x.split(**split), y.split(**split), strict=True)]
        self.epoch_loss = torch.zeros(())

    def _per_model(self, values: Sequence[float] | None) -> Tensor:
        tensor = torch.tensor(values, dtype=getattr(torch, self.problem.dtype.name))
        return tensor if self.problem.models > 1 else tensor[0]

    @torch.no_grad()
    def run(self, epochs: int) -> None:
        """Train for this number of epochs."""
        for epoch in range(epochs):
            lr = self._per_model(self.problem.learning_rates(epoch))
            losses = [self.update(self.parameters, x, y, lr, self.l1) for x, y in self.batches]
            self.epoch_loss = torch.stack(losses).mean(dim=0)

    def weights(self) -> list[Weights]:
        """Return the weights of each model."""
        arrays = [parameter.numpy() for parameter in self.parameters]
        return [list(model) for model in zip(*arrays, strict=True)] if self.problem.models > 1 else [arrays]

    def loss(self) -> list[float]:
        """Return the mean loss of the last epoch, for each model."""
        return self.epoch_loss.reshape(-1).tolist()


@cache
def _compiled_update(slope: float, clip: float, vmapped: bool) -> Callable[..., Tensor]:
    def data_loss(parameters: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        for position in range(0, len(parameters), 2):
            x = functional.linear(x, parameters[position], parameters[position + 1])
            if position < len(parameters) - 2:
                x = functional.leaky_relu(x, slope)
        return 0.5 * (x - y).square().sum() / len(x)

    def compute(parameters: list[Tensor], x: Tensor, y: Tensor, lr: Tensor, l1: Tensor) -> tuple[list[Tensor], Tensor]:
        gradients, loss = torch.func.grad_and_value(data_loss)(parameters, x, y)
        squares = sum(g.square().sum() for g in gradients)
        factor = clip / squares.clamp(min=clip**2).sqrt()
        updated = [w - lr * (g * factor + l1 * w.sign()) for w, g in zip(parameters, gradients, strict=True)]
        return updated, loss + l1 * sum(w.abs().sum() for w in updated)

    compute_all = torch.func.vmap(compute) if vmapped else compute

    def update(parameters: list[Tensor], x: Tensor, y: Tensor, lr: Tensor, l1: Tensor) -> Tensor:
        updated, loss = compute_all(parameters, x, y, lr, l1)
        for parameter, value in zip(parameters, updated, strict=True):
            parameter.copy_(value)
        return loss

    return torch.compile(update, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})


def _need_compiler() -> None:
    if not (shutil.which("g++") or shutil.which("clang++")):
        raise Unavailable("torch.compile needs a C++ compiler: apt install g++")
