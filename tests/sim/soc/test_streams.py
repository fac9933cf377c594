"""Streams through the driver and the Verilog of a core."""

import numpy as np
import pytest
from nibbleforge.golden.bitmap import Groups
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.soc.registers import result_ports
from nibbleforge.golden.soc.stream import StreamBlocks
from nibbleforge.golden.units import core_name, unit
from nibbleforge.sim.soc.driver import CoreError, Driver
from nibbleforge.sim.soc.simulated import SimulatedTransport
from nibbleforge.tb.stimuli import stimuli_of


def started(name, number=0, **changes):
    owner = unit(core_name(name))
    config = owner.presets["tiny"].replace(**changes)
    design = owner.designs(config)[number]
    return Driver(SimulatedTransport(design, config), design, config), design, config


def groups(tokens, seed):
    """Tokens of three groups, a third of their elements present."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 16, (3 * tokens, 8)) * (rng.random((3 * tokens, 8)) < 0.3)
    return Groups(dense.astype(np.uint16), np.tile([False, False, True], tokens))


SINGLE = Groups(np.eye(1, 8, dtype=np.uint16), np.ones(1, bool))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("dequantizer", 0),
        *(pytest.param(*which, marks=pytest.mark.slow) for which in (("compressor", 0),)),
    ],
)
def test_what_leaves_is_what_the_unit_gives(name, number):
    driver, design, config = started(name, number)
    for seed in range(3):
        run = stimuli_of(design).random(config, np.random.default_rng(seed)).operands
        found = driver.stream(run)
        traffic = design.inner.traffic(config.unit, run)
        for port in result_ports(design.inner.ports(config.unit)):
            expected = port.unpack(traffic[port.name].expand())
            for field in port.fields:
                got = found.ports[port.name][field.name]
                assert got.dtype == (np.float32 if field.floating else np.int64)
                bits = got.view(np.uint32) if field.floating else got
                assert np.array_equal(bits, expected[field.name])


def test_many_blocks_there_and_back():
    """What the encoder's core gives, the decoder's core takes back; many times the buffers."""
    run = groups(200, 1)
    encoder, *_ = started("bitmap", 1)
    coded = encoder.stream(run)
    assert coded.events["core_passes"] > 8
    assert np.array_equal(coded.ports["bitmap"]["mask"], run.dense != 0)
    decoder, *_ = started("bitmap")
    pairs = decoder.stream(run).ports["pairs"]
    present = np.arange(2) < pairs["count"][:, None]
    group = np.cumsum(pairs["group_last"]) - pairs["group_last"]
    dense = np.zeros_like(run.dense)
    row = np.broadcast_to(group[:, None], present.shape)
    dense[row[present], pairs["index"][present]] = pairs["value"][present]
    assert np.array_equal(dense, run.dense)


def test_more_blocks_than_their_register_counts_take_several_calls(monkeypatch):
    monkeypatch.setattr("nibbleforge.sim.soc.driver.LENGTH_BITS", 1)
    driver, _, _ = started("bitmap", 1)
    run = groups(30, 2)
    found = driver.stream(run)
    assert found.events["core_passes"] > 1
    assert np.array_equal(found.ports["bitmap"]["mask"], run.dense != 0)


@pytest.mark.parametrize(
    ("number", "changes", "run", "error"),
    [(0, {"depths": {"pairs": 2}}, groups(4, 3), "overflow"), (1, {"quiet": 1}, SINGLE, "late")],
)
def test_what_golden_refuses_the_core_notes(number, changes, run, error, monkeypatch):
    """A host that knows nothing of golden: too many results, or a pause that is too long."""
    driver, design, _ = started("bitmap", number, **changes)
    with pytest.raises(UserError):
        driver.stream(run)
    roomy = unit(core_name("bitmap")).presets["tiny"]
    blocks = StreamBlocks.of(design.inner, roomy, run)
    with monkeypatch.context() as patch:
        patch.setattr(StreamBlocks, "of", lambda *_: blocks)
        with pytest.raises(CoreError, match=f"^the core noted '{error}': "):
            driver.stream(run)
    driver.reset()
    if error == "overflow":
        assert driver.stream(SINGLE).ports["pairs"]["value"].tolist() == [[1, 0]]


def test_the_other_kind_of_core_is_said():
    driver, _, _ = started("bitmap")
    with pytest.raises(UserError, match=r"^a core around bitmap_decoder takes streams: Driver"):
        driver.run(groups(1, 0))
    owner = unit(core_name("dense2k"))
    config = owner.presets["tiny"]
    (design,) = owner.designs(config)
    layers = Driver(SimulatedTransport(design, config), design, config)
    with pytest.raises(UserError, match=r"^a core around dense2k_array takes layers: Driver\.run"):
        layers.stream(groups(1, 0))


def test_another_design_of_the_same_configuration_is_refused():
    _, decoder, config = started("bitmap")
    encoder = unit(core_name("bitmap")).designs(config)[1]
    with pytest.raises(CoreError, match=r"^the core is around another design than bitmap_encoder"):
        Driver(SimulatedTransport(decoder, config), encoder, config)
