# The only list of public names. `__init__.py` reads it when it is imported; type checkers and editors read it too.
# `A as A` tells them that A is public.

from . import testing as testing
from .autodiff.derivatives import grad as grad, no_grad as no_grad
from .autodiff.functions import (
    concatenate as concatenate,
    einsum as einsum,
    matmul as matmul,
    maximum as maximum,
    minimum as minimum,
    stack as stack,
    where as where,
)
from .autodiff.recording import CaptureError as CaptureError
from .autodiff.tensor import Tensor as Tensor
from .codegen import NoLoopFormError as NoLoopFormError, write_source as write_source
from .extensions import define_op as define_op
from .functions.special import log_softmax as log_softmax, logsumexp as logsumexp, softmax as softmax
from .hyperparameters import Hyperparameter as Hyperparameter
from .nn.activations import (
    ACTIVATIONS as ACTIVATIONS,
    ELU as ELU,
    GELU as GELU,
    SELU as SELU,
    Activation as Activation,
    Identity as Identity,
    LeakyReLU as LeakyReLU,
    ReLU as ReLU,
    Sigmoid as Sigmoid,
    SiLU as SiLU,
    Softplus as Softplus,
    Tanh as Tanh,
    get_activation as get_activation,
)
from .nn.initializers import (
    Constant as Constant,
    HeNormal as HeNormal,
    HeUniform as HeUniform,
    Initializer as Initializer,
    XavierNormal as XavierNormal,
    XavierUniform as XavierUniform,
    Zeros as Zeros,
)
from .nn.layers import Layer as Layer, Linear as Linear, Sequential as Sequential
from .nn.losses import (
    BinaryCrossEntropy as BinaryCrossEntropy,
    CrossEntropy as CrossEntropy,
    HalfSquaredError as HalfSquaredError,
    Huber as Huber,
    Loss as Loss,
    MeanAbsoluteError as MeanAbsoluteError,
    MeanSquaredError as MeanSquaredError,
)
from .nn.mode import (
    Buffer as Buffer,
    RandomInput as RandomInput,
    in_training_mode as in_training_mode,
    training_mode as training_mode,
)
from .nn.normalization import BatchNorm as BatchNorm, LayerNorm as LayerNorm
from .nn.preprocessing import PreparedNetwork as PreparedNetwork, Preprocessor as Preprocessor, Standardize as Standardize
from .nn.regularization import Dropout as Dropout, GaussianNoise as GaussianNoise
from .optim.hooks import ClipGradNorm as ClipGradNorm, ClipGradValue as ClipGradValue, GradientHook as GradientHook
from .optim.optimizer import Optimizer as Optimizer
from .optim.optimizers import (
    SGD as SGD,
    Adam as Adam,
    AdamW as AdamW,
    RMSprop as RMSprop,
)
from .optim.penalties import (
    ElasticNetPenalty as ElasticNetPenalty,
    L1Penalty as L1Penalty,
    L2Penalty as L2Penalty,
    Penalty as Penalty,
)
from .optim.schedulers import (
    ConstantLR as ConstantLR,
    CosineDecay as CosineDecay,
    GeometricDecay as GeometricDecay,
    LinearDecay as LinearDecay,
    Scheduler as Scheduler,
    StepDecay as StepDecay,
    WarmUp as WarmUp,
)
from .prediction import Predictor as Predictor, load_predictor as load_predictor, register_layer as register_layer
from .program import Program as Program, capture as capture
from .storage.arrays import WeightsError as WeightsError
from .storage.weights import load_weights as load_weights, save_weights as save_weights
from .training import (
    Callback as Callback,
    Checkpoint as Checkpoint,
    EarlyStopping as EarlyStopping,
    History as History,
    NonFiniteLossError as NonFiniteLossError,
    ProgressBar as ProgressBar,
    Run as Run,
    Trainer as Trainer,
    checkpoint_bytes as checkpoint_bytes,
    fit_lanes as fit_lanes,
    lanes_as_completed as lanes_as_completed,
)
from .transforms.backward import backward_hook as backward_hook, checkpoint as checkpoint
from .transforms.derivatives import (
    elementwise_grad as elementwise_grad,
    hessian as hessian,
    jacobian as jacobian,
    value_and_grad as value_and_grad,
)
from .transforms.products import gnvp as gnvp, hvp as hvp, jvp as jvp, vjp as vjp

__version__: str
