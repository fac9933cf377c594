"""Timing of the hybrid array: the recurrence of a tile, and counts for whole LLMs.

The recurrence, all in cycles of a free-flowing run, for chunk i of a tile and row group j:

* ``open = max(end of the chunk before, latest finish[i - weight_banks]) + 1``: first beat of the
  chunk's weights; one feature a cycle.
* ``start[j] = max(finish[i - 1, j] + 1, open + 2)``: first low half.
* ``finish[i, j] = start[j] + length + popcount - 1``: low halves, then the high halves of the OR of
  the group's bitmaps.
* ``end = max(max finish[last chunk], end of the tile before + R + 3)``: the tile ends; its row i
  leaves in ``end + 4 + i``, and the next tile starts in ``end + 1``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract.errors import UserError
from ..contract.events import Counts
from ..contract.layer import Layer, check_shape
from ..contract.tiling import Tiling
from ..contract.workload import PackedBitmap, Profile, Workload
from ..grouped import joined_counts, weight_groups
from . import format as hybrid
from .config import SparqleConfig, SparqleSettings, events

FILL = 2  # cycles from a beat of weights to the first row that may read it
DRAIN = 4  # cycles from a tile's end to its first row of results
LONG_AGO = -(1 << 40)
_SETTLED = 6  # tiles after which repeated tiles are taken to be periodic; checked


def lengths(config: SparqleConfig, in_features: int) -> NDArray[np.int64]:
    """Input features of each chunk of a tile."""
    starts = np.arange(0, in_features, config.chunk)
    return np.minimum(config.chunk, in_features - starts)


@dataclass(frozen=True, eq=False)
class Popcounts(Profile):
    """High halves of tokens in the order of the tiles.

    Popcounts of single rows say nothing where rows share a list, so both are given.

    Attributes
    ----------
    shared
        Popcounts of what each row group works off, the OR of its rows' bitmaps, integers
        ``(token blocks, row groups, chunks)``.
    present
        High halves of each token and weight group, integers ``(tokens, weight groups)``; one weight
        group without group scales.
    """

    shared: NDArray[np.integer]
    present: NDArray[np.integer]

    @classmethod
    def of(cls, config: SparqleConfig, bits: NDArray[np.uint8], in_features: int) -> "Popcounts":
        """Those of packed bitmaps, ``(tokens, bytes)``."""
        chunks = -(-in_features // config.chunk)
        if not config.grouped:
            present = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)[:, None]
        else:
            ones = np.unpackbits(bits, axis=1, count=in_features, bitorder="little")
            starts = np.arange(0, in_features, config.weight_group)
            present = np.add.reduceat(ones, starts, axis=1, dtype=np.int64)
        return cls(popcounts(config, bits, chunks), present)

    def check(self, tokens: int, in_features: int) -> None:
        """As :meth:`nibbleforge.golden.contract.workload.Profile.check`."""
        if self.shared.ndim != 3 or self.present.ndim != 2 or len(self.present) != tokens:
            raise UserError(
                "popcounts must be (token blocks, row groups, chunks) of shared lists and "
                f"({tokens}, weight groups) of tokens, "
                f"got {self.shared.shape} and {self.present.shape}."
            )


def popcounts(config: SparqleConfig, bitmap: NDArray[np.uint8], chunks: int) -> NDArray[np.int64]:
    """High halves that each row group works off, ``(token_blocks, row_groups, chunks)``.

    Parameters
    ----------
    bitmap
        ``(tokens, bytes)``, as :attr:`nibbleforge.golden.sparqle.format.Packed.bitmap`.
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
class State:
    """What a tile inherits, one entry a token block: all that the next tile's timing depends on.

    Attributes
    ----------
    end
        Cycle in which the tile before ended, ``(n,)``.
    weights
        Cycle of the final beat of weights so far, ``(n,)``.
    latest
        Latest finish of each of the last chunks, oldest first, ``(weight_banks, n)``.
    drained
        Earliest end of the next tile, ``(n,)``.
    """

    end: NDArray[np.int64]
    weights: NDArray[np.int64]
    latest: NDArray[np.int64]
    drained: NDArray[np.int64]

    @classmethod
    def cold(cls, config: SparqleConfig, count: int) -> "State":
        """Before a run whose first input beat is taken in cycle 0."""
        before = np.full(count, -1, np.int64)
        never = np.full((config.weight_banks, count), LONG_AGO, np.int64)
        return cls(before, before, never, np.full(count, LONG_AGO, np.int64))

    def relative(self) -> "State":
        """The same with the tile's end in cycle 0."""
        return State(
            self.end * 0,
            np.maximum(self.weights - self.end, LONG_AGO),
            np.maximum(self.latest - self.end, LONG_AGO),
            np.maximum(self.drained - self.end, LONG_AGO),
        )

    def equals(self, other: "State") -> bool:
        """Whether all entries are the same."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("end", "weights", "latest", "drained")
        )

    def handed_on(self, first: "State") -> "State":
        """What each token block inherits from the one before, the first from ``first``."""
        names = ("end", "weights", "latest", "drained")
        parts = ((getattr(first, name), getattr(self, name)[..., :-1]) for name in names)
        return State(*(np.concatenate(pair, axis=-1) for pair in parts))


@dataclass(frozen=True)
class Tile:
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
    after: State

    def waits(self, before: State) -> dict[str, NDArray[np.int64]]:
        """Totals of the time events, ``(n,)`` each."""
        done = self.finishes[-1]
        return {
            "stall_weights": (self.starts[1:] - self.finishes[:-1] - 1).sum(axis=(0, 1)),
            "stall_rows": (self.after.end - done).sum(axis=0),
            "stall_drain": self.after.end - done.max(axis=0),
            "duration": self.after.end - before.end,
        }


def run_tile(
    config: SparqleConfig, chunk_lengths: NDArray, counts: NDArray[np.int64], before: State
) -> Tile:
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
    after = State(end, weights, np.stack(latest[chunks:]), drained)
    return Tile(opens, starts, finishes, after)


# --- counts -----------------------------------------------------------------------------------


def density_order(present: NDArray[np.integer]) -> NDArray[np.int64]:
    """Order of tokens by their high halves, ``(tokens,)``: fewest first, ties as they come."""
    return np.argsort(present, kind="stable")


def cycles(config: SparqleConfig, workload: Workload) -> Counts:
    """Counts of a layer in one free-flowing run.

    The profile is the :class:`PackedBitmap` of the high halves, which the settings may sort, or
    :class:`Popcounts`, whose tokens are in order.
    """
    tokens, in_features, outputs = workload.layer
    check_shape(config, tokens, in_features, outputs)
    tiling = Tiling(tokens, outputs, config.rows, config.columns)
    groups = weight_groups(config, in_features) if config.grouped else 1
    chunk_lengths = np.tile(lengths(config, in_features // groups), groups)
    profile = _profile(config, workload)
    _check_popcounts(config, profile, (tiling.token_blocks, len(chunk_lengths), groups))
    counts, present = profile.shared.astype(np.int64), profile.present.sum(axis=1, dtype=np.int64)
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
        "value_beats": times * int((-(-profile.present // config.beat)).sum()),
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
    return joined_counts(config, front, tiles, groups, between) if config.grouped else front


def _profile(config: SparqleConfig, workload: Workload) -> Popcounts:
    """Popcounts of tokens in the order of the tiles."""
    profile = workload.profile_as(PackedBitmap, Popcounts)
    if isinstance(profile, Popcounts):
        return profile
    bits = profile.bits
    if workload.settings_as(SparqleSettings).sort:
        bits = bits[density_order(np.bitwise_count(bits).sum(axis=1, dtype=np.int64))]
    return Popcounts.of(config, bits, workload.in_features)


def _check_popcounts(
    config: SparqleConfig, profile: Popcounts, extent: tuple[int, int, int]
) -> None:
    """Refuse popcounts of another array; ``extent``: token blocks, chunks, weight groups."""
    blocks, chunks, groups = extent
    found = (*profile.shared.shape, profile.present.shape[1])
    expected = (blocks, config.row_groups, chunks, groups)
    if found != expected:
        raise UserError(
            "popcounts must be those of {} token blocks, {} row groups, {} chunks and {} weight "
            "groups, got {}, {}, {} and {}.".format(*expected, *found)
        )


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

    def run(self, before: State) -> tuple[State, dict[str, NDArray[np.int64]]]:
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
            tile = run_tile(self.config, chunk_lengths, counts, state)
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
    settled = State.cold(config, blocks).relative()
    for _ in range(_SETTLED):
        before = settled
        settled, _ = stages.run(settled)
        if settled.equals(before):
            break
    state = settled.handed_on(State.cold(config, 1).relative())
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
    state = State.cold(stages.config, 1).relative()
    found = []
    for block in np.repeat(np.arange(stages.counts.shape[-1]), times).tolist():
        state, waits = stages.of(block).run(state)
        found.append(waits)
    return {name: np.concatenate([waits[name] for waits in found]) for name in found[0]}


def workload(config: SparqleConfig, layer: Layer) -> Workload:
    """Shape and high halves of the layer, tokens in the order given."""
    _, high = hybrid.split(config.format, layer.x)
    profile = PackedBitmap(np.packbits(high != 0, axis=1, bitorder="little"))
    tokens, in_features = layer.x.shape
    settings = SparqleSettings(sort=False)
    return Workload(tokens, in_features, len(layer.w), settings, profile=profile)
