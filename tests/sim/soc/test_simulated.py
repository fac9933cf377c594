"""Whole layers through the driver and the Verilog of a core."""

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.layer import Layer
from nibbleforge.golden.nm.format import slots
from nibbleforge.golden.nm.values import NMLayer
from nibbleforge.golden.reglu.values import compute
from nibbleforge.golden.soc.config import header
from nibbleforge.golden.units import core_name, unit
from nibbleforge.sim.soc.driver import CoreError, Driver
from nibbleforge.sim.soc.simulated import SimulatedTransport
from nibbleforge.tb.stimuli import stimuli_of
from nibbleforge.tb.tb_reglu import drawn


def started(name, preset):
    owner = unit(core_name(name))
    config = owner.presets[preset]
    (design,) = owner.designs(config)
    return Driver(SimulatedTransport(design, config), design, config), design, config


def layer(tokens, features, outputs, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (tokens, features)).astype(np.int16)
    return Layer(x, rng.integers(-8, 8, (outputs, features)).astype(np.int8))


def test_layers_larger_than_the_buffers():
    """Four times the buffers in tokens and in outputs; counters of many thousands."""
    driver, design, config = started("dense2k", "fpga")
    for tokens, features, outputs in ((64, 300, 64), (17, 1, 66), (65, 1024, 3)):
        operands = layer(tokens, features, outputs, features)
        found = driver.run(operands)
        assert np.array_equal(found.y, operands.x.astype(int) @ operands.w.T.astype(int))
        alone = design.inner.schedule(config.unit, operands).counts().events
        for event in design.inner.events(config.unit):
            if event.kind == "work":
                assert found.events[event.name] == alone[event.name]


@pytest.mark.parametrize(
    "shape",
    [(17, (150, 100, 24)), (1, (1, 1, 1)),
     pytest.param((37, (300, 200, 24)), marks=pytest.mark.slow),
     pytest.param((33, (1024, 700, 64)), marks=pytest.mark.slow)],
)  # fmt: skip
def test_ffns_with_rows_in_memory(shape):
    """Four times the buffers in tokens; the predictor's rows come as all others."""
    driver, design, config = started("reglu", "fpga")
    tokens, extent = shape
    for seed in range(2):
        operands = drawn(config.unit, np.random.default_rng(seed), tokens, extent, 0.3)
        found = driver.run(operands)
        assert np.array_equal(found.y, compute(config.unit, operands).y)
        alone = design.inner.schedule(config.unit, operands).counts().events
        for event in design.inner.events(config.unit):
            if event.kind == "work":
                assert found.events[event.name] == alone[event.name], event.name
        assert found.events["core_memory_beats"] == alone["row_beats"] + alone["rows"]


def test_an_error_of_memory_is_said_and_the_core_stays_usable():
    driver, _, config = started("reglu", "tiny")
    operands = drawn(config.unit, np.random.default_rng(0), 3, (20, 24, 8), 0.5)
    put = driver.transport.put
    driver.transport.put = lambda content: put(content) + (1 << 20)
    with pytest.raises(CoreError, match=r"^the core noted 'memory': "):
        driver.run(operands)
    driver.transport.put = put
    driver.forget_rows()
    assert np.array_equal(driver.run(operands).y, compute(config.unit, operands).y)


def test_layers_with_more_in_features_than_the_core_holds():
    """The buffers hold 64 beats, and the accumulators 64 products."""
    driver, design, config = started("dense2k", "tiny")
    for features in (65, 300):
        operands = layer(4, features, 7, features)
        found = driver.run(operands)
        assert np.array_equal(found.y, operands.x.astype(int) @ operands.w.T.astype(int))
    assert config.unit.max_k == 64
    macs = design.inner.schedule(config.unit, layer(4, 50, 7, 0)).counts().events["macs"]
    assert found.events["macs"] == macs * 300 // 50


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "sparqle"])
def test_long_layers_of_other_units(name):
    driver, _, _ = started(name, "tiny")
    operands = layer(5, 200, 8, 1)
    operands = Layer(np.minimum(operands.x, 119), operands.w)  # two INT4 digits hold no more
    expected = operands.x.astype(int) @ operands.w.T.astype(int)
    assert np.array_equal(driver.run(operands).y, expected)


