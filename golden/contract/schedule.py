"""Traffic and schedule: which beat passes which port, and in which cycle when nothing stalls."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .events import Counts


def ranges(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """``start, start + 1, ...``, ``size`` of them each, one after the other."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)


def final_of(period: int, times: int) -> NDArray[np.bool_]:
    """True at the end of each of ``times`` periods."""
    return np.tile(np.arange(period) == period - 1, times)


@dataclass(frozen=True)
class Answers:
    """Whose requests the beats of an input port answer, so that they cannot come earlier.

    Attributes
    ----------
    port
        Output port that asks.
    needs
        For every beat, how many requests must have been accepted before it is offered, ascending.
    latency
        Cycles from each request to what it asks for, at least 1.
    """

    port: str
    needs: NDArray[np.int64]
    latency: NDArray[np.int64]


@dataclass(frozen=True)
class Beats:
    """Payloads of one port in order.

    Operands are often sent several times, so the beats are a list of segments of ``words``:
    ``segments[i] = (start, length)``. Without segments every row of ``words`` is sent once. With
    ``answers`` an input's beats wait for requests.
    """

    words: NDArray[np.uint32]
    segments: NDArray[np.int64] | None = None
    answers: Answers | None = None

    def __len__(self) -> int:
        """Number of beats, repeats included."""
        return len(self.words) if self.segments is None else int(self.segments[:, 1].sum())

    def expand(self) -> NDArray[np.uint32]:
        """Every beat in order, ``(beats, words)``."""
        if self.segments is None:
            return self.words
        return self.words[ranges(self.segments[:, 0], self.segments[:, 1])]


Traffic = dict[str, Beats]
"""Payloads of every port of a design, by port name."""


@dataclass(frozen=True)
class Pulses:
    """Cycles in which an event fires, ascending, and its increment in each."""

    cycles: NDArray[np.int64]
    increments: NDArray[np.int64]

    @classmethod
    def strobes(cls, cycles: NDArray[np.int64]) -> "Pulses":
        """Increment 1 in each of the cycles."""
        return cls(np.asarray(cycles, np.int64), np.ones(len(cycles), np.int64))


@dataclass(frozen=True)
class Schedule:
    """Golden timing of a free-flowing run.

    Attributes
    ----------
    beats
        Payloads of every port.
    cycles
        For every port, the cycle in which each beat is accepted; cycle 0 is the first in which
        the inputs are valid. Empty where no timing is stated, as with some illegal operands.
    events
        For every event, when it fires and by how much; without timing only totals of work events
        mean anything.
    """

    beats: Traffic
    cycles: dict[str, NDArray[np.int64]]
    events: dict[str, Pulses]

    @property
    def timed(self) -> bool:
        """Whether timing is stated."""
        return bool(self.cycles)

    def counts(self) -> Counts:
        """Totals of this schedule."""
        everything = np.concatenate([np.zeros(0, np.int64), *self.cycles.values()])
        total = int(everything.max() - everything.min() + 1) if everything.size else 0
        return Counts(total, {name: int(p.increments.sum()) for name, p in self.events.items()})
