"""Driver and transports against stand-ins: a serial bridge, and PYNQ's DMA and buffers."""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.reglu.values import compute
from nibbleforge.golden.soc.blocks import LayerBlocks
from nibbleforge.golden.units import core_name, unit
from nibbleforge.hw.soc.generate import generate_core
from nibbleforge.sim.soc.driver import CoreError, Driver
from nibbleforge.sim.soc.pynq import PynqTransport
from nibbleforge.sim.soc.transport import TimeOutError
from nibbleforge.sim.soc.uart import UartTransport
from nibbleforge.tb.stimuli import stimuli_of

_SPEC = importlib.util.spec_from_file_location("twin", Path(__file__).with_name("twin.py"))
twin = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(twin)


class Bridge:
    """The other end of a serial line: takes a few words at a time."""

    def __init__(self, core, memory=0):
        self.core, self.answers = core, bytearray()
        self.memory = np.zeros(memory, "<u4")

    def write(self, command):
        kind, rest = command[:1], command[1:]
        if kind == b"R":
            value = self.core.read(int.from_bytes(rest, "little"))
            self.answers += b"\0" + value.to_bytes(4, "little")
        elif kind == b"W":
            address, value = rest[:2], rest[2:]
            self.core.write(int.from_bytes(address, "little"), int.from_bytes(value, "little"))
            self.answers += b"\0"
        elif kind == b"S":
            words = np.frombuffer(rest[1:], "<u4")
            assert len(words) == rest[0]
            self.core.take(words[:5, None])
            self.answers.append(min(len(words), 5))
        elif kind == b"M":
            first, words = int.from_bytes(rest[:4], "little"), np.frombuffer(rest[5:], "<u4")
            assert len(words) == rest[4]
            stored = min(len(words), len(self.memory) - first)
            self.memory[first : first + stored] = words[:stored]
            self.answers.append(stored)
        else:
            words = self.core.give(min(rest[0], 3))
            self.answers.append(len(words))
            self.answers += words.astype("<u4").tobytes()

    def read(self, size):
        found, self.answers = self.answers[:size], self.answers[size:]
        return bytes(found)


class Buffer(np.ndarray):
    """What ``pynq.allocate`` gives."""

    open = 0
    device_address = 0x1000_2000

    def flush(self):
        self.flushed = True

    def invalidate(self):
        self.invalidated = True

    def freebuffer(self):
        Buffer.open -= 1


def allocate(shape, dtype):
    Buffer.open += 1
    return np.zeros(shape, dtype).view(Buffer)


class Channel:
    error = False
    idle = True

    def __init__(self, act):
        self.act, self.stops = act, 0

    def transfer(self, buffer):
        self.act(buffer)

    def stop(self):
        self.stops += 1

    def start(self):
        pass


class Dma:
    """A DMA that moves words as soon as the core has them."""

    buffer_max_size = 4 * 7

    def __init__(self, core, width):
        self.core, self.width, self.waiting = core, width, None
        self.sendchannel, self.recvchannel = Channel(self._send), Channel(self._receive)

    def _send(self, buffer):
        assert buffer.flushed
        self.core.take(np.asarray(buffer).reshape(-1, self.width))
        if len(self.core.results):
            self.waiting[:] = self.core.give(len(self.waiting)).ravel()
            self.recvchannel.idle = True

    def _receive(self, buffer):
        self.waiting = buffer
        self.recvchannel.idle = False


def core_of(name):
    owner = unit(core_name(name))
    config = owner.presets["tiny"]
    (design,) = owner.designs(config)
    return design, config


def small(design, config, seed):
    return stimuli_of(design.inner).random(config.unit, np.random.default_rng(seed))


