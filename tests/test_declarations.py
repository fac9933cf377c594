"""Every unit declares everything: what one leaves out, no command may leave out in silence."""

import gc
import inspect
from dataclasses import MISSING, fields

import pytest
from amaranth._unused import MustUse
from nibbleforge.golden.contract.reference import resolve
from nibbleforge.golden.units import UNITS, designs
from nibbleforge.hw.lib.base import Unit
from nibbleforge.hw.units import component
from nibbleforge.sim.verify.formal import goals_of
from nibbleforge.tb.stimuli import Stimuli, stimuli_of

DESIGNS = {design.name: (owner, design) for owner, design in designs()}


def config_of(owner, design):
    """The first preset that leads to a design."""
    return next(
        config
        for config in owner.presets.values()
        if design.name in {other.name for other in owner.designs(config)}
    )


@pytest.mark.parametrize(("owner", "design"), DESIGNS.values(), ids=DESIGNS)
def test_every_design_is_declared_in_full(owner, design, monkeypatch):
    config = config_of(owner, design)
    monkeypatch.setattr(MustUse, "_MustUse__silence", True)  # nobody elaborates it
    part = component(design, config)
    assert isinstance(part, Unit)
    assert part.design.name == design.name
    assert inspect.getdoc(type(part)).partition("\n")[0].endswith((".", ":"))
    stimuli = stimuli_of(design)
    assert isinstance(stimuli, Stimuli)
    for item in fields(Stimuli):
        if item.default is MISSING:
            assert getattr(stimuli, item.name), f"{design.name} lacks {item.name}"
    reports_errors = any(
        field.name == "error" for port in design.ports(config) for field in port.fields
    )
    assert not reports_errors or stimuli.illegal is not None
    assert stimuli.bins(config, stimuli.corners(config))
    waits_for = {port for event in design.events(config) for port in event.waits_for}
    assert waits_for
    assert waits_for <= {port.name for port in design.ports(config)}
    assert all(goal.design.name == design.name for goal in goals_of(design))
    del part
    gc.collect()


@pytest.mark.parametrize("owner", UNITS.values(), ids=UNITS)
def test_every_unit_takes_tensors_or_says_so(owner):
    assert callable(resolve(owner.simulation)) if owner.simulation else owner.takes == "stream"
