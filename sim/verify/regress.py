"""The cocotb regression: designs x presets x seeds, as a table and as JUnit XML."""

import itertools
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import junitparser

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.units import command_name, unit
from ...tb.job import Job
from ...tb.stimuli import bins_of
from ..run import cocotb
from ..run.cocotb import Outcome, Verdict
from ..tools.toolchain import versions
from ..tools.workers import Workers, as_finished

DEFAULT_PRESETS = ("tiny", "paper")
_SEEDS_AT_ONCE = 5  # seeds that share a simulation process


@dataclass(frozen=True)
class Variation:
    """One design in one configuration.

    Attributes
    ----------
    unit, preset, assignments
        What leads to the configuration: a preset, and ``KEY=VALUE`` for what is changed of it.
    design, config
        What is run.
    """

    unit: str
    preset: str
    design: Design
    config: Config
    assignments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Readable name, for example ``dense/tiny/dense_array``."""
        return f"{self.unit}/{self.preset}/{self.design.name}"

    def job(self, seeds: Sequence[int]) -> Job:
        """The job that runs these seeds."""
        return Job.of(self.unit, self.design, self.config, list(seeds))

    def command(self, seed: int) -> str:
        """The command that repeats one seed with a waveform."""
        which = f"{command_name(self.unit)} --preset {self.preset}"
        changes = "".join(f" --set {shlex.quote(text)}" for text in self.assignments)
        return f"nibbleforge regress {which}{changes} --seeds 1 --first-seed {seed} --waves -o DIR"


@dataclass
class Report:
    """What the regression found for one variation."""

    variation: Variation
    seeds: list[int]
    verdicts: list[Verdict] = field(default_factory=list)
    scalars: int = 0
    cycles: int = 0
    seconds: float = 0.0
    wall: float = 0.0
    bins: dict[str, bool] = field(default_factory=dict)
    """Functional bins, and whether they were hit."""

    @property
    def failures(self) -> list[Verdict]:
        """Tests that failed."""
        return [verdict for verdict in self.verdicts if not verdict.passed]

    def take(self, outcome: Outcome, wall: float) -> None:
        """Add the outcome of one process."""
        self.verdicts += outcome.verdicts
        self.scalars += sum(note["scalars"] for note in outcome.notes)
        self.cycles += sum(note["cycles"] for note in outcome.notes)
        self.seconds += sum(note["seconds"] for note in outcome.notes)
        self.wall += wall


def _of_preset(name: str, preset: str) -> Config:
    """A preset as it is."""
    return unit(name).presets[preset]


def variations(
    names: Iterable[str],
    presets: Sequence[str],
    configuration: Callable[[str, str], Config] = _of_preset,
    assignments: Sequence[str] = (),
) -> list[Variation]:
    """Every design of the units in the presets that each of them has.

    Parameters
    ----------
    names, presets
        Of units, and of their presets.
    configuration
        Makes the configuration of a unit and a preset.
    assignments
        What it changes, as a command line says it.

    Raises
    ------
    UserError
        Unknown unit, or a preset that none of the units has.
    """
    owners = [unit(name) for name in dict.fromkeys(names)]
    for preset in presets:
        if not any(preset in owner.presets for owner in owners):
            known = ", ".join(sorted({name for owner in owners for name in owner.presets}))
            raise UserError(f"there is no preset {preset!r}; the presets are {known}.")
    given = tuple(assignments)
    return [
        Variation(owner.name, preset, design, config, given)
        for owner in owners
        for preset in owner.presets
        if preset in presets
        for config in [configuration(owner.name, preset)]
        for design in owner.designs(config)
    ]


def regress(
    chosen: Sequence[Variation],
    seeds: Sequence[int],
    jobs: int,
    *,
    waves: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Report]:
    """Run all seeds of all variations.

    Parameters
    ----------
    chosen, seeds
        What to run.
    jobs
        Simulations at once.
    waves
        Folder for a waveform of every process.
    progress
        Called with what is under way.
    """
    reports = {variation.name: Report(variation, list(seeds)) for variation in chosen}
    size = 1 if waves else _SEEDS_AT_ONCE
    batches = [list(seeds[i : i + size]) for i in range(0, len(seeds), size)]
    tasks = list(itertools.product(chosen, batches))
    done, total = 0, len(chosen) * len(seeds)
    if progress:
        progress("regression", done, total)
    with Workers(jobs) as workers:
        futures = {
            workers.start(_run, variation, batch, waves, workers): (variation, batch)
            for variation, batch in tasks
        }
        for future in as_finished(futures):
            variation, batch = futures[future]
            reports[variation.name].take(*future.result())
            done += len(batch)
            if progress:
                progress("regression", done, total)
    for report in reports.values():
        report.bins = bins_of(report.variation.design, report.variation.config, seeds)
    return list(reports.values())


def _run(
    variation: Variation, seeds: list[int], waves: Path | None, workers: Workers
) -> tuple[Outcome, float]:
    start = time.perf_counter()
    executable = cocotb.build(variation.design, variation.config, waves=waves is not None)
    trace = None
    if waves is not None:
        trace = waves / f"{variation.name.replace('/', '-')}-{seeds[0]}.vcd"
    outcome = cocotb.run(executable, variation.job(seeds), workers, waves=trace)
    return outcome, time.perf_counter() - start


def junit(reports: Sequence[Report]) -> junitparser.JUnitXml:
    """JUnit XML: a suite per variation; seeds, times, speed and tool versions as properties."""
    document = junitparser.JUnitXml("nibbleforge regression")
    for report in reports:
        suite = junitparser.TestSuite(report.variation.name)
        for verdict in report.verdicts:
            case = junitparser.TestCase(verdict.test, report.variation.name, verdict.seconds)
            if not verdict.passed:
                case.result = [junitparser.Failure(verdict.message)]
            suite.add_testcase(case)
        properties = {
            "seeds": " ".join(map(str, report.seeds)),
            "config_hash": report.variation.config.config_hash,
            "scalars": report.scalars,
            "cycles": report.cycles,
            "cycles_per_s": round(report.cycles / max(report.seconds, 1e-9)),
            "wall_s": round(report.wall, 3),
            "bins": f"{sum(report.bins.values())}/{len(report.bins)}",
            **versions(),
        }
        for name, value in properties.items():
            suite.add_property(name, str(value))
        document.add_testsuite(suite)
    return document
