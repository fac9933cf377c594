"""Tests of hardware in many presets, of which few are quick enough for ``make test``."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """All but those presets and parameters of a test that are said to be quick are slow."""
    for item in items:
        quick, first = map(item.get_closest_marker, ("quick", "first"))
        if quick and item.callspec.params["variation"].preset not in quick.args:
            item.add_marker(pytest.mark.slow)
        if first and max(item.callspec.indices.values()) >= first.args[0]:
            item.add_marker(pytest.mark.slow)
