"""Bitmap codec: sparse values as a bitmap and a stream of packed non-zero values.

Source: the precision bitmap of SPARQLe (arXiv 2606.00365); group size, beats and the treatment of
a token's tail are our definition. The schedules below are the ones that the docstrings of
:class:`nibbleforge.hw.bitmap.BitmapDecoder` and ``BitmapEncoder`` state.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter
from pydantic import model_validator

from .arithmetic.quantise import Recode
from .contract.config import Config
from .contract.design import Design, Unit
from .contract.errors import UserError
from .contract.events import Counts, Event
from .contract.ports import Field, Port
from .contract.schedule import Beats, Pulses, Schedule, final_of
from .contract.workload import PackedBitmap, Profile, Workload

GROUPS = (4, 8, 16, 32, 64, 128)
BEATS = (1, 2, 4, 8, 16, 32, 64)


class BitmapConfig(Config):
    """Parameters of the bitmap decoder and encoder."""

    group: int = 64
    """Elements a bitmap covers (G)."""
    value_width: int = Parameter(default=4, ge=0, le=16)
    """Bits of a value; 0 makes a decoder that turns masks into indices."""
    beat: int = 8
    """Values a beat of the packed stream."""
    width: int = Parameter(default=1, ge=1, le=8)
    """(index, value) pairs the gathering decoder yields a cycle."""
    mode: Literal["gather", "scatter"] = "gather"
    """gather: pairs in ascending order; scatter: the dense group in one beat."""

    @model_validator(mode="after")
    def _check(self) -> "BitmapConfig":
        if self.group not in GROUPS:
            raise UserError(f"group must be one of {GROUPS}, got {self.group}.")
        if self.beat not in BEATS:
            raise UserError(f"beat must be one of {BEATS}, got {self.beat}.")
        if self.width > self.beat:
            raise UserError(
                f"width must not exceed beat, got width {self.width}, beat {self.beat}."
            )
        if self.width > self.group:
            raise UserError(
                f"width must not exceed group, got width {self.width}, group {self.group}."
            )
        if self.beat > self.group:
            raise UserError(
                f"beat must not exceed group, got beat {self.beat}, group {self.group}."
            )
        if self.mode == "scatter" and not self.value_width:
            raise UserError("mode scatter needs values: value_width must be at least 1, got 0.")
        return self

    @property
    def idle(self) -> frozenset[str]:
        """Dense groups have no pairs, masks no values."""
        if self.mode == "scatter":
            return frozenset({"width"})
        return frozenset() if self.value_width else frozenset({"beat"})

    @property
    def index_width(self) -> int:
        """Bits of an index within a group."""
        return (self.group - 1).bit_length()


class BitmapSettings(Config):
    """How activations become sparse halves before they are encoded."""

    recode: Recode = "balanced"
    """Coding of the halves, see :class:`nibbleforge.golden.sparqle.format.HybridFormat`."""
    tau_lo: int = Parameter(default=0, ge=0)
    """Values up to this much below those without high halves that are moved there (lossy)."""
    tau_hi: int = Parameter(default=0, ge=0)
    """Values up to this much above those without high halves that are moved there (lossy)."""


@dataclass(frozen=True)
class Groups:
    """A run of groups: the operand of both designs.

    Attributes
    ----------
    dense
        Raw values, unsigned, ``(groups, G)``; zero means absent.
    last
        True for the final group of a token, ``(groups,)``; the final entry is True.
    """

    dense: NDArray[np.unsignedinteger]
    last: NDArray[np.bool_]

    @property
    def token(self) -> NDArray[np.int64]:
        """Token number of every group."""
        return np.cumsum(self.last) - self.last

    @property
    def runs(self) -> int:
        """Tokens: after each of them a codec is as after a reset."""
        return int(np.count_nonzero(self.last))

    def part(self, runs: slice) -> "Groups":
        """Some tokens alone."""
        ends = np.flatnonzero(self.last) + 1
        groups = slice(0 if runs.start == 0 else ends[runs.start - 1], ends[runs.stop - 1])
        return Groups(self.dense[groups], self.last[groups])


# --- ports and events -------------------------------------------------------------------------


def _bitmap_port(config: BitmapConfig, direction: Literal["in", "out"]) -> Port:
    fields = (
        Field("mask", 1, "bit i set: element i is present", count=config.group),
        Field("last", 1, "final group of the token"),
    )
    return Port("bitmap", direction, fields, "one word a group")


def _values_port(config: BitmapConfig, direction: Literal["in", "out"]) -> Port:
    fields = (Field("value", config.value_width, "values in ascending index", count=config.beat),)
    return Port(
        "values", direction, fields, "packed values, the rest of a token's final beat unused"
    )


def _dense_port(config: BitmapConfig, direction: Literal["in", "out"]) -> Port:
    fields = (
        Field("value", config.value_width, "element i of the group", count=config.group),
        Field("last", 1, "final group of the token"),
    )
    return Port("dense", direction, fields, "one group a beat")


def _pairs_port(config: BitmapConfig) -> Port:
    fields = [Field("index", config.index_width, "ascending; unused slots 0", count=config.width)]
    if config.value_width:
        fields.append(Field("value", config.value_width, "unused slots 0", count=config.width))
    fields += [
        Field("count", config.width.bit_length(), "pairs in this beat; 0 only for an empty group"),
        Field("group_last", 1, "final beat of the group"),
        Field("last", 1, "final beat of the token"),
    ]
    return Port("pairs", "out", tuple(fields), "(index, value) pairs in ascending order")


def decoder_ports(config: BitmapConfig) -> tuple[Port, ...]:
    """Ports of the decoder."""
    values = (_values_port(config, "in"),) if config.value_width else ()
    out = _pairs_port(config) if config.mode == "gather" else _dense_port(config, "out")
    return (_bitmap_port(config, "in"), *values, out)


def encoder_ports(config: BitmapConfig) -> tuple[Port, ...]:
    """Ports of the encoder."""
    return (_dense_port(config, "in"), _bitmap_port(config, "out"), _values_port(config, "out"))


def _common_events(config: BitmapConfig, step: int) -> list[Event]:
    return [
        Event("groups", "work", "bitmap words handled"),
        Event("empty_groups", "work", "groups without a value"),
        Event("values", "work", "values handled", step.bit_length()),
    ]


def decoder_events(config: BitmapConfig) -> tuple[Event, ...]:
    """Events of the decoder."""
    events = _common_events(config, config.width if config.mode == "gather" else config.group)
    if config.value_width:
        events += [
            Event("value_beats", "work", "beats read from the packed stream"),
            Event(
                "stall_values",
                "time",
                "cycles a group waits for a beat of values",
                waits_for={"values": 1},
            ),
        ]
    out = "pairs" if config.mode == "gather" else "dense"
    return (
        *events,
        Event("stall_out", "time", "cycles a group waits for the consumer", waits_for={out: 1}),
    )


def encoder_events(config: BitmapConfig) -> tuple[Event, ...]:
    """Events of the encoder."""
    return (
        *_common_events(config, config.group),
        Event("value_beats", "work", "beats written to the packed stream"),
        Event(
            "stall_out",
            "time",
            "cycles a group waits for a consumer",
            waits_for={"bitmap": 1, "values": 1},
        ),
    )


def decoder_bandwidth(config: BitmapConfig) -> dict[str, float]:
    """Peak bits per cycle on each input: empty groups come every cycle, full ones as they can."""
    rate = min(config.width, config.beat) if config.mode == "gather" else config.beat
    values = {"values": float(rate * config.value_width)} if config.value_width else {}
    return {"bitmap": config.group + 1.0, **values}


def encoder_bandwidth(config: BitmapConfig) -> dict[str, float]:
    """Peak bits per cycle on the input: groups with less than a beat of values come every cycle."""
    return {"dense": config.group * config.value_width + 1.0}


# --- values: what passes the ports ------------------------------------------------------------


def pack_values(config: BitmapConfig, groups: Groups) -> NDArray[np.unsignedinteger]:
    """Non-zero values of each token in ascending order, padded with 0 to whole beats.

    Returns
    -------
    ``(beats, beat)``, tokens one after the other; a token without values has no beat.
    """
    mask = groups.dense != 0
    per_token = np.bincount(groups.token, mask.sum(1), minlength=int(groups.last.sum())).astype(int)
    beats = -(-per_token // config.beat)
    first = np.cumsum(beats) - beats
    token_of_value = np.repeat(np.arange(len(beats)), per_token)
    rank = np.arange(per_token.sum()) - np.repeat(np.cumsum(per_token) - per_token, per_token)
    packed = np.zeros(int(beats.sum()) * config.beat, groups.dense.dtype)
    packed[first[token_of_value] * config.beat + rank] = groups.dense[mask]
    return packed.reshape(-1, config.beat)


def _bitmap_beats(port: Port, groups: Groups) -> Beats:
    return Beats(port.pack(mask=groups.dense != 0, last=groups.last))


def _values_beats(port: Port, config: BitmapConfig, groups: Groups) -> Beats:
    return Beats(port.pack(value=pack_values(config, groups)))


def _dense_beats(port: Port, groups: Groups) -> Beats:
    return Beats(port.pack(value=groups.dense, last=groups.last))


def gather(config: BitmapConfig, groups: Groups) -> dict[str, NDArray]:
    """The pairs a gathering decoder yields, one row a beat: fields of port ``pairs``."""
    mask = groups.dense != 0
    population = mask.sum(1)
    beats = np.maximum(1, -(-population // config.width))
    ends = np.cumsum(beats)
    row, column = np.nonzero(mask)
    rank = np.arange(len(row)) - np.repeat(np.cumsum(population) - population, population)
    beat = (ends - beats)[row] + rank // config.width
    total = int(ends[-1]) if len(ends) else 0
    index = np.zeros((total, config.width), np.int64)
    value = np.zeros((total, config.width), np.int64)
    index[beat, rank % config.width] = column
    value[beat, rank % config.width] = groups.dense[mask]
    group_last = np.zeros(total, bool)
    group_last[ends - 1] = True
    last = np.zeros(total, bool)
    last[ends - 1] = groups.last
    count = np.bincount(beat, minlength=total)
    pairs = {"index": index, "count": count, "group_last": group_last, "last": last}
    return {**pairs, "value": value} if config.value_width else pairs


# --- time: when it passes them ----------------------------------------------------------------


def _token_ranks(last: NDArray[np.bool_], population: NDArray) -> tuple[NDArray, NDArray]:
    """Values of the token before each group, and up to its end."""
    total = np.cumsum(population, dtype=np.int64)
    starts = np.concatenate([[True], last[:-1]])
    before_token = np.repeat(
        (total - population)[starts], np.diff(np.append(np.flatnonzero(starts), len(last)))
    )
    return total - population - before_token, total - before_token


def _new_beats(config: BitmapConfig, last: NDArray[np.bool_], population: NDArray) -> NDArray:
    """Beats of the packed stream that each group is the first to need."""
    before, after = _token_ranks(last, population)
    return -(-after // config.beat) - -(-before // config.beat)


def _completed_beats(config: BitmapConfig, last: NDArray[np.bool_], population: NDArray) -> NDArray:
    """Beats of the packed stream that each group completes."""
    before, after = _token_ranks(last, population)
    ends = np.where(last, -(-after // config.beat), after // config.beat)
    return ends - before // config.beat


def _beats_in_time(end: NDArray, count: NDArray) -> NDArray[np.int64]:
    """Cycles of runs of ``count[j]`` consecutive beats that end in cycle ``end[j]``."""
    position = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(end - count + 1, count) + position


def _increments(cycles: NDArray, amounts: NDArray) -> Pulses:
    """Pulses without the cycles in which nothing happens."""
    fires = amounts > 0
    return Pulses(cycles[fires].astype(np.int64), amounts[fires].astype(np.int64))


def _never() -> Pulses:
    return Pulses.strobes(np.zeros(0, np.int64))


def decoder_schedule(config: BitmapConfig, groups: Groups) -> Schedule:
    """Golden schedule of the decoder in its configured mode."""
    schedule = _gather_schedule if config.mode == "gather" else _scatter_schedule
    return schedule(config, groups)


def _gather_schedule(config: BitmapConfig, groups: Groups) -> Schedule:
    ports = {port.name: port for port in decoder_ports(config)}
    pairs = gather(config, groups)
    population = (groups.dense != 0).sum(1)
    step = 1 + np.arange(len(pairs["count"]))  # beat b is extracted in cycle 1 + b
    final = step[pairs["group_last"]]  # cycle of each group's final extraction
    taken = np.concatenate([[0], final[:-1]])
    beats = {
        "bitmap": _bitmap_beats(ports["bitmap"], groups),
        "pairs": Beats(ports["pairs"].pack(**pairs)),
    }
    cycles = {"bitmap": taken, "pairs": step + 1}
    events = {
        "groups": Pulses.strobes(taken),
        "empty_groups": Pulses.strobes(final[population == 0]),
        "values": _increments(step, pairs["count"]),
        "stall_out": _never(),
    }
    if config.value_width:
        beats["values"] = _values_beats(ports["values"], config, groups)
        before, _ = _token_ranks(groups.last, population)
        group = np.repeat(np.arange(len(population)), population)
        rank = np.arange(len(group)) - np.repeat(np.cumsum(population) - population, population)
        opens_beat = (before[group] + rank) % config.beat == 0  # first value of a packed beat
        first_step = final - np.maximum(1, -(-population // config.width)) + 1
        cycles["values"] = (first_step[group] + rank // config.width)[opens_beat]
        events["value_beats"] = Pulses.strobes(cycles["values"])
        events["stall_values"] = _never()
    return Schedule(beats, cycles, events)


def _scatter_schedule(config: BitmapConfig, groups: Groups) -> Schedule:
    ports = {port.name: port for port in decoder_ports(config)}
    population = (groups.dense != 0).sum(1)
    new = _new_beats(config, groups.last, population)
    fires = np.cumsum(np.maximum(1, new))
    taken = np.concatenate([[0], fires[:-1]])
    beats = {
        "bitmap": _bitmap_beats(ports["bitmap"], groups),
        "values": _values_beats(ports["values"], config, groups),
        "dense": _dense_beats(ports["dense"], groups),
    }
    cycles = {"bitmap": taken, "values": _beats_in_time(fires, new), "dense": fires + 2}
    events = {
        "groups": Pulses.strobes(taken),
        "empty_groups": Pulses.strobes(fires[population == 0]),
        "values": _increments(fires, population),
        "value_beats": Pulses.strobes(cycles["values"]),
        "stall_values": _never(),
        "stall_out": _never(),
    }
    return Schedule(beats, cycles, events)


def encoder_schedule(config: BitmapConfig, groups: Groups) -> Schedule:
    """Golden schedule of the encoder."""
    ports = {port.name: port for port in encoder_ports(config)}
    population = (groups.dense != 0).sum(1)
    done = _completed_beats(config, groups.last, population)
    leaves = 1 + np.cumsum(np.maximum(1, done))  # final cycle in the output stage
    enters = leaves - np.maximum(1, done) + 1
    taken = np.concatenate([[0], enters[:-1] - 1])
    beats = {
        "dense": _dense_beats(ports["dense"], groups),
        "bitmap": _bitmap_beats(ports["bitmap"], groups),
        "values": _values_beats(ports["values"], config, groups),
    }
    cycles = {"dense": taken, "bitmap": enters, "values": _beats_in_time(enters + done - 1, done)}
    events = {
        "groups": Pulses.strobes(taken),
        "empty_groups": Pulses.strobes(taken[population == 0]),
        "values": _increments(taken, population),
        "value_beats": Pulses.strobes(cycles["values"]),
        "stall_out": _never(),
    }
    return Schedule(beats, cycles, events)


# --- laws: over packed bitmaps of whole models, or populations ---------------------------------

_BYTES_AT_ONCE = 1 << 24  # of bitmap: bounds the temporary arrays


@dataclass(frozen=True, eq=False)
class Populations(Profile):
    """A stream of groups by their number of values; tokens may differ in length.

    Attributes
    ----------
    values
        Values of each group, at least 0, ``(groups,)``.
    last
        True for the final group of a token, ``(groups,)``; the final entry is True.
    """

    values: NDArray[np.integer]
    last: NDArray[np.bool_]

    @classmethod
    def of(cls, groups: Groups) -> "Populations":
        """Those of a run."""
        return cls(np.count_nonzero(groups.dense, axis=1), groups.last)

    def check(self, tokens: int, in_features: int) -> None:
        """As :meth:`nibbleforge.golden.contract.workload.Profile.check`."""
        if self.last.ndim != 1 or self.last.shape != self.values.shape:
            raise UserError(
                "values and last must be vectors, equally long, "
                f"got shapes {self.values.shape} and {self.last.shape}."
            )
        ends = np.count_nonzero(self.last)
        if ends != tokens:
            raise UserError(f"the groups must end {tokens} tokens, got {ends}.")
        if not self.last[-1]:
            raise UserError(f"the groups must end {tokens} tokens, the final one of them.")


def workload(config: BitmapConfig, groups: Groups) -> Workload:
    """Tokens, the longest one's features, and how many values each group has."""
    longest = int(np.diff(np.flatnonzero(groups.last), prepend=-1).max())
    profile = Populations.of(groups)
    return Workload(int(groups.last.sum()), longest * config.group, profile=profile)


