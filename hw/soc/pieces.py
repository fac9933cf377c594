"""Vectors cut into equal pieces, and one of them chosen."""

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Array, Value


def pieces(vector: Value, size: int) -> list[Value]:
    """Pieces of so many bits, the least significant first."""
    return [vector[start : start + size] for start in range(0, len(vector), size)]


def chosen(options: Sequence[Value], index: Value) -> Value:
    """One of the options; beyond their number the last one, so that every case is covered."""
    if len(options) == 1:
        return options[0]
    beyond = (1 << len(index)) - len(options)
    return Array([*options, *[options[-1]] * beyond])[index]


def selected(options: Iterable[tuple[Value, Value]]) -> Value:
    """The option whose bit is 1, of pairs of a bit and a value; 0 where none is.

    Smaller than a choice by number where the bits are there.
    """
    return reduce(or_, (value & bit.replicate(len(value)) for bit, value in options))
