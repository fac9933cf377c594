"""Simulation of the dense array on a user's layer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden import dense
from ...golden.arithmetic.quantise import (
    Activations,
    QuantisedWeights,
    check_matrix,
    take_activations,
    take_weights,
)
from ...golden.contract.config import Config
from ...golden.contract.errors import UserError
from ...golden.contract.layer import ArrayConfig, Layer
from ...golden.dense import DenseConfig
from ..run.measure import Measured, Runner, fp32_results, results
from .grouped import grouped_layer, take_groups
from .simulate import Simulation, Tensors, counts_of, sqnr_db, times


def simulate(
    unit_name: str, config: DenseConfig, settings: Config, tensors: Tensors, runner: Runner
) -> Simulation:
    """Quantise, run the RTL over the whole layer, compare, scale back.

    Activations are quantised per token to the range of the array, weights per output channel, or
    per weight group where the array takes group scales, to INT4. ``y = y_int * x_scale * w_scale``
    in float64, or with group scales ``y = y_sums * x_scale`` in float32.
    """
    if tensors.weights is None:
        raise UserError(f"{unit_name} needs weights.")
    activations = check_matrix("activations", tensors.activations)
    weights = check_matrix("weights", tensors.weights)
    x = take_activations(activations, config.activation_range[1], tensors.int8_policy)
    if x.recode == "twos" and config.passes == 2:
        config = config.replace(recode="twos")
    grouped = config.dequant == "group"
    w = take_groups(config, weights, tensors.blocks) if grouped else take_weights(weights)
    layer = grouped_layer(config, x.q, w) if grouped else Layer(x.q, w.q)
    design = dense.design(config)
    traffic = design.traffic(config, layer)

    tokens, in_features = layer.x.shape
    golden = dense.cycles(config, tokens, in_features, len(w.q))
    measured = runner.measure(design, config, traffic, golden)
    found = _results(config, layer, x, w, measured)
    exact = activations.astype(np.float64) @ weights.astype(np.float64).T
    counts = counts_of(
        unit_name,
        config,
        settings,
        {"tokens": tokens, "in_features": x.q.shape[1], "out_features": len(w.q)},
        measured.summary(),
        baselines=baselines(config, config.k, measured.cycles, tokens, in_features, len(w.q)),
        bits_per_activation=float(config.activation_bits),
        bits_per_activation_padded=float(config.activation_bits),
        bits_per_weight=w.bits_per_weight,
        sqnr_db=sqnr_db(exact, found["y"]),
        utilisation=_utilisation(config, layer, measured.cycles),
    )
    arrays: dict[str, NDArray] = {
        **found,
        "x_q": x.q,
        "x_scale": x.scale,
        "w_q": w.q,
        "w_scale": w.scale,
    }
    return Simulation(counts, arrays, measured.mismatches)


def _results(
    config: DenseConfig, layer: Layer, x: Activations, w: QuantisedWeights, measured: Measured
) -> dict[str, NDArray]:
    """What the hardware gave, and the float32 result that it stands for."""
    port = dense.design(config).ports(config)[-1]
    if config.dequant == "group":
        sums = fp32_results(layer.tiling(config).results, port, measured)
        return {"y": times(sums, x.scale[:, None]), "y_sums": sums}
    y_int = results(layer.tiling(config), port, measured)
    scale = x.scale[:, None].astype(np.float64) * w.scale.T.astype(np.float64)
    return {"y": times(y_int, scale), "y_int": y_int}


def baselines(
    config: ArrayConfig, k: int, cycles: float, tokens: int, in_features: int, outputs: int
) -> list[dict[str, Any]]:
    """Cycles of both baselines on an array of the same extent, and the speed-up over each."""
    rows = []
    for name, passes in (("dense", 2), ("dense2k", 1)):
        extent = {"rows": config.rows, "columns": config.columns, "max_k": config.max_k}
        rival = DenseConfig.model_validate({**extent, "k": k, "passes": passes})
        needed = dense.cycles(rival, tokens, in_features, outputs).cycles
        rows.append({"unit": name, "cycles": needed, "speedup": needed / cycles})
    return rows


def _utilisation(config: DenseConfig, layer: Layer, cycles: int) -> float:
    """Share of multiplier slots that did work on real tokens and outputs."""
    useful = config.passes * layer.x.size * len(layer.w)
    return useful / (config.macs_per_step * cycles)
