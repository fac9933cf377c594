"""The memory for rows on a board, in Amaranth's simulator, against an array of bytes."""

import numpy as np
import pytest
from amaranth.hdl import Cat
from amaranth.sim import Simulator
from nibbleforge.hw.soc.ram import RowMemory, RowMemoryConfig


@pytest.mark.parametrize("data_bits", [32, 128])
@pytest.mark.parametrize("taking", [1.0, 0.4])
def test_bursts_are_answered(data_bits, taking):
    """Every beat, its end and its error; without pauses a beat a cycle from the second on."""
    config = RowMemoryConfig(words=64, data_bits=data_bits, address_bits=16)
    part = RowMemory(config)
    rng = np.random.default_rng(data_bits)
    content = rng.integers(0, 1 << 32, 64).astype("<u4")
    size = data_bits // 8
    beats = [int.from_bytes(row.tobytes(), "little") for row in content.reshape(-1, config.lanes)]
    found = []

    async def host(context):
        for number, word in enumerate(content.tolist()):
            context.set(part.memory_word, number)
            context.set(part.memory_data, word)
            context.set(part.memory_write, 1)
            await context.tick()
        context.set(part.memory_write, 0)
        for _ in range(40):
            first = int(rng.integers(0, config.beats + 2))
            length = int(rng.integers(1, 12))
            found.clear()
            context.set(part.m_axi_araddr, first * size)
            context.set(part.m_axi_arlen, length - 1)
            context.set(part.m_axi_arvalid, 1)
            await context.tick().until(part.m_axi_arready)
            context.set(part.m_axi_arvalid, 0)
            cycles = 0
            while len(found) < length:
                await context.tick()
                cycles += 1
                assert cycles < 500
            if taking == 1:
                assert cycles == length + 2  # it is told of a beat in the cycle after
            for place, (data, resp, last) in enumerate(found):
                inside = first + place < config.beats
                assert resp == (0 if inside else 2)
                assert not inside or data == beats[first + place]
                assert last == (place == length - 1)

    async def core(context):
        drawn = np.random.default_rng(1)
        answer = Cat(part.m_axi_rdata, part.m_axi_rresp, part.m_axi_rlast)
        while True:
            ready = drawn.random() < taking
            context.set(part.m_axi_rready, ready)
            *_, valid, beat = await context.tick().sample(part.m_axi_rvalid, answer)
            if valid and ready:
                data, rest = beat & ((1 << data_bits) - 1), beat >> data_bits
                found.append((data, rest & 3, bool(rest >> 2)))

    simulator = Simulator(part)
    simulator.add_clock(1e-6)
    simulator.add_testbench(host)
    simulator.add_testbench(core, background=True)
    simulator.run()
