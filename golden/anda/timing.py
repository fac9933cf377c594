"""Timing of arrays on groups: the schedule of a run, and its counts for whole layers.

The recurrence, all in cycles of a free-flowing run, for group j of a run:

* Weights: first beat in ``load[j] = swap[j-1]``, 0 for the first; they become the active ones in
  ``swap[j] = max(load[j] + weight_beats, final[j-1])``. Where weights stream with the operands,
  ``weight_beats = 0`` and nothing waits for them.
* Operands, so many ``beats`` a group, one a cycle: the first in
  ``first[j] = max(final[j-1], swap[j]) + 1``, the last in
  ``final[j] = max(first[j] + beats - 1, taken[j-1])``.
* Post-processors: the sums of pass 0 enter, one of the ``fp_share`` processors a cycle, from
  ``start[j, 0] = max(final[j] + 1, start of the pass before + (S if the tile is new else period))``
  on, those of pass 1 a period later. The final pass of a tile also waits for ``empty[i-1] + 1``.
  ``taken[j] = start of its final pass + S - 1``.
* Results: row i of a tile leaves the array in ``taken[final group] + latency + 1 + i``, the unit
  as FP16 a cycle later; ``empty`` is when its last row leaves the array.

Beats are planes (before them the sign word, if serial), or whole mantissas. Beat n is taken when
beat n - 1 is worked off, the first in cycle 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..contract.events import Counts
from ..contract.schedule import Pulses, ranges
from ..contract.tiling import Tiling
from ..contract.workload import Workload
from .config import AndaConfig, AndaSettings, GroupArrayConfig
from .values import AndaLayer, check_max_mantissa, check_weight_group

_LONG_AGO = -(1 << 40)


@dataclass(frozen=True)
class State:
    """What a tile inherits: cycles of the group and the tile before.

    Attributes
    ----------
    final, swap, taken, start, empty
        As in the recurrence; ``start`` is that of the final pass.
    """

    final: int = _LONG_AGO
    swap: int = 0
    taken: int = _LONG_AGO
    start: int = _LONG_AGO
    empty: int = _LONG_AGO

    def seen_from(self, cycle: int) -> "State":
        """The same with ``cycle`` as cycle 0."""
        values = (self.final, self.swap, self.taken, self.start, self.empty)
        return State(*(max(value - cycle, _LONG_AGO) for value in values))


@dataclass(frozen=True)
class Tile:
    """Timing of a tile's groups.

    Attributes
    ----------
    load, swap, first, full, final
        As in the recurrence, ``(groups,)``; ``full`` is when the final beat could be worked off
        but for the post-processors.
    start
        ``(groups, passes)``.
    ready
        Cycle in which the tile's final pass could start but for the tile before.
    after
        What the next tile inherits.
    """

    load: NDArray[np.int64]
    swap: NDArray[np.int64]
    first: NDArray[np.int64]
    full: NDArray[np.int64]
    final: NDArray[np.int64]
    start: NDArray[np.int64]
    ready: int
    after: State


def tile(config: GroupArrayConfig, beats: int, groups: int, before: State) -> Tile:
    """Run one tile."""
    rows = []
    state, ready = before, 0
    for group in range(groups):
        load = state.swap
        swap = max(load + config.weight_beats, state.final)
        first = max(state.final, swap) + 1
        full = first + beats - 1
        final = max(full, state.taken)
        gap = config.period if group else config.fp_share
        ready = max(final + 1, state.start + gap)
        starts = [ready]
        if config.passes == 2:
            ready += config.period
        last = max(ready, state.empty + 1) if group == groups - 1 else ready
        starts = [last] if config.passes == 1 else [*starts, last]
        taken = last + config.fp_share - 1
        state = State(final, swap, taken, last, state.empty)
        rows.append((load, swap, first, full, final, *starts))
    load, swap, first, full, final, *passes = np.array(rows, np.int64).T
    empty = state.taken + config.latency + config.rows
    after = replace(state, empty=empty)
    return Tile(load, swap, first, full, final, np.stack(passes, axis=1), ready, after)


def run(config: GroupArrayConfig, beats: int, groups: int, tiles: int) -> list[Tile]:
    """Every tile of a run."""
    found, state = [], State()
    for _ in range(tiles):
        found.append(tile(config, beats, groups, state))
        state = found[-1].after
    return found


def stalls(one: Tile, before: State) -> dict[str, NDArray[np.int64]]:
    """Cycles of the time events."""
    earlier = np.concatenate([[max(before.final, 0)], one.final[:-1]])
    drain = int(one.start[-1, -1]) - one.ready
    return {
        "stall_operands": np.zeros(0, np.int64),
        "stall_weights": ranges(earlier + 1, one.first - earlier - 1),
        "stall_post": ranges(one.full, one.final - one.full),
        "stall_drain": np.arange(one.ready, one.ready + drain),
    }


def steps(beats: int, tiles: list[Tile]) -> NDArray[np.int64]:
    """Cycles in which beats are worked off, ``(groups of the run, beats)``."""
    cycles = np.concatenate([one.first for one in tiles])[:, None] + np.arange(beats)
    cycles[:, -1] = np.concatenate([one.final for one in tiles])
    return cycles


def taken(worked_off: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cycles in which the beats with these steps are taken, of the same shape."""
    return np.concatenate([[0], worked_off.ravel()[:-1]]).reshape(worked_off.shape)


