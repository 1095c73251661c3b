"""The choice of an engine: the fastest one that can run the step and whose preparation pays.

"auto" --first_engine--> its name --make_engine--> that engine, or the next one in ENGINES that can run the step
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from tinygrad_lab.autodiff.recording import CaptureError
from tinygrad_lab.codegen.kinds import CompilerError, NoLoopFormError
from tinygrad_lab.training.engines.eager import EagerEngine
from tinygrad_lab.training.engines.engine import Batch, Engine
from tinygrad_lab.training.engines.replay import ReplayEngine
from tinygrad_lab.training.step import TrainingStep

ENGINES = ("compiled", "replay", "eager")
"""The engines in the order in which they are tried: fastest first. The last one runs every step."""

# Loading Numba and cached loops costs 0.5 s and saves 0.1 ms an update, so it pays from 5,000 updates.
# Above 32 samples a batch, BLAS is faster than loops.
COMPILE_FROM_UPDATES = 5_000
COMPILE_UP_TO_BATCH = 32


def first_engine(asked: str, updates: int, batch_size: int) -> str:
    """Return the name of the engine to try first: the one asked for, or for "auto" the fastest whose preparation pays.

    Examples
    --------
    >>> first_engine("eager", updates=100_000, batch_size=1), first_engine("auto", updates=100, batch_size=1)
    ('eager', 'replay')
    """
    if asked != "auto":
        return asked
    compiling_pays = updates >= COMPILE_FROM_UPDATES and batch_size <= COMPILE_UP_TO_BATCH
    return "compiled" if compiling_pays and _has_compiler() else "replay"


def make_engine(
    step: TrainingStep, first: str, batches: Sequence[Batch], held_out: Batch | None = None, is_watched: bool = False
) -> Engine:
    """Prepare the engine named `first` or, if that cannot run the step, the next one in `ENGINES` that can.

    Parameters
    ----------
    step : TrainingStep
    first : str
        The name of an engine, as `first_engine` returns it.
    batches : sequence of batches
        One of each shape that the training has.
    held_out : batch, optional
        The validation set.
    is_watched : bool
        Whether a callback may look at results that the step keeps.

    Raises
    ------
    CaptureError
        If the step cannot be captured, or keeps results that a callback may look at, unless its engine is "auto".
    ImportError
        If `first` is "compiled" and Numba is not installed.

    Warns
    -----
    UserWarning
        If another engine than `first` trains; the message says why. With "auto", a step without a loop form is replayed
        without a warning. Also if the step keeps results that this engine does not keep.
    """
    is_auto = step.engine == "auto"
    refusal = ""
    for name in ENGINES[ENGINES.index(first) :]:
        engine = _new_engine(name, step)
        try:
            engine.prepare(batches, held_out)
            if engine.lost and is_watched:
                raise CaptureError(
                    f"{engine.lost[0]}: the step keeps a result there, which a callback may read and a replay does not keep; "
                    "keep it in a Buffer, or train with engine='eager'"
                )
        except NoLoopFormError as error:
            is_reported = not is_auto or isinstance(error, CompilerError)
            refusal = f"training by replay, since the step cannot be compiled: {error}" if is_reported else ""
        except CaptureError as error:
            if not is_auto:
                raise
            if name == "replay":  # the compiled engine captures the same step, and replay tries it again
                refusal = f"training on the eager engine, since the step cannot be replayed: {error}"
        else:
            break
    notes = [refusal] if refusal else []
    if engine.lost:
        lost = f"{engine.lost[0]}: the step keeps a result there, which a replay does not keep"
        notes.append(f"{lost}; train with engine='eager' to look at it")
    for note in notes:
        # The levels: this function, Run.make_engine, Run.train, Trainer.fit, and the caller of fit.
        warnings.warn(note, stacklevel=5)
    return engine


# The compiler is imported where it is needed, because most programs compile nothing.


def _has_compiler() -> bool:
    from tinygrad_lab.codegen.native import is_available

    return is_available()


def _new_engine(name: str, step: TrainingStep) -> Engine:
    if name == "compiled":
        from tinygrad_lab.training.engines.compiled import CompiledEngine

        return CompiledEngine(step)
    return ReplayEngine(step) if name == "replay" else EagerEngine(step)
