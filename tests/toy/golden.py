"""Sum and maximum of packets: two designs, packets of any length, an error flag, a time event."""

from dataclasses import dataclass, replace

import numpy as np
from nibbleforge.golden.contract.config import Config
from nibbleforge.golden.contract.design import Design, Unit
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.events import Counts, Event
from nibbleforge.golden.contract.ports import Field, Port
from nibbleforge.golden.contract.schedule import Beats, Pulses, Schedule
from nibbleforge.golden.contract.workload import Profile, Workload
from numpy.typing import NDArray
from pydantic import Field as Parameter


class ToyConfig(Config):
    """Parameters of both designs."""

    bits: int = Parameter(default=8, ge=2, le=16)
    """Bits of an element; the most negative number is illegal."""
    longest: int = Parameter(default=64, ge=1, le=4096)
    """Elements of the longest packet."""

    @property
    def sum_bits(self) -> int:
        """Bits of a sum."""
        return self.bits + self.longest.bit_length()

    @property
    def limit(self) -> int:
        """Largest element by magnitude."""
        return (1 << (self.bits - 1)) - 1


@dataclass(frozen=True, eq=False)
class Packets:
    """Elements of all packets, one after the other, and how many each packet has."""

    x: NDArray[np.int64]
    length: NDArray[np.int64]

    @property
    def last(self) -> NDArray[np.bool_]:
        """Whether an element is the final one of its packet."""
        ends = np.zeros(len(self.x), np.bool_)
        ends[np.cumsum(self.length) - 1] = True
        return ends


def check(config: ToyConfig, operands: Packets) -> None:
    """Raise :class:`UserError` unless the design takes these operands."""
    longest = int(operands.length.max())
    if longest > config.longest:
        raise UserError(f"a packet must have at most {config.longest} elements, got {longest}.")


def ports(config: ToyConfig) -> tuple[Port, ...]:
    """Ports of both designs."""
    x = (Field("value", config.bits, "element", signed=True), Field("last", 1, "final element"))
    y = (
        Field("value", config.sum_bits, "result", signed=True),
        Field("error", 1, "an element of the packet was illegal"),
    )
    return Port("x", "in", x, "elements"), Port("y", "out", y, "a result a packet")


def events(_: ToyConfig) -> tuple[Event, ...]:
    """Events of both designs."""
    return (
        Event("elements", "work", "elements taken"),
        Event("packets", "work", "packets finished"),
        Event("stall_out", "time", "cycles a result waits for y", waits_for={"y": 1}),
    )


def traffic(config: ToyConfig, operands: Packets, reduce: np.ufunc) -> dict[str, Beats]:
    """Payloads of both ports."""
    check(config, operands)
    x, y = ports(config)
    starts = np.cumsum(operands.length) - operands.length
    illegal = operands.x == -config.limit - 1
    result = {
        "value": reduce.reduceat(operands.x, starts),
        "error": np.logical_or.reduceat(illegal, starts),
    }
    return {
        "x": Beats(x.pack(value=operands.x, last=operands.last)),
        "y": Beats(y.pack(**result)),
    }


def schedule(config: ToyConfig, operands: Packets, reduce: np.ufunc) -> Schedule:
    """An element a cycle; the result leaves in the cycle after the packet's final element."""
    taken = np.arange(len(operands.x))
    done = np.flatnonzero(operands.last) + 1
    pulses = {
        "elements": Pulses.strobes(taken),
        "packets": Pulses.strobes(done - 1),
        "stall_out": Pulses.strobes(np.zeros(0, np.int64)),
    }
    return Schedule(traffic(config, operands, reduce), {"x": taken, "y": done}, pulses)


@dataclass(frozen=True, eq=False)
class Lengths(Profile):
    """How many elements each packet has."""

    length: NDArray[np.int64]

    def check(self, tokens: int, in_features: int) -> None:
        """As :meth:`Profile.check`."""
        if len(self.length) != tokens or self.length.max() > in_features:
            raise UserError(f"there must be {tokens} lengths of at most {in_features}.")


def workload(_: ToyConfig, operands: Packets) -> Workload:
    """Packets as tokens."""
    longest = int(operands.length.max())
    return Workload(len(operands.length), longest, profile=Lengths(operands.length))


def cycles(_: ToyConfig, work: Workload) -> Counts:
    """``elements + 1``; tokens of one length where there is no profile."""
    elements = work.tokens * work.in_features
    if work.profile is not None:
        elements = int(work.profile_as(Lengths).length.sum())
    totals = {"elements": elements, "packets": work.tokens, "stall_out": 0}
    return Counts(elements + 1, totals, float(elements))


def _design(name: str, reduce: np.ufunc, hardware: str) -> Design:
    return Design(
        name=name,
        summary=f"{name.removeprefix('toy_')} of every packet",
        law="elements + 1",
        ports=ports,
        events=events,
        bandwidth=lambda config: {"x": config.bits + 1},
        schedule=lambda config, operands: schedule(config, operands, reduce),
        traffic=lambda config, operands: traffic(config, operands, reduce),
        workload=workload,
        cycles=cycles,
        hardware=f"toy.hw:{hardware}",
        stimuli=f"toy.tb:{name.removeprefix('toy_').upper()}",
    )


SUM = _design("toy_sum", np.add, "ToySum")
MAXIMUM = _design("toy_maximum", np.maximum, "ToyMaximum")

TOY = Unit(
    name="toy",
    summary="sum and maximum of packets",
    config=ToyConfig,
    presets={
        "paper": ToyConfig(),
        "tiny": ToyConfig(bits=4, longest=8),
        "fpga": ToyConfig(longest=16),
    },
    designs=lambda _: (SUM, MAXIMUM),
    takes="activations",
    simulation="toy.sim:prepare",
)

UNITS = (TOY,)


def with_illegal(config: ToyConfig, operands: Packets, packet: int) -> Packets:
    """The same with an illegal element in a packet."""
    x = operands.x.copy()
    x[np.cumsum(operands.length)[packet] - 1] = -config.limit - 1
    return replace(operands, x=x)
