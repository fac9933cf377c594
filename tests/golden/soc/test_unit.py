"""Schedule of the core: figures worked out by hand, and the law."""

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.layer import Layer
from nibbleforge.golden.dense import DenseConfig
from nibbleforge.golden.soc.blocks import LayerBlocks
from nibbleforge.golden.soc.designs import core_design
from nibbleforge.golden.soc.memory import config_around
from nibbleforge.golden.soc.unit import CoreRun
from nibbleforge.golden.units import core_name, unit


def dense(columns=2, **values):
    parameters = DenseConfig(rows=2, columns=columns, max_k=64, passes=1)
    config = config_around(DenseConfig)(
        unit=parameters, **{"token_blocks": 1, "output_blocks": 1, "block_beats": 64, **values}
    )
    (inner,) = unit("dense2k").designs(parameters)
    return core_design(inner), config


def layer(tokens, features, outputs, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (tokens, features))
    return Layer(x.astype(np.int16), rng.integers(-8, 8, (outputs, features)).astype(np.int8))


def test_one_tile_by_hand():
    """2 tokens and 2 outputs of 6 features: both x and w share words, 2 and 4 beats each."""
    design, config = dense()
    found = design.schedule(config, CoreRun(layer(2, 6, 2)))
    # 7 settings, the mask, then the start in cycle 8: busy from 9 on. A header, a cycle to look
    # at it, 3 words of x; a header, a cycle, 2 words of w.
    assert found.cycles["s_axis"].tolist() == [9, 11, 12, 13, 14, 16, 17]
    # Begin in 18, operands from 20 on; the unit needs 1 + 6 + 2 cycles, its rows come in 27 and
    # 28 and leave two cycles later, two words each.
    assert found.cycles["m_axis"].tolist() == [29, 30, 31, 32]
    assert found.counts().events["core_busy"] == 24
    assert found.counts().events["core_stall_load"] == 9


def test_settings_of_a_layer():
    design, config = dense()
    found = LayerBlocks.of(design.inner, config, layer(5, 6, 3), outputs_stay=True)
    assert found.settings == {
        "outputs_stay": 1, "tokens": 3, "outputs": 2, "x_beats": 6, "x_part": 6, "w_beats": 6,
    }  # fmt: skip


def test_blocks_that_are_too_long_are_refused():
    design, config = dense(block_beats=4)
    sentence = (
        "a block of x has 6 beats and the core holds 4: depths.x must be larger, "
        "or in_features smaller."
    )
    with pytest.raises(UserError) as caught:
        design.schedule(config, CoreRun(layer(2, 6, 2)))
    assert str(caught.value) == sentence


@pytest.mark.parametrize("outputs_stay", [False, True])
def test_layers_are_as_fast_as_the_unit_alone(outputs_stay):
    """Prefill in steady state on a bus of 32 bits, buffers four times too small: 0.97 at least."""
    core = unit(core_name("dense2k"))
    config = core.presets["fpga"]
    (design,) = core.designs(config)
    operands = layer(64, 256, 64)
    alone = design.inner.schedule(config.unit, operands).counts().cycles
    found = design.schedule(config, CoreRun(operands, outputs_stay))
    begun = found.events["core_passes"].cycles
    steady = (found.cycles["m_axis"][-1] - begun[0]) / alone
    assert 1 / steady >= 0.97


@pytest.mark.parametrize(
    ("columns", "period"),
    [
        (2, 1 + 32 + 2 + 2),  # the unit's own cycles and two until its operands are there
        (16, 2 + 32 * 2),  # a header, a cycle to look at it, two words a beat
    ],
)
def test_a_pass_takes_the_longer_of_loading_and_computing(columns, period):
    """A single resident block on each side: every tile needs a fresh block of outputs."""
    design, config = dense(columns=columns)
    found = design.schedule(config, CoreRun(layer(2, 32, 5 * columns)))
    assert set(np.diff(found.events["core_passes"].cycles)) == {period}
