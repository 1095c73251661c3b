"""Passes over loop nests: sharing loops, and replacing arrays by scalars."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from tinygrad_lab.codegen.dimensions import WHOLE, Index
from tinygrad_lab.codegen.nests import Nest, reference, replaced


def merge_nests(nests: Sequence[Nest]) -> list[list[Nest]]:
    """Group the nests whose loops can be shared, so that every element is written before it is read.

    A nest joins the first group with the same loops that comes late enough. If it reads an array, it can join the group that
    writes the array only if each iteration reads the element that it has just written. Otherwise it comes after that group.
    The same holds for groups that read an array which the nest overwrites.
    """
    groups: list[list[Nest]] = []
    writers: dict[str, tuple[int, Nest]] = {}  # the group that writes a name
    readers: dict[str, list[tuple[int, Index]]] = {}  # the groups that read a name, and the element
    for nest in nests:
        earliest = 0
        for name, index in nest.reads:
            if name in writers:
                group, writer = writers[name]
                same_element = not writer.reduction and writer.index == index
                earliest = max(earliest, group if same_element else group + 1)
        for group, index in readers.get(nest.name, []):
            same_element = not nest.reduction and index == nest.index
            earliest = max(earliest, group if same_element else group + 1)
        fitting = (i for i in range(earliest, len(groups)) if groups[i][0].domain == nest.domain)
        at = next(fitting, len(groups))
        if at == len(groups):
            groups.append([])
        groups[at].append(nest)
        for name, index in nest.reads:
            readers.setdefault(name, []).append((at, index))
        writers[nest.name] = (at, nest)
    return groups


def make_scalars(groups: Sequence[Sequence[Nest]], arrays: Collection[str]) -> tuple[list[list[Nest]], set[str]]:
    """Replace arrays by local variables where the iteration that writes an element is the only one that reads it.

    Parameters
    ----------
    groups : sequence of sequence of Nest
    arrays : collection of str
        The names of the arrays that may be replaced: intermediate results, which are not read after the step.

    Returns
    -------
    groups : list of list of Nest
        With local variables.
    names : set of str
        The arrays that were replaced.
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
