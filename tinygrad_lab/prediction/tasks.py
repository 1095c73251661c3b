"""What the outputs of a network mean: numbers, logits of classes, or a logit for each label.

loss --task_of--> task      networks, x --mean_output--> numbers, probabilities      labels --class_numbers--> 0, 1, 2, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_lab.autodiff.functions import concatenate
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.losses import BinaryCrossEntropy, Loss

TASKS = ("regression", "classification", "multilabel")


def task_of(loss: Loss, outputs: int) -> str:
    """Return the task of a network with so many outputs that is trained by a loss.

    Examples
    --------
    >>> task_of(BinaryCrossEntropy(), 1), task_of(BinaryCrossEntropy(), 3)
    ('classification', 'multilabel')
    """
    if isinstance(loss, BinaryCrossEntropy):
        return "classification" if outputs == 1 else "multilabel"
    return "classification" if loss.class_labels else "regression"


def count_outputs(network: Layer) -> int:
    """Return the length of the last parameter: the number of outputs, if the last layer is the last that was set.

    Where it is not, the first prediction shows it.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> count_outputs(tl.Linear(3, 2, rng=np.random.default_rng(0)))
    2
    """
    sizes = [len(tensor._array) for tensor in network.named_state().values() if tensor.is_parameter and tensor.ndim]
    return sizes[-1] if sizes else 1


def count_inputs(network: Layer) -> int:
    """Return the number of features that the first layer takes, as its parameters or buffers show it.

    Where this is wrong, the network refuses its input.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> count_inputs(tl.Linear(3, 2, rng=np.random.default_rng(0)))
    3
    """
    return next((tensor.shape[-1] for tensor in network.named_state().values() if tensor.ndim), 1)


def as_classes(classes: ArrayLike) -> np.ndarray:
    """Return labels as an array. Labels of several types, such as 1 and "one", stay what they are."""
    if np.ndim(classes) != 1:
        raise TypeError(f"Predictor: classes is {classes!r}, expected a list with the label of each class")
    values = classes.tolist() if isinstance(classes, np.ndarray) else list(classes)  # type: ignore[arg-type]
    for value in values:
        if not isinstance(value, (bool, int, float, str, np.generic)) or value != value:
            raise TypeError(f"Predictor: classes holds {value!r}, expected numbers, texts or booleans")
    if len(values) < 2 or len(set(values)) < len(values):
        raise ValueError(f"Predictor: classes is {classes!r}, expected at least two different labels")
    is_mixed = len({type(value) for value in values}) > 1
    return np.array(values, object if is_mixed else None)


def class_numbers(labels: ArrayLike, classes: np.ndarray) -> np.ndarray:
    """Return the positions of labels in `classes`, of shape (samples,).

    Raises
    ------
    ValueError
        If a label is not in `classes`.

    Examples
    --------
    >>> class_numbers(["no", "yes", "no"], np.array(["no", "yes"]))
    array([0, 1, 0])
    """
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    given = np.asarray(labels)
    given = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    if given.ndim != 1:
        raise ValueError(f"y has shape {given.shape}, expected the label of each sample")
    unknown = [label for label in given.tolist() if label not in numbers]
    if unknown:
        raise ValueError(f"y holds {unknown[0]!r}, expected the classes {classes.tolist()}")
    return np.array([numbers[label] for label in given.tolist()], np.int64)


def mean_output(networks: Sequence[Layer], x: Tensor, task: str, classes: np.ndarray | None) -> Tensor:
    """Return what the outputs of some networks mean, on average: numbers, or probabilities of classes or labels.

    Parameters
    ----------
    networks : sequence of Layer
    x : Tensor, shape (samples, ...)
    task : str
    classes : ndarray or None

    Returns
    -------
    Tensor of shape (samples, outputs)
        For a classification one column for each class, even if the network has a single logit for two.

    Raises
    ------
    ValueError
        If an output has another shape, or another number of columns than the classes or the first network need.
    """
    total, *others = (_meaning(raw_output(network, x, task, classes), task) for network in networks)
    for other in others:
        if other.shape != total.shape:
            raise ValueError(
                f"Predictor: members have {other.shape[1]} and {total.shape[1]} outputs, expected networks with as many"
            )
        total = total + other
    return total / float(len(networks)) if others else total


def raw_output(network: Layer, x: Tensor, task: str, classes: np.ndarray | None) -> Tensor:
    """Return the output of a network, whose shape has been checked."""
    output = network(x)
    if output.ndim != 2 or len(output) != len(x):
        raise ValueError(
            f"{type(network).__name__}: the output has shape {output.shape} for {len(x)} samples, expected (samples, outputs)"
        )
    columns = output.shape[1]
    if classes is not None and columns != len(classes) and (task, columns, len(classes)) != ("classification", 1, 2):
        raise ValueError(
            f"Predictor: the network has {columns} outputs for {len(classes)} classes in a {task} task, "
            "expected one for each class, or one for two classes; give the right task and classes"
        )
    return output


def _meaning(output: Tensor, task: str) -> Tensor:
    if task == "regression":
        return output
    if task == "multilabel":
        return output.sigmoid()
    if output.shape[1] > 1:
        return output.softmax()
    second = output.sigmoid()
    return concatenate([1.0 - second, second], axis=1)


def sklearn_tags(task: str) -> Any:
    """Return what scikit-learn's scorers and inspection ask a model of a task for.

    Examples
    --------
    >>> sklearn_tags("regression").estimator_type
    'regressor'
    """
    from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

    is_regressor = task == "regression"
    return Tags(
        estimator_type="regressor" if is_regressor else "classifier",
        target_tags=TargetTags(required=True, multi_output=task != "classification"),
        regressor_tags=RegressorTags() if is_regressor else None,
        classifier_tags=None if is_regressor else ClassifierTags(multi_label=task == "multilabel"),
    )
