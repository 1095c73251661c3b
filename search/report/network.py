"""The report's three figures: the points, the losses of a network's training, and the estimated function."""

from typing import TYPE_CHECKING, Any

import numpy as np

from search.ranking.measure import measure_of
from search.report.figures import plot_data, plot_function, plot_losses
from search.run.retraining import RetrainedConfiguration
from search.trials.data import DataSet
from search.trials.fits import Build, build_trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 601  # number of points at which a function is drawn


def network_figures(
    build: Build, network: RetrainedConfiguration, train: DataSet | None = None, test: DataSet | None = None
) -> "list[tuple[str, str, Figure]]":
    """Draw the losses of a re-trained network. With one feature and one output, draw the points and the function too.

    Parameters
    ----------
    build : callable
        The builder of the search. If its Trainer cannot `predict` from loaded weights, the function is not drawn.
    network : RetrainedConfiguration
        A network whose status is "done".
    train, test : pair of array_like, optional
        x and y, to draw the points and the function.

    Returns
    -------
    list of (str, str, matplotlib.figure.Figure)
        Each figure, after its caption and its description in words.

    Examples
    --------
    >>> from search.testing import build_polynomial
    >>> history = {"train_loss": np.array([2.0, 1.0]), "validation_loss": np.array([3.0, 2.0])}
    >>> network = RetrainedConfiguration(1, {"degree": 1}, 0.5, 1.0, 2.0, "done", "", history, {}, 0.1)
    >>> figures = network_figures(build_polynomial, network, ([0.0, 1.0], [0.0, 1.0]), ([0.5], [0.5]))
    >>> [caption for caption, _, _ in figures]
    ['Training and test points', 'Training and test loss of the network of the lowest test loss']
    """
    if not network.history:  # an estimator has no epochs
        return []
    measure = measure_of(network.scores)
    training = (
        f"Training and test loss of the network of the {measure.best} test {measure.name}",
        f"Both losses against the epoch; at the end {network.train_loss:.4g} and {network.test_loss:.4g}.",
        plot_losses(network.history),
    )
    if train is None or test is None:
        return [training]
    (x, y), (x_test, y_test) = train, test
    if not all(np.size(array) == len(array) for array in map(np.asarray, (x, y, x_test, y_test))):
        return [training]
    counts = f"{np.size(x)} training and {np.size(x_test)} test points"
    figures = [("Training and test points", f"{counts}, y against x.", plot_data(train, test)), training]
    if (predict := _predictor(build, network)) is not None:
        inputs = np.concatenate([np.ravel(x), np.ravel(x_test)])
        grid = np.linspace(inputs.min(), inputs.max(), POINTS)
        figure = plot_function(grid, predict(grid[:, np.newaxis]), train, test)
        figures.append(
            ("The function that it estimates", f"{counts}, and the network's output as a line through them.", figure)
        )
    return figures


def _predictor(build: Build, network: RetrainedConfiguration) -> Any:
    """Return a function that predicts with the weights of a network. None if its Trainer has no `predict`."""
    trainer: Any = build_trainer(build, network.configuration, 0)
    if not hasattr(trainer, "predict") or not hasattr(trainer.model, "load_state_dict"):
        return None
    getattr(trainer, "network", trainer.model).load_state_dict(network.state_dict)
    return trainer.predict
