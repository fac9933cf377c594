"""Vectors cut into equal pieces."""

from amaranth.hdl import Value


def pieces(vector: Value, size: int) -> list[Value]:
    """Pieces of so many bits, the least significant first."""
    return [vector[start : start + size] for start in range(0, len(vector), size)]
