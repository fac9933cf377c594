"""Anda's run-time bit-plane compressor: FP16 activations to sign words, exponents and bit planes.

Source: Anda, arXiv 2411.15982, the compressor that aligns serially. The values are those of
:mod:`nibbleforge.golden.anda.format`; beats, ports and what becomes of mantissas outside 1..16 are
our definition. The schedule is the one that the docstring of
:class:`nibbleforge.hw.anda.compressor.AndaCompressor` states.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter
from pydantic import model_validator

from ..contract.design import Design, Unit
from ..contract.errors import UserError
from ..contract.events import Counts, Event
from ..contract.ports import Field, Port
from ..contract.schedule import Beats, Pulses, Schedule, ranges
from ..contract.workload import Profile, Workload
from .config import MantissaSettings
from .format import EXPONENT_BITS, LARGEST, MANTISSA_MAX, AndaFormat, encode

VALUE_BITS = 16  # of an FP16 pattern
MANTISSA_BITS = 5  # of the number of mantissa bits


class CompressorConfig(AndaFormat):
    """Parameters of the compressor."""

    lanes: int = Parameter(default=16, ge=1, le=64)
    """Tokens compressed side by side."""
    lanes_per_beat: int = Parameter(default=16, ge=1, le=64)
    """Lanes that an input beat feeds; divides lanes."""
    beat: int = Parameter(default=16, ge=1, le=64)
    """Consecutive elements of each of these lanes in an input beat; a power of two."""

    @model_validator(mode="after")
    def _check(self) -> "CompressorConfig":
        if self.lanes % self.lanes_per_beat:
            raise UserError(
                "lanes_per_beat must divide lanes, "
                f"got lanes_per_beat {self.lanes_per_beat}, lanes {self.lanes}."
            )
        if self.beat.bit_count() != 1:
            raise UserError(f"beat must be a power of two, got {self.beat}.")
        if self.beat > self.group:
            raise UserError(
                f"beat must not exceed group, got beat {self.beat}, group {self.group}."
            )
        return self

    @property
    def element_blocks(self) -> int:
        """Beats that a lane's group takes."""
        return self.group // self.beat

    @property
    def lane_blocks(self) -> int:
        """Beats that bring the same elements of all lanes."""
        return self.lanes // self.lanes_per_beat

    @property
    def beats(self) -> int:
        """Input beats a group."""
        return self.element_blocks * self.lane_blocks


@dataclass(frozen=True)
class LaneGroups:
    """Groups of activations, one of every lane at a time.

    Attributes
    ----------
    values
        FP16 bit patterns, any, uint16 ``(groups, lanes, group)``.
    mantissa
        Bits of a mantissa (M) as the port takes it, uint8 ``(groups,)`` in 0..31; outside 1..16 it
        counts as 16.
    """

    values: NDArray[np.uint16]
    mantissa: NDArray[np.uint8]

    @property
    def planes(self) -> NDArray[np.int64]:
        """Planes of each group, 1..16."""
        outside = (self.mantissa < 1) | (self.mantissa > MANTISSA_MAX)
        return np.where(outside, MANTISSA_MAX, self.mantissa).astype(np.int64)

    @property
    def nonfinite(self) -> NDArray[np.bool_]:
        """Which values are Inf or NaN, shaped as they are."""
        return (self.values & 0x7FFF) > LARGEST

    @property
    def runs(self) -> int:
        """Groups: after each of them the unit is as after a reset."""
        return len(self.values)

    def part(self, runs: slice) -> "LaneGroups":
        """Some groups alone."""
        return LaneGroups(self.values[runs], self.mantissa[runs])


@dataclass(frozen=True)
class Compressed:
    """What leaves the compressor.

    Attributes
    ----------
    sign
        Sign words, ``(groups, lanes, group)``, bool.
    exponent
        Largest exponent of each group, ``(groups, lanes)``, uint8 in 1..30.
    nonfinite
        Whether the group has Inf or NaN in any lane, ``(groups,)``, bool.
    planes
        Bit planes of one group after the other, most significant first,
        ``(sum of M, lanes, group)``, bool.
    """

    sign: NDArray[np.bool_]
    exponent: NDArray[np.uint8]
    nonfinite: NDArray[np.bool_]
    planes: NDArray[np.bool_]


def check(config: CompressorConfig, operands: LaneGroups) -> None:
    """Raise :class:`UserError` unless the unit takes the operands."""
    values, mantissa = operands.values, operands.mantissa
    shape = (len(values), config.lanes, config.group)
    if values.dtype != np.uint16 or values.shape != shape or not values.size:
        raise UserError(
            f"values must be uint16 (groups, {config.lanes}, {config.group}) and not empty,"
            f" got {values.dtype} {values.shape}."
        )
    if mantissa.dtype != np.uint8 or mantissa.shape != shape[:1]:
        raise UserError(
            f"mantissa must be uint8 of shape {shape[:1]}, got {mantissa.dtype} {mantissa.shape}."
        )
    if mantissa.max() >= 1 << MANTISSA_BITS:
        raise UserError(f"mantissa must fit {MANTISSA_BITS} bits, got {mantissa.max()}.")


