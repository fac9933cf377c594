"""Schedule of the hybrid array in full detail: every port and event of a run.

Tiles follow the recurrence of :mod:`.timing`. Decoding of high halves runs ahead and never
delays a row:

* ``push = max(push of the entry before + 1, mask buffer full, pop of the entry ``queue`` before)``.
* A buffer takes a bitmap word a cycle, once all entries of the buffer before the last are pushed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..contract.schedule import Pulses, ranges
from .config import SparqleConfig
from .timing import DRAIN, LONG_AGO, State, Tile, lengths, run_tile


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
    tiles
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

    def _tiles(self) -> Iterator[Tile]:
        state = State.cold(self.config, 1)
        for block in self.blocks:
            counts = self.counts[block].T[:, :, None]
            tile = run_tile(self.config, self.lengths, counts, state)
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
        waits = np.full(len(pushes), LONG_AGO)  # the pop that makes room in a full queue
        waits[depth:] = entries.pops[:-depth]
        bounds = np.flatnonzero(np.diff(entries.buffers, prepend=-1, append=-1))
        per_tile = -(-features // config.span)
        short = -(-(features - (per_tile - 1) * config.span) // config.group)
        words: list[NDArray[np.int64]] = []
        freed = [LONG_AGO, LONG_AGO]
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
