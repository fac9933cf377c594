"""The board's top module from its serial pins, by the driver's own transport at a terminal."""

import numpy as np
import pytest
from nibbleforge.golden.arithmetic.quantise import take_activations, take_weights
from nibbleforge.golden.contract.layer import Layer
from nibbleforge.golden.reglu.values import compute
from nibbleforge.golden.soc.serial import MEMORY_WORDS
from nibbleforge.golden.units import unit
from nibbleforge.hw.soc.uart import UartConfig
from nibbleforge.sim.soc.board import SimulatedBoard
from nibbleforge.sim.soc.driver import Driver
from nibbleforge.sim.soc.transport import CoreError
from nibbleforge.sim.soc.uart import UartTransport
from nibbleforge.sim.tensors.files import Capture, sample_path
from nibbleforge.tb.stimuli import stimuli_of
from nibbleforge.tb.tb_reglu import drawn

pytestmark = pytest.mark.needs("pyserial")

CLOCK = 25_000_000
PATIENCE = 120  # seconds for an answer; the machine may be busy


def board_of(name, preset, baud, optimise="quick", memory_words=MEMORY_WORDS, **parameters):
    owner = unit(f"core/{name}")
    config = owner.presets[preset].replace(**parameters)
    (design,) = owner.designs(config)
    line = UartConfig(clock=CLOCK, baud=baud)
    return SimulatedBoard(design, config, line, optimise, memory_words), design, config


def test_a_layer_of_the_sample():
    """16 tokens, 576 in_features, 64 outputs at 3 Mbaud."""
    board, design, config = board_of("dense2k", "fpga", 3_000_000, "fast")
    sample = Capture.open(sample_path())
    name = sample.layers[0]
    x = take_activations(sample.activations(name)[:16]).q
    w = take_weights(sample.weights(name)[:64]).q
    assert (x.shape, w.shape) == ((16, 576), (64, 576))
    with board.running() as port:
        driver = Driver(UartTransport.open(port, 3_000_000, PATIENCE), design, config)
        found = driver.run(Layer(x, w), timeout=20 * PATIENCE)
    assert np.array_equal(found.y, x.astype(int) @ w.T.astype(int))
    assert found.events["macs"] == 16 * 576 * 64
    assert board.cycles > 1_000_000


@pytest.mark.parametrize(
    ("name", "baud", "parameters"),
    [
        ("dense2k", 115_200, {}),
        ("sparqle", 3_000_000, {"bus_width": 64}),
        pytest.param("dense", 1_000_000, {"bus_width": 128}, marks=pytest.mark.slow),
    ],
)
def test_layers_one_after_the_other(name, baud, parameters):
    """A layer given up in between, an access that is refused; any bus, also the slowest line."""
    board, design, config = board_of(name, "tiny", baud, **parameters)
    with board.running() as port:
        transport = UartTransport.open(port, baud, PATIENCE)
        driver = Driver(transport, design, config)
        for seed in range(2):
            layer = stimuli_of(design.inner).random(config.unit, np.random.default_rng(seed))
            found = driver.run(layer, timeout=20 * PATIENCE).y
            assert np.array_equal(found, layer.x.astype(int) @ layer.w.T.astype(int))
            with pytest.raises(CoreError, match=r"refused to read .* 0xffc\.$"):
                transport.read(0xFFC)
            with pytest.raises(CoreError):
                driver.run(layer, timeout=0)
            driver.reset()


def test_another_core_is_told():
    board, _, _ = board_of("dense2k", "tiny", 3_000_000)
    owner = unit("core/dense2k")
    config = owner.presets["tiny"].replace(bus_width=64)
    (design,) = owner.designs(config)
    with board.running() as port:
        transport = UartTransport.open(port, 3_000_000, PATIENCE)
        with pytest.raises(CoreError):
            Driver(transport, design, config)


@pytest.mark.parametrize("preset", ["tiny", pytest.param("fpga", marks=pytest.mark.slow)])
def test_rows_come_from_the_memory_on_the_board(preset):
    """Rows that are put there anew, and rows that are more than it holds."""
    board, design, config = board_of("reglu", preset, 3_000_000, memory_words=1 << 12)
    with board.running() as port:
        driver = Driver(UartTransport.open(port, 3_000_000, PATIENCE), design, config)
        for seed in range(2):
            operands = drawn(config.unit, np.random.default_rng(seed), 3, (20, 24, 8), 0.5)
            found = driver.run(operands, timeout=20 * PATIENCE)
            assert np.array_equal(found.y, compute(config.unit, operands).y)
        if preset == "fpga":
            many = drawn(config.unit, np.random.default_rng(0), 1, (200, 150, 8), 0.5)
            sentence = r"^the memory on the board holds 16,384 bytes, and these rows take [\d,]+\.$"
            with pytest.raises(CoreError, match=sentence):
                driver.run(many, timeout=20 * PATIENCE)
