"""Logarithmic networks on vectors: prefix counts, shifts, compression and expansion.

Every network here has a depth of O(log n) stages for n elements.
"""

from collections.abc import Sequence

from amaranth.hdl import Const, Module, Mux, Signal, Value


def prefix_counts(m: Module, bits: Value, limit: int | None = None) -> list[Value]:
    """Number of set bits below each position, and as final entry of all of them.

    A Sklansky prefix network. With ``limit`` the counts saturate there, which keeps its adders
    as narrow as ``limit``.

    Returns
    -------
    ``len(bits) + 1`` values.
    """
    top = len(bits) if limit is None else min(limit, len(bits))
    sums: list[Value] = list(bits)  # sums[i]: set bits in the block that ends with i
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


def shift_down(m: Module, values: Sequence[Value], amount: Value, count: int) -> list[Value]:
    """``[values[amount], ..., values[amount + count - 1]]`` by a barrel shifter; beyond the end 0."""
    current = list(values)
    for stage in range(len(amount)):
        step = 1 << stage
        current = [
            _stage(m, Mux(amount[stage], current[i + step] if i + step < len(current) else 0, value), value)
            for i, value in enumerate(current)
        ]
    return current[:count]


def shift_up(m: Module, values: Sequence[Value], amount: Value, count: int) -> list[Value]:
    """``values`` moved up by ``amount`` places within ``count`` places, zeros elsewhere."""
    current = list(values) + [Const(0, len(values[0]))] * (count - len(values))
    for stage in range(len(amount)):
        step = 1 << stage
        current = [
            _stage(m, Mux(amount[stage], current[i - step] if i >= step else 0, value), values[0])
            for i, value in enumerate(current)
        ]
    return current


def _stage(m: Module, value: Value, like: Value) -> Signal:
    """Give one multiplexer of a network a name of its own."""
    signal = Signal(len(like), name="shifted")
    m.d.comb += signal.eq(value)
    return signal


def compress(m: Module, bits: Value, values: Sequence[Value], counts: Sequence[Value]) -> list[Value]:
    """Values whose bit is set, moved to the front in order; the rest is 0.

    Each value travels down by the number of clear bits below it, one power of two a stage, least
    significant first: two values never meet.

    Parameters
    ----------
    bits
        One bit a value.
    values
        Values of equal width.
    counts
        :func:`prefix_counts` of ``bits``.
    """
    moves = [(bits[i], (i - counts[i])) for i in range(len(values))]
    current = [_stage(m, Mux(bits[i], value, 0), value) for i, value in enumerate(values)]
    distance = _distances(m, moves)
    for stage in range((len(values) - 1).bit_length()):
        step = 1 << stage
        leaves = [d[stage] if stage < len(d) else Value.cast(0) for d in distance]
        current = _move_down(m, current, leaves, step)
        distance = _move_down(m, distance, leaves, step)
    return current


def _distances(m: Module, moves: Sequence[tuple[Value, Value]]) -> list[Value]:
    """Distance each present value has to travel; absent ones stay."""
    width = (len(moves) - 1).bit_length()
    distances: list[Value] = []
    for i, (present, distance) in enumerate(moves):
        signal = Signal(width, name=f"distance_{i}")
        m.d.comb += signal.eq(Mux(present, distance, 0))
        distances.append(signal)
    return distances


def _move_down(m: Module, values: list[Value], leaves: Sequence[Value], step: int) -> list[Value]:
    """One compression stage: values whose ``leaves`` is set move ``step`` places down."""
    moved: list[Value] = []
    for i, value in enumerate(values):
        stays = value & ~leaves[i].replicate(len(value))
        comes = Value.cast(0)
        if i + step < len(values):
            comes = values[i + step] & leaves[i + step].replicate(len(value))
        moved.append(_stage(m, stays | comes, value))
    return moved


def expand(m: Module, bits: Value, values: Sequence[Value], counts: Sequence[Value]) -> list[Value]:
    """Inverse of :func:`compress`: the values in order at the places whose bit is set, 0 elsewhere.

    The moves are those of the compression, known from the bits alone, made in reverse order.
    """
    distance = _distances(m, [(bits[i], (i - counts[i])) for i in range(len(values))])
    moves: list[list[Value]] = []
    for stage in range((len(values) - 1).bit_length()):
        leaves = [d[stage] for d in distance]
        moves.append(leaves)
        distance = _move_down(m, distance, leaves, 1 << stage)
    current = list(values)
    for stage, leaves in reversed(list(enumerate(moves))):
        step = 1 << stage
        current = [
            _stage(m, Mux(leaves[i], current[i - step], value), value) if i >= step else value
            for i, value in enumerate(current)
        ]
    return [_stage(m, Mux(bits[i], value, 0), value) for i, value in enumerate(current)]
