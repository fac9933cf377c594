"""The driver against a core in Python."""

import importlib.util
from pathlib import Path

import numpy as np
from nibbleforge.golden.nm.values import sums
from nibbleforge.golden.units import core_name, unit
from nibbleforge.sim.soc.driver import Driver
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
