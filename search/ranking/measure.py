"""What decides a ranking: the loss, of which less is better, or a score, of which more is better.

Inside, everything minimizes an objective: the loss, or minus the score. A Measure shows it to people as what it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """The quantity that decides, and its direction.

    Attributes
    ----------
    name : str
        Of the score, such as ``"r2"``, or ``"loss"``.
    is_score : bool
        Whether more is better.

    Examples
    --------
    >>> Measure("r2", is_score=True).shown(-0.83), Measure().shown(0.5)
    (0.83, 0.5)
    """

    name: str = "loss"
    is_score: bool = False

    def shown(self, objective: float) -> float:
        """Return the loss or the score of an objective."""
        return 0.0 - objective if self.is_score else objective

    @property
    def best(self) -> str:
        """The word for the best value: "lowest" or "highest"."""
        return "highest" if self.is_score else "lowest"

    @property
    def validation(self) -> str:
        """What the ranking is by: "validation loss", or the score."""
        return self.name if self.is_score else f"validation {self.name}"

    @property
    def plural(self) -> str:
        """The word for several values."""
        return "scores" if self.is_score else "losses"


LOSS = Measure()


def measure_of(scores: Mapping[str, object]) -> Measure:
    """Return the measure of results that have these scores by name, the one that decides first.

    Examples
    --------
    >>> measure_of({"r2": 0.83, "neg_max_error": -2.0}), measure_of({})
    (Measure(name='r2', is_score=True), Measure(name='loss', is_score=False))
    """
    return Measure(next(iter(scores)), is_score=True) if scores else LOSS
