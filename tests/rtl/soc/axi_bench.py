"""cocotb tests of a core with AXI names: cocotbext-axi plays host. The simulator loads them."""

import cocotb
import numpy as np
import pytest
from cocotb.task import bridge
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp
from job import CONFIG, DESIGN, JOB, LONG, PORTS, UNIT, bits, started
from nibbleforge.golden.soc.blocks import LayerBlocks
from nibbleforge.golden.soc.config import Packing, header
from nibbleforge.golden.soc.registers import in_packets, result_port, result_ports, sides, stored
from nibbleforge.sim.soc.driver import CoreError, Driver
from nibbleforge.tb.stimuli import stimuli_of

SIDES = sides(PORTS)


def operands(seed):
    return stimuli_of(UNIT).random(CONFIG.unit, np.random.default_rng(seed))


def compare(result, layer):
    """Results and work are the unit's own; results of one port are put together here anew."""
    assert works(layer).items() <= result.events.items()
    traffic = UNIT.traffic(CONFIG.unit, layer)
    given = {port.name: port.unpack(traffic[port.name].expand()) for port in result_ports(PORTS)}
    if not in_packets(PORTS):
        assert np.array_equal(bits(result.y), _matrix(given[result_port(PORTS).name], layer))
        return
    for name, found in result.fields.items():
        port, field = name.split(".")
        assert np.array_equal(bits(found).ravel(), given[port][field].ravel()), name


def works(layer):
    """Totals of the unit's work events."""
    events = UNIT.schedule(CONFIG.unit, layer).counts().events
    return {e.name: events[e.name] for e in UNIT.events(CONFIG.unit) if e.kind == "work"}


def _matrix(fields, layer):
    """Tiles of results side by side."""
    tiling = layer.tiling(CONFIG.unit).results
    grid = (tiling.token_blocks, tiling.output_blocks, -1, tiling.rows, tiling.columns)
    tokens, outputs = (tiling.token_blocks * tiling.rows, tiling.output_blocks * tiling.columns)
    groups = fields["value"].reshape(grid).transpose(2, 0, 3, 1, 4).reshape(-1, tokens, outputs)
    groups = groups[:, : tiling.tokens, : tiling.outputs]
    return groups[0] if len(groups) == 1 else groups


def gives(layer):
    """Words that a layer gives."""
    if in_packets(PORTS):
        passes = layer.loops(CONFIG).passes()
        return sum(len(layer.result_packets(CONFIG, result_ports(PORTS), one)) for one in passes)
    return sum(map(len, layer.result_words(CONFIG, result_port(PORTS))))


async def check(driver, seed, **options):
    layer = operands(seed)
    result = await bridge(driver.run)(layer, timeout=LONG, **options)
    compare(result, layer)


@cocotb.test()
@cocotb.parametrize(share=[0.0, 0.3, 0.7])
async def layers_one_after_the_other(dut, share):
    pins, driver = await started(dut)
    if share:
        pins.stall(JOB["seed"], share)
    for seed in range(JOB["seed"], JOB["seed"] + 4):
        await check(driver, seed, outputs_stay=bool(seed % 2))


