"""Counters of the core, in Amaranth's simulator."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from nibbleforge.golden.soc.unit import TURNS
from nibbleforge.hw.soc.counters import Counters, CountersConfig


def counted(widths, increments, snapshots):
    """What the counters show after snapshots in these cycles."""
    part = Counters(CountersConfig(widths=widths))
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
        await context.tick().until(~part.counting)
        words = []
        for address in range(2 * len(widths)):
            context.set(part.address, address)
            await context.tick()
            words.append(context.get(part.data))
        return [low | high << 32 for low, high in zip(words[::2], words[1::2], strict=True)]

    simulator = Simulator(part)
    simulator.add_clock(1e-6)
    simulator.add_testbench(play)
    simulator.run()
    return np.array(found)


@pytest.mark.parametrize("widths", [(1,), (5, 1, 1), (24, 1, 9), (1,) * 13])
@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_nothing_is_lost(widths, rate):
    """Random and largest increments; totals beyond 32 bits where increments are wide."""
    rng = np.random.default_rng(len(widths))
    most = (1 << np.array(widths)) - 1
    increments = np.where(rng.random((1500, len(widths))) < rate, most, 0)
    snapshots = {7, 400, 1499}
    found = counted(widths, increments, snapshots)
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
