"""Reading objects: a walk over what they hold and what their code reads.

roots --read--> nodes: attributes, items --read--> ...
                       the global variables, closure and defaults of a function
                       the methods and attributes of a class of the user
                       what pickle would store of an object of a native class
"""

from __future__ import annotations

import io
import os
import warnings
import weakref
from array import array
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import cache, partial
from types import (
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.training.snapshots.nodes import (
    CONSTRUCTORS,
    HEAP_TYPE,
    MISSING,
    PARTS,
    PLAIN,
    WRAPPERS,
    Key,
    Node,
    Opaque,
    as_element,
    cell_content,
    label,
    leaf,
    mapping_base,
    memory_of,
    slot_value,
    slots_of,
)
from tinygrad_lab.training.snapshots.users_code import UsersCode, is_of_this_package, module_of, names_read, own_attributes

PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__")
ENVIRONMENT = {"environ", "environb", "getenv", "putenv"}
CONTAINERS = (object, list, tuple, dict, set, frozenset, bytearray, deque, np.ndarray)  # `_read` knows what is in them
NATIVE_CODE = (
    MethodDescriptorType,
    WrapperDescriptorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    np.ufunc,
)


class Reader:
    """Reads objects, and remembers which it has met.

    Parameters
    ----------
    roots : mapping of str to object

    Attributes
    ----------
    root : Node
        It has the roots as its parts.
    nodes : dict of int to Node
        The objects that were read, by their ids, in the order in which they were met.
    iterators : list of str
        Names of iterators that cannot be put back where they were: generators, `itertools.count`, open files.
    """

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self.root = Node(None, "roots", {(".", name): x for name, x in roots.items()})
        self.nodes: dict[int, Node] = {}
        self.iterators: list[str] = []
        self._unread: dict[int, Any] = {}  # what is known by its identity only
        self._users_code = UsersCode()
        self._names: set[str] = set()  # all names in the code that was met
        self._modules: list[Node] = []
        new = deque([self.root])
        while new:
            self._read_parts(new.popleft(), new)
            if not new:
                new.extend(node for node in self._modules if self._add_variables(node))
        if self.reads_environment:
            self.root.parts[".", "os.environ"] = hash(frozenset(os.environ.items()))

    @property
    def reads_environment(self) -> bool:
        """Whether the code that was read names the environment variables of the process."""
        return not self._names.isdisjoint(ENVIRONMENT)

    @property
    def has_users_code(self) -> bool:
        """Whether a function was read that the user has written."""
        return bool(self._names)

    def _read_parts(self, owner: Node, new: deque[Node]) -> None:
        for key, x in owner.parts.items():
            if type(x) in PLAIN or id(x) in self.nodes or id(x) in self._unread or leaf(x) is not None:
                continue
            node = self._read(x)
            if node is None:
                self._unread[id(x)] = x
                if _is_iterator(x):
                    self.iterators.append(f"{label(owner, key)} is a {type(x).__name__}")
                continue
            node.owner, node.key = owner, key
            self.nodes[id(x)] = node
            new.append(node)
            if node.content is None and not self._is_known(type(x)) and _is_iterator(x):
                self.iterators.append(f"{label(owner, key)} is a {type(x).__name__}")

    def _add_variables(self, module: Node) -> bool:
        """Add the variables of a module that any code names, and return whether there are new ones."""
        found = {("variable", name): x for name, x in vars(module.x).items() if name in self._names}
        is_new = found.keys() > module.parts.keys()
        module.parts = found
        return is_new

    # Reading ---------------------------------------------------------------------------------------------------------

    def _read(self, x: Any) -> Node | None:
        """Read an object, or return None for one that is known by its identity only."""
        kind = type(x)
        if kind is Tensor:
            return Node(x, (Tensor, x.shape, x.dtype, x.requires_grad), {}, (x._array, x._is_frozen, x.grad))
        if kind in NATIVE_CODE or kind.__module__ == "logging":  # a logger remembers which levels are enabled
            return None
        if isinstance(x, np.ndarray):
            return self._read_array(x)
        if isinstance(x, (list, tuple, deque)):
            items = {("[]", i): item for i, item in enumerate(_items(x))}
            return Node(x, kind, items | _attributes(x) | self._class_of(x))
        if isinstance(x, dict):
            items = {("[]", key): item for key, item in mapping_base(x).items(x)}
            factory = {("in", "default_factory"): x.default_factory} if isinstance(x, defaultdict) else {}
            return Node(x, kind, items | factory | _attributes(x) | self._class_of(x))
        if isinstance(x, (set, frozenset)):
            content = frozenset(map(as_element, x))
            return Node(x, (kind, content), _attributes(x) | self._class_of(x), set(x))
        if isinstance(x, bytearray):
            return Node(x, (kind, bytes(x)), _attributes(x) | self._class_of(x), bytes(x))
        if isinstance(x, FunctionType):
            return self._read_function(x)
        if isinstance(x, type):
            return self._read_class(x)
        if isinstance(x, ModuleType):
            return self._read_module(x)
        if isinstance(x, ContextVar):
            value = x.get(MISSING)
            return Node(x, Opaque(x), {} if value is MISSING else {("in", "value"): value})
        return self._read_wrapper(x) or self._read_buffer(x) or self._read_instance(x)

    def _read_array(self, x: np.ndarray) -> Node:
        parts = _attributes(x) | self._class_of(x)
        if x.dtype.hasobject:
            parts |= {("[]", i): item for i, item in enumerate(np.ndarray.flatten(x).tolist())}
        kind = (type(x), x.shape, x.strides, x.dtype)  # strides, as NumPy sums in the order of memory
        return Node(x, kind, parts, np.array(x, copy=True, subok=False))

    def _read_function(self, x: FunctionType) -> Node:
        parts: dict[Key, Any] = {("default", i): value for i, value in enumerate(x.__defaults__ or ())}
        parts |= {("default", name): value for name, value in (x.__kwdefaults__ or {}).items()}
        for name, cell in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True):
            if (value := cell_content(cell)) is not MISSING:
                parts["closure", name] = value
        names: list[str] = []
        if self._users_code.has(module_of(x)):
            names, all_names = names_read(x.__code__)
            parts |= {("global", name): x.__globals__[name] for name in names if name in x.__globals__}
            self._names |= all_names
        parts |= {(".", name): value for name, value in vars(x).items()}
        return Node(x, (FunctionType, x.__code__, module_of(x)), parts, names)

    def _read_class(self, x: type) -> Node | None:
        if not self._users_code.has(x.__module__):
            return None
        skipped = CONSTRUCTORS if issubclass(x, PARTS) else ()
        parts: dict[Key, Any] = {
            ("class attribute", name): value for name, value in own_attributes(x).items() if name not in skipped
        }
        parts |= {("base", i): base for i, base in enumerate(x.__bases__)}
        return Node(x, Opaque(x), parts)

    def _read_module(self, x: ModuleType) -> Node | None:
        if not self._users_code.has(x.__name__):
            return None
        node = Node(x, Opaque(x), {})
        self._modules.append(node)
        return node

    def _read_wrapper(self, x: Any) -> Node | None:
        """Read what holds a function or an object for Python: a bound method, a partial, a property, a weak reference."""
        for kind, names in WRAPPERS.items():
            if type(x) is kind:
                parts = {("in", name): getattr(x, name) for name in names}
                return Node(x, kind, parts | (_attributes(x) if kind is partial else {}))
        return Node(x, weakref.ref, {("in", "referent"): x()}) if type(x) is weakref.ref else None

    def _read_buffer(self, x: Any) -> Node | None:
        """Read the memory of a native object that gives others access to it: a ctypes or array.array object, a memoryview."""
        memory = memory_of(x)
        if memory is None and not isinstance(x, array):  # an array may be empty
            return None
        content = b"" if memory is None else memory.tobytes()
        return Node(x, (type(x), content), _attributes(x) | self._class_of(x), content)

    def _read_instance(self, x: Any) -> Node | None:
        """Read an object by its attributes. If its class is not written in Python, also by what pickle would store."""
        kind = type(x)
        if isinstance(x, PARTS):
            self._users_code.add(kind)
        parts = _attributes(x) | self._class_of(x)
        content = None
        if self._is_pickled(kind):
            try:
                if (reduced := _reduced(x)) is not None:
                    make, arguments, content, *items = reduced
                    values = {"make": make, "arguments": arguments, "state": content} | {
                        f"items{i}": list(part) for i, part in enumerate(items) if part is not None
                    }
                    parts |= {("state", name): value for name, value in values.items()}
                if not hasattr(x, "__setstate__"):
                    content = None
            except Exception:
                # A Value of multiprocessing can be pickled for a new process only.
                if not parts or not (self._is_known(kind) or kind.__module__ == "multiprocessing.sharedctypes"):
                    return None
        if not parts:
            return Node(x, kind, {}) if isinstance(x, PARTS) else None
        # An object without attributes that is no part may be a sentinel, which says something only by its identity.
        is_sentinel = parts.keys() == {("class", "")} and not isinstance(x, PARTS)
        return Node(x, Opaque(x) if is_sentinel else kind, parts, content)

    def _is_pickled(self, kind: type) -> bool:
        """Whether objects of a class have content besides their attributes, which only pickle knows."""
        first = next(base for base in kind.__mro__ if not vars(base).keys().isdisjoint(PICKLING))
        return _is_partly_native(kind) if first is object or self._is_known(first) else True

    def _is_known(self, kind: type) -> bool:
        """Whether objects of a class are its attributes: it is a class of this package, or of the user."""
        return is_of_this_package(kind.__module__) or self._users_code.has(kind.__module__)

    def _class_of(self, x: Any) -> dict[Key, Any]:
        return {("class", ""): type(x)} if self._users_code.has(type(x).__module__) else {}


