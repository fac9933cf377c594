"""Runs of the hybrid array in which bitmaps of one tile are of another length than the tile."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden import dequantizer
from ..golden.contract.layer import Layer
from ..golden.contract.schedule import Beats, Pulses, Schedule, Traffic
from ..golden.grouped import GroupedLayer, group_sums
from ..golden.sparqle import format as hybrid
from ..golden.sparqle import schedule as sparqle_schedule
from ..golden.sparqle import unit as sparqle
from ..golden.sparqle.config import SparqleConfig, y_port

MOST_LONGER = 2  # mask buffers that a bitmap is longer by
LARGEST_MAX_K = 1 << 20


Draw = Callable[[SparqleConfig, np.random.Generator, int, int, int], Layer]
"""Random operands of a shape: ``draw(config, rng, tokens, features, outputs)``."""


@dataclass(frozen=True)
class _Lists:
    """Bitmaps of a tile and what the array does with them.

    Attributes
    ----------
    high
        High halves, ``(rows, features of the longest bitmap)``, 0 beyond the end of each.
    length
        Features that the bitmap of each row describes, ``(rows,)``.
    """

    config: SparqleConfig
    features: int
    high: NDArray[np.int8]
    length: NDArray[np.int64]

    @property
    def words(self) -> NDArray[np.int64]:
        """Words of each row's bitmap."""
        return -(-self.length // self.config.group)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Rows whose bitmap is too long or too short."""
        return self.words != -(-self.features // self.config.group)

    @property
    def used(self) -> NDArray[np.int8]:
        """High halves of the tile, ``(rows, features)``."""
        return self._upto(self.features)

    def _upto(self, end: int) -> NDArray[np.int8]:
        present = self.high[:, :end]
        return np.pad(present, ((0, 0), (0, end - present.shape[1])))

    def work(self) -> dict[str, int]:
        """What work events count of this tile.

        Ones behind the tile's end, but still in its final chunk, cost a step in which all rows are
        gated.
        """
        config = self.config
        end = -(-self.features // config.chunk) * config.chunk
        present = self._upto(end).reshape(config.row_groups, config.sharing, end) != 0
        steps, used = int(present.any(axis=1).sum()), int(np.count_nonzero(self.used))
        values = np.count_nonzero(self.high, axis=1)
        wrong = self.wrong.reshape(config.row_groups, config.sharing)
        return {
            "msb_macs": used * config.columns,
            "gated_macs": (steps * config.sharing - used) * config.columns,
            "bank_reads": steps,
            "bitmap_words": int(self.words.sum()),
            "value_beats": int((-(-values // config.beat)).sum()),
            "errors": int(wrong.any(axis=1).sum()),
        }


def with_wrong_bitmaps(
    config: SparqleConfig, layer: Layer, rng: np.random.Generator, draw: Draw
) -> Schedule:
    """The run of a layer; in a tile between others bitmaps end before or after the tile.

    High halves that a bitmap does not reach count as 0, surplus ones are dropped. Timing is not
    stated. Of a joined array a weight group is a tile.

    Parameters
    ----------
    config
        The array, alone or joined to the dequantizer.
    layer
        Operands of at least three tiles.
    draw
        Where activations beyond the tile come from.
    """
    array = config.array if config.grouped else config
    tiling = layer.tiling(array)
    chosen = int(rng.integers(1, len(tiling) - 1))
    token, output = tiling.order[chosen]
    x = tiling.blocks_of_tokens(layer.x)[token]
    low, high = hybrid.split(array.format, x)
    full = np.full(array.rows, layer.features)
    right = _Lists(array, layer.features, high, full)
    given = _drawn(right, x, rng, draw)
    beats = sparqle_schedule.traffic(array, layer)
    inputs = {name: beats[name] for name in beats if name != "y"}
    for name, words in _streams(array, given).items():
        segments = beats[name].segments
        assert segments is not None  # one a tile
        parts = np.split(beats[name].expand(), np.cumsum(segments[:, 1])[:-1])
        parts[chosen] = words
        inputs[name] = Beats(np.concatenate(parts))
    seen = hybrid.join(array.format, low, given.used).astype(np.int64)
    w = tiling.blocks_of_outputs(layer.w)[output].astype(np.int64)
    y = _results(config, array, layer, chosen, seen @ w.T, seen.sum(axis=1))
    legal = sparqle.design(config).schedule(config, layer).counts().events
    before, after = right.work(), given.work()
    totals = {name: legal[name] + after.get(name, 0) - before.get(name, 0) for name in legal}
    events = {name: Pulses(np.zeros(1, int), np.array([total])) for name, total in totals.items()}
    return Schedule({**inputs, **y}, {}, events)


def _drawn(right: _Lists, x: NDArray, rng: np.random.Generator, draw: Draw) -> _Lists:
    """Some rows get a bitmap of another number of words, at least one of them."""
    config, features = right.config, right.features
    needed = -(-features // config.group)
    most = needed + MOST_LONGER * config.span // config.group
    most = min(most, LARGEST_MAX_K // config.group)
    others = np.setdiff1d(np.arange(1, most + 1), [needed])
    wrong = rng.random(config.rows) < rng.choice([0, 0.5])
    wrong[rng.integers(config.rows)] = True
    words = rng.choice(others, config.rows)
    length = np.where(
        wrong, words * config.group - rng.integers(0, config.group, config.rows), features
    )
    wide = config.replace(max_k=max(config.max_k, int(length.max())))
    longer = draw(wide, rng, config.rows, int(length.max()), 1).x
    longer[:, :features] = x[:, : longer.shape[1]]
    _, high = hybrid.split(config.format, longer)
    high[np.arange(high.shape[1]) >= length[:, None]] = 0
    return _Lists(config, features, high, length)


def _streams(config: SparqleConfig, lists: _Lists) -> dict[str, NDArray[np.uint32]]:
    """Beats of the bitmaps and high halves of all rows."""
    found: dict[str, NDArray[np.uint32]] = {}
    for row, length in enumerate(lists.length.tolist()):
        wide = config.replace(max_k=max(config.max_k, length))
        x = hybrid.join(config.format, np.zeros_like(lists.high), lists.high)[:, :length]
        beats = sparqle_schedule.traffic(wide, Layer(x, np.zeros((1, length), np.int8)))
        found |= {name: beats[name].expand() for name in (f"bitmap_{row}", f"values_{row}")}
    return found


def _results(
    config: SparqleConfig,
    array: SparqleConfig,
    layer: Any,
    chosen: int,
    sums: NDArray[np.int64],
    ones: NDArray[np.int64],
) -> Traffic:
    """Beats of what lies behind the array's sums, with an error of the chosen tile."""
    tiles = len(layer.tiling(array))
    error = np.arange(tiles) == chosen
    if isinstance(layer, GroupedLayer):
        right = group_sums(config, layer)
        changed: dict[str, Any] = {"acc": right.acc.copy(), "error": error}
        changed["acc"][chosen] = sums
        if config.asymmetric:
            changed["ones"] = right.ones.copy()
            changed["ones"][chosen] = ones
        behind = dequantizer.traffic(config.dequantizer, replace(right, **changed))
        return {name: behind[name] for name in ("scale", "y")}
    port = y_port(config)
    fields = port.unpack(sparqle_schedule.traffic(config, layer)["y"].words)
    fields["value"].reshape(tiles, config.rows, -1)[chosen] = sums
    if config.asymmetric:
        fields["ones"].reshape(tiles, config.rows)[chosen] = ones
    fields["error"] = np.repeat(error, config.rows)
    return {"y": Beats(port.pack(**fields))}
