"""The read master of the core, in Amaranth's simulator."""

import pytest
from amaranth.sim import Simulator
from nibbleforge.hw.soc.memory import ReadMaster, ReadMasterConfig


def simulated(play):
    part = ReadMaster(ReadMasterConfig(address_bits=32, data_bits=32, bursts=4))
    simulator = Simulator(part)
    simulator.add_clock(1e-6)

    async def bench(context):
        await play(context, part)

    simulator.add_testbench(bench)
    simulator.run()


async def ask(context, part, address, length):
    context.set(part.bursts.payload, {"addr": address, "len": length - 1})
    context.set(part.bursts.valid, 1)
    await context.tick().until(part.bursts.ready)
    context.set(part.bursts.valid, 0)


async def answer(context, part, length, seen):
    """Beats of a burst; notes those that pass."""
    for place in range(length):
        context.set(part.r.payload, {"data": place, "resp": 0, "last": place == length - 1})
        context.set(part.r.valid, 1)
        while not context.get(part.r.ready):
            await context.tick()
        if context.get(part.beats.valid):
            seen.append(context.get(part.beats.payload.data))
        await context.tick()
    context.set(part.r.valid, 0)


@pytest.mark.parametrize("pause", [0, 3])
def test_what_is_under_way_outlives_a_flush(pause):
    """One burst half answered, one accepted, one still offered: all are ended, none passes."""
    seen = []

    async def play(context, part):
        context.set(part.beats.ready, 1)
        context.set(part.ar.ready, 1)
        await ask(context, part, 0x100, 3)
        await ask(context, part, 0x200, 2)
        await context.tick()
        context.set(part.ar.ready, 0)
        await ask(context, part, 0x300, 1)
        context.set(part.r.payload, {"data": 77, "resp": 0, "last": 0})
        context.set(part.r.valid, 1)
        assert context.get(part.beats.valid)
        await context.tick()
        context.set(part.r.valid, 0)
        context.set(part.flush, 1)
        context.set(part.beats.ready, 0)  # whoever asked has forgotten it
        await context.tick()
        context.set(part.flush, 0)
        for _ in range(pause):
            assert context.get(part.ar.valid)  # AXI: until it is accepted
            assert context.get(part.ar.payload.addr) == 0x300
            assert not context.get(part.bursts.ready)
            await context.tick()
        context.set(part.ar.ready, 1)
        for length in (2, 2, 1):
            assert context.get(part.flushing)
            await answer(context, part, length, seen)
        await context.tick()
        assert not context.get(part.flushing)
        assert seen == []
        context.set(part.beats.ready, 1)
        await ask(context, part, 0x400, 2)
        await answer(context, part, 2, seen)
        assert seen == [0, 1]

    simulated(play)


def test_a_burst_taken_with_the_flush_is_dropped_as_well():
    seen = []

    async def play(context, part):
        context.set(part.ar.ready, 1)
        context.set(part.flush, 1)
        await ask(context, part, 0x100, 2)
        context.set(part.flush, 0)
        assert context.get(part.ar.valid)
        await answer(context, part, 2, seen)
        await context.tick()
        assert not context.get(part.flushing)
        assert seen == []

    simulated(play)
