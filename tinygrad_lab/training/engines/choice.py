"""The choice of an engine: the fastest that is worth its preparation, and that can run the step.

"auto" --choose--> first --make_engine--> it, or the next one in ENGINES that can run the step
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from tinygrad_lab.autodiff.recording import CaptureError
from tinygrad_lab.codegen import CompilerError, NoLoopFormError
from tinygrad_lab.codegen.native import is_available
from tinygrad_lab.training.engines.compiled import CompiledEngine
from tinygrad_lab.training.engines.eager import EagerEngine
from tinygrad_lab.training.engines.engine import Batch, Engine
from tinygrad_lab.training.engines.replay import ReplayEngine
from tinygrad_lab.training.step import TrainingStep

ENGINES: tuple[type[Engine], ...] = (CompiledEngine, ReplayEngine, EagerEngine)
"""The engines in the order in which they are tried: fastest first; the last one runs every step."""

# Loading Numba and cached loops costs 0.5 s and saves 0.1 ms an update, so it pays from 5,000 updates.
# Above 32 samples a batch, BLAS is faster than loops.
COMPILE_FROM_UPDATES = 5_000
COMPILE_UP_TO_BATCH = 32


def choose(asked: str, updates: int, batch_size: int) -> str:
    """Return the name of the engine to try first: the one asked for, or for "auto" the fastest that is worth it.

    Examples
    --------
    >>> choose("eager", updates=100_000, batch_size=1), choose("auto", updates=100, batch_size=1)
    ('eager', 'replay')
    """
    if asked != "auto":
        return asked
    is_worth_it = updates >= COMPILE_FROM_UPDATES and batch_size <= COMPILE_UP_TO_BATCH
    return CompiledEngine.name if is_worth_it and is_available() else ReplayEngine.name


def make_engine(step: TrainingStep, first: str, batches: Sequence[Batch]) -> Engine:
    """Prepare the engine named `first` or, if that cannot run the step, the next one in `ENGINES` that can.

    Parameters
    ----------
    step : TrainingStep
    first : str
        The name of an engine, as `choose` returns it.
    batches : sequence of batches
        One of each shape that the training has.

    Raises
    ------
    CaptureError
        Where the step cannot be captured, unless its engine is "auto".
    ImportError
        Where `first` is "compiled" and Numba is not installed.

    Warns
    -----
    UserWarning
        Where a simpler engine than `first` trains, with the reason. A step without a loop form is no reason to warn if the
        engine is "auto".
    """
    is_auto = step.engine == "auto"
    names = [kind.name for kind in ENGINES]
    refusal = ""
    for kind in ENGINES[names.index(first) :]:
        engine = kind(step)
        try:
            engine.prepare(batches)
        except NoLoopFormError as error:
            # A step without a loop form is no fault: "auto" takes the next engine and says nothing.
            is_told = not is_auto or isinstance(error, CompilerError)
            refusal = f"training by replay, since the step cannot be compiled: {error}" if is_told else ""
        except CaptureError as error:
            if not is_auto:
                raise
            refusal = f"training on the eager engine, since the step cannot be replayed: {error}"
        else:
            break
    if refusal:
        warnings.warn(refusal, stacklevel=5)
    return engine
