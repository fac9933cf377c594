"""Serial line and bridge, in Amaranth's simulator."""

import re

import numpy as np
import pytest
from amaranth.hdl import Cat
from amaranth.sim import Simulator
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.units import unit
from nibbleforge.hw.soc.board import board_verilog
from nibbleforge.hw.soc.bridge import UartBridge, UartBridgeConfig
from nibbleforge.hw.soc.generate import generate_core
from nibbleforge.hw.soc.uart import UartConfig, UartReceiver, UartTransmitter
from nibbleforge.sim.run import verilator

LINE = UartConfig(clock=5, baud=1)
PATIENCE = 400


def simulate(part, *benches):
    """Run testbenches beside each other; the first one ends the simulation."""
    simulator = Simulator(part)
    simulator.add_clock(1e-6)
    first, *others = benches
    simulator.add_testbench(first)
    for bench in others:
        simulator.add_testbench(bench, background=True)
    simulator.run()


async def until(context, condition, *values):
    """Wait for a clock edge at which a condition holds; values at that edge.

    Amaranth's own complains when a simulation ends while it waits.
    """
    while True:
        *_, holds, sampled = await context.tick().sample(condition, Cat(*values))
        if holds:
            return sampled


def frame(byte):
    """Bits of a byte on the line."""
    return [0, *(byte >> i & 1 for i in range(8)), 1]


async def send(context, rx, data, cycles, start=0.0):
    """Put bytes on a line whose bits last so many cycles, whole or not."""
    bits = [bit for byte in data for bit in frame(byte)]
    length = round(start + len(bits) * cycles)
    for cycle in range(length):
        context.set(rx, bits[min(int(max(0.0, cycle - start) / cycles), len(bits) - 1)])
        await context.tick()
    context.set(rx, 1)


@pytest.mark.first(7, deep=9)
@pytest.mark.parametrize("skew", [-0.025, 0, 0.025])
@pytest.mark.parametrize(
    ("clock", "baud"), [(5, 1), (25_000_000, 3_000_000), (25_000_000, 115_200)]
)
def test_bytes_are_received(clock, baud, skew):
    """Also from a host whose clock is some per cent off."""
    part = UartReceiver(UartConfig(clock=clock, baud=baud))
    data = bytes(np.random.default_rng(0).integers(0, 256, 8 if baud == 115_200 else 60).tolist())
    data += b"\0\xff\x55\xaa"
    found = []
    cycles = clock / baud * (1 + (skew if clock > 5 else 0))

    async def host(context):
        context.set(part.rx, 1)
        await context.tick().repeat(4)
        await send(context, part.rx, data, cycles, start=0.3)
        await context.tick().repeat(int(2 * cycles) + 4)

    async def watch(context):
        while True:
            *_, valid, byte = await context.tick().sample(part.valid, part.byte)
            if valid:
                found.append(byte)

    simulate(part, host, watch)
    assert bytes(found) == data


def test_noise_is_not_a_byte():
    """A short pulse, a byte without stop bit, and a line that stays low."""
    part = UartReceiver(UartConfig(clock=20, baud=1))
    found = []

    async def host(context):
        for level, cycles in ((1, 5), (0, 7), (1, 300), (0, 1000), (1, 50)):
            context.set(part.rx, level)
            await context.tick().repeat(cycles)
        await send(context, part.rx, b"x", 20)
        await context.tick().repeat(40)

    async def watch(context):
        while True:
            *_, valid, byte = await context.tick().sample(part.valid, part.byte)
            if valid:
                found.append(byte)

    simulate(part, host, watch)
    assert bytes(found) == b"x"


