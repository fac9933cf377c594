"""Counts of a workload against the schedule of the operands that it comes from, of all designs."""

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.units import UNITS
from nibbleforge.tb.stimuli import STIMULI

PRESETS = [
    pytest.param(design, config, id=f"{unit.name}-{preset}-{design.name}")
    for unit in UNITS.values()
    for preset, config in unit.presets.items()
    for design in unit.designs(config)
]
OWNERS = {
    design.name: unit
    for unit in UNITS.values()
    for config in unit.presets.values()
    for design in unit.designs(config)
}
RANDOM = 60


def check(design, config, operands):
    found = design.cycles(config, design.workload(config, operands))
    expected = design.schedule(config, operands).counts()
    assert (found.cycles, found.events) == (expected.cycles, expected.events)
    assert list(found.events) == [event.name for event in design.events(config)]


@pytest.mark.parametrize(("design", "config"), PRESETS)
def test_presets(design, config):
    stimuli = STIMULI[design.name]
    check(design, config, stimuli.random(config, np.random.default_rng(0)))
    check(design, config, stimuli.corners(config))


@pytest.mark.parametrize("name", OWNERS)
def test_random_configurations(name):
    stimuli, drawn = STIMULI[name], 0
    rng = np.random.default_rng(1)
    while drawn < RANDOM:
        try:
            config = stimuli.config(rng)
        except UserError:
            continue
        for design in OWNERS[name].designs(config):
            if design.name == name:
                check(design, config, stimuli.random(config, rng))
                drawn += 1


def test_every_design_has_stimuli():
    assert set(OWNERS) == set(STIMULI)
