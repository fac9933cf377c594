"""Simulation of the dense array on a user's layer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden import dense
from ..golden.config import Config
from ..golden.dense import ARRAY, DenseConfig
from ..golden.errors import UserError
from ..golden.layer import WEIGHT_BITS, ArrayConfig, Layer, check
from ..golden.ports import Port
from ..golden.quantise import check_matrix, take_activations, take_weights
from .measure import Measured, Runner
from .simulate import Simulation, Tensors, counts_of, sqnr_db


def simulate(
    unit_name: str, config: DenseConfig, settings: Config, tensors: Tensors, runner: Runner
) -> Simulation:
    """Quantise, run the RTL over the whole layer, compare, scale back.

    Activations are quantised per token to the range of the array, weights per output channel to
    INT4. ``y = y_int * x_scale * w_scale``.
    """
    if tensors.weights is None:
        raise UserError(f"{unit_name} needs weights.")
    activations = check_matrix("activations", tensors.activations)
    weights = check_matrix("weights", tensors.weights)
    x = take_activations(activations, config.activation_range[1], tensors.int8_policy)
    if x.recode == "twos" and config.passes == 2:
        config = config.replace(recode="twos")
    w = take_weights(weights)
    layer = Layer(x.q, w.q)
    check(config, layer)

    tokens, in_features = x.q.shape
    shape = {"tokens": tokens, "in_features": in_features, "out_features": len(w.q)}
    golden = dense.cycles(config, tokens, in_features, len(w.q))
    measured = runner.measure(ARRAY, config, dense.traffic(config, layer), golden)
    y_int = accumulators(config, layer, dense.ports(config)[2], measured)
    y = (y_int * (x.scale[:, None].astype(np.float64) * w.scale.T.astype(np.float64))).astype(
        np.float32
    )
    exact = activations.astype(np.float64) @ weights.astype(np.float64).T
    counts = counts_of(
        unit_name,
        config,
        settings,
        shape,
        measured.summary(),
        baselines=baselines(config, config.k, measured.cycles, tokens, in_features, len(w.q)),
        bits_per_activation=float(config.activation_bits),
        bits_per_activation_padded=float(config.activation_bits),
        bits_per_weight=float(WEIGHT_BITS),
        sqnr_db=sqnr_db(exact, y),
        utilisation=_utilisation(config, layer, measured.cycles),
    )
    arrays: dict[str, NDArray] = {
        "y": y,
        "y_int": y_int,
        "x_q": x.q,
        "x_scale": x.scale,
        "w_q": w.q,
        "w_scale": w.scale,
    }
    return Simulation(counts, arrays, measured.mismatches)


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


def accumulators(
    config: ArrayConfig, layer: Layer, port: Port, measured: Measured
) -> NDArray[np.int64]:
    """What the hardware gave, as ``(tokens, outputs)``; zeros if beats are missing."""
    tiling = layer.tiling(config)
    values = port.unpack(measured.run.seen.words[port.name])["value"]
    whole = np.zeros((len(tiling) * config.rows, config.columns), np.int64)
    whole[: len(values)] = values[: len(whole)]
    return tiling.join_result(whole.reshape(len(tiling), config.rows, config.columns))
