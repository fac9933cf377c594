"""When rows come from memory: the schedule of the fetcher and of a memory of fixed latency.

The schedule is the one that the docstring of :class:`nibbleforge.hw.soc.rows.RowFetcher` states.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..contract.ports import Port
from ..contract.schedule import Answers, Beats, Pulses
from .memory import PAGE, FetchingConfig, Image, Rows, memory_ports

QUEUED = 1  # cycles from a request until the fetcher can take it
ADDRESSED = 1  # cycles from there to the first ask
OFFERED = 1  # cycles from an ask until memory sees the burst
APART = 2  # cycles from an ask to the next one, or until another request can be taken


class FetchedRows:
    """Rows fetched by bursts from a memory that gives a beat a cycle, bursts in order.

    Cycles of its own are those of the core; those of :meth:`take` begin at ``zero``.

    Parameters
    ----------
    config, rows
        The core, and what its unit declares of rows.
    image, address
        Memory, and where it begins.
    latency
        Cycles from a burst being taken by memory to its first beat, at least 1, ``(n,)``: of n
        bursts, then again.
    """

    def __init__(
        self,
        config: FetchingConfig,
        rows: Rows,
        image: Image,
        address: int,
        latency: NDArray[np.integer],
    ):
        self.config, self.rows, self.image, self.address = config, rows, image, address
        self.latency = [int(cycles) for cycles in latency]
        codes = {matrix.code: matrix.name for matrix in rows.request.asks}
        self.first = {code: address + image.base[name] for code, name in codes.items()}
        self.stride = {code: image.stride[name] for code, name in codes.items()}
        self.zero = 0
        self.idle = 0  # cycle from which a request can be taken
        self.free = 0  # cycle from which the next beat can be offered
        self.bursts: list[tuple[int, int]] = []  # address and beats
        self.asked: list[int] = []  # cycle in which memory takes each
        self.offered: list[int] = []  # cycles of beats of memory
        self.taken: list[int] = []
        self.begun: list[int] = []  # cycles of the first ask of each row
        self.ended: list[int] = []  # and of its final beat of memory

    def take(
        self, code: int, row: int, count: int, size: int, asked: int, earliest: int
    ) -> Sequence[int]:
        """As :class:`nibbleforge.golden.contract.rows.Supply`."""
        ask = max(asked + self.zero + QUEUED, self.idle) + ADDRESSED
        found: list[int] = []
        for i in range(count):
            start = self.first[code] + (row + i) * self.stride[code]
            unit = earliest + self.zero if i == 0 else 0
            ask = self._fetch(start, size + 1, ask, unit)
            found += self.taken[-size:]  # each with the beat after it
        self.idle = ask
        return [cycle - self.zero for cycle in found]

    def _fetch(self, start: int, beats: int, ask: int, unit: int) -> int:
        """Fetch a row, asking in this cycle or later; the cycle of the next ask.

        ``unit``: first cycle in which its first beat is taken, which is that of memory's second.
        """
        ahead = self.config.rows_ahead
        if len(self.ended) >= ahead:
            ask = max(ask, self.ended[-ahead] + 1)
        self.begun.append(ask)
        place = 0
        for address, length in _bursts(start, beats, self.rows.beat_bytes, self.config.burst):
            latency = self.latency[len(self.bursts) % len(self.latency)]
            self.bursts.append((address, length))
            self.asked.append(ask + OFFERED)
            first = max(self.free, ask + OFFERED + latency)
            for beat in range(place, place + length):
                self.offered.append(first)
                first = max(first, unit) if beat == 1 else first
                self.taken.append(first)
                first += 1
            self.free = first
            place += length
            ask += APART
        self.ended.append(self.taken[-1])
        return ask

    # --- what passes the memory's channels ----------------------------------------------------

    @property
    def ports(self) -> tuple[Port, Port]:
        """Channels of bursts and of their beats."""
        return memory_ports(self.config, self.rows)

    def beats(self) -> dict[str, Beats]:
        """Payloads of the channels."""
        ar, r = self.ports
        address, length = np.array(self.bursts, np.int64).reshape(-1, 2).T
        places = (address - self.address) // self.rows.beat_bytes
        content = self.image.content.reshape(-1, self.rows.beat_bytes)
        ends = np.cumsum(length)
        number = np.repeat(np.arange(len(length)), length)
        place = np.arange(len(number)) - (ends - length)[number]
        data = content[places[number] + place].view("<u4")
        answers = Answers(ar.name, number + 1, np.resize(self.latency, len(length)))
        beats = r.pack(
            data=data, resp=np.zeros(len(data), np.uint8), last=place == length[number] - 1
        )
        return {
            ar.name: Beats(ar.pack(addr=address, len=length - 1)),
            r.name: Beats(beats, answers=answers),
        }

    def cycles(self) -> dict[str, NDArray[np.int64]]:
        """Cycles in which they pass."""
        ar, r = self.ports
        return {ar.name: np.array(self.asked, np.int64), r.name: np.array(self.taken, np.int64)}

    def pulses(self) -> dict[str, Pulses]:
        """Events of fetching."""
        awaited = np.zeros(max(self.ended, default=0) + 2, np.int64)
        np.add.at(awaited, np.array(self.begun, np.int64) + 1, 1)
        np.add.at(awaited, np.array(self.ended, np.int64) + 1, -1)
        waits = np.cumsum(awaited) > 0
        for offered, taken in zip(self.offered, self.taken, strict=True):
            waits[offered : taken + 1] = False
        strobes = {
            "bursts": np.array(self.asked, np.int64) - OFFERED,
            "memory_beats": np.array(self.taken, np.int64),
            "stall_memory": np.flatnonzero(waits),
        }
        return {name: Pulses.strobes(cycles) for name, cycles in strobes.items()}


def _bursts(start: int, beats: int, size: int, most: int) -> Iterator[tuple[int, int]]:
    """Address and beats of each burst of a row: none leaves a page."""
    while beats:
        length = min(beats, most, (PAGE - start % PAGE) // size)
        yield start, length
        start += length * size
        beats -= length
