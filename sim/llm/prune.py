"""What N:M pruning costs a real LLM: its perplexity by method, with INT4 weights and without.

Needs ``pip install nibbleforge[llm]``. All linear layers but the output head are pruned, block
after block (:mod:`.blocks`). Perplexity is that of text not used to calibrate, with activations
rounded to FP16.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.nm.format import SparseWeights, pack, quantise_sparse, slots
from ...golden.nm.pattern import Pattern
from ...golden.nm.prune import (
    Calibration,
    Method,
    Pruned,
    prune,
    second_order,
)
from ..tools.progress import Progress
from ..tools.results import finite
from .blocks import Block, blocks_of, factors_of, put, restoring, settle, weights_of
from .perplexity import LanguageModel

REPORT = "report.json"
BEAT_BITS = 8  # of packed rows in files: no padding but to whole bytes

Layers = Mapping[str, SparseWeights]
"""Pruned INT4 weights by name of the layer."""


@dataclass(frozen=True)
class Perplexities:
    """Of one model.

    Attributes
    ----------
    unquantised
        With the weights in floating point.
    int4
        With INT4 weights.
    """

    unquantised: float
    int4: float


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Attributes
    ----------
    dense
        Of the model as it is, and with dense INT4 weights.
    pruned
        By method.
    """

    dense: Perplexities
    pruned: dict[Method, Perplexities]

    def named(self) -> dict[str, Perplexities]:
        """All of them, the dense model first."""
        return {"dense": self.dense, **{str(name): found for name, found in self.pruned.items()}}


def measure(
    model: LanguageModel,
    pattern: Pattern,
    methods: Sequence[Method],
    group: int = 128,
    on_pruned: Callable[[Method, Layers], None] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Prune a model by each method and measure its perplexity; the model is left as it was.

    Parameters
    ----------
    model
        Calibrated on its first piece of text, measured on the second.
    pattern
        N and M.
    methods
        How to prune.
    group
        Input features that share an INT4 scale: 32, 64 or 128.
    on_pruned
        Called with what each method leaves, for instance to write it to a file.
    progress
        Called as ``progress(stage, done, total)``.

    Raises
    ------
    UserError
        If the model has linear layers outside of numbered blocks, a scale overflows FP16, or there
        are too few tokens to calibrate.
    """
    report = progress or (lambda stage, done, total: None)
    modules = {linear.name: module for _, linear, module in model.layers}
    blocks = blocks_of(model)

    def perplexities(kept: Mapping[str, NDArray[np.bool_]]) -> tuple[Perplexities, Layers]:
        unquantised = model.perplexity(None, held_out=True, progress=report)
        quantised = _quantise(modules, kept, group)
        int4 = model.perplexity(None, held_out=True, progress=report)
        return Perplexities(unquantised, int4), quantised

    everything = {name: np.ones(tuple(m.weight.shape), np.bool_) for name, m in modules.items()}
    with restoring(list(modules.values())):
        dense, _ = perplexities(everything)
    pruned = {}
    for method in methods:
        with restoring(list(modules.values())):
            kept = _prune(model, blocks, pattern, method, report)
            pruned[method], layers = perplexities(kept)
        if on_pruned is not None:
            on_pruned(method, layers)
    return Outcome(dense, pruned)


# --- pruning ----------------------------------------------------------------------------------


def _quantise(
    modules: Mapping[str, Any], kept: Mapping[str, NDArray[np.bool_]], group: int
) -> Layers:
    """Put the INT4 weights nearest to a module's own in their place."""
    layers = {}
    for name, module in modules.items():
        layers[name] = quantise_sparse(weights_of(module), kept[name], group)
        put(module, layers[name].weights.dequantise())
    return layers


def _prune(
    model: LanguageModel,
    blocks: Sequence[Block],
    pattern: Pattern,
    method: Method,
    report: Progress,
) -> dict[str, NDArray[np.bool_]]:
    """Prune every block, and return the masks by layer."""
    masks: dict[str, NDArray[np.bool_]] = {}

    def change(block: Block, calibrations: Mapping[str, Calibration]) -> None:
        masks.update(_prune_block(block, pattern, method, calibrations))

    settle(
        model,
        change,
        blocks,
        calibrated=method != "magnitude",
        gram=method == "second-order",
        stage=f"prune {method}",
        report=report,
    )
    return masks


def _prune_block(
    block: Block, pattern: Pattern, method: Method, calibrations: Mapping[str, Calibration]
) -> dict[str, NDArray[np.bool_]]:
    """Put pruned weights in the place of a block's own; the masks."""
    factors = factors_of(calibrations) if method == "second-order" else {}
    masks = {}
    for name, module in block.linears.items():
        if name in factors:
            pruned: Pruned = second_order(weights_of(module), pattern, factors[name])
        else:
            pruned = prune(weights_of(module), pattern, method, calibrations.get(name))
        put(module, pruned.weights)
        masks[name] = pruned.keep
    return masks


# --- results ----------------------------------------------------------------------------------


def report_of(
    settings: Mapping[str, Any], pattern: Pattern, group: int, outcome: Outcome
) -> dict[str, Any]:
    """What ``report.json`` holds; a perplexity that is not finite is null."""
    dense = Pattern(pattern.m, pattern.m)
    return {
        "settings": dict(settings),
        "pattern": str(pattern),
        "metadata": pattern.metadata,
        "group": group,
        "calibration": "block by block, inputs from the pruned blocks before",
        "bits_per_weight": {
            "dense_int4": dense.bits_per_weight(group),
            "pruned_int4": pattern.bits_per_weight(group),
        },
        "held_out_perplexity": {
            name: {"unquantised": finite(found.unquantised), "int4": finite(found.int4)}
            for name, found in outcome.named().items()
        },
    }


def write_weights(folder: Path, method: Method, layers: Layers, pattern: Pattern) -> None:
    """Write pruned weights as they are packed: ``weights-METHOD.npz``.

    For every layer NAME, ``NAME/packed`` uint8 ``(out_features, bytes)`` as
    :func:`~nibbleforge.golden.nm.format.pack` lays it out in beats of 8 bits, and ``NAME/scale``
    float16 ``(out_features, groups)``. ``meta`` is a JSON string with the pattern and the shapes.
    """
    arrays: dict[str, NDArray] = {}
    shapes = {}
    for name, layer in layers.items():
        stored = slots(layer.weights.q, layer.keep, pattern)
        arrays[f"{name}/packed"] = pack(*stored, pattern, BEAT_BITS)
        arrays[f"{name}/scale"] = layer.weights.scale
        shapes[name] = list(layer.keep.shape)
    group = next(iter(layers.values())).weights.group
    meta = {
        "pattern": str(pattern),
        "metadata": pattern.metadata,
        "beat_bits": BEAT_BITS,
        "group": group,
        "shapes": shapes,
    }
    with (folder / f"weights-{method}.npz").open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays, meta=np.array(json.dumps(meta)))
