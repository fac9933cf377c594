"""The main job on the embedded sample: real activations through both harnesses."""

import tempfile
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden.bitmap import BitmapConfig
from ..golden.dense import DenseConfig, Layer
from ..golden.design import Design
from ..golden.hybrid import HybridFormat
from ..golden.units import UNITS
from ..tb.job import Job
from . import cocotb
from .bitmap import high_halves
from .measure import Progress
from .simulate import Simulation, Tensors
from .simulators import SIMULATORS
from .tensors import Capture, sample_path
from .workers import Workers

UNIT_NAMES = ("dense", "dense2k", "bitmap")
CORNER = 32  # tokens and outputs that the cocotb harness takes


@dataclass
class LayerResult:
    """What the demo found for one layer of the sample.

    Attributes
    ----------
    layer
        Name of the layer.
    simulations
        Unit name to its native run over the whole layer.
    corner_failures
        Failed cocotb tests on the first tokens and outputs.
    corner_designs
        Designs that the cocotb harness has run.
    """

    layer: str
    simulations: dict[str, Simulation] = field(default_factory=dict)
    corner_failures: list[str] = field(default_factory=list)
    corner_designs: set[str] = field(default_factory=set)

    @property
    def equal(self) -> bool:
        """Whether everything ran and agreed with golden in both harnesses."""
        native = all(not run.mismatches for run in self.simulations.values())
        whole = set(self.simulations) == set(UNIT_NAMES)
        return native and whole and not self.corner_failures and len(self.corner_designs) == 4


def run(path: Path | None = None, jobs: int = 2, progress: Progress | None = None) -> list[LayerResult]:
    """Run every layer of a capture on the baselines and the bitmap codec.

    The native harness takes all tokens and outputs, the cocotb harness the first 32 of each, every
    port and event compared in every cycle.

    Parameters
    ----------
    path
        Capture; by default the embedded sample.
    jobs
        Simulations at once.
    progress
        Called with what is under way.
    """
    capture = Capture.open(path or sample_path())
    results = {layer: LayerResult(layer) for layer in capture.layers}
    with Workers(jobs) as workers, tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        tasks = [
            workers.start(task)
            for layer, result in results.items()
            for task in _tasks(capture, layer, result, Path(folder), workers)
        ]
        for done, task in enumerate(as_completed(tasks), 1):
            task.result()
            if progress:
                progress("simulating the sample", done, len(tasks))
    return list(results.values())


def _tasks(
    capture: Capture, layer: str, result: LayerResult, folder: Path, workers: Workers
) -> list[Callable[[], None]]:
    """Native and cocotb runs of one layer, the longest first."""
    x, w = capture.activations(layer), capture.weights(layer)

    def native(name: str) -> None:
        unit = UNITS[name]
        tensors = Tensors(x, None if name == "bitmap" else w)
        result.simulations[name] = SIMULATORS[name](name, unit.presets["paper"], unit.settings(), tensors, None)

    def corner(name: str, design: Design, operands: Any) -> None:
        config = UNITS[name].presets["paper"]
        file = folder / f"{layer}-{name}-{design.name}.npz"
        np.savez(file, **{item.name: getattr(operands, item.name) for item in fields(operands)})
        job = Job.of(name, design, config, [0], operands=str(file))
        outcome = cocotb.run(cocotb.build(design, config), job, workers, tests="free_flow")
        result.corner_failures += [f"{design.name}: {v.message}" for v in outcome.verdicts if not v.passed]
        result.corner_designs.add(f"{name}/{design.name}")

    tasks: list[Callable[[], None]] = [lambda name=name: native(name) for name in UNIT_NAMES]
    for name in UNIT_NAMES:
        config = UNITS[name].presets["paper"]
        for design in UNITS[name].designs(config):
            operands = _corner(config, x[:CORNER], w[:CORNER])
            tasks.append(lambda name=name, design=design, operands=operands: corner(name, design, operands))
    return tasks


def _corner(config: BitmapConfig | DenseConfig, x: NDArray, w: NDArray) -> Any:
    """Operands of the first tokens and outputs, quantised as the simulations do."""
    from ..golden.quantise import take_activations, take_weights

    if isinstance(config, BitmapConfig):
        form = HybridFormat(k=config.value_width, group=config.group, beat=config.beat)
        return high_halves(form, take_activations(x, form.limit).q)
    return Layer(take_activations(x, config.activation_range[1]).q, take_weights(w).q)
