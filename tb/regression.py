"""cocotb tests of any design, loaded by the simulator; NIBBLEFORGE_JOB names the job to run.

Every test compares its run with the golden schedule. Totals and cycles of every run go to the
file named by NIBBLEFORGE_RESULT, so that other harnesses can be compared with them.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cocotb
import numpy as np

from ..golden.contract.ports import port_of
from ..golden.contract.schedule import Beats, Pulses, Schedule
from .harness import TAIL, Harness
from .job import JOB, RESULT, Job
from .scoreboard import Observation, check_counts, check_timing, check_values
from .stalls import gates
from .stimuli import stimuli_of

PAUSE = TAIL // 2  # cycles between runs

job = Job(**json.loads(Path(os.environ[JOB]).read_text()))


class _Case:
    """A design under test with the operands of one seed."""

    def __init__(self, dut: Any, seed: int):
        self.seed = seed
        self.design, self.config = job.resolve()
        self.ports = self.design.ports(self.config)
        self.schedule = job.schedule(seed)
        self.software = stimuli_of(self.design).software
        self.harness = Harness(dut, self.design, self.config)

    async def run(
        self, name: str, profile: str, schedule: Schedule | None = None, **options: Any
    ) -> Observation:
        """Play the traffic, by default that of the seed; compare with golden, note the result."""
        illegal, schedule = schedule is not None, schedule or self.schedule
        start = time.perf_counter()
        patterns = gates(profile, self.ports, self.seed)
        seen = await self.harness.play(schedule.beats, patterns, **options)
        kind = {"run": name, "profile": profile, "illegal": illegal}
        self._note(kind, seen, time.perf_counter() - start)
        if self.software is not None:
            schedule = self.software.after(self.config, schedule, self.harness.earlier)
        free_flow = profile == "none" and schedule.timed
        golden = schedule.counts()
        found = check_values(self.ports, schedule.beats, seen)
        found += check_counts(self.design, self.config, golden, seen, free_flow=free_flow)
        if free_flow:
            found += check_timing(schedule, seen)
        assert not found, f"seed {self.seed}, {name}: {found[0]}"
        return seen

    def _note(self, kind: dict[str, Any], seen: Observation, seconds: float) -> None:
        note = {
            **kind,
            "seed": self.seed,
            "cycles": seen.span,
            "events": seen.totals,
            "scalars": sum(
                len(words) * port_of(self.ports, name).scalars for name, words in seen.words.items()
            ),
            "seconds": seconds,
        }
        with Path(os.environ[RESULT]).open("a") as file:
            file.write(json.dumps(note) + "\n")


def _test(function: Callable[..., Any]) -> Any:
    """Register a test, once for every seed of the job."""
    return cocotb.test()(cocotb.parametrize(seed=job.seeds)(function))


@_test
async def free_flow(dut: Any, seed: int) -> None:
    """Inputs always valid, outputs always ready: every cycle of every port and event."""
    case = _Case(dut, seed)
    await case.run("free flow", "none")


@_test
async def stalls(dut: Any, seed: int) -> None:
    """Every stall profile, random payload while valid is 0: same values, same work."""
    case = _Case(dut, seed)
    for profile in job.profiles:
        if profile != "none":
            await case.run(f"stalls {profile}", profile, garbage=random.Random(seed))


async def illegal_operands(dut: Any, seed: int) -> None:
    """What is wrong with one tile is said with its results and no others, however a run stalls."""
    case = _Case(dut, seed)
    for profile in job.profiles:
        garbage = None if profile == "none" else random.Random(seed)
        schedule = job.illegal_schedule(seed)
        await case.run(f"illegal operands, {profile}", profile, schedule, garbage=garbage)


if job.reports_errors:
    illegal_operands = _test(illegal_operands)


@_test
async def reset_in_mid_work(dut: Any, seed: int) -> None:
    """A reset at any cycle brings back the cold state: the run after it is free-flowing again."""
    case = _Case(dut, seed)
    when = 1 + seed % case.schedule.counts().cycles
    await case.run("reset", "none", reset_after=when)


async def soft_reset(dut: Any, seed: int) -> None:
    """Software's reset in mid-work and between runs, and none: then a run as after a cold start."""
    case = _Case(dut, seed)
    assert case.software is not None
    cycles = case.schedule.counts().cycles
    reset = partial(case.software.reset, case.config)
    when = 1 + seed * 7919 % cycles  # a prime, so that seeds go everywhere
    for profile in job.profiles:
        garbage = None if profile == "none" else random.Random(seed)
        await case.run(
            "soft reset in mid-work", profile, garbage=garbage, reset_after=when, reset=reset
        )
    await case.run("soft reset between", "none", reset_after=cycles + PAUSE, reset=reset)
    await case.run("run after run", "none", reset_after=cycles + PAUSE, reset=_nothing)


if job.has_software:
    soft_reset = _test(soft_reset)


@_test
async def negative_control(dut: Any, seed: int) -> None:
    """Golden with one bit flipped, one beat or event moved, or one increment changed: noticed."""
    case = _Case(dut, seed)
    seen = await case.run("negative control", "none")
    for port in case.ports:
        golden = case.schedule.beats[port.name].expand()
        if port.direction == "out" and len(golden):
            wrong = golden.copy()
            wrong[seed % len(golden), 0] ^= 1
            corrupted = {**case.schedule.beats, port.name: Beats(wrong)}
            assert check_values(case.ports, corrupted, seen)
    for what, moved in _moved(case.schedule):
        assert check_timing(moved, seen), f"seed {seed}: nobody noticed {what}"


async def _nothing(harness: Harness) -> None:
    """What software need not do between runs."""


def _moved(schedule: Schedule) -> Iterator[tuple[str, Schedule]]:
    """A golden schedule with one thing changed: the final beat of each port, or event."""
    for name, cycles in schedule.cycles.items():
        if len(cycles):
            moved = {**schedule.cycles, name: _raised(cycles)}
            yield f"a late beat of {name}", replace(schedule, cycles=moved)
    for name, pulses in schedule.events.items():
        if len(pulses.cycles):
            late = Pulses(_raised(pulses.cycles), pulses.increments)
            more = Pulses(pulses.cycles, _raised(pulses.increments))
            yield f"a late {name}", replace(schedule, events={**schedule.events, name: late})
            yield f"one more {name}", replace(schedule, events={**schedule.events, name: more})


def _raised(numbers: np.ndarray) -> np.ndarray:
    """The same with one more at the end."""
    return numbers + (np.arange(len(numbers)) == len(numbers) - 1)
