"""Optuna: an Optuna sampler proposes configurations, and this project fits, stores and ranks them.

    study.ask, a batch at a time --> Round --> mean losses --> study.tell, in the order of the trials --> study.ask, ...

The study is kept in memory only. When a search is resumed, a new study with the same seed is told the losses in the store, so
it proposes the same trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from search.space.configuration import Configuration
from search.space.grid import ParameterGrid
from search.space.random import call_axis
from search.space.rounds import Configurations, Round, RoundGenerator
from tinygrad_lab.checks import install_hint, is_positive_integer
from tinygrad_lab.storage.description import describe

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial


class OptunaSampler:
    """The trials that a sampler of Optuna proposes, in batches. Needs Optuna, the extra `optuna`.

    Parameters
    ----------
    space : mapping of str to distribution, sequence or function
        Name to one of Optuna's distributions, such as ``optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)``, or to a
        list of values to choose from, of any kind that a configuration can hold.

        An axis that depends on others is a function. It is called with a dict of the values that were chosen for the names
        before it, and returns a distribution or a list, or None to leave its name out of the configuration. Optuna learns
        from different returned lists or distributions separately. A store knows such a function by its name only.
    n_trials : int
        The number of trials, or fewer if the sampler ends earlier. A trial whose configuration was fitted before takes no
        time, because its fits are in the store.
    batch : int, default=8
        How many trials are proposed at once. They can be fitted side by side, but none of them can use the losses of the
        rest of its batch.
    sampler : callable, optional
        Called as ``sampler(seed=...)`` with the search's seed: a class of Optuna or a `functools.partial` of one. By default
        `optuna.samplers.TPESampler`. A sampler instance is refused, since it would not start from its first state when the
        search is resumed.

    Raises
    ------
    ImportError
        If Optuna is not installed.
    TypeError, ValueError
        If an argument is not as expected.

    Examples
    --------
    >>> from optuna.distributions import FloatDistribution
    >>> sampler = OptunaSampler({"lr": FloatDistribution(1e-3, 1e-1, log=True), "hidden": [(10, 10), (75, 50)]}, n_trials=20)
    >>> rounds = sampler.rounds(seed=0)
    >>> len(next(rounds).configurations), len(rounds.send([0.5] * 8).configurations)
    (8, 8)
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution | Sequence[Any] | Callable[[dict[str, Any]], Any]],
        n_trials: int,
        batch: int = 8,
        sampler: Callable[..., BaseSampler] | None = None,
    ) -> None:
        optuna = _import_optuna()
        if not isinstance(space, Mapping) or not space:
            raise TypeError(
                f"OptunaSampler: space={space!r}, expected a mapping from names to distributions or lists of values"
            )
        for name, value in (("n_trials", n_trials), ("batch", batch)):
            if not is_positive_integer(value):
                raise ValueError(f"OptunaSampler: {name}={value!r}, expected an integer of at least 1")
        if sampler is not None and not callable(sampler):
            raise TypeError(f"OptunaSampler: sampler={sampler!r}, expected a class, such as optuna.samplers.TPESampler")
        self.n_trials = n_trials
        self.batch = batch
        self.sampler = optuna.samplers.TPESampler if sampler is None else sampler
        self._space = {name: axis if callable(axis) else _axis(name, axis) for name, axis in space.items()}

    def __repr__(self) -> str:
        return f"OptunaSampler({', '.join(self._space)}, n_trials={self.n_trials}, batch={self.batch})"

    def candidates(self, seed: int) -> Configurations:  # noqa: ARG002
        return ()

    def describe(self) -> str:
        space = {name: list(axis) if isinstance(axis, tuple) else axis for name, axis in self._space.items()}
        texts = ", ".join(f"{name!r}: {describe(axis) if callable(axis) else axis}" for name, axis in space.items())
        return f"{self.n_trials} trials in batches of {self.batch} of {describe(self.sampler)} over {{{texts}}}"

    def rounds(self, seed: int) -> RoundGenerator:
        optuna = _import_optuna()
        with quiet():
            study = optuna.create_study(sampler=self.sampler(seed=seed % 2**32))
        # A sampler with finitely many trials calls study.stop at its end. Optuna's own method works only inside study.optimize.
        ended: list[bool] = []
        study.stop = lambda: ended.append(True)
        for start in range(0, self.n_trials, self.batch):
            with quiet():
                trials = [study.ask() for _ in range(min(self.batch, self.n_trials - start))]
                asked = [self._configuration(trial) for trial in trials]
            distinct = {configuration.text: configuration for configuration in asked}
            losses = dict(zip(distinct, (yield Round(list(distinct.values()))), strict=True))
            with quiet():
                for trial, configuration in zip(trials, asked, strict=True):
                    loss = losses[configuration.text]
                    done = isfinite(loss)
                    study.tell(trial, loss if done else None, None if done else optuna.trial.TrialState.FAIL)
            if ended:
                return

    def _configuration(self, trial: Trial) -> Configuration:
        chosen: dict[str, Any] = {}
        for name, axis in self._space.items():
            if not callable(axis):
                chosen[name] = _suggest(trial, name, axis)
            elif (returned := call_axis("OptunaSampler", name, axis, chosen)) is not None:
                values = _axis(name, returned)
                # Optuna wants the same values for a name in all trials, so other values have another name.
                chosen[name] = _suggest(trial, f"{name} of {values}", values)
        return Configuration(chosen)


def _axis(name: str, values: Any) -> BaseDistribution | tuple[Any, ...]:
    """Return a distribution as it is, and a list of values in plain Python."""
    if isinstance(values, _import_optuna().distributions.BaseDistribution):
        return values
    if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes):
        return ParameterGrid({name: list(values)}).axes[name]
    raise TypeError(f"OptunaSampler: {name}={values!r}, expected a distribution of Optuna's or a list of values")


def _suggest(trial: Trial, key: str, axis: Any) -> Any:
    """Return the value that a trial proposes for an axis, which Optuna knows by this key."""
    if isinstance(axis, tuple):
        return axis[trial.suggest_categorical(key, range(len(axis)))]  # Optuna's categories cannot be tuples
    kinds = _import_optuna().distributions
    if isinstance(axis, kinds.FloatDistribution):
        return trial.suggest_float(key, axis.low, axis.high, step=axis.step, log=axis.log)
    if isinstance(axis, kinds.IntDistribution):
        return trial.suggest_int(key, axis.low, axis.high, step=axis.step, log=axis.log)
    return trial.suggest_categorical(key, axis.choices)


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ImportError(f"OptunaSampler needs Optuna: {install_hint('optuna')}") from None
    return optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Optuna's log of each trial, since the search shows its own progress."""
    logging = _import_optuna().logging
    verbosity = logging.get_verbosity()
    logging.set_verbosity(max(verbosity, logging.WARNING))
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