def _tokens(config: BitmapConfig, workload: Workload) -> Iterator[Populations]:
    """Populations of whole tokens, some at a time."""
    profile = workload.profile_as(PackedBitmap, Populations)
    if isinstance(profile, Populations):
        yield profile
        return
    groups = -(-workload.in_features // config.group)
    size = -(-groups * config.group // 8)
    rows = max(1, _BYTES_AT_ONCE // size)
    for start in range(0, workload.tokens, rows):
        part = PackedBitmap(profile.bits[start : start + rows])
        counted = populations(config.group, part.of_bytes(size))[:, :groups]
        yield Populations(counted.ravel(), final_of(groups, len(counted)))


def populations(group: int, bitmap: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Set bits of every group, ``(tokens, groups)``, of packed bitmaps ``(tokens, bytes)``."""
    if group == 4:
        nibbles = np.stack([bitmap & 15, bitmap >> 4], axis=-1).reshape(len(bitmap), -1)
        return np.bitwise_count(nibbles)
    size = min(group, 64)
    counts = np.bitwise_count(np.ascontiguousarray(bitmap).view(f"<u{size // 8}"))
    if group > size:
        counts = counts[:, 0::2] + counts[:, 1::2]
    return counts


def decoder_cycles(config: BitmapConfig, workload: Workload) -> Counts:
    """Counts of decoding tokens in one run, by a :class:`PackedBitmap` or :class:`Populations`."""
    gathers = config.mode == "gather"
    fill = 2 if gathers else 3
    steps_of = _gather_steps if gathers else _new_beats
    return _counted(config, workload, decoder_events(config), steps_of, fill)


def encoder_cycles(config: BitmapConfig, workload: Workload) -> Counts:
    """Counts of encoding tokens in one run, by a :class:`PackedBitmap` or :class:`Populations`."""
    return _counted(config, workload, encoder_events(config), _completed_beats, fill=2)


def _gather_steps(config: BitmapConfig, _: NDArray[np.bool_], population: NDArray) -> NDArray:
    """Beats of pairs that each group gives, but for the empty one of a group without values."""
    width = config.width
    return population // width + (population % width > 0)


def _counted(
    config: BitmapConfig,
    workload: Workload,
    events: tuple[Event, ...],
    steps_of: Callable[[BitmapConfig, NDArray[np.bool_], NDArray], NDArray],
    fill: int,
) -> Counts:
    """Counts where every group takes its steps, at least one."""
    totals = dict.fromkeys(("groups", "empty_groups", "values", "value_beats"), 0)
    steps = 0
    for part in _tokens(config, workload):
        starts = np.concatenate([[0], np.flatnonzero(part.last)[:-1] + 1])
        per_token = np.add.reduceat(part.values, starts, dtype=np.int64)
        totals["groups"] += part.values.size
        totals["empty_groups"] += part.values.size - int(np.count_nonzero(part.values))
        totals["values"] += int(per_token.sum())
        totals["value_beats"] += int((-(-per_token // config.beat)).sum())
        needed = steps_of(config, part.last, part.values)
        steps += int(np.maximum(1, needed).sum(dtype=np.int64))
    found = {event.name: totals.get(event.name, 0) for event in events}
    return Counts(steps + fill, found, ideal_cycles=float(steps))


DECODER = Design(
    name="bitmap_decoder",
    summary="bitmap and packed values to (index, value) pairs or dense groups",
    law="gather: 2 + sum over groups of max(1, ceil(popcount / width)); "
    "scatter: 3 + sum over groups of max(1, beats of values first needed by the group)",
    ports=decoder_ports,
    events=decoder_events,
    bandwidth=decoder_bandwidth,
    schedule=decoder_schedule,
    traffic=lambda config, groups: decoder_schedule(config, groups).beats,
    workload=workload,
    cycles=decoder_cycles,
    hardware="nibbleforge.hw.bitmap:BitmapDecoder",
    stimuli="nibbleforge.tb.tb_bitmap:DECODER",
)

ENCODER = Design(
    name="bitmap_encoder",
    summary="dense groups to bitmap and packed values",
    law="2 + sum over groups of max(1, beats of values completed by the group)",
    ports=encoder_ports,
    events=encoder_events,
    bandwidth=encoder_bandwidth,
    schedule=encoder_schedule,
    traffic=lambda config, groups: encoder_schedule(config, groups).beats,
    workload=workload,
    cycles=encoder_cycles,
    hardware="nibbleforge.hw.bitmap:BitmapEncoder",
    stimuli="nibbleforge.tb.tb_bitmap:ENCODER",
)


def designs(config: BitmapConfig) -> tuple[Design, ...]:
    """The designs a configuration leads to: without values there is nothing to encode."""
    return (DECODER, ENCODER) if config.value_width else (DECODER,)


UNIT = Unit(
    name="bitmap",
    summary="codec of sparse values: bitmap plus packed non-zero values",
    config=BitmapConfig,
    presets={
        "paper": BitmapConfig(),
        "tiny": BitmapConfig(group=8, beat=2, width=2),
        "fpga": BitmapConfig(group=32, beat=8, width=2),
        "scatter": BitmapConfig(mode="scatter"),
        "mask": BitmapConfig(value_width=0, width=4),
    },
    designs=designs,
    takes="activations",
    settings=BitmapSettings,
    simulation="nibbleforge.sim.units.bitmap:prepare",
)

UNITS = (UNIT,)