@cocotb.test()
async def soft_reset_within_a_layer(dut):
    pins, driver = await started(dut)
    layer = LayerBlocks.of(UNIT, CONFIG, operands(JOB["seed"]))
    words = layer.stream(CONFIG)
    await bridge(driver.run)(operands(JOB["seed"]), timeout=LONG)  # leaves the settings there
    control = driver.registers["control"]
    for kept in (1, len(words) // 3, len(words) - 1):
        await pins.write(control.offset, 1 << control.bit("start"))
        await pins.exchange(words[:kept], 1 << 30, 2e-5)
        await bridge(driver.reset)()
        await check(driver, JOB["seed"] + 1)


@cocotb.test()
async def what_may_not_be_written_is_refused(dut):
    pins, driver = await started(dut)
    known = driver.registers
    offsets = {register.offset for register in known.registers}
    unknown = [address for address in range(0, 0x1000, 4) if address not in offsets]
    read_only = [r.offset for r in known.registers if not r.written]

    async def every():
        return [(await pins.read(r.offset))[0] for r in known.registers]

    before = await every()
    for address in np.random.default_rng(0).choice(unknown, 40).tolist():
        assert await pins.write(address, 0xFFFFFFFF) == AxiResp.SLVERR
        assert await pins.read(address) == (0, AxiResp.SLVERR)
    for address in read_only[:20]:
        assert await pins.write(address, 0xFFFFFFFF) == AxiResp.SLVERR
    answer = await pins.registers.write(known["tokens"].offset + 1, b"\xff")
    assert answer.resp == AxiResp.SLVERR  # one byte of a word
    assert await every() == before

    for register in known.of("setting"):
        assert await pins.write(register.offset, 0xFFFFFFFF) == AxiResp.OKAY
        assert await pins.read(register.offset) == (register.mask, AxiResp.OKAY)
        assert await pins.write(register.offset, 1) == AxiResp.OKAY
    control, errors = known["control"], known["errors"]
    start = 1 << control.bit("start")
    assert await pins.write(control.offset, start) == AxiResp.OKAY
    for register in known.of("setting"):
        assert await pins.write(register.offset, 0) == AxiResp.SLVERR
        assert await pins.read(register.offset) == (1, AxiResp.OKAY)
    assert await pins.read(errors.offset) == (1 << errors.bit("refused"), AxiResp.OKAY)
    assert await pins.write(errors.offset, errors.mask) == AxiResp.OKAY
    assert await pins.write(control.offset, start) == AxiResp.SLVERR
    assert await pins.read(errors.offset) == (1 << errors.bit("refused"), AxiResp.OKAY)
    await bridge(driver.reset)()
    assert await pins.read(errors.offset) == (0, AxiResp.OKAY)
    await check(driver, JOB["seed"])


@cocotb.test()
async def settings_and_counters_keep_apart(dut):
    pins, driver = await started(dut)
    await check(driver, JOB["seed"])
    known, rng = driver.registers, np.random.default_rng(JOB["seed"])
    counters = known.of("counter")
    before = [(await pins.read(counter.offset))[0] for counter in counters]
    written = {r.offset: int(rng.integers(1 << 32)) & r.mask for r in known.of("setting")}
    snapshot = 1 << known["control"].bit("snapshot")
    for offset, value in written.items():  # in all cycles of a snapshot
        await pins.write(known["control"].offset, snapshot)
        await ClockCycles(dut.axi_aclk, int(rng.integers(1, 4 * len(counters))))
        old, _ = await pins.read(offset)
        reading = cocotb.start_soon(pins.read(offset))
        assert await pins.write(offset, value) == AxiResp.OKAY
        assert (await reading)[0] in (old, value)
    await ClockCycles(dut.axi_aclk, 4 * len(counters))
    for offset, value in written.items():
        assert await pins.read(offset) == (value, AxiResp.OKAY)
    assert [(await pins.read(counter.offset))[0] for counter in counters] == before
    await pins.reset()
    for offset in written:
        assert await pins.read(offset) == (0, AxiResp.OKAY)


@cocotb.test()
async def a_start_without_a_shape_is_noted(dut):
    pins, driver = await started(dut)
    control, errors = (driver.registers[name] for name in ("control", "errors"))
    await pins.write(driver.registers["tokens"].offset, 0)
    await pins.write(control.offset, 1 << control.bit("start"))
    assert (await pins.read(errors.offset))[0] == 1 << errors.bit("no_shape")
    assert (await pins.read(driver.registers["status"].offset))[0] == 0


@cocotb.test()
async def wrong_packets_are_noted_and_drained(dut):
    pins, driver = await started(dut)
    layer = LayerBlocks.of(UNIT, CONFIG, operands(JOB["seed"]))
    load = next(layer.loops(CONFIG).loads())
    first = layer.packets(CONFIG, load)[0]
    ports = stored(PORTS)
    number = next(i for i, port in enumerate(ports) if port.belongs == load.side)
    beats = int(first[0, 0] >> 16)

    def packet(port, block, length, words):
        rest = np.resize(first[1:], (words, first.shape[1]))
        return np.concatenate([header(CONFIG, port, block, length), rest])

    size = len(first) - 1
    wrong = {
        "unknown_port": packet(200, 0, 7, 7),
        "wrong_block": packet(number, 3, beats, size),
        "wrong_length": packet(number, 0, 2 * CONFIG.depth(ports[number]), _words(ports[number])),
    }
    errors, status = driver.registers["errors"], driver.registers["status"]
    for name, words in wrong.items():
        await bridge(driver.run)(operands(JOB["seed"]), outputs_stay=False, timeout=LONG)
        control = driver.registers["control"]
        await pins.write(control.offset, 1 << control.bit("start"))
        found, whole = await pins.exchange(words, 1, 1e-5)
        assert not whole
        assert not len(found)
        assert (await pins.read(errors.offset))[0] == 1 << errors.bit(name)
        state = (await pins.read(status.offset))[0]
        assert state & 1 << status.bit("waits_tokens")  # drained: the next packet may come
        # the core stays usable: the layer that was begun runs as if nothing had been
        found, whole = await pins.exchange(layer.stream(CONFIG), gives(layer), LONG)
        assert whole
        await pins.write(errors.offset, errors.mask)
        await check(driver, JOB["seed"] + 1)


def _words(port):
    """Words of a packet of twice the most beats."""
    return Packing(port.sent.width, CONFIG.bus_width).size(2 * CONFIG.depth(port))


@cocotb.test()
async def sentences_say_what_went_wrong(dut):
    pins, driver = await started(dut)
    other = CONFIG.replace(output_blocks=2 * CONFIG.output_blocks)
    await refuses(bridge(Driver)(driver.transport, DESIGN, other), "from another configuration: ")

    send = pins.exchange

    async def without(words, expected, timeout):
        return await send(words[:0], expected, 1e-5)

    pins.exchange = without
    run = bridge(driver.run)
    await refuses(
        run(operands(JOB["seed"]), timeout=LONG),
        " and ".join(f"the unit waits for blocks of {side}" for side in SIDES) + ".",
    )

    async def garbled(words, expected, timeout):
        wrong = words.copy()
        wrong[0, 0] = 0xFF
        return await send(wrong, expected, 1e-4)

    pins.exchange = garbled
    await refuses(run(operands(JOB["seed"]), timeout=LONG), "the core noted 'unknown_port': ")
    pins.exchange = send
    await bridge(driver.reset)()
    await check(driver, JOB["seed"])


async def refuses(call, sentence):
    with pytest.raises(CoreError) as caught:
        await call
    assert sentence in str(caught.value)


@cocotb.test()
async def irq_is_raised_and_taken_back(dut):
    pins, driver = await started(dut)
    enable, pending = (driver.registers[name] for name in ("irq_enable", "irq_pending"))
    await check(driver, JOB["seed"])
    assert int(dut.irq.value) == 0
    await pins.write(enable.offset, enable.mask)
    assert int(dut.irq.value) == 1
    await pins.write(pending.offset, pending.mask)
    assert int(dut.irq.value) == 0
