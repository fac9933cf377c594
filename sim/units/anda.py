"""Simulation of the bit-plane array on a user's layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden import fp16
from ...golden.anda import compressed as anda_compressed
from ...golden.anda import schedule as anda
from ...golden.anda.compressed import COMPRESSED, CompressedLayer
from ...golden.anda.config import AndaConfig, AndaSettings, GroupArrayConfig
from ...golden.anda.format import to_fp16
from ...golden.anda.schedule import ARRAY, AndaLayer
from ...golden.arithmetic.quantise import QuantisedWeights, check_matrix, take_weights
from ...golden.contract.config import Config
from ...golden.contract.errors import UserError
from ...golden.fp16 import Fp16Config
from ..run.measure import Measured, Runner, results
from .anda_compressor import arrays_of
from .anda_compressor import results as compressed_results
from .simulate import Simulation, Tensors, counts_of, sqnr_db


def simulate(
    unit_name: str, config: AndaConfig, settings: AndaSettings, tensors: Tensors, runner: Runner
) -> Simulation:
    """Round to FP16, encode, run the RTL over the whole layer, compare.

    Weights are quantised to INT4 per weight group; with ``asymmetric`` they have minima, and are
    taken from the model's file if that holds them so. ``y`` is what the hardware gives.
    """
    if tensors.weights is None:
        raise UserError(f"{unit_name} needs weights.")
    activations = check_matrix("activations", tensors.activations)
    weights = check_matrix("weights", tensors.weights)
    w = weights_of(config, settings.weight_group, tensors, weights)
    layer = layer_of(config, settings, to_fp16("activations", tensors.activations), w)
    run = _run_compressed if config.output == "anda" else _run
    measured, given = run(config, settings, layer, runner)
    exact = activations.astype(np.float64) @ weights.astype(np.float64).T
    return report(unit_name, config, settings, exact, layer, w, measured, given)


def report(
    unit_name: str,
    config: Any,
    settings: Config,
    exact: NDArray,
    layer: Any,
    w: QuantisedWeights,
    measured: Measured,
    given: Mapping[str, NDArray],
) -> Simulation:
    """Counts and files of a run of an array on groups.

    Parameters
    ----------
    exact
        The product in float64, for the error of what was given.
    layer
        Operands, with activations in the Anda format.
    given
        What the hardware gave, ``y`` among it.
    """
    tokens, in_features = layer.x.shape
    encoded = layer.encoded(config)
    padding = encoded.padded_features / encoded.in_features
    counts = counts_of(
        unit_name,
        config,
        settings,
        {"tokens": tokens, "in_features": in_features, "out_features": len(w.q)},
        measured.summary(),
        baselines=baselines(config, measured.cycles, tokens, in_features, len(w.q)),
        bits_per_activation=encoded.bits_per_element,
        bits_per_activation_padded=encoded.bits_per_element * padding,
        bits_per_weight=w.bits_per_weight,
        sqnr_db=sqnr_db(exact, given["y"]),
        utilisation=(measured.golden.ideal_cycles or 0.0) / measured.cycles,
    )
    arrays: dict[str, NDArray] = {**given, "x": layer.x, "w_q": w.q, "w_scale": w.scale}
    if w.minimum is not None:
        arrays["w_min"] = w.minimum
    return Simulation(counts, arrays, measured.mismatches)


def _run(
    config: AndaConfig, settings: AndaSettings, layer: AndaLayer, runner: Runner
) -> tuple[Measured, dict[str, NDArray]]:
    """Run the array; its results."""
    (tokens, in_features), outputs = layer.x.shape, len(layer.w)
    golden = anda.cycles(
        config, settings.mantissa, tokens, in_features, outputs, int(layer.weight_group)
    )
    measured = runner.measure(ARRAY, config, anda.traffic(config, layer), golden)
    bits = results(layer.tiling(config), anda.ports(config)[-1], measured)
    if config.output == "fp16":
        return measured, {"y": bits.astype(np.uint16).view(np.float16)}
    return measured, {"y": bits.astype(np.uint32).view(np.float32)}


def _run_compressed(
    config: AndaConfig, settings: AndaSettings, layer: AndaLayer, runner: Runner
) -> tuple[Measured, dict[str, NDArray]]:
    """Run array and compressor, outputs padded to whole groups; results and what they stand for."""
    (tokens, in_features), outputs = layer.x.shape, len(layer.w)
    padded = compressed_layer(config, settings, layer)
    golden = anda_compressed.cycles(
        config,
        settings.mantissa,
        settings.result_mantissa,
        tokens,
        in_features,
        len(padded.w),
        int(layer.weight_group),
    )
    traffic = anda_compressed.traffic(config, padded)
    measured = runner.measure(COMPRESSED, config, traffic, golden)
    unit, ports = anda_compressed.compressor_config(config), anda_compressed.ports(config)[-3:]
    y = compressed_results(unit, ports, measured, settings.result_mantissa, tokens, outputs)
    files = {f"y_{name}": array for name, array in arrays_of(y).items()}
    return measured, {"y": y.decode().astype(np.float32), **files}


def compressed_layer(
    config: AndaConfig, settings: AndaSettings, layer: AndaLayer
) -> CompressedLayer:
    """The same operands with outputs of zeros up to whole groups of results."""
    padding = ((0, -len(layer.w) % config.group), (0, 0))
    minimum = layer.minimum
    return CompressedLayer(
        layer.x,
        layer.mantissa,
        np.pad(layer.w, padding),
        np.pad(layer.d, padding),
        layer.weight_group,
        np.pad(minimum, padding) if minimum.size else minimum,
        result_mantissa=np.array(settings.result_mantissa),
    )


def layer_of(
    config: AndaConfig, settings: AndaSettings, x: NDArray[np.float16], w: QuantisedWeights
) -> AndaLayer:
    """Operands of the array, checked."""
    minimum = [] if w.minimum is None else [w.minimum]
    mantissa, group = np.array(settings.mantissa), np.array(w.group)
    layer = AndaLayer(x, mantissa, w.q, w.scale, group, *minimum)
    array = anda_compressed.array_config(config) if config.output == "anda" else config
    anda.check(array, layer)
    return layer


def weights_of(
    config: GroupArrayConfig, weight_group: int, tensors: Tensors, weights: NDArray
) -> QuantisedWeights:
    """INT4 weights per weight group: the file's own where the array can take them."""
    blocks = tensors.blocks
    if config.asymmetric and blocks is not None and blocks.group % config.group == 0:
        return blocks
    return take_weights(weights, "group", weight_group, not config.asymmetric)


def baselines(
    config: GroupArrayConfig, cycles: float, tokens: int, in_features: int, outputs: int
) -> list[dict[str, object]]:
    """Cycles of the FP16 array of the same extent, and the speed-up over it."""
    rival = Fp16Config(rows=config.rows, columns=config.columns, max_k=max(in_features, 1))
    needed = fp16.cycles(rival, tokens, in_features, outputs).cycles
    return [{"unit": "fp16", "cycles": needed, "speedup": needed / cycles}]