@pytest.mark.parametrize(("clock", "baud"), [(5, 1), (25, 3), (8, 1)])
def test_bytes_are_sent(clock, baud):
    """Every bit begins within a cycle of its time."""
    part = UartTransmitter(UartConfig(clock=clock, baud=baud))
    data = b"\0\xff\x31\xc8"
    seen = []

    async def core(context):
        for byte in data:
            context.set(part.bytes.payload, byte)
            context.set(part.bytes.valid, 1)
            await until(context, part.bytes.ready)
        context.set(part.bytes.valid, 0)
        await context.tick().repeat(10 * clock // baud + 20)

    async def watch(context):
        while True:
            *_, level = await context.tick().sample(part.tx)
            seen.append(level)

    simulate(part, core, watch)
    cycle = 0
    for byte in data:
        begin = seen.index(0, cycle)
        for number, bit in enumerate(frame(byte)):
            middle = begin + (number + 0.5) * clock / baud
            assert seen[int(middle)] == bit, (byte, number)
        cycle = begin + int(9.5 * clock / baud)


@pytest.mark.parametrize(
    ("baud", "sentence"),
    [
        (0, "baud: input should be greater than or equal to 1, got 0."),
        (
            5_000_001,
            "baud must be at most 5,000,000, a 5th of the clock of 25,000,000 Hz, got 5,000,001.",
        ),
    ],
)
def test_rates_that_cannot_be(baud, sentence):
    with pytest.raises(UserError) as caught:
        UartConfig(clock=25_000_000, baud=baud)
    assert str(caught.value) == sentence


class Core:
    """Registers, and streams that a test opens and shuts."""

    def __init__(self, part, results=()):
        self.part, self.lanes = part, part.config.bus_width // 32
        self.values, self.taken, self.results = {0x10: 0x12345678}, [], list(results)
        self.open = True

    async def reads(self, context):
        p = self.part
        while True:
            context.set(p.s_axi_arready, 1)
            address = await until(context, p.s_axi_arvalid, p.s_axi_araddr)
            context.set(p.s_axi_arready, 0)
            await context.tick().repeat(2)
            context.set(p.s_axi_rdata, self.values.get(address, 0))
            context.set(p.s_axi_rresp, 0 if address in self.values else 2)
            context.set(p.s_axi_rvalid, 1)
            await until(context, p.s_axi_rready)
            context.set(p.s_axi_rvalid, 0)

    async def writes(self, context):
        """Takes the address some cycles before the data."""
        p = self.part
        while True:
            context.set(p.s_axi_awready, 1)
            address = await until(context, p.s_axi_awvalid, p.s_axi_awaddr)
            context.set(p.s_axi_awready, 0)
            await context.tick().repeat(3)
            context.set(p.s_axi_wready, 1)
            value = await until(context, p.s_axi_wvalid, p.s_axi_wdata)
            context.set(p.s_axi_wready, 0)
            if address in self.values:
                self.values[address] = value
            context.set(p.s_axi_bresp, 0 if address in self.values else 2)
            context.set(p.s_axi_bvalid, 1)
            await until(context, p.s_axi_bready)
            context.set(p.s_axi_bvalid, 0)

    async def stream_in(self, context):
        p = self.part
        while True:
            ready = self.open
            context.set(p.s_axis_tready, ready)
            *_, valid, data = await context.tick().sample(p.s_axis_tvalid, p.s_axis_tdata)
            if valid and ready:
                self.taken += [data >> 32 * i & 0xFFFFFFFF for i in range(self.lanes)]

    async def stream_out(self, context):
        p = self.part
        while True:
            there = bool(self.results)
            context.set(p.m_axis_tvalid, there)
            context.set(p.m_axis_tdata, self.results[0] if there else 0)
            *_, ready = await context.tick().sample(p.m_axis_tready)
            if there and ready:
                self.results.pop(0)

    async def memory(self, context, written):
        p = self.part
        while True:
            both = await until(context, p.memory_write, p.memory_word, p.memory_data)
            written[both & 0xFFFFFFFF] = both >> 32


def converse(script, bus_width=32, results=(), memory=(0, {})):
    """``script(core, ask, say, pause)`` talks to a bridge: what it asks is answered."""
    size, written = memory
    part = UartBridge(
        UartBridgeConfig(line=LINE, bus_width=bus_width, patience=PATIENCE, memory_words=size)
    )
    core = Core(part, results)
    received = bytearray()

    async def host(context):
        context.set(part.rx, 1)
        await context.tick().repeat(4)

        async def say(data):
            await send(context, part.rx, data, LINE.clock)

        async def pause(cycles):
            await context.tick().repeat(cycles)

        async def ask(data, size):
            received.clear()
            await say(data)
            for _ in range(60 * (size + 4)):
                if len(received) >= size:
                    break
                await context.tick()
            await pause(120)
            return bytes(received)

        await script(core, ask, say, pause)

    async def listen(context):
        """The host's end of ``tx``."""
        while True:
            await until(context, ~part.tx)
            await context.tick().repeat(LINE.clock // 2)
            byte = 0
            for i in range(9):
                await context.tick().repeat(LINE.clock - 1)
                *_, level = await context.tick().sample(part.tx)
                byte |= level << i
            assert byte & 256, "no stop bit"
            received.append(byte & 255)

    async def fill(context):
        await core.memory(context, written)

    beside = [listen, core.reads, core.writes, core.stream_in, core.stream_out]
    simulate(part, host, *beside, *([fill] if size else []))


def words(*values):
    return np.array(values, "<u4").tobytes()


def test_registers():
    async def script(core, ask, say, pause):
        assert await ask(b"R\x10\0", 5) == b"\0" + words(0x12345678)
        assert await ask(b"W\x10\0" + words(0xCAFE0001), 1) == b"\0"
        assert core.values == {0x10: 0xCAFE0001}
        assert await ask(b"R\x10\0", 5) == b"\0" + words(0xCAFE0001)
        assert (await ask(b"R\xfc\x0f", 5))[0] != 0
        assert (await ask(b"W\xfc\x0f" + words(1), 1))[0] != 0
        assert core.values == {0x10: 0xCAFE0001}

    converse(script)


@pytest.mark.first(1, deep=3)
@pytest.mark.parametrize("bus_width", [128, 64, 32])
def test_words_in(bus_width):
    """What has no room is dropped, and all that follows it in the command; words stay whole."""
    lanes = bus_width // 32

    async def script(core, ask, say, pause):
        sent = list(range(100, 100 + 8))
        assert await ask(b"S\x08" + words(*sent), 1) == b"\x08"
        assert core.taken == sent
        assert await ask(b"S\0", 1) == b"\0"
        core.open = False
        assert await ask(b"S\x08" + words(*range(200, 208)), 1) == bytes([lanes])
        core.open = True
        await pause(10)
        assert core.taken == [*sent, *range(200, 200 + lanes)]
        assert await ask(b"S" + bytes([lanes]) + words(*range(300, 300 + lanes)), 1) == bytes(
            [lanes]
        )
        assert core.taken[-lanes:] == list(range(300, 300 + lanes))

    converse(script, bus_width)


@pytest.mark.first(1, deep=3)
@pytest.mark.parametrize("bus_width", [128, 64, 32])
def test_words_out(bus_width):
    lanes = bus_width // 32
    rng = np.random.default_rng(1)
    flat = rng.integers(0, 1 << 32, 40).astype("<u4")
    rows = [int.from_bytes(row.tobytes(), "little") for row in flat.reshape(-1, lanes)]

    async def script(core, ask, say, pause):
        await pause(50)
        assert len(core.results) == 8 // lanes  # 32 words wait in the bridge
        found = b""
        for wanted in (4, 12, 32, 32):
            answer = await ask(b"G" + bytes([wanted]), 1 + 4 * wanted)
            assert len(answer) == 1 + 4 * answer[0]
            assert answer[0] <= wanted
            found += answer[1:]
        assert found == flat.tobytes()
        assert await ask(b"G\x20", 1) == b"\0"

    converse(script, bus_width, rows)


def test_what_is_no_command_is_forgotten():
    async def script(core, ask, say, pause):
        await say(b"\0?r")
        assert await ask(b"R\x10\0", 5) == b"\0" + words(0x12345678)
        await say(b"S\x04" + words(7, 8)[:7])
        await pause(PATIENCE + 20)
        assert core.taken == [7]
        await say(b"W\x10")
        await pause(PATIENCE + 20)
        assert await ask(b"S\x01" + words(9), 1) == b"\x01"
        assert core.taken == [7, 9]
        assert await ask(b"R\x10\0", 5) == b"\0" + words(0x12345678)

    converse(script)


@pytest.mark.parametrize(("name", "bus_width"), [("dense2k", 32), ("dense2k", 128), ("reglu", 64)])
def test_the_board_is_clean_verilog(tmp_path, name, bus_width):
    owner = unit(f"core/{name}")
    config = owner.presets["tiny"].replace(bus_width=bus_width)
    (design,) = owner.designs(config)
    core = generate_core(design, config, name, name="mine")
    line = UartConfig(clock=25_000_000, baud=1_000_000)
    top, board = board_verilog(core.name, design, config, line)
    modules = re.findall(r"^module (\w+)", board, re.MULTILINE)
    assert top == modules[0] == "mine_board"
    assert all(name.startswith("mine_") for name in modules)
    assert not set(modules) & set(core.manifest["modules"])
    (tmp_path / "mine.v").write_text(core.verilog + board)
    rules = core.waivers + 'lint_off -rule PINCONNECTEMPTY -file "*/mine.v"\n'
    (tmp_path / "mine.vlt").write_text(rules)
    assert verilator.lint([tmp_path / "mine.v"], top, [tmp_path / "mine.vlt"]) == []


def test_words_for_the_memory():
    """What is beyond it is dropped and not counted."""
    written = {}

    async def script(core, ask, say, pause):
        assert await ask(b"M" + words(2) + b"\x03" + words(7, 8, 9), 1) == b"\x03"
        assert written == {2: 7, 3: 8, 4: 9}
        assert await ask(b"M" + words(4) + b"\x02" + words(10, 11), 1) == b"\x02"
        assert await ask(b"M" + words(5) + b"\x03" + words(12, 13, 14), 1) == b"\x01"
        assert await ask(b"M" + words(1 << 31) + b"\x01" + words(15), 1) == b"\0"
        assert written == {2: 7, 3: 8, 4: 10, 5: 12}
        await say(b"M" + words(0) + b"\x02" + words(1, 2)[:7])
        await pause(PATIENCE + 20)
        assert await ask(b"M" + words(3) + b"\x01" + words(16), 1) == b"\x01"
        assert written == {0: 1, 2: 7, 3: 16, 4: 10, 5: 12}
        assert await ask(b"R\x10\0", 5) == b"\0" + words(0x12345678)

    converse(script, memory=(6, written))


def test_a_board_without_memory_knows_no_words_for_it():
    async def script(core, ask, say, pause):
        assert await ask(b"M", 1) == b""
        assert await ask(b"R\x10\0", 5) == b"\0" + words(0x12345678)

    converse(script)
