"""Drivers and monitors of streams and events, called once a cycle by the harness."""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.contract.events import Event
from ..golden.contract.ports import Port
from ..golden.contract.schedule import Beats, Pulses


class _Channel(ABC):
    """One end of a stream: its handles, its stall pattern, what was accepted when."""

    def __init__(self, dut: Any, port: Port):
        self.port = port
        self.valid = getattr(dut, f"{port.name}_valid")
        self.ready = getattr(dut, f"{port.name}_ready")
        self.payload = getattr(dut, f"{port.name}_payload")
        self.gate: list[int] = []
        self.gate_at = -1
        self.accepted: list[int] = []

    @abstractmethod
    def sample(self, cycle: int) -> bool:
        """Note what happens in this cycle; returns whether a beat was accepted."""

    def open(self) -> bool:
        """Whether the stall pattern lets the channel act in this cycle."""
        if not self.gate:
            return True
        self.gate_at = (self.gate_at + 1) % len(self.gate)
        return bool(self.gate[self.gate_at])

    def restart(self, gate: NDArray[np.uint8] | None) -> None:
        """Forget everything; the pattern starts from its beginning."""
        self.gate = [] if gate is None else gate.tolist()
        self.gate_at = -1
        self.accepted = []


class StreamDriver(_Channel):
    """Source of an input stream: offers a beat until it is accepted, and none while ``held``."""

    def load(self, beats: Beats, monitors: Mapping[str, "StreamMonitor"]) -> None:
        """Beats to send, and the monitors of the ports that they may answer."""
        self.beats = [int.from_bytes(beat.tobytes(), "little") for beat in beats.expand()]
        self.answers = beats.answers
        self.asked = monitors[beats.answers.port] if beats.answers else None

    def restart(self, gate: NDArray[np.uint8] | None) -> None:
        """Start again from the first beat."""
        super().restart(gate)
        self.offers = False
        self.held = False
        self.valid.value = 0

    @property
    def finished(self) -> bool:
        """Whether every beat was accepted."""
        return len(self.accepted) == len(self.beats)

    def _answered(self, cycle: int) -> bool:
        """Whether the next beat may be offered: the request it answers was long enough ago."""
        if self.answers is None or self.asked is None:
            return True
        last = int(self.answers.needs[len(self.accepted)])
        passed = self.asked.accepted
        if not last:
            return True
        return len(passed) >= last and cycle >= passed[last - 1] + self.answers.latency[last - 1]

    def drive(self, cycle: int, garbage: random.Random | None) -> None:
        """Set the wires for this cycle; ``garbage`` randomises the payload while valid is 0."""
        if self.offers:
            return
        if not (self.held or self.finished) and self._answered(cycle) and self.open():
            self.payload.value = self.beats[len(self.accepted)]
            self.offers = True
            self.valid.value = 1
            return
        self.valid.value = 0
        if garbage:
            self.payload.value = garbage.getrandbits(self.port.width)

    def sample(self, cycle: int) -> bool:
        """Note whether the beat offered is accepted in this cycle."""
        if not (self.offers and int(self.ready.value)):
            return False
        self.accepted.append(cycle)
        self.offers = False
        return True


class StreamMonitor(_Channel):
    """Sink of an output stream: records beats and checks that they wait unchanged."""

    def restart(self, gate: NDArray[np.uint8] | None) -> None:
        """Start again from the first beat."""
        super().restart(gate)
        self.beats: list[int] = []
        self.waiting: int | None = None
        self.violations: list[str] = []

    def drive(self) -> None:
        """Set ready for this cycle."""
        self.accepts = self.open()
        self.ready.value = int(self.accepts)

    def sample(self, cycle: int) -> bool:
        """Record a beat accepted in this cycle."""
        payload = self.payload.value.to_unsigned() if int(self.valid.value) else None
        if self.waiting is not None and payload != self.waiting:
            self.violations.append(
                f"{self.port.name} changed in cycle {cycle} before it was accepted"
            )
        self.waiting = None if self.accepts else payload
        if payload is None or not self.accepts:
            return False
        self.accepted.append(cycle)
        self.beats.append(payload)
        return True

    def words(self) -> NDArray[np.uint32]:
        """Recorded beats, ``(beats, words)``."""
        raw = b"".join(beat.to_bytes(4 * self.port.words, "little") for beat in self.beats)
        return np.frombuffer(raw, "<u4").reshape(-1, self.port.words)


class EventMonitor:
    """Recorder of the events port."""

    def __init__(self, dut: Any, events: tuple[Event, ...]):
        self.signal = dut.events
        self.events = events
        self.restart()

    def restart(self) -> None:
        """Forget everything."""
        self.fired: list[tuple[int, int]] = []

    def sample(self, cycle: int) -> None:
        """Record the events of this cycle."""
        value = self.signal.value.to_unsigned()
        if value:
            self.fired.append((cycle, value))

    def totals(self) -> dict[str, int]:
        """Total of every event."""
        return {name: int(pulses.increments.sum()) for name, pulses in self.pulses().items()}

    def pulses(self) -> dict[str, Pulses]:
        """Cycles and increments of every event."""
        found, offset = {}, 0
        for event in self.events:
            mask = (1 << event.width) - 1
            hits = [
                (cycle, value >> offset & mask)
                for cycle, value in self.fired
                if value >> offset & mask
            ]
            cycles, increments = np.array(hits, np.int64).reshape(-1, 2).T
            found[event.name] = Pulses(cycles, increments)
            offset += event.width
        return found
