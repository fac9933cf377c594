"""The main job on the embedded sample: real activations through both harnesses."""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.operands import to_arrays
from ..golden.units import UNITS
from ..tb.job import Job
from .run import cocotb
from .run.measure import Runner
from .tensors.files import Capture, sample_path
from .tools.progress import Progress
from .tools.workers import Workers, as_finished
from .units.simulate import Run, Simulation, Tensors, of_capture, prepare, simulate


@dataclass(frozen=True)
class Case:
    """A unit in a preset, with run-time settings other than its own defaults."""

    unit: str
    preset: str = "paper"
    settings: Mapping[str, Any] = field(default_factory=dict)
    extent: int | None = None
    """Rows and columns other than the preset's."""

    @property
    def config(self) -> Config:
        """Configuration of the hardware."""
        preset = UNITS[self.unit].presets[self.preset]
        if self.extent is None:
            return preset
        return preset.replace(rows=self.extent, columns=self.extent)

    @property
    def runtime(self) -> Config:
        """What the hardware takes as it runs."""
        return UNITS[self.unit].settings(**self.settings)


SHOWN = ("bitmap", "dense", "dense2k", "sparqle", "anda", "compressor", "nm")
RUNS = {
    **{name: Case(name) for name in SHOWN},
    "sparqle q4_1": Case("sparqle", "q4_1"),
}
"""What runs on linear layers, by the name it is shown under. Rivals of Anda are counted only."""


@dataclass(frozen=True)
class Scope:
    """How much of a capture runs, and on what.

    Attributes
    ----------
    runs
        What runs on every layer, by the name it is shown under.
    layer
        End of the names of the layers that run; empty: all.
    tokens
        Tokens that the native harness takes, at most; None: all.
    corner
        Tokens and outputs that the cocotb harness takes.
    """

    runs: Mapping[str, Case] = field(default_factory=lambda: RUNS)
    layer: str = ""
    tokens: int | None = None
    corner: int = 32


@dataclass
class LayerResult:
    """What the demo found for one layer of the sample.

    Attributes
    ----------
    layer
        Name of the layer.
    simulations
        Name in :data:`RUNS` to its native run over the whole layer.
    corners
        Design, as ``name/design``, to the verdict of its cocotb run on the first tokens and
        outputs: empty, or why it failed.
    """

    layer: str
    simulations: dict[str, Simulation] = field(default_factory=dict)
    corners: dict[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """Why the layer is not equal to golden; empty when it is, in both harnesses."""
        native = [str(found) for run in self.simulations.values() for found in run.mismatches]
        return native + [f"{design}: {text}" for design, text in self.corners.items() if text]

    def failures_of(self, name: str) -> list[str]:
        """Those of one name in :data:`RUNS`."""
        alone = {key: text for key, text in self.corners.items() if key.startswith(f"{name}/")}
        return LayerResult(self.layer, {name: self.simulations[name]}, alone).failures


def run(
    path: Path | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
    *,
    scope: Scope | None = None,
    tests: str = "free_flow",
) -> list[LayerResult]:
    """Run layers of a capture on units that take tensors.

    The native harness takes whole layers, the cocotb harness the first tokens and outputs of each,
    every port and event compared in every cycle.

    Parameters
    ----------
    path
        Capture; by default the embedded sample.
    jobs
        Simulations at once.
    progress
        Called with what is under way.
    scope
        What runs; by default all layers, whole, on all units in :data:`RUNS`.
    tests
        Regular expression of the cocotb tests to run.
    """
    with Workers(jobs) as workers, tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        results, work = tasks(path, scope or Scope(), Path(folder), workers, tests)
        perform(work, workers, progress)
    return results


def tasks(
    path: Path | None, scope: Scope, folder: Path, workers: Workers, tests: str = "free_flow"
) -> tuple[list[LayerResult], list[Callable[[], None]]]:
    """Results to come, and the work that fills them in; `folder` is for operands."""
    capture = Capture.open(path or sample_path())
    results = [LayerResult(layer) for layer in capture.layers if layer.endswith(scope.layer)]
    corners = [
        partial(_corners, capture, results, shown, case, design, scope, folder, workers, tests)
        for shown, case in scope.runs.items()
        for design in UNITS[case.unit].designs(case.config)
        if results
    ]
    layers = [
        partial(_native, capture, result, shown, case, scope, workers)
        for result in results
        for shown, case in scope.runs.items()
    ]
    return results, [*corners, *layers]


def perform(
    tasks: Sequence[Callable[[], None]], workers: Workers, progress: Progress | None
) -> None:
    """Run tasks, as many at once as there are workers."""
    running = [workers.start(task) for task in tasks]
    for done, finished in enumerate(as_finished(running), 1):
        finished.result()
        if progress:
            progress("simulating the sample", done, len(tasks))


def _native(
    capture: Capture,
    result: LayerResult,
    shown: str,
    case: Case,
    scope: Scope,
    workers: Workers,
) -> None:
    """A whole layer on a unit."""
    owner = UNITS[case.unit]
    tensors = of_capture(capture, result.layer, with_weights=owner.takes == "layer")
    tensors = replace(tensors, activations=tensors.activations[: scope.tokens])
    runner = Runner(workers)
    result.simulations[shown] = simulate(owner, case.config, case.runtime, tensors, runner)


def _corners(
    capture: Capture,
    results: list[LayerResult],
    shown: str,
    case: Case,
    design: Design,
    scope: Scope,
    folder: Path,
    workers: Workers,
    tests: str,
) -> None:
    """First tokens and outputs of all layers."""
    runs = [_run(case, design, capture, result.layer, scope.corner) for result in results]
    for config in dict.fromkeys(run.config for run in runs):
        alike = [number for number, run in enumerate(runs) if run.config == config]
        job = Job.of(case.unit, design, config, list(range(len(alike))))
        operands = [runs[number].operands for number in alike]
        chosen = [results[number] for number in alike]
        compare_in_cocotb(chosen, shown, job, operands, folder, workers, tests)


def compare_in_cocotb(
    results: list[LayerResult],
    shown: str,
    job: Job,
    operands: Sequence[Any],
    folder: Path,
    workers: Workers,
    tests: str,
) -> None:
    """Operands of every layer in one cocotb process; the verdicts go into the results."""
    files = [folder / f"{shown}-{job.design}-{i}.npz" for i in range(len(results))]
    for file, those in zip(files, operands, strict=True):
        np.savez(file, allow_pickle=False, **to_arrays(those))
    job = replace(job, operands=[str(file) for file in files])
    outcome = cocotb.run(cocotb.build(*job.resolve()), job, workers, tests=tests)
    for seed, result in zip(job.seeds, results, strict=True):
        result.corners[f"{shown}/{job.design}"] = _verdict(outcome, seed)


def _verdict(outcome: cocotb.Outcome, seed: int) -> str:
    """Why a run of a seed failed; empty if all passed."""
    mine = [verdict for verdict in outcome.verdicts if re.search(rf"seed={seed}$", verdict.test)]
    if not mine:
        return f"no verdict: {outcome.log[-500:]}"
    return next((verdict.message for verdict in mine if not verdict.passed), "")


def _run(case: Case, design: Design, capture: Capture, layer: str, corner: int) -> Run:
    """First tokens and outputs of a layer, prepared as the unit's simulation does."""
    owner = UNITS[case.unit]
    x = capture.activations(layer)[:corner]
    w = capture.weights(layer)[:corner] if owner.takes == "layer" else None
    prepared = prepare(owner, case.config, case.runtime, Tensors(x, w))
    return next(run for run in prepared.runs if run.design.name == design.name)
