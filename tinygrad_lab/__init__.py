"""Train small neural networks on an ordinary CPU, with an autodiff engine that is written to be read.

    Tensor --> Layer, Activation, Loss, Penalty --> grad --> hooks --> Optimizer, Scheduler --> Trainer --> History

Start reading at `autodiff.ops` (what is computed and how it is differentiated), then `graph`, `tensor` and `derivatives`.

The public names are listed in `__init__.pyi`. The first use of a name imports its module, so that a program loads only
what it needs.
"""

import lazy_loader

__version__ = "0.1.0"

_load, _, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _load(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