@pytest.mark.parametrize("name", ["dense2k", "anda", "sparqle"])
def test_layers_over_a_serial_line(name):
    design, config = core_of(name)
    core = twin.TwinCore(design, config)
    driver = Driver(UartTransport(Bridge(core)), design, config)
    for seed in range(3):
        layer = small(design, config, seed)
        core.will_run(layer, outputs_stay=bool(seed % 2))
        found = driver.run(layer, outputs_stay=bool(seed % 2)).y
        tiling = layer.tiling(config.unit).results
        assert found.shape == (tiling.tokens, tiling.outputs)
        assert found.dtype == (np.float32 if name == "anda" else np.int64)
        if name != "anda":
            assert np.array_equal(found, layer.x.astype(int) @ layer.w.T.astype(int))


def test_what_a_layer_left_in_the_bridge_is_dropped():
    design, config = core_of("dense2k")
    core = twin.TwinCore(design, config)
    driver = Driver(UartTransport(Bridge(core)), design, config)
    core.results = np.arange(7, dtype=np.uint32)[:, None]
    layer = small(design, config, 0)
    core.will_run(layer, outputs_stay=False)
    found = driver.run(layer, outputs_stay=False).y
    assert np.array_equal(found, layer.x.astype(int) @ layer.w.T.astype(int))


def test_a_silent_line_is_said():
    line = types.SimpleNamespace(write=lambda command: None, read=lambda size: b"")
    design, config = core_of("dense2k")
    with pytest.raises(CoreError, match=r"^the serial line is silent: "):
        Driver(UartTransport(line), design, config)


def test_refused_accesses_are_said():
    line = types.SimpleNamespace(write=lambda command: None, read=lambda size: b"\2" * size)
    for access in (lambda t: t.read(0x44), lambda t: t.write(0x44, 1)):
        with pytest.raises(CoreError, match=r"the register at address 0x044\.$"):
            access(UartTransport(line))


def test_a_port_that_cannot_be_opened_is_said(monkeypatch):
    """Once, though pyserial says it twice; which need not be there."""

    def refuse(name: str, *_: object, **__: object) -> None:
        reason = f"[Errno 2] No such file or directory: {name!r}"
        raise OSError(2, f"could not open port {name}: {reason}")

    monkeypatch.setitem(sys.modules, "serial", types.SimpleNamespace(Serial=refuse))
    with pytest.raises(UserError, match=r"^cannot open /dev/nothing: No such file or directory\.$"):
        UartTransport.open("/dev/nothing")


