"""Logarithmic networks on vectors: prefix counts, shifts, compression and expansion.

Vectors of n elements are handled as bit planes (plane b holds bit b of every element), so that a
stage of a network is one operation on n-bit words. Depth is O(log n) stages everywhere.
"""

from collections.abc import Sequence
from functools import reduce
from operator import and_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

Planes = list[Value]
"""Bit planes of a vector: plane b holds bit b of every element."""


def to_planes(elements: Sequence[Value]) -> Planes:
    """Bit planes of elements of equal width."""
    return [Cat(element[bit] for element in elements) for bit in range(len(elements[0]))]


def to_elements(planes: Planes, count: int) -> list[Value]:
    """Inverse of :func:`to_planes`."""
    return [Cat(plane[i] for plane in planes) for i in range(count)]


def largest_of(m: Module, planes: Planes) -> Planes:
    """Bits of the largest of the elements, unsigned, from the most significant one down."""
    count = len(planes[0])
    largest: Planes = []
    leading: Value = Const((1 << count) - 1, count)  # elements that agree with the maximum so far
    for bit in reversed(range(len(planes))):
        having = Signal(count, name=f"having_{bit}")
        found = Signal(name=f"largest_bit{bit}")
        rest = Signal(count, name=f"leading_{bit}")
        m.d.comb += [
            having.eq(leading & planes[bit]),
            found.eq(having.any()),
            rest.eq(Mux(found, having, leading)),
        ]
        largest.insert(0, found)
        leading = rest
    return largest


def prefix_counts(m: Module, bits: Value, limit: int | None = None) -> list[Value]:
    """Number of set bits below each position, and as final entry of all of them.

    A Sklansky prefix network. With ``limit`` the counts saturate there, which keeps its adders
    as narrow as ``limit``.

    Returns
    -------
    ``len(bits) + 1`` values.
    """
    top = len(bits) if limit is None else min(limit, len(bits))
    if top == 1:
        return [Value.cast(0), *prefix_any(m, bits)]
    sums: list[Value] = list(bits)  # sums[i]: set bits up to i in the block of i
    distance = 1
    while distance < len(bits):
        for i in range(len(bits)):
            if i & distance:
                total = Signal(range(min(top, 2 * distance) + 1), name=f"count_{distance}_{i}")
                added = sums[i] + sums[(i & -distance) - 1]
                if 2 * distance > top:
                    exact = Signal(len(added), name=f"sum_{distance}_{i}")
                    m.d.comb += exact.eq(added)
                    added = Mux(exact > top, top, exact)
                m.d.comb += total.eq(added)
                sums[i] = total
        distance *= 2
    return [Value.cast(0), *sums]


def prefix_any(m: Module, bits: Value) -> Value:
    """Whether a bit is set up to each position: a Sklansky network of ors."""
    distance = 1
    while distance < len(bits):
        found = Signal(len(bits), name=f"any_{distance}")
        lower = [
            bits[(i & -distance) - 1] if i & distance else Const(0, 1) for i in range(len(bits))
        ]
        m.d.comb += found.eq(bits | Cat(lower))
        bits = found
        distance *= 2
    return bits


def count_planes(m: Module, counts: Sequence[Value], bits: int) -> Planes:
    """Bit planes of counts of unequal width."""
    planes: Planes = []
    for bit in range(bits):
        plane = Signal(len(counts), name=f"below_bit{bit}")
        m.d.comb += plane.eq(
            Cat(count[bit] if bit < len(count) else Const(0, 1) for count in counts)
        )
        planes.append(plane)
    return planes


def where_equal(planes: Planes, number: int) -> Value:
    """At which positions elements equal a number."""
    equal = (plane if number >> bit & 1 else ~plane for bit, plane in enumerate(planes))
    return reduce(and_, equal)


def count_set(bits: Value) -> Value:
    """Number of set bits, of few."""
    total: Value = bits[0]
    for i in range(1, len(bits)):
        total = total + bits[i]
    return total


def shift_down(m: Module, elements: Sequence[Value], amount: Value, count: int) -> list[Value]:
    """Elements of equal width from place ``amount`` on, ``count`` of them; beyond the end 0."""
    width = len(elements[0])
    moved: Value = Cat(elements)
    for stage in range(len(amount)):
        before, moved = moved, Signal(len(moved), name=f"down_{stage}")
        m.d.comb += moved.eq(Mux(amount[stage], before[width << stage :], before))
    return [moved[i * width : (i + 1) * width] for i in range(count)]


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
    m.d.comb += [signal.eq(Const(i, width) - counts[i]) for i, signal in enumerate(clear_below)]
    distance = [plane & bits for plane in to_planes(clear_below)]
    distance = _stage(m, distance, "distance")
    leaves = []
    for stage in range(width):
        leaves.append(distance[stage])
        rest = _move_down(distance[stage + 1 :], distance[stage], 1 << stage)
        distance = [*distance[: stage + 1], *_stage(m, rest, f"distance_{stage}", stage + 1)]
    return leaves


def _move_down(planes: Planes, leaves: Value, step: int) -> Planes:
    """Elements whose ``leaves`` is set move ``step`` places down."""
    return [(plane & ~leaves) | (plane & leaves)[step:] for plane in planes]


def _stage(m: Module, planes: Planes, name: str, first: int = 0) -> Planes:
    """Give the planes of one stage, from bit ``first`` on, names of their own."""
    signals = []
    for bit, plane in enumerate(planes, first):
        signal = Signal(len(plane), name=f"{name}_bit{bit}")
        m.d.comb += signal.eq(plane)
        signals.append(signal)
    return signals
