"""What N:M pruning costs a real LLM: its perplexity by method, with INT4 weights and without.

Needs ``pip install nibbleforge[llm]``. All linear layers but the output head are pruned. Decoder
blocks are pruned one after the other, each calibrated with the inputs that the pruned blocks before
it give (as in SparseGPT, arXiv 2301.00774); within a block, layers see those of the dense block.
Perplexity is that of text not used to calibrate, with activations rounded to FP16.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.errors import UserError
from ...golden.nm.format import SparseWeights, pack, quantise_sparse, slots
from ...golden.nm.pattern import Pattern
from ...golden.nm.prune import (
    Calibration,
    InverseFactor,
    Method,
    Pruned,
    inverse_factor,
    prune,
    second_order,
)
from ..tools.progress import Progress
from ..tools.results import finite
from .model import without_warnings
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
    blocks = _blocks(model, modules)

    def perplexities(kept: Mapping[str, NDArray[np.bool_]]) -> tuple[Perplexities, Layers]:
        unquantised = model.perplexity(None, held_out=True, progress=report)
        quantised = _quantise(modules, kept, group)
        int4 = model.perplexity(None, held_out=True, progress=report)
        return Perplexities(unquantised, int4), quantised

    everything = {name: np.ones(tuple(m.weight.shape), np.bool_) for name, m in modules.items()}
    with _restoring(modules):
        dense, _ = perplexities(everything)
    pruned = {}
    for method in methods:
        with _restoring(modules):
            kept = _prune(model, blocks, pattern, method, report)
            pruned[method], layers = perplexities(kept)
        if on_pruned is not None:
            on_pruned(method, layers)
    return Outcome(dense, pruned)


# --- the modules of a model -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Block:
    """A decoder block, and its linear layers by name."""

    module: Any
    linears: dict[str, Any]


def _blocks(model: LanguageModel, modules: Mapping[str, Any]) -> list[_Block]:
    """Decoder blocks in order: what bears a number and holds linear layers."""
    named = {name.removeprefix("model."): m for name, m in model.network.named_modules()}
    found: dict[str, _Block] = {}
    for name, module in modules.items():
        numbered = re.match(r"(.*\.[0-9]+)\.", name)
        if numbered is None:
            raise UserError(f"linear layers must be in numbered blocks to be pruned, got {name}.")
        block = found.setdefault(numbered[1], _Block(named[numbered[1]], {}))
        block.linears[name] = module
    return list(found.values())


@contextmanager
def _restoring(modules: Mapping[str, Any]) -> Iterator[None]:
    """Give the modules back the weights they have now."""
    weights = {name: module.weight.detach().clone() for name, module in modules.items()}
    try:
        yield
    finally:
        for name, module in modules.items():
            module.weight.data.copy_(weights[name])


def _put(module: Any, weights: NDArray[np.float32]) -> None:
    import torch

    module.weight.data.copy_(torch.from_numpy(weights))


def _weights(module: Any) -> NDArray[np.float32]:
    return module.weight.detach().numpy()


def _quantise(
    modules: Mapping[str, Any], kept: Mapping[str, NDArray[np.bool_]], group: int
) -> Layers:
    """Put the INT4 weights nearest to a module's own in their place."""
    layers = {}
    for name, module in modules.items():
        layers[name] = quantise_sparse(_weights(module), kept[name], group)
        _put(module, layers[name].weights.dequantise())
    return layers


# --- pruning ----------------------------------------------------------------------------------


def _prune(
    model: LanguageModel,
    blocks: Sequence[_Block],
    pattern: Pattern,
    method: Method,
    report: Progress,
) -> dict[str, NDArray[np.bool_]]:
    """Prune every block just before it runs, and return the masks by layer.

    All windows run at once, so that one pass through the network calibrates and prunes it.
    """
    import torch

    masks: dict[str, NDArray[np.bool_]] = {}

    def pruning(position: int) -> Any:
        def pre_hook(module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
            report(f"prune {method}", position, len(blocks))
            block = blocks[position]
            calibrations = {}
            if method != "magnitude":
                with _calibrating(block, gram=method == "second-order") as calibrations:
                    module.forward(*args, **kwargs)
            masks.update(_prune_block(block, pattern, method, calibrations))

        return pre_hook

    hooks = [
        block.module.register_forward_pre_hook(pruning(position), with_kwargs=True)
        for position, block in enumerate(blocks)
    ]
    try:
        with without_warnings(), torch.no_grad():
            model.network.base_model(_windows(model), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    report(f"prune {method}", len(blocks), len(blocks))
    return masks


def _windows(model: LanguageModel) -> Any:
    """The text to calibrate on in windows of equal length; a shorter last one is left out."""
    ids = model.pieces[0]
    length = min(model.context, len(ids))
    return ids[: len(ids) // length * length].reshape(-1, length)


@contextmanager
def _calibrating(block: _Block, gram: bool) -> Iterator[dict[str, Calibration]]:
    """Sum up what goes into the layers of a block; layers with the same input share the sums."""
    found: dict[str, Calibration] = {}
    inputs: list[tuple[Any, Calibration]] = []

    def recorder(name: str) -> Any:
        def pre_hook(module: Any, args: tuple) -> None:
            x = args[0]
            shared = next((sums for seen, sums in inputs if seen is x), None)
            if shared is None:
                shared = Calibration.empty(module.in_features, gram)
                for window in x.reshape(-1, x.shape[-2], x.shape[-1]):
                    shared.add(window.numpy())
                inputs.append((x, shared))
            found[name] = shared

        return pre_hook

    hooks = [m.register_forward_pre_hook(recorder(name)) for name, m in block.linears.items()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _prune_block(
    block: _Block, pattern: Pattern, method: Method, calibrations: Mapping[str, Calibration]
) -> dict[str, NDArray[np.bool_]]:
    """Put pruned weights in the place of a block's own; the masks."""
    factors: dict[int, InverseFactor] = {}  # by identity of the calibration
    masks = {}
    for name, module in block.linears.items():
        calibration = calibrations.get(name)
        if method == "second-order" and calibration is not None:
            if id(calibration) not in factors:
                factors[id(calibration)] = inverse_factor(calibration)
            pruned: Pruned = second_order(_weights(module), pattern, factors[id(calibration)])
        else:
            pruned = prune(_weights(module), pattern, method, calibration)
        _put(module, pruned.weights)
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
