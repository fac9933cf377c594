"""The neuron-skipping FFN on the FFNs of the embedded ReGLU language model."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..golden.reglu import unit as reglu
from ..golden.reglu.config import RegluConfig, RegluSettings
from ..golden.reglu.predictor import Predictor
from ..tb.job import Job
from .demo import LayerResult, compare_in_cocotb, perform
from .llm.reglu_ablation import svd
from .llm.reglu_perplexity import Prepared
from .run.measure import Progress, Runner
from .tensors.ffns import FfnSample, FfnWeights, sample_path
from .tools.workers import Workers
from .units.simulate import Tensors, prepare, simulate

CONFIG = RegluConfig()
RANK, SHARE = 32, 0.7
"""Of the predictor: its rank, and the share of the natural sparsity that it is to reach."""

TOKENS, CORNER = 64, 2
"""Held-out tokens that the native harness takes, and the cocotb harness."""


@dataclass(frozen=True, eq=False)
class Layer:
    """An FFN, its held-out inputs and its predictor."""

    weights: FfnWeights
    x: NDArray[np.float32]
    predictor: Predictor


def layers(rank: int = RANK, share: float = SHARE) -> list[Layer]:
    """All FFNs of the sample, predictors built on the text that the model was trained on."""
    sample = FfnSample.open(sample_path())
    found = []
    for number in range(sample.layers):
        layer = sample.layer(number)
        predictor = svd(Prepared.of(layer), rank, share)
        found.append(Layer(layer.weights, layer.x_held_out, predictor))
    return found


def run(
    jobs: int = 2,
    progress: Progress | None = None,
    *,
    config: RegluConfig = CONFIG,
    tests: str = "free_flow",
) -> list[LayerResult]:
    """Run held-out tokens of every FFN through both harnesses.

    Parameters
    ----------
    jobs, progress, tests
        As in :func:`.demo.run`.
    config
        The unit.
    """
    chosen = layers()
    results = [LayerResult(f"layers.{number}") for number in range(len(chosen))]
    with Workers(jobs) as workers, tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        tasks: list[Callable[[], None]] = [
            partial(_corners, results, chosen, config, folder, workers, tests),
            *(
                partial(_native, result, layer, config, workers)
                for result, layer in zip(results, chosen, strict=True)
            ),
        ]
        perform(tasks, workers, progress)
    return results


def _native(result: LayerResult, layer: Layer, config: RegluConfig, workers: Workers) -> None:
    """Some tokens of a layer."""
    tensors = Tensors(layer.x[:TOKENS], ffn=layer.weights, predictor=layer.predictor)
    found = simulate(reglu.UNIT, config, RegluSettings(), tensors, Runner(workers))
    result.simulations[reglu.UNIT.name] = found


def _corners(
    results: list[LayerResult],
    chosen: list[Layer],
    config: RegluConfig,
    folder: str,
    workers: Workers,
    tests: str,
) -> None:
    """The first tokens of all layers."""
    name, operands = reglu.UNIT.name, []
    for layer in chosen:
        tensors = Tensors(layer.x[:CORNER], ffn=layer.weights, predictor=layer.predictor)
        prepared = prepare(reglu.UNIT, config, RegluSettings(), tensors)
        operands.append(prepared.runs[0].operands)
    job = Job.of(name, reglu.SKIPPING_FFN, config, list(range(len(results))))
    compare_in_cocotb(results, name, job, operands, folder, workers, tests)
