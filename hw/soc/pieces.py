"""Vectors cut into equal pieces, and one of them chosen."""

from collections.abc import Sequence

from amaranth.hdl import Array, Value


def pieces(vector: Value, size: int) -> list[Value]:
    """Pieces of so many bits, the least significant first."""
    return [vector[start : start + size] for start in range(0, len(vector), size)]


def chosen(options: Sequence[Value], index: Value) -> Value:
    """One of the options; beyond their number the last one, so that every case is covered."""
    beyond = (1 << len(index)) - len(options)
    return Array([*options, *[options[-1]] * beyond])[index]