def compute(config: CompressorConfig, operands: LaneGroups) -> Compressed:
    """Groups in the Anda format.

    Truncation makes the planes of M bits the first M of the planes of 16.
    """
    check(config, operands)
    groups = len(operands.values)
    tokens = operands.values.reshape(-1, config.group).view(np.float16)
    anda = encode(config, MANTISSA_MAX, tokens)
    words = anda.planes().reshape(groups, config.lanes, 1 + MANTISSA_MAX, config.group)
    kept = np.arange(MANTISSA_MAX) < operands.planes[:, None]
    return Compressed(
        sign=words[:, :, 0],
        exponent=anda.exponent.reshape(groups, config.lanes),
        nonfinite=np.asarray(operands.nonfinite.any(axis=(1, 2))),
        planes=words[:, :, 1:].transpose(0, 2, 1, 3)[kept],
    )


# --- ports and events -------------------------------------------------------------------------


def ports(config: CompressorConfig) -> tuple[Port, ...]:
    """Ports of the unit."""
    elements = config.lanes * config.group
    x = (
        Field(
            "value",
            VALUE_BITS,
            "FP16 patterns, elements of a lane side by side",
            count=config.lanes_per_beat * config.beat,
        ),
        Field("mantissa", MANTISSA_BITS, "M, on a group's first beat; outside 1..16 taken as 16"),
    )
    exponent = (
        Field("value", EXPONENT_BITS, "largest exponent of each lane, 1..30", count=config.lanes),
        Field("nonfinite", 1, "a value of this group, in any lane, is Inf or NaN"),
    )
    plane = (
        Field("bits", 1, "bit of each element, lane after lane", count=elements),
        Field("last", 1, "final plane of the group"),
    )
    return (
        Port("x", "in", x, "activations: blocks of elements, within each the blocks of lanes"),
        Port(
            "sign",
            "out",
            (Field("word", 1, "sign of each element, lane after lane", count=elements),),
            "one word a group",
        ),
        Port("exponent", "out", exponent, "one beat a group"),
        Port("plane", "out", plane, "bit planes of a group, most significant first"),
    )


def events(config: CompressorConfig) -> tuple[Event, ...]:
    """Events of the unit."""
    values = config.lanes_per_beat * config.beat
    return (
        Event("x_beats", "work", "beats of activations read"),
        Event("groups", "work", "groups taken in full, one of every lane at a time"),
        Event("planes", "work", "bit planes written"),
        Event("nonfinite", "work", "values read that are Inf or NaN", values.bit_length()),
        Event(
            "stall_input",
            "time",
            "cycles without a plane that wait for the rest of a group",
            waits_for={"x": 1},
        ),
        Event(
            "stall_out",
            "time",
            "cycles that a word, exponents or a plane wait for a consumer",
            waits_for={"sign": 1, "exponent": 1, "plane": 1},
        ),
    )


def bandwidth(config: CompressorConfig) -> dict[str, float]:
    """Peak bits per cycle on the input: a beat every cycle while M is at most ``beats``."""
    return {"x": float(ports(config)[0].width)}


# --- schedule and law -------------------------------------------------------------------------


def schedule(config: CompressorConfig, operands: LaneGroups) -> Schedule:
    """Golden schedule of a run."""
    beats = traffic(config, operands)
    planes = operands.planes
    final = _final_beats(config, planes)
    before = np.concatenate([[-1], final[:-1]])
    early = before[:, None] + 1 + np.arange(config.beats - 1)
    taken = np.concatenate([early, final[:, None]], axis=1).ravel()
    written = ranges(final + 1, planes)
    dry = before + np.concatenate([[1], planes[:-1]])  # final cycle with a plane or no beat yet
    found = _in_beats(config, operands.nonfinite).sum(axis=1)
    pulses = {
        "x_beats": Pulses.strobes(taken),
        "groups": Pulses.strobes(final),
        "planes": Pulses.strobes(written),
        "nonfinite": Pulses(taken[found > 0], found[found > 0]),
        "stall_input": Pulses.strobes(ranges(dry + 1, final - dry)),
        "stall_out": Pulses.strobes(np.zeros(0, np.int64)),
    }
    cycles = {"x": taken, "sign": final + 1, "exponent": final + 1, "plane": written}
    return Schedule(beats, cycles, pulses)


