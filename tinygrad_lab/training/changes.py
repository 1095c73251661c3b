"""Changes of the parts of a training, as values for JSON and arrays.

snapshot, later snapshot --list_changes--> entries, arrays --Restorer--> parts that are built alike
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.training.snapshots import MISSING, Node, Snapshot, native_owner, path, write
from tinygrad_lab.training.step import TrainingStep

Entry = list[Any]
"""A change: the path of an object, the kind and name of its part, whether it is in place, and the new value."""


def list_changes(
    before: Snapshot, after: Snapshot, ignored: Callable[[Any], bool]
) -> tuple[list[Entry], dict[str, np.ndarray]]:
    """Return what differs between two snapshots of a training.

    Raises
    ------
    ValueError
        If something differs that cannot be stored.
    """
    entries: list[Entry] = []
    arrays: dict[str, np.ndarray] = {}
    for change in before.differences(after, ignored):
        tag, name = change.key
        try:
            value = ["removed"] if change.after is MISSING else ["is", encode(change.after, arrays)]
            entries.append([_path(change.owner), tag, encode(name, arrays), change.is_in_place, value])
        except TypeError:
            raise ValueError(
                f"{change} since the training was set up, which a checkpoint cannot store; "
                "let callbacks change numbers, texts, arrays and Tensors only"
            ) from None
    return entries, arrays


class Restorer:
    """Changes the parts of a Trainer as the entries of `list_changes` say.

    Parameters
    ----------
    trainer : TrainingStep
        It is built like the one whose changes were listed.
    snapshot : Snapshot
        A snapshot of its parts, from the same roots. It is used up.
    """

    def __init__(self, trainer: TrainingStep, snapshot: Snapshot) -> None:
        self._trainer = trainer
        self._snapshot = snapshot
        self._changed: dict[int, Node] = {}

    def apply(self, entries: Sequence[Entry], arrays: Mapping[str, np.ndarray]) -> None:
        """Make the changes.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the parts are of another form.
        """
        nodes = {_path(node): node for node in (self._snapshot.root, *self._snapshot.nodes.values())}
        for where, tag, name, is_in_place, (what, *value) in entries:
            node = nodes[where]
            key = tag, decode(name, arrays)
            if what == "removed":
                del node.parts[key]
            else:
                self._set_part(node, key, decode(value[0], arrays), is_in_place)
            self._changed[id(node)] = node
        for node in list(self._changed.values()):
            self._write(node)

    def _set_part(self, node: Node, key: tuple[str, Any], value: Any, is_in_place: bool) -> None:
        """Set a part of a node, or the elements of the array or Tensor that is there."""
        old = node.parts.get(key)
        part = self._snapshot.nodes.get(id(old))
        if part is not None and isinstance(old, Tensor) and (is_in_place or isinstance(value, Tensor)):
            flags = (old.requires_grad, part.content[1]) if is_in_place else (value.requires_grad, value._is_frozen)
            array = value._array if isinstance(value, Tensor) else value
            part.kind = (Tensor, array.shape, array.dtype, flags[0])
            part.content = (array, flags[1], None)
            self._changed[id(part)] = part
        elif part is not None and is_in_place:
            part.content = value
            self._changed[id(part)] = part
        else:
            node.parts[key] = value

    def _write(self, node: Node) -> None:
        """Give an object its new parts: a tuple, which cannot change, by giving its owner another one."""
        if node is self._snapshot.root:
            vars(self._trainer).update({name: x for (_, name), x in node.parts.items() if name != "class"})
            return
        if isinstance(node.x, tuple):
            assert node.owner is not None
            owner, changed = node.owner, tuple(node.parts.values())
            if node.key[0] != "state":
                owner.parts[node.key] = changed
                self._write(owner)
                return
        else:
            write(node)
        native = native_owner(node.owner, node.key)
        if native is not None:
            native.x.__setstate__(self._rebuilt(native.content))

    def _rebuilt(self, x: Any) -> Any:
        """Return a tuple with the parts that its node has by now; anything else was changed in place."""
        node = self._snapshot.nodes.get(id(x))
        return tuple(map(self._rebuilt, node.parts.values())) if node is not None and isinstance(x, tuple) else x


def _path(node: Node) -> str:
    return "" if node.owner is None else path(node.owner, node.key)


# Values --------------------------------------------------------------------------------------------------------------


def encode(x: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return a value for JSON, and add its arrays to `arrays`.

    Raises
    ------
    TypeError
        If it consists of anything else than numbers, texts, lists, tuples, dicts, sets, arrays and Tensors.

    Examples
    --------
    >>> arrays = {}
    >>> encode((1, [None, np.ones(2)]), arrays)
    {'tuple': [1, {'list': [None, {'array': '0'}]}]}
    >>> decode(encode((1, [None, np.ones(2)]), arrays), arrays)
    (1, [None, array([1., 1.])])
    """

    def add(array: np.ndarray) -> str:
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise TypeError
        name = str(len(arrays))
        arrays[name] = np.array(array)
        return name

    kind = type(x)
    if x is None or kind in (bool, int, float, str):
        return x
    if kind in (list, tuple, set):
        return {kind.__name__: [encode(part, arrays) for part in (sorted(x) if kind is set else x)]}
    if kind is dict:
        return {"dict": [[encode(key, arrays), encode(part, arrays)] for key, part in x.items()]}
    if kind is np.ndarray:
        return {"array": add(x)}
    if isinstance(x, np.generic):
        return {"number": add(np.asarray(x))}
    if kind is Tensor:
        return {"tensor": add(x._array), "requires_grad": x.requires_grad and x.is_leaf, "is_frozen": x._is_frozen}
    raise TypeError


def decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return what `encode` was given."""
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind in ("list", "tuple", "set"):
        return {"list": list, "tuple": tuple, "set": set}[kind](decode(part, arrays) for part in content)
    if kind == "dict":
        return {decode(key, arrays): decode(part, arrays) for key, part in content}
    array = arrays[content].copy()
    if kind == "tensor":
        tensor = Tensor(array, requires_grad=value["requires_grad"] or value["is_frozen"])
        tensor.requires_grad = value["requires_grad"]  # after True, False freezes
        return tensor
    return array[()] if kind == "number" else array
