"""What the search tries: [grid] has the values or distributions of each parameter, [search] says how to choose among them.

    [grid]
    hidden = [[16], [32, 16]]                   # one of these
    lr = { loguniform = [1e-3, 1e-1] }          # from the lowest to the highest value
    [search]
    strategy = "random"
    n = 50

[[grid]], written several times, lists grids with different parameters: a grid search fits them all, a random search draws one
of them for each configuration.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from search.command.settings.keys import SettingsError, expect_one_of, shown
from search.space.grid import ParameterGrid
from search.space.halving import SuccessiveHalving
from search.space.optuna import OptunaSampler
from search.space.random import RandomSampler
from search.space.rounds import Strategy
from search.space.union import as_strategy
from tinygrad_lab.checks import is_finite_number

DISTRIBUTIONS = ("uniform", "loguniform", "randint")  # of [lowest, highest], both included; "choice" is a list of values

# Strategy -> the keys under [search] that it must have, and those that it may have.
STRATEGIES: Mapping[str, tuple[set[str], set[str]]] = {
    "grid": (set(), set()),
    "random": ({"n"}, set()),
    "halving": ({"epochs"}, {"factor", "min_epochs", "n"}),
    "optuna": ({"n"}, {"batch", "sampler"}),
}

Axes = Mapping[str, Any]


def make_strategy(grid: Axes | Sequence[Axes], search: Mapping[str, Any]) -> Strategy:
    """Return the strategy of the tables [grid] and [search].

    Parameters
    ----------
    grid : mapping or sequence of mapping
        Name to a list of values, or to ``{distribution: [lowest, highest]}``.
    search : mapping
        Its keys and types are checked already.

    Raises
    ------
    SettingsError, TypeError, ValueError
        If a key is missing or has no effect, a distribution is not as expected, or the strategy refuses the values.
    ImportError
        If the strategy is Optuna's, which is not installed.

    Examples
    --------
    >>> make_strategy({"lr": [0.1, 0.05]}, {})
    ParameterGrid(lr=[0.1, 0.05])
    >>> make_strategy({"lr": {"loguniform": [1e-3, 1e-1]}}, {"strategy": "halving", "n": 9, "epochs": 100})
    SuccessiveHalving(RandomSampler(9, lr), epochs=100, factor=3, min_epochs=1)
    """
    options = dict(search)
    name = options.pop("strategy", "grid")
    expect_one_of("search.strategy", name, STRATEGIES)
    required, optional = STRATEGIES[name]
    for key in options:
        if key not in required | optional:
            raise SettingsError(f'search.{key} has no effect with strategy = "{name}"; leave it out, or give another strategy')
    for key in sorted(required - options.keys()):
        raise SettingsError(f'no search.{key}, which strategy = "{name}" needs; give one, such as {key} = 50')
    grids = [_mapping(axes) for axes in (grid if isinstance(grid, list) else [grid])]
    if name == "optuna":
        return _optuna(grids, options)
    if n := options.pop("n", None):
        candidates: Any = RandomSampler(n, [_axes(axes, _scipy_distribution) for axes in grids])
    elif n is not None:
        raise SettingsError(f"search.n = {n}, expected at least 1")
    else:
        candidates = [ParameterGrid(_axes(axes, _no_distribution)) for axes in grids]
        candidates = candidates[0] if len(grids) == 1 else candidates
    return SuccessiveHalving(candidates, **options) if name == "halving" else as_strategy(candidates)


def _mapping(axes: Any) -> Axes:
    if not isinstance(axes, Mapping):
        raise SettingsError(f"grid has {shown(axes)}, expected a table of names and values; write several as [[grid]]")
    return axes


def _axes(axes: Axes, distribution: Callable[[str, float, float], Any]) -> Axes:
    """Return the axes with their distributions, which are written ``{kind = [lowest, highest]}``, as objects."""
    read = {}
    for name, values in axes.items():
        if isinstance(values, Mapping):
            kind, given = next(iter(values.items()), ("", None))
            if len(values) != 1 or kind not in (*DISTRIBUTIONS, "choice"):
                kinds = ", ".join(DISTRIBUTIONS)
                raise SettingsError(
                    f"grid.{name} = {shown(values)}, expected a list, or one of {kinds} as {{{kinds[:7]} = [0, 1]}}"
                )
            read[name] = given if kind == "choice" else distribution(kind, *_bounds(name, kind, given))
        else:
            read[name] = values
    return read


def _bounds(name: str, kind: str, given: Any) -> tuple[float, float]:
    what = "integers" if kind == "randint" else "numbers"
    is_number = (lambda x: type(x) is int) if kind == "randint" else is_finite_number
    if not isinstance(given, list) or len(given) != 2 or not all(map(is_number, given)) or not given[0] < given[1]:
        raise SettingsError(f"grid.{name}: {kind} = {shown(given)}, expected two {what}: [lowest, highest]")
    if kind == "loguniform" and given[0] <= 0:
        raise SettingsError(f"grid.{name}: loguniform = {shown(given)}, expected a lowest value above 0")
    return given[0], given[1]


def _no_distribution(kind: str, *_: float) -> Any:
    raise SettingsError(
        f'grid has a distribution, {kind}, from which only strategy = "random", "halving" with n or "optuna" draws'
    )


def _scipy_distribution(kind: str, lowest: float, highest: float) -> Any:
    from scipy import stats  # imported here, because it takes half a second

    if kind == "uniform":
        return stats.uniform(lowest, highest - lowest)
    return stats.loguniform(lowest, highest) if kind == "loguniform" else stats.randint(lowest, highest + 1)


def _needs_a_seed_only(samplers: Any, name: str) -> bool:
    parameters = dict(signature(getattr(samplers, name)).parameters) if name.endswith("Sampler") else {}
    return parameters.pop("seed", None) is not None and all(each.default is not each.empty for each in parameters.values())


def _optuna(grids: list[Axes], options: dict[str, Any]) -> Strategy:
    OptunaSampler({"check": [0]}, 1)  # raises an ImportError that names the extra
    from optuna import samplers
    from optuna.distributions import FloatDistribution, IntDistribution

    def distribution(kind: str, lowest: float, highest: float) -> Any:
        if kind == "randint":
            return IntDistribution(int(lowest), int(highest))
        return FloatDistribution(lowest, highest, log=kind == "loguniform")

    sampler = options.get("sampler")
    if sampler is not None:
        expect_one_of("search.sampler", sampler, tuple(name for name in samplers.__all__ if _needs_a_seed_only(samplers, name)))
        options["sampler"] = getattr(samplers, sampler)
    if len(grids) != 1:
        raise SettingsError(f'{len(grids)} tables [[grid]] with strategy = "optuna", expected one [grid], of which it learns')
    return OptunaSampler(_axes(grids[0], distribution), options.pop("n"), **options)
