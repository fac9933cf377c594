"""Timing of the hybrid array: the schedule of a run, and its counts for whole LLMs.

The recurrence, all in cycles of a free-flowing run, for chunk c of a tile and row group p:

* ``open = max(end of the chunk before, latest finish[c - B]) + 1``: first beat of the chunk's
  weights; one feature a cycle.
* ``start[p] = max(finish[c - 1, p] + 1, open + 2)``: first low half.
* ``finish[c, p] = start[p] + length + popcount - 1``: low halves, then the high halves of the OR of
  the group's bitmaps.
* ``e = max(max finish[last chunk], e of the tile before + R + 3)``: the tile ends; its row r leaves
  in ``e + 4 + r``, and the next tile starts in ``e + 1``.

Decoding of high halves runs ahead and never delays a row:

* ``push = max(push of the entry before + 1, mask buffer full, pop of the entry ``queue`` before)``.
* A buffer takes a bitmap word a cycle, once all entries of the buffer before the last are pushed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .events import Counts
from .grouped import joined_counts, weight_groups
from .layer import check_shape
from .schedule import Pulses, ranges
from .sparqle_config import SparqleConfig, events
from .tiling import Tiling

FILL = 2  # cycles from a beat of weights to the first row that may read it
DRAIN = 4  # cycles from a tile's end to its first row of results
_LONG_AGO = -(1 << 40)
_SETTLED = 6  # tiles after which repeated tiles are taken to be periodic; checked


def lengths(config: SparqleConfig, in_features: int) -> NDArray[np.int64]:
    """Input features of each chunk of a tile."""
    starts = np.arange(0, in_features, config.chunk)
    return np.minimum(config.chunk, in_features - starts)


def popcounts(config: SparqleConfig, bitmap: NDArray[np.uint8], chunks: int) -> NDArray[np.int64]:
    """High halves that each row group works off, ``(token_blocks, row_groups, chunks)``.

    Parameters
    ----------
    bitmap
        ``(tokens, bytes)``, as :attr:`nibbleforge.golden.hybrid.Packed.bitmap`.
    """
    blocks = -(-len(bitmap) // config.rows)
    padded = np.zeros((blocks * config.rows, -(-chunks * config.chunk // 8)), np.uint8)
    columns = min(padded.shape[1], bitmap.shape[1])
    padded[: len(bitmap), :columns] = bitmap[:, :columns]
    rows = padded.reshape(blocks, config.row_groups, config.sharing, -1)
    shared = rows[:, :, 0] if config.sharing == 1 else np.bitwise_or.reduce(rows, axis=2)
    if config.chunk < 8:
        nibbles = np.stack([shared & 15, shared >> 4], axis=-1)
        return np.bitwise_count(nibbles).reshape(blocks, config.row_groups, -1)[..., :chunks]
    counts = np.bitwise_count(np.ascontiguousarray(shared)).reshape(
        blocks, config.row_groups, chunks, -1
    )
    return counts.sum(axis=-1, dtype=np.int64)


# --- the recurrence ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _State:
    """What a tile inherits, one entry a token block: all that the next tile's timing depends on.

    Attributes
    ----------
    end
        Cycle in which the tile before ended, ``(n,)``.
    weights
        Cycle of the final beat of weights so far, ``(n,)``.
    latest
        Latest finish of each of the last B chunks, oldest first, ``(B, n)``.
    drained
        Earliest end of the next tile, ``(n,)``.
    """

    end: NDArray[np.int64]
    weights: NDArray[np.int64]
    latest: NDArray[np.int64]
    drained: NDArray[np.int64]

    @classmethod
    def cold(cls, config: SparqleConfig, count: int) -> "_State":
        """Before a run whose first input beat is taken in cycle 0."""
        before = np.full(count, -1, np.int64)
        never = np.full((config.weight_banks, count), _LONG_AGO, np.int64)
        return cls(before, before, never, np.full(count, _LONG_AGO, np.int64))

    def relative(self) -> "_State":
        """The same with the tile's end in cycle 0."""
        return _State(
            self.end * 0,
            np.maximum(self.weights - self.end, _LONG_AGO),
            np.maximum(self.latest - self.end, _LONG_AGO),
            np.maximum(self.drained - self.end, _LONG_AGO),
        )

    def equals(self, other: "_State") -> bool:
        """Whether all entries are the same."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("end", "weights", "latest", "drained")
        )

    def handed_on(self, first: "_State") -> "_State":
        """What each token block inherits from the one before, the first from ``first``."""
        names = ("end", "weights", "latest", "drained")
        parts = ((getattr(first, name), getattr(self, name)[..., :-1]) for name in names)
        return _State(*(np.concatenate(pair, axis=-1) for pair in parts))


@dataclass(frozen=True)
class _Tile:
    """Timing of one tile for several token blocks at once, ``n`` of them.

    Attributes
    ----------
    opens, starts
        Cycle of each chunk's first beat of weights ``(chunks, n)``, and first low halves
        ``(chunks, P, n)``.
    finishes
        Cycle of each row group's final step in a chunk, ``(chunks, P, n)``.
    after
        State that the next tile inherits.
    """

    opens: NDArray[np.int64]
    starts: NDArray[np.int64]
    finishes: NDArray[np.int64]
    after: _State

    def waits(self, before: _State) -> dict[str, NDArray[np.int64]]:
        """Totals of the time events, ``(n,)`` each."""
        done = self.finishes[-1]
        return {
            "stall_weights": (self.starts[1:] - self.finishes[:-1] - 1).sum(axis=(0, 1)),
            "stall_rows": (self.after.end - done).sum(axis=0),
            "stall_drain": self.after.end - done.max(axis=0),
            "duration": self.after.end - before.end,
        }


def _tile(
    config: SparqleConfig, chunk_lengths: NDArray, counts: NDArray[np.int64], before: _State
) -> _Tile:
    """Run one tile; ``counts`` is ``(chunks, P, n)``."""
    chunks, groups, blocks = counts.shape
    opens = np.empty((chunks, blocks), np.int64)
    starts = np.empty((chunks, groups, blocks), np.int64)
    finishes = np.empty((chunks, groups, blocks), np.int64)
    finish = np.broadcast_to(before.end, (groups, blocks))
    weights = before.weights
    latest = list(before.latest)
    for c, length in enumerate(chunk_lengths):
        opens[c] = np.maximum(weights, latest[c]) + 1
        starts[c] = np.maximum(finish + 1, opens[c] + FILL)
        finishes[c] = starts[c] + counts[c] + (length - 1)
        finish = finishes[c]
        weights = opens[c] + length - 1
        latest.append(finish.max(axis=0))
    end = np.maximum(latest[-1], before.drained)
    drained = end + config.rows + DRAIN - 1
    after = _State(end, weights, np.stack(latest[chunks:]), drained)
    return _Tile(opens, starts, finishes, after)


# --- counts -----------------------------------------------------------------------------------


def cycles(
    config: SparqleConfig,
    bitmap: NDArray[np.uint8],
    in_features: int,
    outputs: int,
    *,
    sort: bool = False,
) -> Counts:
    """Counts of a layer in one free-flowing run.

    Parameters
    ----------
    bitmap
        Packed precision bitmap, ``(tokens, bytes)``, padding 0.
    in_features, outputs
        Shape of the weights.
    sort
        Whether tokens come in the order of their density; else as they are.
    """
    tokens = len(bitmap)
    check_shape(config, tokens, in_features, outputs)
    present = np.bitwise_count(bitmap).sum(axis=1, dtype=np.int64)
    if sort:
        order = np.argsort(present, kind="stable")
        bitmap, present = bitmap[order], present[order]
    tiling = Tiling(tokens, outputs, config.rows, config.columns)
    grouped = config.dequant == "group"
    groups = weight_groups(config, in_features) if grouped else 1
    chunk_lengths = np.tile(lengths(config, in_features // groups), groups)
    counts = popcounts(config, bitmap, len(chunk_lengths))
    stages = _Stages(config, chunk_lengths, counts.transpose(2, 1, 0), groups)
    end, between, waits = _repeated(stages, tiling.output_blocks)
    tiles, times = len(tiling), tiling.output_blocks
    steps = int(counts.sum())  # of high halves, over all row groups
    totals = {
        "lsb_macs": tiles * in_features * config.rows * config.columns,
        "msb_macs": times * int(present.sum()) * config.columns,
        "gated_macs": times * (steps * config.sharing - int(present.sum())) * config.columns,
        "bank_reads": tiles * in_features * config.row_groups + times * steps,
        "w_beats": tiles * in_features,
        "lsb_beats": tiles * in_features * config.row_groups,
        "bitmap_words": tiles * config.rows * -(-in_features // config.group),
        "value_beats": times * _value_beats(config, bitmap, present, in_features // groups),
        "y_beats": tiles * groups * config.rows,
        "tiles": tiles * groups,
        "errors": 0,
        "stall_lsb": 0,
        "stall_list": 0,
        **waits,
    }
    ordered = {event.name: totals[event.name] for event in events(config)}
    ideal = times * _mean_work(config, present, in_features)
    front = Counts(end + DRAIN + config.rows, ordered, ideal)
    return joined_counts(config, front, tiles, groups, between) if grouped else front


def _value_beats(
    config: SparqleConfig, bitmap: NDArray[np.uint8], present: NDArray[np.int64], features: int
) -> int:
    """Beats of high halves: each token's of each weight group begin with a fresh one."""
    if config.dequant == "group":
        bits = np.unpackbits(bitmap, axis=1, bitorder="little")
        starts = np.arange(0, bits.shape[1], features)
        present = np.add.reduceat(bits, starts, axis=1, dtype=np.int64)
    return int((-(-present // config.beat)).sum())


def _mean_work(config: SparqleConfig, present: NDArray[np.int64], in_features: int) -> float:
    """Sum over token blocks of the mean work of their real rows."""
    starts = np.arange(0, len(present), config.rows)
    sizes = np.minimum(config.rows, len(present) - starts)
    return float((in_features + np.add.reduceat(present, starts) / sizes).sum())


@dataclass(frozen=True)
class _Stages:
    """Chunks of a tile and how much each row group works on them, for token blocks side by side.

    Attributes
    ----------
    lengths
        Input features of each chunk.
    counts
        High halves, ``(chunks, P, token blocks)``.
    groups
        Weight groups, equally many chunks each: all rows wait for each other at their ends.
    """

    config: SparqleConfig
    lengths: NDArray[np.int64]
    counts: NDArray[np.int64]
    groups: int

    def of(self, block: int) -> "_Stages":
        """One token block alone."""
        return _Stages(self.config, self.lengths, self.counts[:, :, [block]], self.groups)

    def run(self, before: _State) -> tuple[_State, dict[str, NDArray[np.int64]]]:
        """One tile each: what it leaves, seen from its end, and totals of the time events."""
        totals: dict[str, NDArray[np.int64]] = {}
        state, between = before, np.zeros(self.counts.shape[-1], np.int64)
        for group, (chunk_lengths, counts) in enumerate(
            zip(
                np.split(self.lengths, self.groups),
                np.split(self.counts, self.groups),
                strict=True,
            )
        ):
            tile = _tile(self.config, chunk_lengths, counts, state)
            waits = tile.waits(state)
            between += waits["duration"] if group else 0
            totals = {name: totals.get(name, 0) + wait for name, wait in waits.items()}
            state = tile.after.relative()
        return state, {**totals, "between": between}


def _repeated(stages: _Stages, times: int) -> tuple[int, int, dict[str, int]]:
    """Final end, cycles between ends of weight groups, and time events, every block repeated.

    Repeated tiles soon take the same time each: all token blocks are looked at side by side, first
    what they settle to, then the way there from what the block before leaves.
    """
    config, blocks = stages.config, stages.counts.shape[-1]
    settled = _State.cold(config, blocks).relative()
    for _ in range(_SETTLED):
        before = settled
        settled, _ = stages.run(settled)
        if settled.equals(before):
            break
    state = settled.handed_on(_State.cold(config, 1).relative())
    totals: dict[str, NDArray[np.int64]] = {}
    for done in range(times):
        before = state
        state, waits = stages.run(state)
        repeats = times - done if state.equals(before) else 1
        totals = {name: totals.get(name, 0) + repeats * wait for name, wait in waits.items()}
        if repeats > 1:
            break
    if not state.equals(settled):
        totals = _one_by_one(stages, times)
    sums = {name: int(total.sum()) for name, total in totals.items()}
    return sums.pop("duration") - 1, sums.pop("between"), sums


def _one_by_one(stages: _Stages, times: int) -> dict[str, NDArray[np.int64]]:
    """The same without any assumption, tile after tile."""
    state = _State.cold(stages.config, 1).relative()
    found = []
    for block in np.repeat(np.arange(stages.counts.shape[-1]), times).tolist():
        state, waits = stages.of(block).run(state)
        found.append(waits)
    return {name: np.concatenate([waits[name] for waits in found]) for name in found[0]}


# --- the schedule -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entries:
    """What the decoder of a row group hands to its row, in order.

    Attributes
    ----------
    pops
        Cycle in which the row takes each entry.
    buffers
        Mask buffer that each entry comes from, counted over the run.
    used
        ``(entries, g)``: rows whose own high half is not zero; none for an empty chunk.
    tokens
        Tile that each entry belongs to.
    """

    pops: NDArray[np.int64]
    buffers: NDArray[np.int64]
    used: NDArray[np.bool_]
    tiles: NDArray[np.int64]


class Run:
    """A run of tiles in full detail.

    Parameters
    ----------
    features
        Input features of every tile.
    present
        ``(token blocks, P, g, padded features)``: where high halves are not zero.
    blocks
        Token block of each tile.
    """

    def __init__(
        self,
        config: SparqleConfig,
        features: int,
        present: NDArray[np.bool_],
        blocks: NDArray[np.int64],
    ):
        self.config = config
        self.features = features
        self.present = present
        self.blocks = blocks
        self.lengths = lengths(config, features)
        shared = np.bitwise_or.reduce(present, axis=2)
        chunked = shared[..., : len(self.lengths) * config.chunk].reshape(
            *shared.shape[:2], -1, config.chunk
        )
        self.counts = chunked.sum(axis=-1, dtype=np.int64)  # block, P, chunk
        self.tiles = list(self._tiles())
        self.decoders = [self._decode(p) for p in range(config.row_groups)]

    def _tiles(self) -> Iterator[_Tile]:
        state = _State.cold(self.config, 1)
        for block in self.blocks:
            counts = self.counts[block].T[:, :, None]
            tile = _tile(self.config, self.lengths, counts, state)
            state = tile.after
            yield tile

    @property
    def ends(self) -> NDArray[np.int64]:
        """Cycle in which each tile ends."""
        return np.concatenate([tile.after.end for tile in self.tiles])

    @property
    def weights(self) -> NDArray[np.int64]:
        """Cycle of each beat of weights."""
        return np.concatenate([ranges(tile.opens[:, 0], self.lengths) for tile in self.tiles])

    def low(self, p: int) -> NDArray[np.int64]:
        """Cycles in which a row group works on low halves."""
        starts = [ranges(tile.starts[:, p, 0], self.lengths) for tile in self.tiles]
        return np.concatenate(starts)

    def _decode(self, p: int) -> "_Decoder":
        """Entries of a row group, and when its decoder pushes them and takes its words."""
        return _Decoder(self.config, self.features, self._entries(p))

    def _entries(self, p: int) -> _Entries:
        config, chunks = self.config, len(self.lengths)
        present = self.present[self.blocks, p, :, : chunks * config.chunk]
        present = present.reshape(len(self.blocks), config.sharing, chunks, config.chunk)
        counts = self.counts[self.blocks, p]
        null = (counts == 0) & ~_dropped(config, counts)
        slots = np.concatenate([present.any(axis=1), null[..., None]], axis=-1)
        tile, chunk, index = np.nonzero(slots)
        used = np.concatenate([present, np.zeros_like(present[..., :1])], axis=-1)
        starts = np.stack([tile.starts[:, p, 0] for tile in self.tiles])
        first = np.cumsum(slots.sum(axis=-1).ravel()) - slots.sum(axis=-1).ravel()
        rank = np.arange(len(tile)) - first[tile * chunks + chunk]
        is_null = index == config.chunk
        per_tile = -(-self.features // config.span)
        return _Entries(
            pops=starts[tile, chunk] + self.lengths[chunk] + rank - is_null,
            buffers=tile * per_tile + chunk * config.chunk // config.span,
            used=used[tile, :, chunk, index],
            tiles=tile,
        )

    def port_cycles(self) -> dict[str, NDArray[np.int64]]:
        """Cycle in which each beat of each port is accepted."""
        config = self.config
        cycles = {"w": self.weights}
        cycles |= {f"lsb_{p}": self.low(p) for p in range(config.row_groups)}
        shared = range(config.rows)
        cycles |= {f"bitmap_{r}": self.decoders[r // config.sharing].words for r in shared}
        cycles |= {
            f"values_{r}": self.decoders[r // config.sharing].values[r % config.sharing]
            for r in shared
        }
        rows = self.ends[:, None] + DRAIN + np.arange(config.rows)
        return cycles | {"y": rows.ravel()}

    def pulses(self) -> dict[str, Pulses]:
        """Every event."""
        config = self.config
        columns, slots = config.columns, config.sharing * config.columns
        low = np.concatenate([self.low(p) for p in range(config.row_groups)])
        steps = [_High.of(decoder.entries) for decoder in self.decoders]
        high = np.concatenate([step.cycles for step in steps])
        used = np.concatenate([step.rows for step in steps])
        ports = self.port_cycles()
        bitmaps = [ports[f"bitmap_{r}"] for r in range(config.rows)]
        values = [ports[f"values_{r}"] for r in range(config.rows)]
        done = [tile.finishes[-1, :, 0] for tile in self.tiles]
        none = np.zeros(0, np.int64)
        return {
            "lsb_macs": _sum(low, slots),
            "msb_macs": _sum(high, columns * used),
            "gated_macs": _sum(high, slots - columns * used),
            "bank_reads": _sum(np.concatenate([low, high])),
            "w_beats": _sum(ports["w"]),
            "lsb_beats": _sum(low),
            "bitmap_words": _sum(np.concatenate(bitmaps)),
            "value_beats": _sum(np.concatenate(values)),
            "y_beats": _sum(ports["y"]),
            "tiles": _sum(self.ends),
            "errors": _sum(none),
            "stall_weights": _sum(self._without_weights()),
            "stall_lsb": _sum(none),
            "stall_list": _sum(none),
            "stall_rows": _sum(
                np.concatenate(
                    [
                        ranges(finish + 1, end - finish)
                        for finish, end in zip(done, self.ends, strict=True)
                    ]
                )
            ),
            "stall_drain": _sum(
                np.concatenate(
                    [
                        np.arange(finish.max(), end)
                        for finish, end in zip(done, self.ends, strict=True)
                    ]
                )
            ),
        }

    def _without_weights(self) -> NDArray[np.int64]:
        """Cycles in which row groups wait for weights between two chunks of a tile."""
        waits = [
            ranges(
                tile.finishes[:-1].ravel() + 1,
                (tile.starts[1:] - tile.finishes[:-1] - 1).ravel(),
            )
            for tile in self.tiles
        ]
        return np.concatenate(waits)


@dataclass(frozen=True)
class _High:
    """Steps of a row group on high halves: their cycles, and rows that are not gated."""

    cycles: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, entries: _Entries) -> "_High":
        """Steps of all entries but those of empty chunks."""
        rows = entries.used.sum(axis=1)
        return cls(entries.pops[rows > 0], rows[rows > 0])


class _Decoder:
    """Decoder of a row group: runs ahead of its row as far as queue and mask buffers let it.

    Attributes
    ----------
    pushes
        Cycle in which each entry leaves for the queue.
    words
        Cycle in which each bitmap word is taken.
    values
        For each row of the group, the cycle in which each beat of high halves is taken.
    """

    def __init__(self, config: SparqleConfig, features: int, entries: _Entries):
        self.entries = entries
        self.words, self.pushes = self._run(config, features)
        if np.any(self.pushes >= entries.pops):
            raise AssertionError("a high half comes too late: the recurrence does not hold")
        self.values = [self._beats(config, row) for row in range(config.sharing)]

    def _run(self, config: SparqleConfig, features: int) -> tuple[NDArray, NDArray]:
        entries, depth = self.entries, config.queue
        pushes = np.empty(len(entries.pops), np.int64)
        waits = np.full(len(pushes), _LONG_AGO)  # the pop that makes room in a full queue
        waits[depth:] = entries.pops[:-depth]
        bounds = np.flatnonzero(np.diff(entries.buffers, prepend=-1, append=-1))
        per_tile = -(-features // config.span)
        short = -(-(features - (per_tile - 1) * config.span) // config.group)
        words: list[NDArray[np.int64]] = []
        freed = [_LONG_AGO, _LONG_AGO]
        taken = pushed = -1
        for b, (first, behind) in enumerate(pairwise(bounds)):
            count = short if b % per_tile == per_tile - 1 else config.span // config.group
            begin = max(taken, freed[b % 2]) + 1
            words.append(np.arange(begin, begin + count))
            taken = begin + count - 1
            rank = np.arange(behind - first)
            earliest = np.maximum(waits[first:behind], taken + 1)
            earliest[0] = max(earliest[0], pushed + 1)
            pushes[first:behind] = np.maximum.accumulate(earliest - rank) + rank
            pushed = freed[b % 2] = int(pushes[behind - 1])
        return np.concatenate(words), pushes

    def _beats(self, config: SparqleConfig, row: int) -> NDArray[np.int64]:
        """Every ``beat``-th value of a token comes from a fresh beat."""
        used = self.entries.used[:, row]
        tiles = self.entries.tiles[used]
        rank = np.arange(len(tiles)) - np.searchsorted(tiles, tiles)
        return self.pushes[used][rank % config.beat == 0]


def _dropped(config: SparqleConfig, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Chunks at the end of a tile's final bitmap word for which the decoder sends nothing.

    Once nothing is left in that word the decoder ends the list; ``counts`` is ``(tiles, chunks)``.
    """
    chunks = counts.shape[1]
    per_word = max(1, config.group // config.chunk)
    chunk = np.arange(chunks)
    first = (chunks - 1) // per_word * per_word
    final = np.where((counts > 0) & (chunk >= first), chunk, first).max(axis=1)
    return chunk > final[:, None]


def _sum(cycles: NDArray[np.int64], increments: NDArray[np.int64] | int = 1) -> Pulses:
    """Pulses of increments that may fall into the same cycle."""
    weights = np.broadcast_to(increments, cycles.shape)
    totals = np.bincount(cycles, weights).astype(np.int64)
    when = np.flatnonzero(totals)
    return Pulses(when, totals[when])
