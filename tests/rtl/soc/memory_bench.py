"""cocotb tests of a core that reads rows from cocotbext-axi's memory. The simulator loads them."""

import cocotb
import numpy as np
import pytest
from axi_bench import compare, operands
from cocotb.task import bridge
from cocotb.triggers import ClockCycles, RisingEdge
from job import CONFIG, JOB, LONG, UNIT, started
from nibbleforge.golden.soc.blocks import LayerBlocks
from nibbleforge.sim.soc.driver import CoreError
from nibbleforge.tb.axi import MEMORY_BYTES

PAGE = 4096


async def watch(dut, bursts):
    """Every burst, by AXI's rules: it stays until it is accepted, and within a page."""
    size, waiting = len(dut.m_axi_rdata) // 8, None
    while True:
        await RisingEdge(dut.axi_aclk)
        offered = (int(dut.m_axi_araddr.value), int(dut.m_axi_arlen.value) + 1)
        valid = int(dut.m_axi_arvalid.value)
        assert waiting is None or (valid and offered == waiting), "a burst was taken back"
        waiting = offered if valid and not int(dut.m_axi_arready.value) else None
        if valid and waiting is None:
            address, beats = offered
            assert address % size == 0
            assert beats <= CONFIG.burst
            assert address // PAGE == (address + beats * size - 1) // PAGE
            assert 1 << int(dut.m_axi_arsize.value) == size
            assert int(dut.m_axi_arburst.value) == 1
            bursts.append(offered)


async def check(driver, seed):
    layer = operands(seed)
    result = await bridge(driver.run)(layer, timeout=LONG)
    compare(result, layer)
    return result


@cocotb.test()
@cocotb.parametrize(share=[0.0, 0.4, 0.8])
async def rows_anywhere_in_memory(dut, share):
    pins, driver = await started(dut)
    bursts = []
    cocotb.start_soon(watch(dut, bursts))
    rng = np.random.default_rng(JOB["seed"])
    if share:
        pins.stall(JOB["seed"], share)
    for seed in range(JOB["seed"], JOB["seed"] + 4):
        driver.transport.address = PAGE * int(rng.integers(1, 99)) - 4 * int(rng.integers(1, 99))
        before = len(bursts)
        result = await check(driver, seed)
        assert result.events["core_bursts"] == len(bursts) - before
        assert result.events["core_memory_beats"] == sum(beats for _, beats in bursts[before:])
    assert any(address // PAGE != bursts[0][0] // PAGE for address, _ in bursts)


@cocotb.test()
async def soft_reset_while_rows_are_on_their_way(dut):
    pins, driver = await started(dut)
    cocotb.start_soon(watch(dut, []))
    rng = np.random.default_rng(JOB["seed"])
    layer = operands(JOB["seed"])
    await bridge(driver.run)(layer, timeout=LONG)  # leaves settings and memory there
    words = LayerBlocks.of(UNIT, CONFIG, layer).stream(CONFIG)
    control = driver.registers["control"]
    pins.stall(JOB["seed"], 0.5)
    under_way = 0
    for _ in range(6):
        await pins.write(control.offset, 1 << control.bit("start"))
        await pins.source.send(pins.frame(words.astype("<u4").tobytes()))
        await RisingEdge(dut.m_axi_arvalid)
        await ClockCycles(dut.axi_aclk, int(rng.integers(1, 120)))
        under_way += bool(int(dut.m_axi_rvalid.value) or int(dut.m_axi_arvalid.value))
        await bridge(driver.reset)()
        pins.source.clear()
        await bridge(driver.reset)()
        await check(driver, JOB["seed"] + 1)
        await bridge(driver.run)(layer, timeout=LONG)
    assert under_way > 1


@cocotb.test()
async def errors_of_memory_are_said(dut):
    _, driver = await started(dut)
    transport = driver.transport
    put = transport.put
    transport.put = lambda content: MEMORY_BYTES
    with pytest.raises(CoreError, match=r"^the core noted 'memory': the memory answered with an "):
        await bridge(driver.run)(operands(JOB["seed"]), timeout=LONG)
    transport.put = put
    driver.forget_rows()
    await check(driver, JOB["seed"])


@cocotb.test()
async def a_silent_memory_is_said(dut):
    pins, driver = await started(dut)
    for channel in (pins.memory.ar_channel, pins.memory.r_channel):
        channel.pause = True
        with pytest.raises(CoreError, match=r": the unit waits for rows from memory"):
            await bridge(driver.run)(operands(JOB["seed"]), timeout=2e-5)
        channel.pause = False
        await bridge(driver.reset)()
        await check(driver, JOB["seed"])
