"""The optimism of choosing by the test loss, as the report does: how much of the lowest of many test losses is luck.

test losses (configurations, seeds) --the lowest of a seed--> what is reported, and by which configuration
    --its losses from the other seeds--> what it is worth --minus what is reported--> optimism
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Optimism:
    """What the lowest test loss promises, and what the configuration that has it keeps.

    Each seed is the report's procedure once: train every configuration, report the lowest test loss. That loss belongs to
    one network, whose configuration may have been lucky in its initial weights; from other weights it does as well as it
    usually does. The difference between the two is the optimism.

    Parameters
    ----------
    losses : ndarray of float, shape (configurations, seeds)
        Test losses of the best configurations by cross-validation, in order of their rank; NaN where a training failed or
        diverged. Such trainings are left out: they are not chosen, and do not count in what a configuration is worth.

    Raises
    ------
    ValueError
        If there is no configuration, or fewer than two seeds.

    Notes
    -----
    This is the luck of the weights alone. The test points stay the same: a configuration that suits these points more than
    others does so from every seed, and by that the report's loss flatters too. The optimism here is what is left of the whole
    if that part is not counted; fresh points would show the rest.

    Examples
    --------
    >>> optimism = Optimism(np.array([[0.5, 0.6, 0.7], [0.9, 0.9, 0.3]]))
    >>> optimism.reported, optimism.expected
    (array([0.5, 0.6, 0.3]), array([0.65, 0.6 , 0.9 ]))
    >>> print(optimism)
    The lowest of 2 test losses is 0.4667 on average over 3 seeds.
    The configurations that have it reach 0.7167 from other seeds: the lowest loss flatters by 0.2500 (standard error 0.1803).
    Over the 3 seeds it belongs to 2 of the configurations. The first of the cross-validation has 0.6000 on average.
    """

    losses: np.ndarray

    def __post_init__(self) -> None:
        if self.losses.ndim != 2 or self.losses.shape[0] < 1 or self.losses.shape[1] < 2:
            raise ValueError(
                f"Optimism: losses of shape {self.losses.shape}, expected (configurations, seeds), with at least 2 seeds"
            )

    @property
    def chosen(self) -> np.ndarray:
        """For each seed, the place of the configuration of the lowest loss; 0 where every training failed or diverged."""
        return np.where(np.isnan(self.losses), np.inf, self.losses).argmin(axis=0)

    @property
    def reported(self) -> np.ndarray:
        """For each seed, the lowest loss; NaN where every training failed or diverged."""
        return self.losses[self.chosen, np.arange(self.losses.shape[1])]

    @property
    def expected(self) -> np.ndarray:
        """For each seed, the mean loss of the chosen configuration from all other seeds; NaN where there is none."""
        others = self.losses[self.chosen]
        np.fill_diagonal(others, np.nan)  # row and column are seeds: the diagonal is what was reported
        means = np.array([_mean(row) for row in others])
        return np.where(np.isnan(self.reported), np.nan, means)

    @property
    def optimism(self) -> float:
        """The mean over the seeds of what is expected minus what is reported; above 0 if the lowest loss flatters."""
        return _mean(self.expected - self.reported)

    @property
    def standard_error(self) -> float:
        """Of the optimism, over the seeds as if they were independent; NaN if fewer than two have one."""
        return _standard_error(self.expected - self.reported)

    @property
    def by_cross_validation(self) -> float:
        """The mean loss over the seeds of the first configuration, which the cross-validation chose without the test points."""
        return _mean(self.losses[0])

    def __str__(self) -> str:
        lines = self._of_one() if len(self.losses) == 1 else self._of_several()
        if missing := int(np.isnan(self.losses).sum()):
            lines.append(f"{missing} of {self.losses.size} trainings failed or diverged and are left out.")
        return "\n".join(lines)

    def _of_one(self) -> list[str]:
        return [
            f"One configuration: nothing was chosen; its mean test loss is {self.by_cross_validation:.4f} "
            f"(standard error {_standard_error(self.losses[0]):.4f} over {self.losses.shape[1]} seeds)."
        ]

    def _of_several(self) -> list[str]:
        n_configurations, n_seeds = self.losses.shape
        different = len(set(self.chosen[~np.isnan(self.reported)]))
        return [
            f"The lowest of {n_configurations} test losses is {_mean(self.reported):.4f} on average over {n_seeds} seeds.",
            f"The configurations that have it reach {_mean(self.expected):.4f} from other seeds: "
            f"the lowest loss flatters by {self.optimism:.4f} (standard error {self.standard_error:.4f}).",
            f"Over the {n_seeds} seeds it belongs to {different} of the configurations. "
            f"The first of the cross-validation has {self.by_cross_validation:.4f} on average.",
        ]


def _mean(losses: np.ndarray) -> float:
    """Return the mean of those that are not NaN; NaN if there is none."""
    finite = losses[~np.isnan(losses)]
    return float(finite.mean()) if len(finite) else np.nan


def _standard_error(values: np.ndarray) -> float:
    """Return that of the mean of those that are not NaN, as if they were independent; NaN if fewer than two are there."""
    finite = values[~np.isnan(values)]
    return float(np.std(finite, ddof=1) / np.sqrt(len(finite))) if len(finite) > 1 else np.nan
