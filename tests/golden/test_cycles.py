"""Counts of a workload against the schedule of the operands that it comes from, of all designs."""

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.units import UNITS, designs
from nibbleforge.tb.stimuli import stimuli_of

PRESETS = [
    pytest.param(design, config, id=f"{unit.name}-{preset}-{design.name}")
    for unit in UNITS.values()
    for preset, config in unit.presets.items()
    for design in unit.designs(config)
]
EVERY = {design.name: (owner, design) for owner, design in designs()}
RANDOM = 60


def check(design, config, operands):
    found = design.cycles(config, design.workload(config, operands))
    expected = design.schedule(config, operands).counts()
    assert (found.cycles, found.events) == (expected.cycles, expected.events)
    assert list(found.events) == [event.name for event in design.events(config)]


@pytest.mark.parametrize(("design", "config"), PRESETS)
def test_presets(design, config):
    stimuli = stimuli_of(design)
    check(design, config, stimuli.random(config, np.random.default_rng(0)))
    check(design, config, stimuli.corners(config))


@pytest.mark.parametrize(("owner", "wanted"), EVERY.values(), ids=EVERY)
def test_random_configurations(owner, wanted):
    stimuli, drawn = stimuli_of(wanted), 0
    rng = np.random.default_rng(1)
    while drawn < RANDOM:
        try:
            config = stimuli.config(rng)
        except UserError:
            continue
        for design in owner.designs(config):
            if design.name == wanted.name:
                check(design, config, stimuli.random(config, rng))
                drawn += 1
