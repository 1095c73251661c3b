"""Train small neural networks on an ordinary CPU, with an autodiff engine made to be read.

    Tensor --> Layer, Activation, Loss, Penalty --> grad --> hooks --> Optimizer, Scheduler --> Trainer --> History

Start reading at `autodiff.ops` (what is computed and how it is differentiated), then `graph`, `tensor` and `derivatives`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Module -> the public names that come from it. A module is imported when one of its names is first used, so that a program
# pays for what it needs; `__init__.pyi` says the same to type checkers.
NAMES = {
    "nn.activations": (
        "ACTIVATIONS",
        "ELU",
        "GELU",
        "SELU",
        "Activation",
        "Identity",
        "LeakyReLU",
        "ReLU",
        "Sigmoid",
        "SiLU",
        "Softplus",
        "Tanh",
        "get_activation",
    ),
    "autodiff.derivatives": ("grad", "hessian", "hvp", "jacobian", "jvp", "no_grad", "value_and_grad", "vjp"),
    "codegen": ("NoLoopFormError", "write_source"),
    "autodiff.functions": ("concatenate", "einsum", "matmul", "maximum", "minimum", "stack", "where"),
    "autodiff.graph": ("CaptureError",),
    "optim.hooks": ("ClipGradNorm", "ClipGradValue", "GradientHook"),
    "nn.initializers": ("Constant", "HeNormal", "HeUniform", "Initializer", "XavierNormal", "XavierUniform", "Zeros"),
    "nn.layers": ("Layer", "Linear", "Sequential"),
    "nn.losses": (
        "BinaryCrossEntropy",
        "CrossEntropy",
        "HalfSquaredError",
        "Huber",
        "Loss",
        "MeanAbsoluteError",
        "MeanSquaredError",
    ),
    "optim.optimizers": ("SGD", "Adam", "AdamW", "Optimizer", "RMSprop"),
    "optim.penalties": ("ElasticNetPenalty", "L1Penalty", "L2Penalty", "Penalty"),
    "program": ("Program", "capture"),
    "optim.schedulers": ("ConstantLR", "CosineDecay", "GeometricDecay", "LinearDecay", "Scheduler", "StepDecay", "WarmUp"),
    "storage.arrays": ("WeightsError", "load_weights", "save_weights"),
    "autodiff.tensor": ("Tensor",),
    "training": (
        "Callback",
        "Checkpoint",
        "EarlyStopping",
        "History",
        "NonFiniteLossError",
        "ProgressBar",
        "Trainer",
        "checkpoint_bytes",
        "fit_lanes",
        "lanes_as_completed",
    ),
}

_MODULES = {name: module for module, names in NAMES.items() for name in names}

__all__ = sorted([*_MODULES, "testing"])


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module("tinygrad_lab.testing")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)  # found there from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