def _items(x: Any) -> Iterator[Any]:
    base: Any = next(base for base in (list, tuple, deque) if isinstance(x, base))
    return base.__iter__(x)


def _attributes(x: Any) -> dict[Key, Any]:
    kind: Any = type(x)
    fields = getattr(x, "__dict__", None)
    parts: dict[Key, Any] = {(".", name): value for name, value in fields.items()} if isinstance(fields, dict) else {}
    for name, member in slots_of(kind).items():
        if (value := slot_value(member, x)) is not MISSING:
            parts["slot", name] = value
    return parts


def _reduced(x: Any) -> tuple[Any, ...] | None:
    """Return what pickle would store, or None if that is the name of the object only, as of a function with a cache."""
    if type(x).__module__ == "itertools":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickling an iterator is deprecated
            return (*x.__reduce_ex__(2), None)
    reduced = x.__reduce_ex__(2)
    return None if isinstance(reduced, str) else (*reduced, None)[:5]


@cache
def _is_partly_native(kind: Any) -> bool:
    """Whether objects of a class may have content that is not in their attributes."""
    return any(base not in CONTAINERS and not base.__flags__ & HEAP_TYPE for base in kind.__mro__)


def _is_iterator(x: Any) -> bool:
    if not hasattr(type(x), "__next__"):
        return False
    try:
        return not isinstance(x, io.IOBase) or x.readable()
    except ValueError:  # the file is closed
        return False
