"""Counters of the core, in Amaranth's simulator."""

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from nibbleforge.golden.soc.unit import TURNS
from nibbleforge.hw.soc.counters import Counters, CountersConfig


def counted(widths, increments, snapshots, share):
    """What the counters show after snapshots in these cycles, of whose words some are lost."""
    part = Counters(CountersConfig(widths=widths))
    rng = np.random.default_rng(len(increments))
    found = []

    async def play(context):
        for cycle in range(len(increments)):
            packed, start = 0, 0
            for width, value in zip(widths, increments[cycle].tolist(), strict=True):
                packed |= value << start
                start += width
            context.set(part.events, packed)
            context.set(part.snapshot, cycle in snapshots)
            await context.tick()
            if cycle in snapshots:
                context.set(part.snapshot, 0)
                context.set(part.events, 0)
                found.append(await totals(context))

    async def totals(context):
        words = [None] * 2 * len(widths)
        while context.get(part.counting):
            lost = bool(rng.random() < share)
            context.set(part.lost, lost)
            if context.get(part.write) and not lost:
                words[context.get(part.address)] = context.get(part.data)
            await context.tick()
        context.set(part.lost, 0)
        return [low | high << 32 for low, high in zip(words[::2], words[1::2], strict=True)]

    simulator = Simulator(part)
    simulator.add_clock(1e-6)
    simulator.add_testbench(play)
    simulator.run()
    return np.array(found)


@pytest.mark.parametrize("widths", [(1,), (5, 1, 1), (24, 1, 9), (1,) * 13])
@pytest.mark.parametrize(("rate", "share"), [(0.1, 0.0), (1.0, 0.0), (0.4, 0.1)])
def test_nothing_is_lost(widths, rate, share):
    """Random and largest increments; totals beyond 32 bits where increments are wide."""
    rng = np.random.default_rng(len(widths))
    most = (1 << np.array(widths)) - 1
    increments = np.where(rng.random((1500, len(widths))) < rate, most, 0)
    snapshots = {7, 400, 1499}
    found = counted(widths, increments, snapshots, share)
    assert np.array_equal(
        found, [increments[: cycle + 1].sum(axis=0) for cycle in sorted(snapshots)]
    )
    assert widths[0] < 24 or rate < 1 or found[-1, 0] > 1 << 32


def test_a_snapshot_is_complete_after_two_rounds():
    part = Counters(CountersConfig(widths=(1, 1, 1)))
    waits = []

    async def play(context):
        for pause in range(3 * TURNS):
            for _ in range(pause):
                await context.tick()
            context.set(part.snapshot, 1)
            await context.tick()
            context.set(part.snapshot, 0)
            cycles = 0
            while context.get(part.counting):
                await context.tick()
                cycles += 1
            waits.append(cycles)

    simulator = Simulator(part)
    simulator.add_clock(1e-6)
    simulator.add_testbench(play)
    simulator.run()
    assert 3 * TURNS <= max(waits) <= 2 * 3 * TURNS


def test_after_a_reset_everything_is_counted_anew():
    """Whatever memory holds, and wherever the round was."""
    events = 3
    part = Counters(CountersConfig(widths=(1,) * events))
    reset = Signal()
    found = []

    async def play(context):
        context.set(part.events, 7)
        for cycles in range(40, 40 + 2 * TURNS * events):
            await context.tick().repeat(cycles)
            context.set(reset, 1)
            await context.tick()
            context.set(reset, 0)
            await context.tick().repeat(50)
            context.set(part.events, 0)
            context.set(part.snapshot, 1)
            await context.tick()
            context.set(part.snapshot, 0)
            context.set(part.events, 7)
            found.append({})
            while context.get(part.counting):
                if context.get(part.write):
                    found[-1][context.get(part.address)] = context.get(part.data)
                await context.tick()

    simulator = Simulator(ResetInserter(reset)(part))
    simulator.add_clock(1e-6)
    simulator.add_testbench(play)
    simulator.run()
    for words in found:
        assert sorted(words) == list(range(2 * events))
        lows, highs = (
            [words[2 * i] for i in range(events)],
            [words[2 * i + 1] for i in range(events)],
        )
        assert highs == [0] * events
        assert all(50 < low < 50 + 2 * TURNS * events for low in lows)
