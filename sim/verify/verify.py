"""Verification of one design against golden, beyond what a single run shows.

Each function returns what it found wrong, as sentences; an empty list is a pass.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.ports import port_of
from ...golden.contract.schedule import Schedule
from ...hw.generate import RESETS, WAIVED, generate
from ...tb.scoreboard import Observation, check_counts, check_timing, check_values
from ...tb.stalls import PROFILES, gates
from ...tb.stimuli import bins_of, illegal_run, stimuli_of
from ..run import cocotb, verilator
from ..run.native import Model
from ..tools.workers import Workers
from .regress import Variation


@dataclass(frozen=True)
class Checked:
    """Result of a check.

    Attributes
    ----------
    scalars
        Values compared with golden.
    wrong
        Differences, one sentence each.
    """

    scalars: int
    wrong: list[str]

    def __add__(self, other: "Checked") -> "Checked":
        return Checked(self.scalars + other.scalars, self.wrong + other.wrong)


def check_schedule(
    model: Model,
    schedule: Schedule,
    profile: str = "none",
    seed: int = 0,
    *,
    garbage: bool = False,
    reset_after: int = 0,
    label: str = "",
) -> Checked:
    """Play a schedule in the native harness and compare everything that can be compared.

    Values and work events always; in free-flowing runs also the cycle of every beat of every port
    and of every event.
    """
    free_flow = profile == "none" and schedule.timed
    run = model.run(
        schedule.beats,
        gates=gates(profile, model.ports, seed),
        trace=free_flow,
        garbage=garbage,
        reset_after=reset_after,
    )
    found = check_values(model.ports, schedule.beats, run.seen)
    found += check_counts(
        model.design, model.config, schedule.counts(), run.seen, free_flow=free_flow
    )
    if free_flow:
        found += check_timing(schedule, run.seen)
    where = f"{model.design.name} {label} {profile} seed {seed}"
    return Checked(_scalars(model, run.seen), [f"{where}: {mismatch}" for mismatch in found])


def _scalars(model: Model, seen: Observation) -> int:
    return sum(
        len(words) * port_of(model.ports, name).scalars for name, words in seen.words.items()
    )


def random_operands(design: Design, config: Config, seed: int) -> Schedule:
    """Golden schedule of a seed's random operands."""
    operands = stimuli_of(design).random(config, np.random.default_rng(seed))
    return design.schedule(config, operands)


def check_random(model: Model, seeds: Sequence[int]) -> Checked:
    """Random operands under every stall profile, with garbage; and a reset in mid-work.

    Where the design reports errors, illegal operands as well.
    """
    total = Checked(0, [])
    reports_errors = stimuli_of(model.design).illegal is not None
    for seed in seeds:
        schedule = random_operands(model.design, model.config, seed)
        total += _check_profiles(model, schedule, seed)
        middle = 1 + seed % schedule.counts().cycles
        total += check_schedule(model, schedule, seed=seed, reset_after=middle, label="reset")
        if reports_errors:
            illegal = illegal_run(model.design, model.config, seed)
            total += _check_profiles(model, illegal, seed, "illegal operands")
    return total


def _check_profiles(model: Model, schedule: Schedule, seed: int, label: str = "") -> Checked:
    """A schedule under every stall profile."""
    total = Checked(0, [])
    for profile in PROFILES:
        garbage = profile != "none"
        total += check_schedule(model, schedule, profile, seed, garbage=garbage, label=label)
    return total


def check_exhaustive(model: Model) -> Checked:
    """The unit's small space in full, free-flowing and under random stalls."""
    operands = stimuli_of(model.design).exhaustive(model.config)
    schedule = model.design.schedule(model.config, operands)
    return check_schedule(model, schedule, label="exhaustive") + check_schedule(
        model, schedule, "random", label="exhaustive"
    )


def check_harnesses(variation: Variation, model: Model, seeds: Sequence[int]) -> Checked:
    """Every cocotb test, and the same cycles and events from the native harness in every run."""
    with Workers(1) as workers:
        executable = cocotb.build(variation.design, variation.config)
        outcome = cocotb.run(executable, variation.job(seeds), workers)
    wrong = [f"{variation.name} {v.test}: {v.message}" for v in outcome.verdicts if not v.passed]
    if not outcome.verdicts:
        wrong.append(f"{variation.name}: no cocotb test ran")
    for note in outcome.notes:
        operands = illegal_run if note["illegal"] else random_operands
        schedule = operands(variation.design, variation.config, note["seed"])
        stalls = gates(note["profile"], model.ports, note["seed"])
        seen = model.run(schedule.beats, gates=stalls).seen
        if (seen.span, seen.totals) != (note["cycles"], note["events"]):
            wrong.append(
                f"{variation.name} {note['run']} seed {note['seed']}: cocotb counted "
                f"{note['cycles']} cycles, {note['events']}, native {seen.span}, {seen.totals}"
            )
    return Checked(sum(note["scalars"] for note in outcome.notes), wrong)


def check_lint(design: Design, config: Config) -> list[str]:
    """Warnings of ``verilator -Wall`` under the emitted waivers, for both levels of the reset."""
    warnings = []
    for reset in RESETS:
        generated = generate(design, config, reset=reset)
        with tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
            generated.write(Path(folder))
            source, waivers = (Path(folder, f"{generated.name}.{end}") for end in ("v", "vlt"))
            warnings += verilator.lint([source], generated.name, [waivers])
        rules = set(re.findall(r"-rule (\w+)", generated.waivers))
        warnings += [f"{rule} is waived without need" for rule in sorted(rules - WAIVED.keys())]
    return warnings


def missing_bins(variation: Variation, seeds: Sequence[int]) -> list[str]:
    """Functional bins that the random operands of these seeds do not hit."""
    bins = bins_of(variation.design, variation.config, seeds)
    return [name for name, hit in bins.items() if not hit]
