"""What runs when, optional tools and faults of the machine, for the tests of every folder."""

import importlib.util
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from nibbleforge.sim.tools import toolchain

_SOURCE = Path(__file__).with_name("full_disk.cpp")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("machine", deadline=None)  # a loaded machine is no failure
settings.load_profile("machine")


# --- What runs when -------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark variations of a test that go beyond what ``make test`` has time for."""
    for item in items:
        for mark in filter(None, (_by_preset(item), _by_position(item), _by_goal(item))):
            item.add_marker(mark)


def _by_preset(item) -> str | None:
    """The mark of a variation whose preset ``quick`` does not name."""
    quick = item.get_closest_marker("quick")
    preset = item.callspec.params["variation"].preset if quick else None
    if not quick or preset in quick.args:
        return None
    return "deep" if preset in quick.kwargs.get("deep", ()) else "slow"


def _by_position(item) -> str | None:
    """The mark of a variation behind those that ``first`` counts."""
    first = item.get_closest_marker("first")
    position = max(item.callspec.indices.values()) if first else -1
    if not first or position < first.args[0]:
        return None
    return "deep" if position < first.kwargs.get("deep", 0) else "slow"


def _by_goal(item) -> str | None:
    """The mark of a proof."""
    goal = item.callspec.params.get("goal") if hasattr(item, "callspec") else None
    return {"deep": "deep", "soak": "slow"}.get(goal.target) if goal else None


# --- Optional tools -------------------------------------------------------------------------------


def missing(name: str) -> str | None:
    """Why what a test needs is not there: a tool, the library osu018, a package of the extra."""
    if name == "osu018":
        liberty = toolchain.find("liberty")
        return None if liberty and liberty.version == "osu018_stdcells" else "needs osu018."
    if name in toolchain.TOOLS:
        return None if toolchain.find(name) else toolchain.TOOLS[name].missing
    found = importlib.util.find_spec(name)
    return None if found else f"needs {name}: run `pip install nibbleforge[llm]`."


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skip a test whose marker ``needs`` names something that is missing."""
    names = [name for marker in item.iter_markers("needs") for name in marker.args]
    reasons = [reason for reason in map(missing, dict.fromkeys(names)) if reason]
    if reasons:
        pytest.skip(" ".join(reasons))


# --- Full disks -----------------------------------------------------------------------------------


@dataclass
class FullDisk:
    """A directory that takes only so many bytes from the processes that are told of it."""

    directory: Path
    environment: Mapping[str, str]
    """What must be added to the environment of a process; its children inherit it."""
    counter: Path

    @property
    def left(self) -> int:
        """Bytes that may still be written; deleting gives nothing back."""
        return int(np.fromfile(self.counter, np.int64)[0])

    @left.setter
    def left(self, size: int) -> None:
        np.array([size], np.int64).tofile(self.counter)


@pytest.fixture(scope="session")
def full_disk_library(tmp_path_factory) -> Path:
    """The library of ``full_disk.cpp``."""
    library = tmp_path_factory.mktemp("full_disk") / "full_disk.so"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["g++", *flags, str(_SOURCE), "-o", str(library)], check=True)
    return library


@pytest.fixture
def full_disk(full_disk_library, tmp_path_factory) -> Callable[[Path, int], FullDisk]:
    """``full_disk(directory, left)``: a disk that is full after `left` bytes below a directory.

    It is full for processes started with its ``environment``, whatever they write with, and for
    all their children. Once full it stays so, and free space asked for is what is left.
    """

    def mount(directory: Path, left: int) -> FullDisk:
        directory = directory.resolve(strict=True)
        counter = tmp_path_factory.mktemp("full_disk") / "left"
        preloaded = [str(full_disk_library), *os.environ.get("LD_PRELOAD", "").split()]
        environment = {
            "LD_PRELOAD": " ".join(preloaded),
            "FULL_DISK_DIRECTORY": str(directory),
            "FULL_DISK_LEFT": str(counter),
        }
        disk = FullDisk(directory, environment, counter)
        disk.left = left
        probe = subprocess.run(
            ["true"], env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        if probe.returncode == 125:
            pytest.skip(f"the kernel has no filters of system calls: {probe.stderr.strip()}")
        return disk

    return mount
