"""The driver against a core in Python."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.golden.anda.compressed import CompressedLayer, compute, gathered
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.fp16 import Fp16Layer
from nibbleforge.golden.nm.values import sums
from nibbleforge.golden.units import core_name, unit
from nibbleforge.sim.soc.driver import Driver
from nibbleforge.tb import tb_anda
from nibbleforge.tb.stimuli import stimuli_of

_SPEC = importlib.util.spec_from_file_location("twin", Path(__file__).with_name("twin.py"))
_TWIN = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_TWIN)


class TwinTransport(_TWIN.TwinCore):
    """All words in, then all words out."""

    def exchange(self, words, count, timeout):
        self.take(words)
        return self.give(count)


def test_results_of_weight_groups_stay_apart():
    owner = unit(core_name("nm"))
    config = owner.presets["tiny"]
    (design,) = owner.designs(config)
    twin = TwinTransport(design, config)
    driver = Driver(twin, design, config)
    seen = set()
    for seed in range(12):
        operands = stimuli_of(design.inner).random(config.unit, np.random.default_rng(seed))
        twin.will_run(operands, outputs_stay=bool(seed % 2))
        found = driver.run(operands, outputs_stay=bool(seed % 2)).y
        expected = sums(config.unit, operands)
        seen.add(len(expected) > 1)
        assert np.array_equal(found, expected if len(expected) > 1 else expected[0])
    assert seen == {False, True}


def test_layers_of_rounded_results_are_not_cut():
    owner = unit(core_name("fp16"))
    config = owner.presets["tiny"]
    (design,) = owner.designs(config)
    driver = Driver(TwinTransport(design, config), design, config)
    features = config.unit.max_k + 1
    x, w = (np.ones((rows, features), np.float16) for rows in (2, 3))
    with pytest.raises(UserError) as caught:
        driver.run(Fp16Layer(x, w))
    assert str(caught.value) == (
        f"in_features must not exceed max_k = {features - 1}, got {features}; the driver cannot "
        f"cut the layer, as partial results of {design.inner.name} do not add up exactly."
    )


def test_results_of_several_ports_in_several_calls(monkeypatch):
    """More blocks of tokens and of outputs than registers count: each call gives its part."""
    monkeypatch.setattr("nibbleforge.sim.soc.driver.LENGTH_BITS", 3)
    owner = unit(core_name("anda"))
    config = owner.presets["chained"].replace(unit={"group": 16}, output_blocks=4)
    (design,) = owner.designs(config)
    twin = TwinTransport(design, config)
    driver = Driver(twin, design, config)
    drawn = tb_anda.layer(config.unit, np.random.default_rng(5), 37, 40, 48)
    operands = CompressedLayer(**vars(drawn), result_mantissa=9)
    tiling = operands.tiling(config.unit).results
    tokens, outputs = (range(0, 37, 4 * tiling.rows), range(0, 48, 4 * tiling.columns))
    assert len(tokens) > 1
    assert len(outputs) > 1
    for first in tokens:
        for second in outputs:
            some = (
                slice(first, first + 4 * tiling.rows),
                slice(second, second + 4 * tiling.columns),
            )
            twin.will_run(operands.part(*some), outputs_stay=True)
    result = gathered(config.unit, 37, driver.run(operands, outputs_stay=True).fields)
    assert twin.layers == []
    expected = compute(config.unit, operands)
    for name in ("sign", "magnitude", "exponent", "nonfinite"):
        assert np.array_equal(getattr(result, name), getattr(expected, name)), name
