"""Simulation of the N:M-sparse array on a user's layer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import (
    FP16_BITS,
    Activations,
    QuantisedWeights,
    check_matrix,
    take_activations,
    take_weights,
)
from ...golden.contract.errors import UserError
from ...golden.nm import unit as nm
from ...golden.nm.config import ACTIVATION_BITS, BEAT_BITS, NMConfig, NMSettings
from ...golden.nm.format import Slots, pack, slots
from ...golden.nm.prune import Calibration, prune
from ...golden.nm.unit import NMLayer
from ..run.measure import Measured, Runner, fp32_results, results
from .dense import baselines
from .simulate import Simulation, Tensors, counts_of, sqnr_db, times


def simulate(
    unit_name: str, config: NMConfig, settings: NMSettings, tensors: Tensors, runner: Runner
) -> Simulation:
    """Prune, quantise, pack, run the RTL over the whole layer, compare, scale back.

    Activations are quantised per token to INT8. Of every M weights N survive; they are quantised to
    INT4 per weight group, or per output channel where the array takes no group scales.
    """
    if tensors.weights is None:
        raise UserError(f"{unit_name} needs weights.")
    activations = check_matrix("activations", tensors.activations)
    weights = check_matrix("weights", tensors.weights)
    config.pattern(settings.n)
    _, limit = config.activation_range
    x = take_activations(activations, limit, tensors.int8_policy)
    w, packed = pruned(config, settings, activations, weights)
    layer = layer_of(config, x, w, packed)
    design = nm.design(config)

    tokens, in_features = x.q.shape
    shape = {"tokens": tokens, "in_features": in_features, "out_features": len(w.q)}
    golden = nm.cycles(config, settings.n, tokens, in_features, len(w.q))
    measured = runner.measure(design, config, design.traffic(config, layer), golden)
    found = _results(config, layer, x, w, measured)
    exact = activations.astype(np.float64) @ weights.astype(np.float64).T
    useful = tokens * in_features * len(w.q) * settings.n / config.m
    counts = counts_of(
        unit_name,
        config,
        settings,
        shape,
        measured.summary(),
        baselines=_baselines(config, measured.cycles, tokens, in_features, len(w.q)),
        bits_per_activation=float(ACTIVATION_BITS),
        bits_per_activation_padded=float(ACTIVATION_BITS),
        bits_per_weight=_bits_per_weight(config, settings),
        sqnr_db=sqnr_db(exact, found["y"]),
        utilisation=useful / (config.macs_per_step * measured.cycles),
    )
    arrays: dict[str, NDArray] = {
        **found,
        "x_q": x.q,
        "x_scale": x.scale,
        "w_q": w.q,
        "w_scale": w.scale,
        "w_packed": pack(*packed, config.pattern(settings.n), BEAT_BITS),
    }
    return Simulation(counts, arrays, measured.mismatches)


def pruned(
    config: NMConfig, settings: NMSettings, activations: NDArray, weights: NDArray
) -> tuple[QuantisedWeights, Slots]:
    """Weights of which N of every M survive, quantised, and as slots; int8 ones keep scale 1."""
    pattern = config.pattern(settings.n)
    calibration = None
    if settings.method == "wanda":
        calibration = Calibration.empty(weights.shape[1], gram=False)
        calibration.add(activations.astype(np.float64))
    keep = prune(weights.astype(np.float32), pattern, settings.method, calibration).keep
    survivors = np.where(keep, weights, weights.dtype.type(0))
    if config.dequant == "group":
        w = take_weights(survivors, "group", config.weight_group)
    else:
        w = take_weights(survivors)
    return w, slots(w.q, keep, pattern)


def layer_of(config: NMConfig, x: Activations, w: QuantisedWeights, packed: Slots) -> NMLayer:
    """Operands of the array."""
    q = x.q.astype(np.int8)
    if config.dequant == "group":
        return NMLayer(q, *packed, np.array(w.group), w.scale)
    return NMLayer(q, *packed, np.array(q.shape[1]))


def _results(
    config: NMConfig, layer: NMLayer, x: Activations, w: QuantisedWeights, measured: Measured
) -> dict[str, NDArray]:
    """What the hardware gave, and the float32 result that it stands for."""
    port = nm.design(config).ports(config)[-1]
    tiling = layer.tiling(config)
    if config.dequant == "group":
        sums = fp32_results(tiling, port, measured)
        return {"y": times(sums, x.scale[:, None]), "y_sums": sums}
    y_int = results(tiling, port, measured)
    scale = x.scale[:, None].astype(np.float64) * w.scale.T.astype(np.float64)
    return {"y": times(y_int, scale), "y_int": y_int}


def _baselines(
    config: NMConfig, cycles: float, tokens: int, in_features: int, outputs: int
) -> list[dict[str, Any]]:
    """Dense arrays of the same extent, and this one with nothing pruned."""
    itself = nm.cycles(config, config.m, tokens, in_features, outputs).cycles
    half = ACTIVATION_BITS // 2
    return [
        *baselines(config, half, cycles, tokens, in_features, outputs),
        {"unit": f"nm at {config.m}:{config.m}", "cycles": itself, "speedup": itself / cycles},
    ]


def _bits_per_weight(config: NMConfig, settings: NMSettings) -> float:
    """Bits per weight of the dense matrix, group scales included."""
    pattern = config.pattern(settings.n)
    scales = FP16_BITS / config.weight_group if config.dequant == "group" else 0.0
    return pattern.block_bits / config.m + scales
