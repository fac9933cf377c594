"""Operands of every design on their way through a file."""

from dataclasses import fields

import numpy as np
import pytest
from nibbleforge.golden.contract.operands import from_arrays, to_arrays
from nibbleforge.golden.units import UNITS
from nibbleforge.tb.stimuli import stimuli_of

CASES = {
    design.name: (design, config)
    for unit in UNITS.values()
    for config in unit.presets.values()
    for design in unit.designs(config)
}


@pytest.mark.parametrize(("design", "config"), CASES.values(), ids=CASES)
def test_operands_survive_a_file(tmp_path, design, config):
    stimuli = stimuli_of(design)
    operands = stimuli.random(config, np.random.default_rng(0))
    file = tmp_path / "operands.npz"
    np.savez(file, allow_pickle=False, **to_arrays(operands))
    with np.load(file) as arrays:
        found = from_arrays(stimuli.operands, arrays)
    assert type(found) is type(operands)
    for field in fields(operands):
        given, got = getattr(operands, field.name), getattr(found, field.name)
        assert type(got) is type(given)
        if isinstance(given, np.ndarray):
            assert given.ndim > 0
            assert got.dtype == given.dtype
        np.testing.assert_array_equal(got, given)
