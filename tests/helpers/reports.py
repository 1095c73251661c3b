"""A search that was never run, for the tests of its report: eight configurations, of which one diverged and one failed."""

import numpy as np

from search import Outcome, ParameterGrid, Ranking, Retrained, RetrainedConfiguration, canonical_text, plot_data
from search.ranking.comparison import compare
from search.ranking.optimism import Optimism
from search.ranking.ranking import rank

GRID = ParameterGrid(hidden=[(10, 10), (100, 75)], activation=["relu", "sigmoid"], lr=[0.1, 1e-05], epochs=[20])
HOSTILE = "<script>document.title = 'hacked'</script><img src=x onerror=alert(1)>"
FOLDS = [(range(90), range(30))] * 4


def ranking(grid=GRID, n_folds=4, troubles=True):
    """Rank the grid by losses that are drawn at random; the last two configurations of it go wrong."""
    rng = np.random.default_rng(0)
    configurations = [*grid]
    outcomes = {
        (canonical_text(configuration), fold): Outcome("done", 0.5 + 0.1 * place + rng.uniform(0, 0.2))
        for place, configuration in enumerate(configurations)
        for fold in range(n_folds)
    }
    if troubles:
        outcomes[canonical_text(configurations[-2]), 0] = Outcome("diverged", reason="NonFiniteLossError: loss is inf")
        outcomes[canonical_text(configurations[-1]), 1] = Outcome("failed", reason=f"ValueError: {HOSTILE}")
    return rank(configurations, outcomes, n_folds)


def retrained(rows: Ranking, top=3, epochs=5):
    """Networks of which the last has the lowest test loss."""
    return Retrained(
        RetrainedConfiguration(
            rank=row.rank,
            configuration=row.configuration,
            mean=row.mean,
            train_loss=0.4,
            test_loss=0.9 - 0.125 * row.rank,
            status="done",
            reason="",
            history={"validation_loss": np.linspace(2.0, 0.9 - 0.125 * row.rank, epochs)},
            state_dict={},
            seconds=1.0,
        )
        for row in rows[:top]
    )


def contents(rows: Ranking):
    """Everything that a report can show, as the arguments of `write_report`."""
    comparison = compare(rows, folds=FOLDS)
    losses = np.random.default_rng(1).uniform(0.5, 0.7, (3, 4))
    return {
        "title": "A & B",
        "question": f"Which? {HOSTILE}",
        "retrained": retrained(rows),
        "comparison": comparison,
        "simplest": comparison.simplest(lambda configuration: sum(configuration["hidden"])),
        "optimism": Optimism(losses),
        "nested": "Nested: 0.7.",
        "seed_losses": [0.6, 0.62, np.nan],
        "figures": [("All points.", 'Points, "as given".', plot_data(([0, 1], [0, 1]), ([2], [2])))],
        "facts": [("duration", "3 minutes"), ("machine", HOSTILE)],
        "commands": ["pip install .", 'echo "<&>"'],
    }
