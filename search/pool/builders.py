"""Builders: whether one can be sent to another process and, if not, which of its parts cannot."""

import multiprocessing
import pickle
import sys
from collections.abc import Callable, Mapping
from typing import Any

from search.errors import SearchError
from search.trials.fits import Build
from tinygrad_lab.contents import children


def check_build(build: Callable[..., Any], is_sent: bool = True, role: str = "build") -> None:
    """Raise a TypeError if `build` cannot be called or, unless `is_sent` is false, cannot be sent to another process.

    The message names the part that cannot be sent, after `role`, the parameter that `build` was given for.

    Examples
    --------
    >>> check_build(lambda configuration, rng: None, is_sent=False)
    >>> check_build(lambda configuration, rng: None)
    Traceback (most recent call last):
    TypeError: build=<lambda> cannot be sent to a worker process, expected a function at the top level of a module; or give ...
    >>> import threading
    >>> from functools import partial
    >>> check_build(partial(print, file=threading.Lock()))
    Traceback (most recent call last):
    TypeError: build=functools.partial(...) cannot be sent to a worker process because of build.keywords['file']: cannot ...
    """
    name = _name(build)
    if not callable(build):
        raise TypeError(f"{role}={name} is not callable, expected a function of a configuration and a generator")
    error = _pickling_error(build) if is_sent else None
    if error is None:
        return
    path, why = _culprit(build, error)
    because = f" because of {role}{path}: {' '.join(str(why).split())}; leave it out" if path else ""
    raise TypeError(
        f"{role}={name} cannot be sent to a worker process{because}, expected a function at the top level of a module; "
        "or give workers=1 without a time_limit, which needs no other process"
    ) from error


def check_main(build: Build) -> None:
    """Raise a SearchError if the main program has no file, as spawned workers import it from there."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file == "<stdin>" or (file is None and getattr(build, "__module__", "") == "__main__"):
        raise SearchError(
            f"build={_name(build)} was typed into an interactive session, where worker processes cannot find it; "
            "put it and the search into a file, give workers=1, or an executor that sends functions by value, such as loky's"
        )


def check_may_start_processes() -> None:
    """Raise a SearchError if this process is daemonic, as those of `multiprocessing.Pool` are."""
    process = multiprocessing.current_process()
    if process.daemon:
        raise SearchError(
            f"this process, {process.name}, is daemonic and may not start worker processes; "
            "give workers=1 without a time_limit, or an executor"
        )


def _name(build: Callable[..., Any]) -> str:
    return str(getattr(build, "__qualname__", repr(build)))


def _pickling_error(thing: object) -> Exception | None:
    try:
        pickle.dumps(thing)
    except Exception as error:
        return error
    return None


def _culprit(thing: object, error: Exception) -> tuple[str, Exception]:
    """Return the path to the innermost part that cannot be pickled, such as ``.model.lock``, and why it cannot."""
    path = ""
    seen = {id(thing)}
    while True:
        for key, part in children(thing):
            part_error = None if id(part) in seen else _pickling_error(part)
            if part_error:
                path, thing, error = path + _access(thing, key), part, part_error
                seen.add(id(thing))
                break
        else:
            return path, error


def _access(thing: object, key: Any) -> str:
    """Return the code that leads from an object to its part of a key."""
    return f"[{key!r}]" if isinstance(thing, (Mapping, list, tuple)) else f".{key}"