def _final_beats(config: CompressorConfig, planes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cycle in which the final beat of each group is taken."""
    periods = np.maximum(config.beats, planes)
    return config.beats - 1 + np.cumsum(periods) - periods


def _in_beats(config: CompressorConfig, elements: NDArray) -> NDArray:
    """Elements ``(groups, lanes, group)`` as input beats bring them, ``(beats, elements)``."""
    blocks = elements.reshape(
        len(elements),
        config.lane_blocks,
        config.lanes_per_beat,
        config.element_blocks,
        config.beat,
    )
    return blocks.transpose(0, 3, 1, 2, 4).reshape(-1, config.lanes_per_beat * config.beat)


def traffic(config: CompressorConfig, operands: LaneGroups) -> dict[str, Beats]:
    """Payloads of every port; the mantissa is 0 where it is not read."""
    result = compute(config, operands)
    x_port, sign_port, exponent_port, plane_port = ports(config)
    mantissa = np.zeros((len(operands.values), config.beats), np.uint8)
    mantissa[:, 0] = operands.mantissa
    last = np.zeros(len(result.planes), bool)
    last[np.cumsum(operands.planes) - 1] = True
    return {
        "x": Beats(
            x_port.pack(value=_in_beats(config, operands.values), mantissa=mantissa.ravel())
        ),
        "sign": Beats(sign_port.pack(word=result.sign.reshape(len(result.sign), -1))),
        "exponent": Beats(exponent_port.pack(value=result.exponent, nonfinite=result.nonfinite)),
        "plane": Beats(plane_port.pack(bits=result.planes.reshape(len(last), -1), last=last)),
    }


@dataclass(frozen=True, eq=False)
class GroupMantissas(Profile):
    """A run whose groups differ in their mantissas, or that has values that are not finite.

    Attributes
    ----------
    planes
        Bits of a mantissa (M), 1..16, of each group of the run, ``(groups,)``.
    nonfinite
        Values that are Inf or NaN.
    """

    planes: NDArray[np.integer]
    nonfinite: int = 0

    def check(self, tokens: int, in_features: int) -> None:
        """As :meth:`nibbleforge.golden.contract.workload.Profile.check`."""
        planes = self.planes
        if planes.ndim != 1 or not np.issubdtype(planes.dtype, np.integer) or not planes.size:
            raise UserError(
                f"planes must be a vector of integers, got {planes.dtype} {planes.shape}."
            )
        if planes.min() < 1 or planes.max() > MANTISSA_MAX:
            raise UserError(
                f"planes must be in 1..{MANTISSA_MAX}, got {planes.min()}..{planes.max()}."
            )


def workload(config: CompressorConfig, operands: LaneGroups) -> Workload:
    """As many tokens as lanes, and the planes of every group."""
    profile = GroupMantissas(operands.planes, int(operands.nonfinite.sum()))
    features = len(operands.values) * config.group
    return Workload(config.lanes, features, profile=profile)


def cycles(config: CompressorConfig, workload: Workload) -> Counts:
    """Counts of one free-flowing run: tokens side by side in lanes, groups along in_features.

    Without :class:`GroupMantissas` all groups have the mantissa of the settings.
    """
    groups = -(-workload.tokens // config.lanes) * -(-workload.in_features // config.group)
    if isinstance(workload.profile, GroupMantissas):
        planes, nonfinite = workload.profile.planes.astype(np.int64), workload.profile.nonfinite
        if len(planes) != groups:
            raise UserError(f"planes must be those of {groups} groups, got {len(planes)}.")
    else:
        mantissa = workload.settings_as(MantissaSettings).mantissa
        planes, nonfinite = np.broadcast_to(np.int64(mantissa), groups), 0
    periods = np.maximum(config.beats, planes)
    totals = {
        "x_beats": groups * config.beats,
        "groups": groups,
        "planes": int(planes.sum()),
        "nonfinite": nonfinite,
        "stall_input": config.beats - 1 + int((periods - planes)[:-1].sum()),
        "stall_out": 0,
    }
    total = config.beats + int(periods[:-1].sum() + planes[-1])
    return Counts(total, totals, float(periods.sum()))


COMPRESSOR = Design(
    name="anda_compressor",
    summary="FP16 activations to Anda's sign words, group exponents and bit planes",
    law="beats + sum over groups but the final one of max(beats, M) + M of the final one, "
    "beats = group/beat * lanes/lanes_per_beat",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.anda.compressor:AndaCompressor",
    stimuli="nibbleforge.tb.tb_anda_compressor:COMPRESSOR",
)

UNIT = Unit(
    name="compressor",
    summary="Anda's run-time compressor: FP16 groups to one exponent and M bit planes",
    config=CompressorConfig,
    presets={
        "paper": CompressorConfig(),
        "tiny": CompressorConfig(group=16, lanes=2, lanes_per_beat=1, beat=4),
        "fpga": CompressorConfig(group=32, lanes=4, lanes_per_beat=4, beat=8),
    },
    designs=lambda _: (COMPRESSOR,),
    takes="activations",
    settings=MantissaSettings,
    simulation="nibbleforge.sim.units.anda_compressor:prepare",
)
