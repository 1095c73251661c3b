"""Train small neural networks on an ordinary CPU, with an autodiff engine made to be read.

    Tensor --> Layer, Activation, Loss, Penalty --> grad --> hooks --> Optimizer, Scheduler --> Trainer --> History

Start reading at `ops` (what is computed and how it is differentiated), then `graph`, `tensor` and `autodiff`.
"""

from tinygrad_lab import testing
from tinygrad_lab.activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    SELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    get_activation,
)
from tinygrad_lab.autodiff import grad, hessian, hvp, jacobian, jvp, no_grad, value_and_grad, vjp
from tinygrad_lab.functions import concatenate, einsum, matmul, maximum, minimum, stack, where
from tinygrad_lab.hooks import ClipGradNorm, ClipGradValue, GradientHook
from tinygrad_lab.initializers import Constant, HeNormal, HeUniform, Initializer, XavierNormal, XavierUniform, Zeros
from tinygrad_lab.layers import Layer, Linear, Sequential
from tinygrad_lab.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    HalfSquaredError,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
)
from tinygrad_lab.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from tinygrad_lab.penalties import ElasticNetPenalty, L1Penalty, L2Penalty, Penalty
from tinygrad_lab.schedulers import ConstantLR, CosineDecay, GeometricDecay, LinearDecay, Scheduler, StepDecay, WarmUp
from tinygrad_lab.serialization import WeightsError, load_weights, save_weights
from tinygrad_lab.tensor import Tensor
from tinygrad_lab.training import (
    Callback,
    Checkpoint,
    EarlyStopping,
    History,
    NonFiniteLossError,
    ProgressBar,
    Trainer,
    fit_lanes,
    lanes_as_completed,
)

__version__ = "0.1.0"

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "SELU",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "BinaryCrossEntropy",
    "Callback",
    "Checkpoint",
    "ClipGradNorm",
    "ClipGradValue",
    "Constant",
    "ConstantLR",
    "CosineDecay",
    "CrossEntropy",
    "EarlyStopping",
    "ElasticNetPenalty",
    "GeometricDecay",
    "GradientHook",
    "HalfSquaredError",
    "HeNormal",
    "HeUniform",
    "History",
    "Huber",
    "Identity",
    "Initializer",
    "L1Penalty",
    "L2Penalty",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LinearDecay",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "NonFiniteLossError",
    "Optimizer",
    "Penalty",
    "ProgressBar",
    "RMSprop",
    "ReLU",
    "Scheduler",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "StepDecay",
    "Tanh",
    "Tensor",
    "Trainer",
    "WarmUp",
    "WeightsError",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "concatenate",
    "einsum",
    "fit_lanes",
    "get_activation",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "lanes_as_completed",
    "load_weights",
    "matmul",
    "maximum",
    "minimum",
    "no_grad",
    "save_weights",
    "stack",
    "testing",
    "value_and_grad",
    "vjp",
    "where",
]  # fmt: skip
