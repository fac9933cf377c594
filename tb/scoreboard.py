"""Scoreboard: what a run did against the golden schedule."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.events import Counts
from ..golden.contract.ports import Port
from ..golden.contract.schedule import Pulses, Schedule, Traffic


@dataclass(frozen=True)
class Observation:
    """What one run of a design did, whichever harness ran it.

    Attributes
    ----------
    words
        Beats accepted at every output port, ``(beats, words)``.
    cycles
        Cycle of every accepted beat, by port; cycle 0 is the first after reset. Empty where not
        recorded.
    totals
        Event name to total.
    span
        Cycles from the first to the last accepted beat, both included.
    pulses
        Event name to cycles and increments. Empty where not recorded.
    violations
        Breaches of the handshake rules, one sentence each.
    """

    words: dict[str, NDArray[np.uint32]]
    totals: dict[str, int]
    span: int
    cycles: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    pulses: dict[str, Pulses] = field(default_factory=dict)
    violations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mismatch:
    """The first difference found at one place.

    Attributes
    ----------
    cycle
        Cycle of the difference where known, else None.
    place
        Port or event.
    expected, got
        Readable values.
    """

    cycle: int | None
    place: str
    expected: str
    got: str

    def __str__(self) -> str:
        when = "" if self.cycle is None else f"cycle {self.cycle}: "
        return f"{when}{self.place}: expected {self.expected}, got {self.got}"


def check_values(ports: tuple[Port, ...], traffic: Traffic, seen: Observation) -> list[Mismatch]:
    """Compare the payload of every output beat, and the handshake rules."""
    found = [Mismatch(None, "handshake", "no violation", text) for text in seen.violations]
    for port in ports:
        if port.direction == "out":
            found += _check_port(port, traffic[port.name].expand(), seen)
    return found


def _check_port(port: Port, expected: NDArray[np.uint32], seen: Observation) -> list[Mismatch]:
    got = seen.words[port.name]
    cycles = seen.cycles.get(port.name)
    both = min(len(expected), len(got))
    wrong = np.flatnonzero((expected[:both] != got[:both]).any(axis=1))
    if wrong.size:
        beat = int(wrong[0])
        cycle = None if cycles is None else int(cycles[beat])
        place = f"{port.name} beat {beat}"
        return [
            Mismatch(
                cycle, place, str(port.describe(expected[beat])), str(port.describe(got[beat]))
            )
        ]
    if len(expected) != len(got):
        return [Mismatch(None, port.name, f"{len(expected)} beats", f"{len(got)} beats")]
    return []


def check_timing(schedule: Schedule, seen: Observation) -> list[Mismatch]:
    """Compare the cycle of every beat of every port and of every event, in a free-flowing run."""
    found = []
    for name, expected in schedule.cycles.items():
        found += _check_cycles(name, expected, seen.cycles[name])
    for name, pulses in schedule.events.items():
        found += _check_cycles(f"event {name}", pulses.cycles, seen.pulses[name].cycles)
        found += _check_increments(name, pulses, seen.pulses[name])
    return found


def _check_cycles(
    place: str, expected: NDArray[np.int64], got: NDArray[np.int64]
) -> list[Mismatch]:
    both = min(len(expected), len(got))
    wrong = np.flatnonzero(expected[:both] != got[:both])
    if wrong.size:
        i = int(wrong[0])
        cycle = int(min(expected[i], got[i]))
        return [Mismatch(cycle, f"{place} number {i}", f"cycle {expected[i]}", f"cycle {got[i]}")]
    if len(expected) != len(got):
        return [Mismatch(None, place, f"{len(expected)} times", f"{len(got)} times")]
    return []


def _check_increments(name: str, expected: Pulses, got: Pulses) -> list[Mismatch]:
    both = min(len(expected.increments), len(got.increments))
    wrong = np.flatnonzero(expected.increments[:both] != got.increments[:both])
    if not wrong.size:
        return []
    i = int(wrong[0])
    values = (f"increment {expected.increments[i]}", f"increment {got.increments[i]}")
    return [Mismatch(int(got.cycles[i]), f"event {name}", *values)]


def check_counts(
    design: Design, config: Config, golden: Counts, seen: Observation, *, free_flow: bool
) -> list[Mismatch]:
    """Compare totals: work events always, cycles and time events in free-flowing runs."""
    found = [
        Mismatch(None, "cycles", str(golden.cycles), str(seen.span))
        for _ in range(free_flow and golden.cycles != seen.span)
    ]
    return found + [
        Mismatch(
            None,
            f"counter {event.name}",
            str(golden.events[event.name]),
            str(seen.totals[event.name]),
        )
        for event in design.events(config)
        if (free_flow or event.kind == "work")
        and golden.events[event.name] != seen.totals[event.name]
    ]
