"""cocotb tests of any design; the job file named by NIBBLEFORGE_JOB says which and how.

The simulator loads this module. Every test compares the run with the golden schedule; what was
seen goes to the job's result file so that other harnesses can be compared with it.
"""

import json
import os
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cocotb
import numpy as np

from ..golden.config import Config
from ..golden.design import Design
from ..golden.schedule import Beats, Schedule
from ..golden.units import unit
from .harness import Harness
from .scoreboard import Observation, check_counts, check_timing, check_values
from .stalls import PROFILES, gates
from .stimuli import STIMULI

JOB = "NIBBLEFORGE_JOB"


@dataclass(frozen=True)
class Job:
    """One simulation: a design, its configuration, its operands.

    Attributes
    ----------
    unit, design, config
        What is simulated; ``config`` as a mapping of its fields.
    seed
        Seed of random operands, stall patterns and garbage.
    result
        JSON file that gets totals and cycles of every test.
    operands
        ``.npz`` with operands; empty: random ones.
    profiles
        Stall profiles to run.
    """

    unit: str
    design: str
    config: dict[str, Any]
    seed: int
    result: str
    operands: str = ""
    profiles: tuple[str, ...] = PROFILES

    def resolve(self) -> tuple[Design, Config]:
        """The declared design and its configuration."""
        owner = unit(self.unit)
        config = owner.config(**self.config)
        return next(d for d in owner.designs(config) if d.name == self.design), config

    def schedule(self) -> Schedule:
        """Golden schedule of the job's operands."""
        design, config = self.resolve()
        stimuli = STIMULI[design.name]
        if not self.operands:
            return design.schedule(config, stimuli.random(config, np.random.default_rng(self.seed)))
        with np.load(self.operands) as arrays:
            return design.schedule(config, stimuli.operands(**arrays))


def _job() -> Job:
    return Job(**json.loads(Path(os.environ[JOB]).read_text()))


class _Case:
    """A job under test: harness, schedule and where results go."""

    def __init__(self, dut: Any):
        self.job = _job()
        self.design, self.config = self.job.resolve()
        self.ports = self.design.ports(self.config)
        self.schedule = self.job.schedule()
        self.harness = Harness(dut, self.design, self.config)

    async def run(self, name: str, profile: str, **options: Any) -> Observation:
        """Play the traffic, compare with golden, note the result."""
        start = time.perf_counter()
        patterns = gates(profile, self.ports, self.job.seed)
        seen = await self.harness.play(self.schedule.beats, patterns, **options)
        self._note(name, seen, time.perf_counter() - start)
        golden = self.schedule.counts()
        found = check_values(self.ports, self.schedule.beats, seen)
        found += check_counts(self.design, self.config, golden, seen, free_flow=profile == "none")
        if profile == "none":
            found += check_timing(self.schedule, seen)
        assert not found, f"{name}: {found[0]}"
        return seen

    def _note(self, name: str, seen: Observation, seconds: float) -> None:
        path = Path(self.job.result)
        notes = json.loads(path.read_text()) if path.exists() else {}
        notes[name] = {
            "cycles": seen.span,
            "events": seen.totals,
            "scalars": sum(len(words) for words in seen.words.values()),
            "seconds": seconds,
        }
        path.write_text(json.dumps(notes))


@cocotb.test()
async def free_flow(dut: Any) -> None:
    """Inputs always valid, outputs always ready: every cycle of every port and event."""
    case = _Case(dut)
    seen = await case.run("free_flow", "none")
    assert seen.span == case.schedule.counts().cycles


@cocotb.test()
async def stalls(dut: Any) -> None:
    """Every stall profile, random payload while valid is 0: same values, same work."""
    case = _Case(dut)
    for profile in case.job.profiles:
        if profile != "none":
            await case.run(f"stalls {profile}", profile, garbage=random.Random(case.job.seed))


@cocotb.test()
async def reset_in_mid_work(dut: Any) -> None:
    """A reset at any cycle brings back the cold state: the run after it is free-flowing again."""
    case = _Case(dut)
    when = 1 + case.job.seed % case.schedule.counts().cycles
    await case.run("reset", "none", reset_after=when)


@cocotb.test()
async def negative_control(dut: Any) -> None:
    """One flipped bit in a golden output beat, or one event moved, must be noticed."""
    case = _Case(dut)
    seen = await case.run("negative_control", "none")
    for port in case.ports:
        golden = case.schedule.beats[port.name].expand()
        if port.direction == "out" and len(golden):
            wrong = golden.copy()
            wrong[case.job.seed % len(golden), 0] ^= 1
            corrupted = {**case.schedule.beats, port.name: Beats(wrong)}
            assert check_values(case.ports, corrupted, seen)
    for name, cycles in case.schedule.cycles.items():
        if len(cycles):
            late = {**case.schedule.cycles, name: cycles + (np.arange(len(cycles)) == len(cycles) - 1)}
            assert check_timing(replace(case.schedule, cycles=late), seen)
