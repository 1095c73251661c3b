"""The optimism of choosing by the test loss, as the report does: how much of the lowest of many test losses is luck.

test losses (configurations, seeds) --lowest for each seed--> the reported loss, and its configuration
    --mean loss of this configuration from the remaining seeds--> the expected loss --minus the reported loss--> optimism
"""

from dataclasses import dataclass

import numpy as np

from search.ranking.measure import LOSS, Measure


@dataclass(frozen=True, eq=False)
class Optimism:
    """The lowest of many test losses, compared with the usual loss of the configuration that has it.

    For each seed, the report's procedure is done once: train every configuration, and report the lowest test loss. The
    network that has it may have had lucky initial weights. From other initial weights, its configuration has its usual loss.
    The optimism is the usual loss minus the reported one.

    Parameters
    ----------
    losses : ndarray of float, shape (configurations, seeds)
        Test losses of the best configurations by cross-validation, in order of their rank; NaN if a training failed or
        diverged. These trainings are neither chosen nor part of a mean. If a score decides, these are scores, and the highest
        one is chosen.
    measure : Measure, optional
        What decides, by default the loss.

    Raises
    ------
    ValueError
        If there is no configuration, or fewer than two seeds.

    Notes
    -----
    This measures only the luck of the initial weights. The test points are the same for every seed. A configuration may also
    suit these test points by luck, and then its loss is too low for every seed. That part of the optimism is not measured
    here; new test points would show it.

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
    measure: Measure = LOSS

    def __post_init__(self) -> None:
        if self.losses.ndim != 2 or self.losses.shape[0] < 1 or self.losses.shape[1] < 2:
            raise ValueError(
                f"Optimism: losses of shape {self.losses.shape}, expected (configurations, seeds), with at least 2 seeds"
            )

    @property
    def chosen(self) -> np.ndarray:
        """For each seed, the position of the configuration with the best value; 0 if every training failed or diverged."""
        objectives = -self.losses if self.measure.is_score else self.losses
        return np.where(np.isnan(objectives), np.inf, objectives).argmin(axis=0)

    @property
    def reported(self) -> np.ndarray:
        """For each seed, the best value; NaN if every training failed or diverged."""
        return self.losses[self.chosen, np.arange(self.losses.shape[1])]

    @property
    def expected(self) -> np.ndarray:
        """For each seed, the mean value of the chosen configuration from all other seeds; NaN if there is none."""
        chosen = self.losses[self.chosen]  # rows and columns are seeds
        np.fill_diagonal(chosen, np.nan)  # without the reported losses
        means = np.array([_mean(row) for row in chosen])
        return np.where(np.isnan(self.reported), np.nan, means)

    @property
    def optimism(self) -> float:
        """The mean over the seeds of how much worse the expected value is than the reported one; above 0 if that flatters."""
        return _mean(self._flattery)

    @property
    def standard_error(self) -> float:
        """The standard error of the optimism for independent seeds; NaN if fewer than two have a value."""
        return _standard_error(self._flattery)

    @property
    def _flattery(self) -> np.ndarray:
        difference = self.expected - self.reported
        return -difference if self.measure.is_score else difference

    @property
    def by_cross_validation(self) -> float:
        """The mean value over the seeds of the best configuration by cross-validation, chosen without the test points."""
        return _mean(self.losses[0])

    def __str__(self) -> str:
        lines = self._of_one() if len(self.losses) == 1 else self._of_several()
        if missing := int(np.isnan(self.losses).sum()):
            lines.append(f"{missing} of {self.losses.size} trainings failed or diverged and are left out.")
        return "\n".join(lines)

    def _of_one(self) -> list[str]:
        return [
            f"One configuration: nothing was chosen; its mean test {self.measure.name} is {self.by_cross_validation:.4f} "
            f"(standard error {_standard_error(self.losses[0]):.4f} over {self.losses.shape[1]} seeds)."
        ]

    def _of_several(self) -> list[str]:
        n_configurations, n_seeds = self.losses.shape
        best = self.measure.best
        several, one = (f"values of {self.measure.name}", "value") if self.measure.is_score else ("losses", "loss")
        different = len(set(self.chosen[~np.isnan(self.reported)]))
        return [
            f"The {best} of {n_configurations} test {several} is {_mean(self.reported):.4f} on average over {n_seeds} seeds.",
            f"The configurations that have it reach {_mean(self.expected):.4f} from other seeds: "
            f"the {best} {one} flatters by {self.optimism:.4f} (standard error {self.standard_error:.4f}).",
            f"Over the {n_seeds} seeds it belongs to {different} of the configurations. "
            f"The first of the cross-validation has {self.by_cross_validation:.4f} on average.",
        ]


def _mean(losses: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    finite = losses[~np.isnan(losses)]
    return float(finite.mean()) if len(finite) else np.nan


def _standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean of the values that are not NaN; NaN if there are fewer than two."""
    finite = values[~np.isnan(values)]
    return float(np.std(finite, ddof=1) / np.sqrt(len(finite))) if len(finite) > 1 else np.nan
