"""A snapshot of objects: what they hold and what their code reads, to compare it with a later one and to put it back.

    roots --read--> nodes: an object and its parts --read--> ...        describe    one hashable value
                                                                        differences from a later snapshot
                                                                        put_back    the objects as they were

*Why not a copy?* A layer may count its calls in an attribute, but also in a module global, a closure, a class attribute or a
default argument. A copy of the layer shares all of these. So a probe runs on the objects themselves, and then each list,
dict, array, attribute and variable that the probe has changed gets its old content back. All objects keep their identity.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_lab.autodiff.recording import CaptureError
from tinygrad_lab.autodiff.tensor import Tensor
from tinygrad_lab.training.snapshots.nodes import (
    MISSING,
    Key,
    Node,
    Opaque,
    as_element,
    elements,
    label,
    leaf,
    native_owner,
    text,
)
from tinygrad_lab.training.snapshots.reading import Reader
from tinygrad_lab.training.snapshots.users_code import module_of
from tinygrad_lab.training.snapshots.writing import write
from tinygrad_lab.training.step import TrainingStep

# Attributes of a Trainer that its step does not read.
NOT_READ_BY_THE_STEP = {
    "scheduler", "epochs", "shuffle", "seed", "engine", "history", "inputs", "targets", "validation_fraction", "callbacks",
    "class_weight",
}  # fmt: skip
GENERATORS = ("numpy.random", "random")
"""The random generators of the whole process."""


@dataclass(frozen=True)
class Difference:
    """A part that is not what it was, `MISSING` if there is none. In place: the elements of an array or a Tensor."""

    owner: Node
    key: Key
    before: Any
    after: Any
    is_in_place: bool = False

    def __str__(self) -> str:
        native = native_owner(self.owner, self.key)
        while native is not None and (outer := native_owner(native.owner, native.key)) is not None:
            native = outer
        if native is not None:
            return f"{native}, a {type(native.x).__name__}, changed its state"
        name = label(self.owner, self.key)
        if name in (*GENERATORS, "os.environ"):
            return f"{name} changed its state"
        if self.before is MISSING:
            return f"{name} was added"
        if self.after is MISSING:
            return f"{name} was removed"
        if self.before is self.after:  # and not a Tensor or an array, which are compared by their elements
            return (
                f"{name} changed its order"
                if isinstance(self.after, dict)
                else f"{name}, {text(self.after)}, changed its state"
            )
        return f"{name} went from {text(self.before)} to {text(self.after)}"


class Snapshot:
    """What some objects hold at this moment, and what their code reads: attributes, items, globals, closures, classes.

    Parameters
    ----------
    roots : mapping of str to object
    results : collection of int
        The ids of Tensors that were just computed. Their numbers do not count.

    Attributes
    ----------
    roots, results
        The arguments.
    nodes : dict of int to Node
        The objects that were read, by their ids, in the order in which they were met.
    iterators : list of str
        Names of iterators that cannot be put back where they were: generators, `itertools.count`, open files.
    has_users_code : bool
        Whether code was read that is not of an installed package.

    Examples
    --------
    >>> class Counter:
    ...     calls = 0
    >>> counter = Counter()
    >>> counter.calls = 3
    >>> before = Snapshot({"counter": counter})
    >>> counter.calls = 4
    >>> [str(difference) for difference in before.differences(Snapshot({"counter": counter}))]
    ['Counter.calls went from 3 to 4']
    >>> before.put_back()
    >>> counter.calls
    3
    """

    def __init__(self, roots: Mapping[str, Any], results: Collection[int] = ()) -> None:
        self.roots = roots
        self.results = results
        reader = Reader(roots)
        self.root, self.nodes, self.iterators = reader.root, reader.nodes, reader.iterators
        self.has_users_code = reader.has_users_code

    def add_roots(self, numbers: Mapping[str, int]) -> None:
        """Add numbers to the roots, by name."""
        self.roots = {**self.roots, **numbers}
        self.root.parts |= {(".", name): number for name, number in numbers.items()}

    # Comparing -------------------------------------------------------------------------------------------------------

    def describe(self, variable: Collection[int] = ()) -> Hashable:
        """Return a value that is equal for two snapshots only if the objects are alike, with the same parts shared.

        Parameters
        ----------
        variable : collection of int
            The ids of Tensors whose numbers do not count.
        """
        numbers = {key: i for i, key in enumerate(self.nodes)}

        def describe(x: Any) -> Hashable:
            described = leaf(x)
            if described is not None:
                return described
            return numbers[id(x)] if id(x) in numbers else Opaque(x)

        def own(node: Node) -> Hashable:
            x = node.x
            if type(x) is Tensor:
                # The gradient of a result depends on the Tensors that it was computed from.
                return Opaque(x) if not x.is_leaf else None if id(x) in variable else node.content[0].tobytes()
            return node.content.tobytes() if isinstance(x, np.ndarray) and not x.dtype.hasobject else None

        nodes = [self.root, *self.nodes.values()]
        return tuple(
            (node.kind, own(node), *[(as_element(key), describe(x)) for key, x in node.parts.items()]) for node in nodes
        )

    def differences(self, later: Snapshot, ignored: Callable[[Any], bool] = lambda _: False) -> Iterator[Difference]:
        """Compare with a later snapshot of the same objects.

        Parameters
        ----------
        later : Snapshot
        ignored : callable, optional
            Which parts of the later snapshot do not count.
        """
        partners: dict[int, int] = {}
        met: set[int] = set()  # in the later snapshot
        pairs = deque([(self.root, later.root)])
        while pairs:
            one, other = pairs.popleft()
            if isinstance(other.x, dict):
                shared = {key for key in one.parts.keys() & other.parts.keys() if not ignored(other.parts[key])}
                if [key for key in one.parts if key in shared] != [key for key in other.parts if key in shared]:
                    yield Difference(one.owner or one, one.key, one.x, other.x)
            for key in dict.fromkeys((*one.parts, *other.parts)):
                x, y = one.parts.get(key, MISSING), other.parts.get(key, MISSING)
                if y is not MISSING and ignored(y):
                    continue
                first, second = self.nodes.get(id(x)), later.nodes.get(id(y))
                if first is None or second is None:
                    if x is not y and (leaf(x) is None or leaf(x) != leaf(y)):
                        yield Difference(one, key, x, y)
                elif id(x) in partners or id(y) in met:
                    if partners.get(id(x)) != id(y):
                        yield Difference(one, key, x, y)
                else:
                    partners[id(x)] = id(y)
                    met.add(id(y))
                    if first.kind != second.kind:
                        yield Difference(one, key, x, y)
                        continue
                    before, after = elements(first), elements(second)
                    if id(y) not in later.results and before.tobytes() != after.tobytes():
                        yield Difference(one, key, before, after, is_in_place=True)
                    pairs.append((first, second))

    def shares_state_with(self, other: Snapshot) -> bool:
        """Whether both have read an object or a global variable: what one changes, the other may see."""
        return not self._state().isdisjoint(other._state())

    def _state(self) -> set[Hashable]:
        variables = {(module_of(node.x), name) for node in self.nodes.values() for tag, name in node.parts if tag == "global"}
        return {*self.nodes, *variables}

    # Putting back ----------------------------------------------------------------------------------------------------

    def put_back(self) -> None:
        """Give every object the content that it had.

        Raises
        ------
        CaptureError
            If an object of a native class has changed, and has no `__setstate__`.
        """
        for node in self.nodes.values():
            write(node)
        if not any(("state", "state") in node.parts for node in self.nodes.values()):
            return
        for difference in list(self.differences(Snapshot(self.roots))):
            native = native_owner(difference.owner, difference.key)
            if native is None or native.content is None:
                raise CaptureError(
                    f"{difference} in a trial run, and cannot be put back; keep such state in attributes, "
                    "or train with engine='eager'"
                )
            native.x.__setstate__(native.content)


def roots_of(step: TrainingStep) -> dict[str, Any]:
    """Return the objects that a training step reads, by name. A subclass of the Trainer may read all of its attributes."""
    return {name: x for name, x in vars(step).items() if name not in NOT_READ_BY_THE_STEP} | {"class": type(step)}


def snapshot_of(step: TrainingStep, results: Collection[int] = ()) -> Snapshot:
    """Return a snapshot of what a training step reads, and of the global random generators, if it has code of the user."""
    snapshot = Snapshot(roots_of(step), results)
    if snapshot.has_users_code:  # the parts of this package draw from no global generator
        snapshot.add_roots(dict(zip(GENERATORS, map(hash, _generator_states()), strict=True)))
    return snapshot


def _generator_states() -> tuple[Any, Any]:
    legacy: Any = np.random.get_state()  # noqa: NPY002
    name, words, *rest = legacy
    return (name, words.tobytes(), *rest), random.getstate()


@contextmanager
def trial_run(step: TrainingStep) -> Iterator[Snapshot]:
    """Take back what a block changes in all that a step reads, and in the global random generators."""
    before = snapshot_of(step)
    if not before.has_users_code:  # the parts of this package change nothing
        yield before
        return
    states = _generator_states()
    environment = dict(os.environ)
    try:
        yield before
    finally:
        if _generator_states() != states:  # to set them takes longer
            (name, words, *rest), others = states
            np.random.set_state((name, np.frombuffer(words, np.uint32), *rest))  # noqa: NPY002
            random.setstate(others)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        before.put_back()
