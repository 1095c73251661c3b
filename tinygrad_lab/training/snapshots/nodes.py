"""What was read of an object: its kind, its parts, and where it was met."""

from __future__ import annotations

import reprlib
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache, partial
from types import BuiltinFunctionType, CellType, FunctionType, MemberDescriptorType, MethodType, ModuleType, NoneType
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.nn.activations import Activation
from tinygrad_lab.nn.layers import Layer
from tinygrad_lab.nn.losses import Loss
from tinygrad_lab.optim.hooks import GradientHook
from tinygrad_lab.optim.optimizer import Optimizer
from tinygrad_lab.optim.penalties import Penalty
from tinygrad_lab.optim.schedulers import Scheduler
from tinygrad_lab.training.snapshots.users_code import module_of

PARTS = (Activation, GradientHook, Layer, Loss, Optimizer, Penalty, Scheduler)
"""The kinds of parts of a Trainer."""

PLAIN = (NoneType, bool, int, str, bytes)
WRAPPERS: dict[type, tuple[str, ...]] = {
    partial: ("func", "args", "keywords"),
    MethodType: ("__func__", "__self__"),
    BuiltinFunctionType: ("__name__", "__self__"),  # of a module, or a method of a native object
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset", "fdel"),
}
# A constructor may draw weights from a global generator. No step calls that of a part, which exists already.
CONSTRUCTORS = {"__init__", "__new__", "__post_init__"}
HEAP_TYPE = 1 << 9  # the flag of a class that is made when its code runs, so of every class written in Python
MISSING: Any = object()
NO_ELEMENTS = np.empty(0)

Key = tuple[str, Any]
"""How a part belongs to its owner: as an attribute, an item, a closure variable, ..., and its name there."""


@dataclass(frozen=True, eq=False)
class Opaque:
    """The description of an object that cannot be read in full: it equals only a description of the same object."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class Node:
    """An object that was read.

    Attributes
    ----------
    x : object
    kind : hashable
        What it is, except for its parts.
    parts : dict
        The objects that it holds, by their keys, as they were when it was read.
    content : object
        What it holds besides: the elements of an array or a Tensor, or what `__setstate__` takes.
    owner, key
        Where it was met first.
    """

    __slots__ = ("content", "key", "kind", "owner", "parts", "x")

    def __init__(self, x: Any, kind: Any, parts: dict[Key, Any], content: Any = None) -> None:
        self.x = x
        self.kind = kind
        self.parts = parts
        self.content = content
        self.owner: Node | None = None
        self.key: Key = ("", "")

    def __str__(self) -> str:
        return label(self.owner, self.key)


def leaf(x: Any) -> Hashable:
    """Describe a value that has no parts, such as a number or a text; None for anything else."""
    kind = type(x)
    if kind in PLAIN:
        return kind, x
    if kind in (float, complex) or isinstance(x, np.dtype):
        return kind, repr(x)  # 0.0 equals -0.0 and nan does not equal nan, but their texts are right
    if isinstance(x, np.generic) and kind is x.dtype.type and not x.dtype.hasobject:
        return kind, x.dtype, x.tobytes()
    return None


def as_element(x: Any) -> Hashable:
    """Describe an element of a set, or a key: 1 and True are two of them."""
    if isinstance(x, tuple):
        return tuple(map(as_element, x))
    return leaf(x) or Opaque(x)


@cache
def slots_of(kind: Any) -> dict[str, MemberDescriptorType]:
    """Return the slots of a class that is written in Python."""
    return {
        name: member
        for base in reversed(kind.__mro__)
        if base.__flags__ & HEAP_TYPE
        for name, member in vars(base).items()
        if type(member) is MemberDescriptorType and "__slots__" in vars(base)
    }


def slot_value(member: MemberDescriptorType, x: Any) -> Any:
    """Return what a slot holds, or `MISSING`."""
    try:
        return member.__get__(x)
    except AttributeError:
        return MISSING


def cell_content(cell: CellType) -> Any:
    """Return what a closure variable holds, or `MISSING`."""
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return MISSING


def mapping_base(x: dict[Any, Any]) -> type[dict[Any, Any]]:
    """Return the class whose methods read and write a dict as it is, whatever a subclass makes of them.

    An OrderedDict has its order in a list of its own, which the methods of `dict` do not know.
    """
    return OrderedDict if isinstance(x, OrderedDict) else dict


def memory_of(x: Any) -> np.ndarray | None:
    """Return the bytes of a native object whose memory may be written to, as an array that shares them, or None."""
    try:
        memory = np.frombuffer(x, np.uint8)
    except Exception:  # it has no buffer, or an empty one
        return None
    # A ctypes object keeps what its pointers point to, but also the memory that it shares.
    kept = getattr(x, "_objects", None)
    is_plain = kept is None or (isinstance(kept, dict) and all(isinstance(part, memoryview) for part in kept.values()))
    return memory if memory.flags.writeable and is_plain else None


def elements(node: Node) -> np.ndarray:
    """Return the elements of an array or a Tensor, and no elements for any other object."""
    if type(node.x) is Tensor:
        return node.content[0]
    return node.content if isinstance(node.x, np.ndarray) and not node.x.dtype.hasobject else NO_ELEMENTS


def label(owner: Node | None, key: Key) -> str:
    """Name a part for a message: ``SlowStart.calls``, ``SlowStart.counts[0]``, ``the global variable FACTOR of mine``."""
    tag, name = key
    if owner is None or owner.owner is None:  # a root
        return str(name)
    x = owner.x
    if tag in (".", "slot", "class attribute", "variable"):
        holder = x if isinstance(x, (type, FunctionType, ModuleType)) else type(x)
        return f"{getattr(holder, '__qualname__', holder.__name__).rpartition('<locals>.')[2]}.{name}"
    if tag == "[]":
        return f"{label(owner.owner, owner.key)}[{name!r}]"
    if tag == "global":
        return f"the global variable {name} of {module_of(x)}"
    if tag == "closure":
        return f"the variable {name} in the closure of {x.__qualname__}"
    if tag == "default":
        return f"the default argument {name!r} of {x.__qualname__}"
    return label(owner.owner, owner.key)


def path(owner: Node | None, key: Key) -> str:
    """Name a part by the way to it from the roots, which is another one for each part."""
    if owner is None or owner.owner is None:
        return str(key[1])
    tag, name = key
    step = f".{name}" if tag in (".", "slot") else f"[{name!r}]" if tag == "[]" else f" {tag} {name!r}"
    return f"{path(owner.owner, owner.key)}{step}"


def native_owner(owner: Node | None, key: Key) -> Node | None:
    """Return the innermost object of a native class whose state has this part."""
    while owner is not None and key[0] != "state":
        key, owner = owner.key, owner.owner
    return owner


def text(x: Any) -> str:
    """Name a value in a message."""
    if isinstance(x, np.ndarray):
        return reprlib.repr(x.tolist()) if x.size < 5 else f"an array of shape {x.shape}"
    return reprlib.repr(x) if leaf(x) is not None else f"a {type(x).__name__}"