@pytest.mark.parametrize("name", ["dense2k", "sparqle"])
def test_layers_on_pynq(name, monkeypatch):
    design, config = core_of(name)
    core = twin.TwinCore(design, config)
    dma = Dma(core, config.bus_width // 32)
    monkeypatch.setattr(dma, "buffer_max_size", 4 * 7, raising=False)
    layer = small(design, config, 2)
    core.will_run(layer, outputs_stay=False)
    driver = Driver(PynqTransport(core, dma, allocate), design, config)
    with pytest.raises(CoreError, match=r"^the DMA takes 28 bytes a transfer "):
        driver.run(layer, outputs_stay=False)
    monkeypatch.setattr(dma, "buffer_max_size", 4 * 500)
    core.will_run(layer, outputs_stay=False)
    found = driver.run(layer, outputs_stay=False).y
    assert np.array_equal(found, layer.x.astype(int) @ layer.w.T.astype(int))
    assert Buffer.open == 0


def test_rows_on_pynq_are_where_the_board_has_put_them():
    """The same rows stay; others take their place."""
    design, config = core_of("reglu")
    core = twin.TwinCore(design, config, Buffer.device_address)
    layers = [small(design, config, seed) for seed in (1, 2)]
    transport = PynqTransport(core, Dma(core, config.bus_width // 32), allocate)
    transport.dma.buffer_max_size = 4 * 5000
    driver = Driver(transport, design, config)
    kept = []
    for layer in (layers[0], layers[0], layers[1]):
        core.will_run(layer, outputs_stay=False)
        assert np.array_equal(driver.run(layer).y, compute(config.unit, layer).y)
        image = LayerBlocks.of(design.inner, config, layer).image
        assert np.array_equal(transport.rows, image.content)
        assert transport.rows.flushed
        kept.append(transport.rows)
        assert Buffer.open == 1
    assert kept[0] is kept[1]
    assert kept[1] is not kept[2]
    transport.rows.freebuffer()


def test_rows_go_over_a_serial_line():
    design, config = core_of("reglu")
    core = twin.TwinCore(design, config, address=0)
    bridge = Bridge(core, 1024)
    driver = Driver(UartTransport(bridge), design, config)
    layer = small(design, config, 0)
    core.will_run(layer, outputs_stay=False)
    assert np.array_equal(driver.run(layer).y, compute(config.unit, layer).y)
    image = LayerBlocks.of(design.inner, config, layer).image
    assert bridge.memory.tobytes()[: len(image.content)] == image.content.tobytes()


def test_rows_beyond_the_memory_at_a_serial_line():
    design, config = core_of("reglu")
    core = twin.TwinCore(design, config)
    driver = Driver(UartTransport(Bridge(core, 100)), design, config)
    sentence = r"^the memory on the board holds 400 bytes, and these rows take 1,528\.$"
    with pytest.raises(CoreError, match=sentence):
        driver.run(small(design, config, 0))


def test_a_transfer_that_does_not_end_is_stopped():
    design, config = core_of("dense2k")
    core = twin.TwinCore(design, config)
    dma = Dma(core, 1)
    transport = PynqTransport(core, dma, allocate)
    with pytest.raises(TimeOutError):
        transport.exchange(np.zeros((0, 1), np.uint32), 3, 0.01)
    assert dma.recvchannel.stops == dma.sendchannel.stops == 1
    assert Buffer.open == 0


def test_pynq_is_needed_on_a_board():
    with pytest.raises(UserError, match=r"^pynq is not installed: "):
        PynqTransport.of(types.SimpleNamespace())


def test_a_driver_from_a_manifest(tmp_path):
    design, config = core_of("dense2k")
    generate_core(design, config, "dense2k").write(tmp_path)
    manifest = tmp_path / f"{design.name}.json"
    core = twin.TwinCore(design, config)
    driver = Driver.of_manifest(manifest, UartTransport(Bridge(core)))
    assert driver.config == config
    manifest.write_text("[1, 2]")
    with pytest.raises(UserError, match=r" is not the manifest of a core\.$"):
        Driver.of_manifest(manifest, UartTransport(Bridge(core)))
    with pytest.raises(UserError, match=r"^cannot read .*: No such file or directory\.$"):
        Driver.of_manifest(tmp_path / "no.json", UartTransport(Bridge(core)))


def test_another_core_is_refused():
    design, config = core_of("dense2k")
    core = twin.TwinCore(design, config)
    core.values[0] = 0x12345678
    with pytest.raises(CoreError, match=r"its identification reads 0x12345678 and should be "):
        Driver(UartTransport(Bridge(core)), design, config)


def test_layers_too_long_for_the_counters_of_blocks_take_several_calls(monkeypatch):
    design, config = core_of("dense2k")
    core = twin.TwinCore(design, config)
    driver = Driver(UartTransport(Bridge(core)), design, config)
    monkeypatch.setattr("nibbleforge.sim.soc.driver.LENGTH_BITS", 1)  # one block of each
    layer = small(design, config, 4)
    tiling = layer.tiling(config.unit)
    for t in range(tiling.token_blocks):
        for o in range(tiling.output_blocks):
            rows, columns = tiling.rows, tiling.columns
            tokens = slice(t * rows, (t + 1) * rows)
            outputs = slice(o * columns, (o + 1) * columns)
            core.will_run(layer.part(tokens, outputs), outputs_stay=False)
    found = driver.run(layer, outputs_stay=False).y
    assert tiling.token_blocks * tiling.output_blocks > 1
    assert np.array_equal(found, layer.x.astype(int) @ layer.w.T.astype(int))
