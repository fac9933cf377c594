"""Sums of many small numbers: carry-save adders, and a tree of signed adders."""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import add

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value


def carry_save(
    m: Module, bits: Mapping[int, Iterable[Value]], width: int, lanes: int = 1
) -> list[Value]:
    """Sums, modulo ``2^width``, of bits by their weight's exponent, for some lanes side by side.

    Full adders take three bits of a weight to one of it and one of the next, all weights level
    after level (Wallace), until two rows are left for one adder a lane. The full adders of a weight
    and level, of all lanes, are one operation on vectors: the same gates, but short to write and
    quick to simulate. In Verilog those of weight ``2^2`` on level 1 take ``a_l1_w2``, ``b_l1_w2``
    and ``c_l1_w2`` to ``sum_l1_w2`` and ``carry_l1_w2``.

    Parameters
    ----------
    bits
        Exponent ``j`` to vectors of a multiple of ``lanes`` bits: bit ``i`` is lane ``i % lanes``'s
        and counts ``2^j``.
    width
        Bits of a sum; heavier ones fall off.
    """
    rows = _reduced(m, bits, width, lanes)
    return [reduce(add, _two(rows, lane, lanes))[:width] for lane in range(lanes)]


def carry_save_rows(
    m: Module, bits: Mapping[int, Iterable[Value]], width: int, lanes: int = 1
) -> list[tuple[Value, Value]]:
    """Two numbers a lane whose sum is that of its bits, as :func:`carry_save` takes them.

    Half adders, too, keep all weights equally high (Dadda). So no carry runs through one weight
    after the other, however different the numbers of their bits are.
    """
    rows = {k: Cat(*bits.get(k, ())) for k in range(width)}
    heights = [2]
    while heights[-1] * lanes < max(map(len, rows.values())):
        heights.append(heights[-1] * 3 // 2)
    for level, height in enumerate(reversed(heights)):
        after: dict[int, list[Value]] = {k: [] for k in range(width + 1)}
        for k, row in rows.items():
            carries = sum(map(len, after[k])) // lanes
            excess = max(0, len(row) // lanes + carries - height)
            full, half = excess // 2 * lanes, excess % 2 * lanes
            taken = 3 * full + 2 * half
            if full:
                total, carry = _full_adders(m, row, full, f"l{level}_w{k}")
                after[k].append(total)
                after[k + 1].append(carry)
            if half:
                pair = row[3 * full : taken]
                total, carry = _half_adders(m, pair, half, f"l{level}_w{k}")
                after[k].append(total)
                after[k + 1].append(carry)
            after[k].append(row[taken:])
        rows = {k: Cat(*after[k]) for k in range(width)}
    return [_two(rows, lane, lanes) for lane in range(lanes)]


def _reduced(
    m: Module, bits: Mapping[int, Iterable[Value]], width: int, lanes: int
) -> Mapping[int, Value]:
    """At most two bits of each weight and lane, by full adders."""
    rows = {k: Cat(*bits.get(k, ())) for k in range(width)}
    level = 0
    while any(len(row) > 2 * lanes for row in rows.values()):
        after: dict[int, list[Value]] = {k: [] for k in range(width)}
        for k, row in rows.items():
            third = len(row) // (3 * lanes) * lanes
            if third:
                total, carry = _full_adders(m, row, third, f"l{level}_w{k}")
                after[k].append(total)
                if k + 1 < width:
                    after[k + 1].append(carry)
            after[k].append(row[3 * third :])
        rows = {k: Cat(*parts) for k, parts in after.items()}
        level += 1
    return rows


def spread(bit: Value, count: int) -> Value:
    """So many copies of a bit; a choice simulates faster than a concatenation."""
    return Mux(bit, Const((1 << count) - 1, count), Const(0, count))


def _two(rows: Mapping[int, Value], lane: int, lanes: int) -> tuple[Value, Value]:
    """The one or two bits of each weight that a lane has left, as two numbers."""
    first, second = (
        Cat(*(row[i] if len(row) > i else Const(0, 1) for row in rows.values()))
        for i in (lane, lanes + lane)
    )
    return first, second


def _full_adders(m: Module, row: Value, count: int, name: str) -> tuple[Value, Value]:
    """Sums and carries of ``count`` full adders on the first bits of a row."""
    a, b, c = (Signal(count, name=f"{i}_{name}") for i in "abc")
    half, total, carry = (Signal(count, name=f"{i}_{name}") for i in ("half", "sum", "carry"))
    m.d.comb += [
        Cat(a, b, c).eq(row[: 3 * count]),
        half.eq(a ^ b),
        total.eq(half ^ c),
        carry.eq((a & b) | (half & c)),
    ]
    return total, carry


def _half_adders(m: Module, pair: Value, count: int, name: str) -> tuple[Value, Value]:
    """Sums and carries of ``count`` half adders."""
    total, carry = (Signal(count, name=f"half_{i}_{name}") for i in ("sum", "carry"))
    m.d.comb += [
        total.eq(pair[:count] ^ pair[count:]),
        carry.eq(pair[:count] & pair[count:]),
    ]
    return total, carry


def binary_tree(
    values: list[Value], named: Callable[[Value, int, int], Value] | None = None
) -> Value:
    """Sum of signed numbers by pairs, as wide as it needs to be.

    ``named`` makes a net with a name of a partial sum; it is also told of how many numbers that is
    the sum, and its place among those of as many.
    """
    size = 1
    while len(values) > 1:
        size *= 2
        pairs = [reduce(add, values[i : i + 2]) for i in range(0, len(values), 2)]
        if named is not None and len(pairs) > 1:
            pairs = [named(total, size, i) for i, total in enumerate(pairs)]
        values = pairs
    return values[0]
