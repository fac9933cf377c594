"""Layers whose results leave through several ports, through the driver and the Verilog."""

import numpy as np
import pytest
from nibbleforge.golden.anda.compressed import CompressedLayer, compute, gathered
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.soc.unit import registers
from nibbleforge.golden.units import core_name, unit
from nibbleforge.sim.soc.driver import Driver
from nibbleforge.sim.soc.simulated import SimulatedTransport
from nibbleforge.tb import tb_anda


def core(**changes):
    owner = unit(core_name("anda"))
    config = owner.presets["chained"].replace(unit={"group": 16}, output_blocks=4, **changes)
    (design,) = owner.designs(config)
    return design, config


def layer(config, tokens, features, outputs, mantissa):
    drawn = tb_anda.layer(config.unit, np.random.default_rng(outputs), tokens, features, outputs)
    return CompressedLayer(**vars(drawn), result_mantissa=mantissa)


@pytest.mark.slow
def test_from_anda_to_anda():
    """Several passes in either order; the results are what the next layer takes."""
    design, config = core()
    driver = Driver(SimulatedTransport(design, config), design, config)
    for outputs_stay, mantissa in ((False, 16), (True, 5)):
        operands = layer(config, 37, 40, 48, mantissa)
        found = driver.run(operands, outputs_stay=outputs_stay)
        expected = compute(config.unit, operands)
        result = gathered(config.unit, 37, found.fields)
        assert found.events["core_passes"] > 4
        for name in ("group", "mantissa", "in_features"):
            assert getattr(result, name) == getattr(expected, name)
        for name in ("sign", "magnitude", "exponent", "nonfinite"):
            got, wanted = getattr(result, name), getattr(expected, name)
            assert got.dtype == wanted.dtype
            assert np.array_equal(got, wanted), name


def test_passes_end_with_a_block_of_results():
    design, config = core()
    wrong = config.replace(output_blocks=6)
    with pytest.raises(UserError) as caught:
        registers(design.inner, wrong)
    assert str(caught.value) == (
        "output_blocks must be a multiple of 4, so many tiles give a block of y_sign, got 6."
    )
