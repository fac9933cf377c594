"""Tests of hardware in many presets, of which few are quick enough for ``make test``."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a test that is ``quick`` in some presets, variations of all others are slow."""
    for item in items:
        quick = item.get_closest_marker("quick")
        if quick and item.callspec.params["variation"].preset not in quick.args:
            item.add_marker(pytest.mark.slow)
