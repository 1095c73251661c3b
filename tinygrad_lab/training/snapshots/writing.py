"""Giving objects the content that they had when they were read."""

from __future__ import annotations

import weakref
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from itertools import zip_longest
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.training.snapshots.nodes import (
    CONSTRUCTORS,
    MISSING,
    WRAPPERS,
    Node,
    cell_content,
    mapping_base,
    memory_of,
    slot_value,
    slots_of,
)
from tinygrad_lab.training.snapshots.users_code import own_attributes


def write(node: Node) -> None:
    """Give an object the parts of its node."""
    x = node.x
    by_tag: dict[str, dict[Any, Any]] = {}
    for (tag, name), value in node.parts.items():
        by_tag.setdefault(tag, {})[name] = value
    items = by_tag.get("[]", {})
    if type(x) is Tensor:
        _write_tensor(x, node)
    elif isinstance(x, np.ndarray):
        if x.flags.writeable and (x.dtype.hasobject or x.tobytes() != node.content.tobytes()):
            np.copyto(x, node.content)
    elif isinstance(x, list):
        if not _are_same(items.values(), list.__iter__(x)):
            list.__setitem__(x, slice(None), list(items.values()))
    elif isinstance(x, deque):
        if not _are_same(items.values(), deque.__iter__(x)):
            deque.clear(x)
            deque.extend(x, items.values())
    elif isinstance(x, dict):
        _write_mapping(x, items)
        if isinstance(x, defaultdict):
            x.default_factory = by_tag["in"]["default_factory"]
    elif isinstance(x, set):
        set.clear(x)
        set.update(x, node.content)
    elif isinstance(x, bytearray):
        x[:] = node.content
    elif isinstance(x, ContextVar):
        value = by_tag.get("in", {}).get("value", MISSING)
        if value is not MISSING and x.get(MISSING) is not value:
            x.set(value)
    elif isinstance(node.content, bytes):
        if isinstance(x, array):  # its length may have changed
            array.__setitem__(x, slice(None), array(x.typecode, node.content))
        elif (memory := memory_of(x)) is not None:
            memory[:] = np.frombuffer(node.content, np.uint8)
    elif isinstance(x, FunctionType):
        _write_function(x, node.content, by_tag)
    elif isinstance(x, type):
        saved = by_tag.get("class attribute", {})
        now = {name: value for name, value in own_attributes(x).items() if name in saved or name not in CONSTRUCTORS}
        _write_names(now, saved, partial(type.__setattr__, x), partial(type.__delattr__, x))
    elif isinstance(x, ModuleType):
        _write_names(vars(x), vars(x) | by_tag.get("variable", {}), partial(setattr, x), partial(delattr, x))
    if not isinstance(x, (Tensor, type, ModuleType, weakref.ref, *WRAPPERS)) or type(x) is partial:
        _write_attributes(x, by_tag)


def _write_tensor(x: Tensor, node: Node) -> None:
    """Undo `assign`, `backward`, and a change of `requires_grad`."""
    x._array, x._is_frozen, x.grad = node.content
    x._requires_grad = node.kind[3]


def _write_function(x: FunctionType, names: Iterable[str], by_tag: Mapping[str, Mapping[Any, Any]]) -> None:
    defaults = by_tag.get("default", {})
    positional = tuple(value for name, value in defaults.items() if isinstance(name, int))
    if not _are_same(positional, x.__defaults__ or ()):
        x.__defaults__ = positional or None
    if x.__kwdefaults__ is not None:
        _write_mapping(x.__kwdefaults__, {name: value for name, value in defaults.items() if isinstance(name, str)})
    closure = by_tag.get("closure", {})
    for name, cell in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True):
        if name in closure:
            if cell_content(cell) is not closure[name]:
                cell.cell_contents = closure[name]
        elif cell_content(cell) is not MISSING:
            del cell.cell_contents
    now = {name: x.__globals__[name] for name in names if name in x.__globals__}
    _write_names(now, by_tag.get("global", {}), x.__globals__.__setitem__, x.__globals__.__delitem__)


def _write_names(
    now: Mapping[str, Any], saved: Mapping[str, Any], put: Callable[[str, Any], Any], remove: Callable[[str], Any]
) -> None:
    for name in now.keys() - saved.keys():
        remove(name)
    for name, value in saved.items():
        if now.get(name, MISSING) is not value:
            put(name, value)


def _write_attributes(x: Any, by_tag: Mapping[str, Mapping[Any, Any]]) -> None:
    if isinstance(fields := getattr(x, "__dict__", None), dict):
        _write_mapping(fields, by_tag.get(".", {}))
    kind: Any = type(x)
    slots = by_tag.get("slot", {})
    for name, member in slots_of(kind).items():
        if name in slots:
            if slot_value(member, x) is not slots[name]:
                member.__set__(x, slots[name])
        elif slot_value(member, x) is not MISSING:
            member.__delete__(x)


def _write_mapping(x: dict[Any, Any], saved: Mapping[Any, Any]) -> None:
    base = mapping_base(x)
    if not _are_same(base.keys(x), saved.keys()) or not _are_same(base.values(x), saved.values()):
        base.clear(x)
        for name, value in saved.items():
            base.__setitem__(x, name, value)


def _are_same(one: Iterable[Any], other: Iterable[Any]) -> bool:
    return all(x is y for x, y in zip_longest(one, other, fillvalue=MISSING))
