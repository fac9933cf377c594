"""Rows from memory, in Amaranth's simulator: any strides, any latency, pauses everywhere."""

from collections import deque

import numpy as np
import pytest
from amaranth.sim import Simulator
from nibbleforge.hw.soc.rows import FetchedMatrix, RowFetcher, RowFetcherConfig

LONGEST = {"x": 6, "b": 2}
MATRICES = {"a": "x", "b": "b", "down": "x"}


def fetcher_config(**values):
    """A unit with three matrices, of which those numbered 0 and 4 have equally long rows."""
    matrices = [
        FetchedMatrix(name=name, code=code, family=family)
        for (name, family), code in zip(MATRICES.items(), (0, 1, 4), strict=True)
    ]
    return RowFetcherConfig(
        matrices=tuple(matrices),
        matrix_bits=3,
        row_bits=5,
        count_bits=5,
        element_bits=24,
        word_bits=20,
        data_bits=values.pop("data_bits", 32),
        most_beats=max(LONGEST.values()) + 1,
        requests=4,
        **values,
    )


class Memory:
    """Rows somewhere in memory, any distance apart; beats are made from their addresses."""

    def __init__(self, config, rng):
        self.config, self.bytes = config, config.data_bits // 8
        self.beats = {family: int(rng.integers(1, most + 1)) for family, most in LONGEST.items()}
        self.base = {name: int(rng.integers(1 << 20)) * self.bytes for name in MATRICES}
        self.stride = {
            name: int(rng.integers(self.beats[family] + 1, 40)) * self.bytes
            for name, family in MATRICES.items()
        }

    def beat(self, address):
        """What is at an address."""
        bits = np.random.default_rng(address).integers(1 << 16, size=self.bytes)
        return int.from_bytes(bits.astype(np.uint8).tobytes(), "little")

    def row(self, matrix, row):
        """Beats of a row: elements, word, matrix, row, last."""
        start = self.base[matrix.name] + row * self.stride[matrix.name]
        count = self.beats[matrix.family]
        word = self.beat(start + count * self.bytes) & 0xFFFFF
        for place in range(count):
            last = place == count - 1
            elements = self.beat(start + place * self.bytes) & 0xFFFFFF
            yield elements, word if last else 0, matrix.code, row, int(last)


def settle(context, part, memory):
    """Settings of a layer."""
    for name, family in MATRICES.items():
        context.set(getattr(part, f"base_{name}"), memory.base[name])
        context.set(getattr(part, f"stride_{name}"), memory.stride[name])
        context.set(getattr(part, f"beats_{family}"), memory.beats[family])


def fetched(config, memory, asked, rng, pauses, latency):
    """Rows that come for some requests, and the bursts that were asked for."""
    part = RowFetcher(config)
    found, bursts, waiting = [], [], deque()
    requests = deque(asked)
    count = sum(n * memory.beats[matrix.family] for matrix, _, n in asked)

    async def play(context):
        settle(context, part, memory)
        cycle = 0
        while len(found) < count:
            open_now = (rng.random(4) >= pauses).tolist()
            if requests and open_now[0]:
                matrix, row, rows = requests[0]
                context.set(
                    part.request.payload, {"matrix": matrix.code, "row": row, "count": rows}
                )
            context.set(part.request.valid, bool(requests) and open_now[0])
            context.set(part.bursts.ready, open_now[1])
            offers = bool(waiting) and waiting[0][0] <= cycle and open_now[2]
            if offers:
                context.set(part.beats.payload, {"data": memory.beat(waiting[0][1]), "error": 0})
            context.set(part.beats.valid, offers)
            context.set(part.rows.ready, open_now[3])
            if context.get(part.request.valid & part.request.ready):
                requests.popleft()
            if context.get(part.bursts.valid & part.bursts.ready):
                burst = context.get(part.bursts.payload)
                bursts.append((burst.addr, burst.len + 1))
                ready = cycle + latency
                places = range(
                    burst.addr, burst.addr + (burst.len + 1) * memory.bytes, memory.bytes
                )
                waiting.extend((ready, place) for place in places)
            if context.get(part.beats.valid & part.beats.ready):
                waiting.popleft()
            if context.get(part.rows.valid & part.rows.ready):
                row = context.get(part.rows.payload)
                found.append((row.elements, row.word, row.matrix, row.row, row.last))
            await context.tick()
            cycle += 1
            assert cycle < 100 * count + 1000, "rows do not come"

    simulator = Simulator(part)
    simulator.add_clock(1e-6)
    simulator.add_testbench(play)
    simulator.run()
    return found, bursts


@pytest.mark.parametrize("pauses", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "values",
    [{}, {"burst": 3, "rows_ahead": 2, "address_bits": 40}, {"burst": 1, "rows_ahead": 1},
     {"data_bits": 512}],
    ids=["plain", "short bursts", "one at a time", "wide memory"],
)  # fmt: skip
def test_rows_come_in_the_order_asked_for(values, seed, pauses):
    rng = np.random.default_rng(seed)
    config = fetcher_config(**values)
    memory = Memory(config, rng)
    asked = [
        (config.matrices[int(rng.integers(3))], int(rng.integers(20)), int(rng.integers(1, 5)))
        for _ in range(12)
    ]
    found, bursts = fetched(config, memory, asked, rng, pauses, int(rng.integers(1, 30)))
    rows = [(matrix, row + i) for matrix, row, count in asked for i in range(count)]
    assert found == [beat for matrix, row in rows for beat in memory.row(matrix, row)]
    assert sum(beats for _, beats in bursts) == len(found) + len(rows)
    for address, beats in bursts:
        assert beats <= config.burst
        assert address // 4096 == (address + beats * memory.bytes - 1) // 4096


def test_a_beat_with_an_error_is_told_and_passes():
    config = fetcher_config()
    memory = Memory(config, np.random.default_rng(0))
    part = RowFetcher(config)
    told = []

    async def play(context):
        settle(context, part, memory)
        context.set(part.request.payload, {"matrix": 1, "row": 0, "count": 1})
        context.set(part.request.valid, 1)
        context.set(part.bursts.ready, 1)
        context.set(part.rows.ready, 1)
        await context.tick()
        context.set(part.request.valid, 0)
        await context.tick().until(part.bursts.valid)
        for place in range(memory.beats["b"] + 1):
            context.set(part.beats.payload, {"data": 0, "error": place == 1})
            context.set(part.beats.valid, 1)
            told.append((context.get(part.error), context.get(part.rows.valid)))
            await context.tick()
        assert context.get(part.awaits) == 0

    simulator = Simulator(part)
    simulator.add_clock(1e-6)
    simulator.add_testbench(play)
    simulator.run()
    assert told == [(int(i == 1), int(i > 0)) for i in range(memory.beats["b"] + 1)]
