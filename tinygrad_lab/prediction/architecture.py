"""The architecture of a network as JSON values, so that a file can hold it without pickle.

    Sequential --describe_network--> {"class": "Sequential", "0": {"class": "Linear"}} --.
               --named_arrays------> {"0.weight": ..., "0.bias": ...} -------------------+-- restore_network --> Sequential

*Why is there no size in it?* A size would be declared twice, there and by the arrays, and a file could declare a network that
does not fit into memory. So a rule takes all sizes from arrays, which the file really holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.nn.activations import Activation
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.mode import Buffer
from tinygrad_lab.nn.naming import by_name, walk

Part = Layer | Activation
PartType = TypeVar("PartType", bound=Part)
Arrays = dict[str, Any]
"""Arrays by name. Those of an inner layer are a dict of this kind under the layer's name."""

CLASS = "class"
REFUSALS = (ArithmeticError, AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError)
"""What rules and constructors raise if the settings or the arrays of a layer are wrong."""


class Rule(NamedTuple):
    """How the parts of one class are described and made."""

    kind: type[Any]
    settings: Callable[[Any], Mapping[str, Any]]
    make: Callable[..., Any]


_rules: dict[str, Rule] = {}


def register_layer(
    kind: type[PartType],
    make: Callable[..., PartType],
    settings: Callable[[PartType], Mapping[str, Any]] = lambda part: {},  # noqa: ARG005
) -> None:
    """Make a class of layers or activations known to the files that `Predictor.save` writes.

    A file names the class and never imports it. So a process that loads the file has to call this for the same class, for
    example by importing the module that defines it.

    Parameters
    ----------
    kind : type
        A subclass of Layer or Activation. It is known by its name.
    make : callable
        ``make(arrays, **settings)`` returns a new part with the same shapes. `arrays` maps the names of its parameters and
        buffers to ndarrays; those of an inner layer are a dict under the name of that layer. Take sizes from the arrays.
    settings : callable, optional
        ``settings(part)`` returns the keywords for `make`: values that JSON can hold, or inner layers and activations, or
        lists of these. The keyword of an inner layer is the name of its attribute.

    Raises
    ------
    ValueError
        If another class has this name.

    Examples
    --------
    >>> import tinygrad_lab as tl
    >>> class Scale(tl.Layer):
    ...     def __init__(self, features, power):
    ...         self.factor = tl.Tensor(np.ones(features), requires_grad=True)
    ...         self.power = power
    ...     def forward(self, x):
    ...         return self.factor * x**self.power
    >>> register_layer(
    ...     Scale,
    ...     make=lambda arrays, power: Scale(len(arrays["factor"]), power),
    ...     settings=lambda layer: {"power": layer.power},
    ... )
    >>> describe_network(tl.Sequential(Scale(3, 2), tl.Tanh()))
    {'class': 'Sequential', '0': {'class': 'Scale', 'power': 2}, '1': {'class': 'Tanh'}}
    """
    if not isinstance(kind, type) or not issubclass(kind, (Layer, Activation)):
        raise TypeError(f"register_layer: kind is {kind!r}, expected a subclass of Layer or Activation")
    known = _rules.get(kind.__name__)
    if known is not None and (known.kind.__module__, known.kind.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(
            f"register_layer: {kind.__qualname__} of {kind.__module__} has the name of a class of {known.kind.__module__}; "
            "rename it"
        )
    _rules[kind.__name__] = Rule(kind, settings, make)


def rule_of(part: Part) -> Rule | None:
    """Return the rule of a part's class, or None. A subclass may compute something else, so it needs its own rule."""
    rule = _rules.get(type(part).__name__)
    return rule if rule is not None and rule.kind is type(part) else None


def describe_network(network: Part) -> dict[str, Any]:
    """Return the classes and settings of a network as JSON values.

    Raises
    ------
    TypeError
        If a layer is not known, or has a setting that JSON cannot hold.
    """
    name = type(network).__name__
    rule = rule_of(network)
    if rule is None:
        raise TypeError(f"{name}: no file can hold this class; make it known with tinygrad_lab.register_layer({name}, ...)")
    return {CLASS: name} | {key: _describe_setting(f"{name}: {key}", value) for key, value in rule.settings(network).items()}


def _describe_setting(name: str, value: Any) -> Any:
    if isinstance(value, (Layer, Activation)):
        return describe_network(value)
    if isinstance(value, (list, tuple)):
        return [_describe_setting(name, item) for item in value]
    if isinstance(value, Mapping):
        if CLASS in value or not all(isinstance(key, str) for key in value):
            raise TypeError(f"{name} is {value!r}, expected names other than {CLASS!r} as keys")
        return {key: _describe_setting(name, item) for key, item in value.items()}
    if isinstance(value, (Tensor, np.generic)):  # a hyper-parameter
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{name} is {value!r}, expected a value that JSON can hold")


def named_arrays(network: Layer) -> dict[str, np.ndarray]:
    """Return copies of all parameters and buffers by name. One that two layers share is under both names.

    Examples
    --------
    >>> from tinygrad_lab.nn.normalization import LayerNorm
    >>> named_arrays(LayerNorm(2))
    {'weight': array([1., 1.]), 'bias': array([0., 0.])}
    """
    found = walk(network, (Tensor, Buffer), (Layer,))
    named = by_name(network, (one for one in found if isinstance(one.value, Buffer) or one.value.is_parameter))
    return {name: (x.tensor if isinstance(x, Buffer) else x).numpy() for name, x in named.items()}


def restore_network(description: Any, arrays: Mapping[str, np.ndarray]) -> Layer:
    """Make a network from what `describe_network` and `named_arrays` returned.

    Raises
    ------
    ValueError
        If the description names an unknown class, or does not fit the arrays.

    Examples
    --------
    >>> from tinygrad_lab.nn.normalization import LayerNorm
    >>> norm = LayerNorm(2)
    >>> restore_network(describe_network(norm), named_arrays(norm))
    LayerNorm(2)
    >>> restore_network({"class": "Oracle"}, {})
    Traceback (most recent call last):
    ValueError: the class 'Oracle' is unknown; import the module that registers it, or use models.load_model
    """
    network = _make(description, _nested(arrays))
    if not isinstance(network, Layer):
        raise ValueError(f"the network is a {type(network).__name__}, expected a Layer")
    network.load_state_dict(arrays)
    return network


def _make(description: Any, arrays: Any) -> Part:
    if not isinstance(description, dict) or not isinstance(description.get(CLASS), str):
        raise ValueError("a layer is no JSON object with a class")
    settings = dict(description)
    name = settings.pop(CLASS)
    rule = _rules.get(name)
    if rule is None:
        raise ValueError(f"the class {name!r} is unknown; import the module that registers it, or use models.load_model")
    own = arrays if isinstance(arrays, dict) else {}
    for key, value in settings.items():
        settings[key] = _make_setting(value, own.get(key))
    try:
        return rule.make(own, **settings)
    except REFUSALS as error:
        raise ValueError(f"{name}: its settings or arrays do not fit it ({type(error).__name__}: {error})") from None


def _make_setting(value: Any, arrays: Any) -> Any:
    if isinstance(value, dict) and CLASS in value:
        return _make(value, arrays)
    if isinstance(value, list):
        inner = arrays if isinstance(arrays, dict) else {}
        return [_make_setting(item, inner.get(str(i))) for i, item in enumerate(value)]
    return value


def _nested(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Return arrays by the parts of their names: {"0.weight": w} as {"0": {"weight": w}}."""
    tree: Arrays = {}
    for name, array in arrays.items():
        *folders, last = name.split(".")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                break
        if not isinstance(node, dict) or last in node:
            raise ValueError(f"{name!r} is the name of an array and of a layer")
        node[last] = array
    return tree