@pytest.mark.slow
def test_long_layers_of_sparse_weights():
    driver, _, config = started("nm", "tiny")
    rng = np.random.default_rng(2)
    w = rng.integers(-8, 8, (8, 190)).astype(np.int8)
    keep = np.tile([True, False, False, True], 48)[:190] & np.ones_like(w, bool)
    x = rng.integers(-128, 128, (5, 190)).astype(np.int8)
    operands = NMLayer(x, *slots(w * keep, keep, config.unit.pattern(2)), weight_group=190)
    assert np.array_equal(driver.run(operands).y, x.astype(int) @ (w * keep).T.astype(int))


def test_too_few_words_are_said_and_the_core_stays_usable():
    driver, _, _ = started("dense2k", "tiny")
    operands = layer(9, 20, 11, 0)
    send = driver.transport.exchange
    driver.transport.exchange = lambda words, count, timeout: send(words[:30], count, timeout)
    with pytest.raises(CoreError, match=r"words in 10 s: the unit waits for blocks of "):
        driver.run(operands)
    driver.transport.exchange = send
    driver.reset()
    found = driver.run(operands)
    assert np.array_equal(found.y, operands.x.astype(int) @ operands.w.T.astype(int))


def test_a_wrong_packet_between_layers_is_said():
    """Words of a layer come after its start: what is wrong with them is not forgotten there."""
    driver, _, config = started("dense2k", "tiny")
    operands, wrong = layer(9, 20, 11, 0), header(config, 200, 0, 1)
    driver.run(operands)
    send = driver.transport.exchange
    packet = np.concatenate([wrong, wrong])
    driver.transport.exchange = lambda words, *rest: send(np.concatenate([packet, words]), *rest)
    with pytest.raises(CoreError, match=r"^the core noted 'unknown_port': "):
        driver.run(operands)
    driver.transport.exchange = send
    found = driver.run(operands)
    assert np.array_equal(found.y, operands.x.astype(int) @ operands.w.T.astype(int))


def test_a_layer_without_tokens_is_refused():
    driver, _, _ = started("dense2k", "tiny")
    operands = layer(3, 20, 11, 0)
    with pytest.raises(UserError, match=r"must be at least 1, got 0, 20 and 11\.$"):
        driver.run(Layer(operands.x[:0], operands.w))


def test_unknown_registers_are_refused():
    driver, _, _ = started("dense2k", "tiny")
    with pytest.raises(CoreError, match=r"refused to read the register at address 0xffc\.$"):
        driver.transport.read(0xFFC)
    with pytest.raises(CoreError, match=r"refused to write the register at address 0x004\.$"):
        driver.transport.write(0x004, 1)


def test_a_design_that_is_no_core_is_refused():
    owner = unit("dense2k")
    config = owner.presets["tiny"]
    (design,) = owner.designs(config)
    for kind in (SimulatedTransport, lambda *given: Driver(None, *given)):
        with pytest.raises(UserError, match=r"^dense2k_array is no core\.$"):
            kind(design, config)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sparqle", "nm", "anda", "fp16", "figna", "dense"])
def test_other_units(name):
    driver, design, config = started(name, "tiny")
    rng = np.random.default_rng(7)
    operands = stimuli_of(design.inner).random(config.unit, rng)
    found = driver.run(operands)
    port = design.inner.ports(config.unit)[-1]
    beats = port.unpack(design.inner.traffic(config.unit, operands)["y"].expand())["value"]
    tiling = operands.tiling(config.unit).results
    y = found.y.view(f"u{found.y.itemsize}") if found.y.dtype.kind == "f" else found.y
    expected = tiling.join_result(beats.reshape(len(tiling), tiling.rows, -1))
    assert np.array_equal(y, expected)