def leaving(config: GroupArrayConfig, tiles: list[Tile]) -> NDArray[np.int64]:
    """Cycles in which rows of results leave the unit."""
    first = np.array([one.after.taken for one in tiles]) + config.result_latency + 1
    return (first[:, None] + np.arange(config.rows)).ravel()


def totals(
    config: GroupArrayConfig, beats: int, groups: int, tiles: int
) -> tuple[int, dict[str, int]]:
    """Cycles of a run and totals of its time events."""
    found: dict[str, int] = {}
    end = 0
    for origin, before, one, repeats in _phases(config, beats, groups, tiles):
        for name, cycles in stalls(one, before).items():
            found[name] = found.get(name, 0) + repeats * len(cycles)
        end = origin + (repeats - 1) * one.after.final + one.after.empty
    return end + config.result_latency - config.latency + 1, found


def first_rows(config: GroupArrayConfig, beats: int, groups: int, tiles: int) -> NDArray[np.int64]:
    """Cycles in which row 0 of each tile leaves the unit."""
    taken = [
        origin + np.arange(repeats) * one.after.final + one.after.taken
        for origin, _, one, repeats in _phases(config, beats, groups, tiles)
    ]
    return np.concatenate(taken) + config.result_latency + 1


def _phases(
    config: GroupArrayConfig, beats: int, groups: int, tiles: int
) -> Iterator[tuple[int, State, Tile, int]]:
    """Tiles of a run: cycle that they count from, state before, timing, how many are alike.

    Soon each tile takes what the one before it took, seen from its final beat.
    """
    state = State()
    origin = done = 0
    while done < tiles:
        one = tile(config, beats, groups, state)
        after = one.after.seen_from(one.after.final)
        repeats = tiles - done if after == state else 1
        yield origin, state, one, repeats
        origin += repeats * one.after.final
        state = after
        done += repeats


def pulses(config: GroupArrayConfig, tiles: list[Tile]) -> dict[str, Pulses]:
    """When the events fire that belong neither to a port nor to a beat."""
    finals = np.concatenate([one.final for one in tiles])
    enters = np.concatenate(
        [(one.start[:, :, None] + np.arange(config.fp_share)).ravel() for one in tiles]
    )
    before = [State(), *(one.after for one in tiles[:-1])]
    waits = [stalls(one, state) for one, state in zip(tiles, before, strict=True)]
    return {
        "groups": Pulses.strobes(finals),
        "products": Pulses(enters, np.full(enters.size, config.products)),
        "tiles": Pulses.strobes(np.array([one.after.taken for one in tiles])),
        **{
            name: Pulses.strobes(np.sort(np.concatenate([wait[name] for wait in waits])))
            for name in waits[0]
        },
    }


def workload(_: AndaConfig, layer: AndaLayer) -> Workload:
    """Shape and mantissa of the layer, and features that share a scale."""
    tokens, in_features = layer.x.shape
    settings = AndaSettings(mantissa=layer.mantissa)
    return Workload(tokens, in_features, len(layer.w), settings, layer.weight_group)


def cycles(config: AndaConfig, workload: Workload) -> Counts:
    """Counts of a layer in one free-flowing run."""
    settings = workload.settings_as(AndaSettings)
    mantissa = settings.mantissa
    check_max_mantissa(config, mantissa)
    _, in_features, _ = workload.layer
    tiles, groups = shape_of(config, workload)
    weight_group = workload.weight_group or settings.weight_group
    check_weight_group(config, weight_group, in_features)
    spent, waits = totals(config, config.beats(mantissa), groups, tiles)
    work = {
        "bit_macs": tiles * groups * mantissa * config.bit_macs,
        "planes": tiles * groups * mantissa,
        "groups": tiles * groups,
        "w_beats": tiles * groups * config.weight_beats,
        "scales": tiles * -(-in_features // weight_group),
        "products": tiles * groups * config.passes * config.rows * config.columns,
        "y_beats": tiles * config.rows,
        "tiles": tiles,
    }
    return Counts(spent, {**work, **waits}, float(tiles * groups * mantissa))


def shape_of(config: GroupArrayConfig, workload: Workload) -> tuple[int, int]:
    """Tiles of a layer, and groups of each."""
    tokens, in_features, outputs = workload.layer
    tiling = Tiling(tokens, outputs, config.rows, config.columns)
    return len(tiling), -(-in_features // config.group)
