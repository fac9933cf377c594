"""Logarithmic networks on vectors: prefix counts, shifts, compression and expansion.

Vectors of n elements are handled as bit planes (plane b holds bit b of every element), so that a
stage of a network is one operation on n-bit words. Depth is O(log n) stages everywhere.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value

Planes = list[Value]
"""Bit planes of a vector: plane b holds bit b of every element."""


def to_planes(elements: Sequence[Value]) -> Planes:
    """Bit planes of elements of equal width."""
    return [Cat(element[bit] for element in elements) for bit in range(len(elements[0]))]


def to_elements(planes: Planes, count: int) -> list[Value]:
    """Inverse of :func:`to_planes`."""
    return [Cat(plane[i] for plane in planes) for i in range(count)]


def prefix_counts(m: Module, bits: Value, limit: int | None = None) -> list[Value]:
    """Number of set bits below each position, and as final entry of all of them.

    A Sklansky prefix network. With ``limit`` the counts saturate there, which keeps its adders
    as narrow as ``limit``.

    Returns
    -------
    ``len(bits) + 1`` values.
    """
    top = len(bits) if limit is None else min(limit, len(bits))
    sums: list[Value] = list(bits)  # sums[i]: set bits up to i in the block of i
    distance = 1
    while distance < len(bits):
        for i in range(len(bits)):
            if i & distance:
                total = Signal(range(min(top, 2 * distance) + 1), name=f"count_{distance}_{i}")
                added = sums[i] + sums[(i & -distance) - 1]
                m.d.comb += total.eq(Mux(added > top, top, added) if 2 * distance > top else added)
                sums[i] = total
        distance *= 2
    return [Value.cast(0), *sums]


def count_set(bits: Value) -> Value:
    """Number of set bits, of few."""
    total: Value = bits[0]
    for i in range(1, len(bits)):
        total = total + bits[i]
    return total


def shift_down(m: Module, planes: Planes, amount: Value, count: int) -> Planes:
    """Elements from place ``amount`` on, ``count`` of them; beyond the end 0."""
    for stage in range(len(amount)):
        shifted = [Mux(amount[stage], plane[1 << stage :], plane) for plane in planes]
        planes = _stage(m, shifted, f"down_{stage}")
    return [plane[:count] for plane in planes]


def shift_up(m: Module, planes: Planes, amount: Value, count: int) -> Planes:
    """Elements moved up by ``amount`` places within ``count`` places, zeros elsewhere."""
    for stage in range(len(amount)):
        shifted = [Mux(amount[stage], (plane << (1 << stage))[:count], plane) for plane in planes]
        planes = _stage(m, shifted, f"up_{stage}")
    return planes


def compress(m: Module, bits: Value, planes: Planes, counts: Sequence[Value]) -> Planes:
    """Elements whose bit is set, moved to the front in order; the rest is 0.

    An element travels down by the number of clear bits below it, one power of two a stage, least
    significant first: two elements never meet.

    Parameters
    ----------
    bits
        One bit an element.
    planes
        Elements as bit planes.
    counts
        :func:`prefix_counts` of ``bits``.
    """
    planes = [plane & bits for plane in planes]
    for stage, leaves in enumerate(_leaves(m, bits, counts)):
        planes = _stage(m, _move_down(planes, leaves, 1 << stage), f"packed_{stage}")
    return planes


def expand(m: Module, bits: Value, planes: Planes, counts: Sequence[Value]) -> Planes:
    """Inverse of :func:`compress`: elements in order to the places whose bit is set, 0 elsewhere.

    The moves are those of the compression, known from the bits alone, in reverse order.
    """
    for stage, leaves in reversed(list(enumerate(_leaves(m, bits, counts)))):
        moved = [(plane & ~leaves) | ((plane << (1 << stage)) & leaves) for plane in planes]
        planes = _stage(m, [plane[: len(bits)] for plane in moved], f"spread_{stage}")
    return [plane & bits for plane in planes]


def _leaves(m: Module, bits: Value, counts: Sequence[Value]) -> list[Value]:
    """For every stage of a compression, which places an element leaves."""
    width = (len(bits) - 1).bit_length()
    clear_below = [Signal(width, name=f"clear_below_{i}") for i in range(len(bits))]
    m.d.comb += [signal.eq(i - counts[i]) for i, signal in enumerate(clear_below)]
    distance = [plane & bits for plane in to_planes(clear_below)]
    distance = _stage(m, distance, "distance")
    leaves = []
    for stage in range(width):
        leaves.append(distance[stage])
        distance = _stage(m, _move_down(distance, distance[stage], 1 << stage), f"distance_{stage}")
    return leaves


def _move_down(planes: Planes, leaves: Value, step: int) -> Planes:
    """Elements whose ``leaves`` is set move ``step`` places down."""
    return [(plane & ~leaves) | (plane & leaves)[step:] for plane in planes]


def _stage(m: Module, planes: Planes, name: str) -> Planes:
    """Give the planes of one stage names of their own."""
    signals = []
    for bit, plane in enumerate(planes):
        signal = Signal(len(plane), name=f"{name}_bit{bit}")
        m.d.comb += signal.eq(plane)
        signals.append(signal)
    return signals
