"""Passes from nests to nests: loops that are shared, arrays that become scalars."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from tinygrad_lab.codegen.dimensions import WHOLE, Index
from tinygrad_lab.codegen.nests import Nest, reference, replaced


def merge_nests(nests: Sequence[Nest]) -> list[list[Nest]]:
    """Group the nests whose loops can be shared, keeping every element written before it is read.

    A nest joins a group where its loops are the same, and what it reads from that group is the very element that the same
    turn of the loops has written.
    """
    groups: list[list[Nest]] = []
    writers: dict[str, tuple[int, Nest]] = {}  # the group in which a name is written
    readers: dict[str, list[tuple[int, Index, Nest]]] = {}  # the groups in which it is read before
    for nest in nests:
        earliest = 0
        for name, index in nest.reads:
            if name in writers:
                group, writer = writers[name]
                in_step = not writer.reduction and writer.domain == nest.domain and writer.index == index
                earliest = max(earliest, group if in_step else group + 1)
        for group, index, reader in readers.get(nest.name, []):
            in_step = not nest.reduction and reader.domain == nest.domain and index == nest.index
            earliest = max(earliest, group if in_step else group + 1)
        fitting = (i for i in range(earliest, len(groups)) if groups[i][0].domain == nest.domain)
        at = next(fitting, len(groups))
        if at == len(groups):
            groups.append([])
        groups[at].append(nest)
        for name, index in nest.reads:
            readers.setdefault(name, []).append((at, index, nest))
        writers[nest.name] = (at, nest)
    return groups


def make_scalars(groups: Sequence[Sequence[Nest]], arrays: Collection[str]) -> tuple[list[list[Nest]], set[str]]:
    """Turn each array that is written and read in the same turn of the same loops only into a local variable.

    Parameters
    ----------
    groups : sequence of sequence of Nest
    arrays : collection of str
        The names that may be turned: intermediate results, of which nothing is wanted after the step.

    Returns
    -------
    groups : list of list of Nest
        With local variables.
    names : set of str
        The arrays that are no more.
    """
    readers: dict[str, set[int]] = {}
    for i, group in enumerate(groups):
        for nest in group:
            for name, _ in nest.reads:
                readers.setdefault(name, set()).add(i)
    scalars = {
        nest.name
        for i, group in enumerate(groups)
        for nest in group
        if nest.name in arrays and not nest.reduction and nest.index != WHOLE and readers.get(nest.name, set()) <= {i}
    }

    def with_scalars(nest: Nest) -> Nest:
        names = {reference(name, index): name for name, index in nest.reads if name in scalars}
        reads = {(name, () if name in scalars else index) for name, index in nest.reads}
        index = () if nest.name in scalars else nest.index
        return replace(nest, index=index, expression=replaced(nest.expression, names), reads=reads)

    return [[with_scalars(nest) for nest in group] for group in groups], scalars
