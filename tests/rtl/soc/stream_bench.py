"""cocotb tests of a core around a unit of plain streams. The simulator loads them."""

import cocotb
import numpy as np
from cocotb.task import bridge
from job import CONFIG, DESIGN, JOB, LONG, PORTS, UNIT, bits, started
from nibbleforge.golden.soc.config import header
from nibbleforge.golden.soc.registers import result_ports, stored
from nibbleforge.golden.soc.stream import StreamBlocks
from nibbleforge.tb.stimuli import stimuli_of


def operands(seed):
    return stimuli_of(DESIGN).random(CONFIG, np.random.default_rng(seed)).operands


async def check(driver, seed):
    run = operands(seed)
    compare(await bridge(driver.stream)(run, timeout=LONG), run)


def compare(result, run):
    """Results are the unit's own payloads."""
    traffic = UNIT.traffic(CONFIG.unit, run)
    for port in result_ports(PORTS):
        expected = port.unpack(traffic[port.name].expand())
        for name, values in result.ports[port.name].items():
            assert np.array_equal(bits(values), expected[name]), (port.name, name)


async def begin(pins, driver, run):
    """Start a run; everything that it sends."""
    blocks = StreamBlocks.of(UNIT, CONFIG, run)
    for name, value in blocks.settings.items():
        await pins.write(driver.registers[name].offset, value)
    control = driver.registers["control"]
    await pins.write(control.offset, 1 << control.bit("start"))
    gives = sum(len(blocks.result_packets(CONFIG, b)) for b in range(len(blocks.schedules)))
    return blocks.stream(CONFIG), gives


@cocotb.test()
@cocotb.parametrize(share=[0.0, 0.3, 0.7])
async def runs_one_after_the_other(dut, share):
    pins, driver = await started(dut)
    if share:
        pins.stall(JOB["seed"], share)
    for seed in range(JOB["seed"], JOB["seed"] + 4):
        await check(driver, seed)


@cocotb.test()
async def soft_reset_within_a_run(dut):
    pins, driver = await started(dut)
    for share in (0.0, 0.4, 0.99):
        words, _ = await begin(pins, driver, operands(JOB["seed"]))
        await pins.exchange(words[: 1 + int(share * (len(words) - 2))], 1 << 30, 2e-5)
        await bridge(driver.reset)()
        await check(driver, JOB["seed"] + 1)


@cocotb.test()
async def wrong_packets_are_noted_and_drained(dut):
    pins, driver = await started(dut)
    errors, status = driver.registers["errors"], driver.registers["status"]
    ports = stored(PORTS)
    width = CONFIG.bus_width // 32
    longer = 2 * CONFIG.depth(ports[0])
    wrong = {
        "unknown_port": (200, 0, 7, 7),
        "wrong_block": (0, 1, 1, _words(ports[0], 1)),
        "wrong_length": (0, 0, longer, _words(ports[0], longer)),
    }
    if len(ports) > 1:
        wrong["wrong_block"] = (1, 0, 1, _words(ports[1], 1))
    for name, (port, block, beats, count) in wrong.items():
        words, gives = await begin(pins, driver, operands(JOB["seed"]))
        rest = np.full((count, width), 0xFFFFFFFF, np.uint32)
        packet = np.concatenate([header(CONFIG, port, block, beats), rest])
        found, whole = await pins.exchange(packet, 1, 2e-5)
        assert not whole
        assert not len(found)
        assert (await pins.read(errors.offset))[0] == 1 << errors.bit(name)
        assert (await pins.read(status.offset))[0] & 1 << status.bit("waits_stream")
        found, whole = await pins.exchange(words, gives, LONG)
        assert whole  # as if nothing had been
        await check(driver, JOB["seed"] + 1)


def _words(port, beats):
    """Words of so many beats on the bus."""
    lanes = max(1, CONFIG.bus_width // port.sent.width)
    return -(-beats // (1 << lanes.bit_length() - 1)) * -(-port.sent.width // CONFIG.bus_width)


@cocotb.test()
async def a_start_without_blocks_is_noted(dut):
    pins, driver = await started(dut)
    control, errors = (driver.registers[name] for name in ("control", "errors"))
    await pins.write(driver.registers["stream"].offset, 0)
    await pins.write(control.offset, 1 << control.bit("start"))
    assert (await pins.read(errors.offset))[0] == 1 << errors.bit("no_shape")
    assert (await pins.read(driver.registers["status"].offset))[0] == 0
