"""Simulation of the hybrid array on a user's layer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import (
    Activations,
    QuantisedWeights,
    check_matrix,
    take_activations,
    take_weights,
)
from ...golden.contract.errors import UserError
from ...golden.contract.layer import Layer
from ...golden.sparqle import format as hybrid
from ...golden.sparqle import timing as sparqle_timing
from ...golden.sparqle import unit as sparqle
from ...golden.sparqle.config import SparqleConfig, SparqleSettings, y_port
from ..run.measure import Measured, Runner, fp32_results, results
from .dense import baselines
from .grouped import grouped_layer, take_groups
from .simulate import Simulation, Tensors, counts_of, sqnr_db, times


def simulate(
    unit_name: str,
    config: SparqleConfig,
    settings: SparqleSettings,
    tensors: Tensors,
    runner: Runner,
) -> Simulation:
    """Quantise, sort tokens, run the RTL over the whole layer, compare, undo the order, scale back.

    Activations are quantised per token to the range of the recoding, weights to INT4 per output
    channel, or per weight group where the array takes group scales. With ``asymmetric`` weights
    are ``scale * (q + 8) + minimum``, whose constant parts take the further column's sums.
    """
    if tensors.weights is None:
        raise UserError(f"{unit_name} needs weights.")
    activations = check_matrix("activations", tensors.activations)
    weights = check_matrix("weights", tensors.weights)
    x = take_activations(activations, config.limit, tensors.int8_policy)
    config = config.replace(recode=x.recode)
    q = hybrid.enhance(config.format, x.q, settings.tau_lo, settings.tau_hi)
    grouped = config.dequant == "group"
    w = (
        take_groups(config, weights, tensors.blocks)
        if grouped
        else take_weights(weights, symmetric=not config.asymmetric)
    )
    order = density_order(config, settings, q)
    layer = grouped_layer(config, q[order], w) if grouped else Layer(q[order], w.q)
    design = sparqle.design(config)
    traffic = design.traffic(config, layer)

    packed = hybrid.encode(config.format, layer.x)
    golden = sparqle_timing.cycles(config, packed.bitmap, layer.x.shape[1], len(w.q))
    measured = runner.measure(design, config, traffic, golden)
    found = _results(config, layer, w, measured)
    unordered = np.argsort(order)
    arrays = {
        **{name: rows[unordered] for name, rows in found.items()},
        "x_q": q,
        "x_scale": x.scale,
        "w_q": w.q,
        "w_scale": w.scale,
        "order": order,
    }
    if w.minimum is not None:
        arrays["w_min"] = w.minimum
    arrays["y"] = _scaled(arrays, x, w)
    exact = activations.astype(np.float64) @ weights.astype(np.float64).T
    counts = _counts(unit_name, config, settings, packed, measured, w)
    counts |= {"sqnr_db": sqnr_db(exact, arrays["y"])}
    return Simulation(counts, arrays, measured.mismatches)


def density_order(
    config: SparqleConfig, settings: SparqleSettings, q: NDArray[np.signedinteger]
) -> NDArray[np.int64]:
    """Order in which tokens are dealt to tiles."""
    if not settings.sort:
        return np.arange(len(q))
    _, high = hybrid.split(config.format, q)
    return sparqle.density_order(high != 0)


def _results(
    config: SparqleConfig, layer: Layer, w: QuantisedWeights, measured: Measured
) -> dict[str, NDArray]:
    """What the hardware gave, tokens in the order of the tiles."""
    port = sparqle.design(config).ports(config)[-1]
    if config.dequant == "group":
        return {"y_sums": fp32_results(layer.tiling(config).results, port, measured)}
    found: dict[str, NDArray] = {"y_int": results(layer.tiling(config), port, measured)}
    if w.minimum is not None:
        found["ones"] = _ones(config, layer, measured)
    return found


def _ones(config: SparqleConfig, layer: Layer, measured: Measured) -> NDArray[np.int64]:
    """Sums of activations that the hardware gave, ``(tokens,)``; zeros if beats are missing."""
    tiling = layer.tiling(config)
    port = y_port(config)
    sums = port.unpack(measured.run.seen.words[port.name])["ones"]
    whole = np.zeros(len(tiling) * config.rows, np.int64)
    whole[: len(sums)] = sums[: len(whole)]
    by_tile = whole.reshape(tiling.token_blocks, tiling.output_blocks, config.rows)
    return by_tile[:, 0].ravel()[: tiling.tokens]


def _scaled(arrays: dict[str, NDArray], x: Activations, w: QuantisedWeights) -> NDArray[np.float32]:
    """The float32 result of FP32 sums or of integer sums."""
    if "y_sums" in arrays:
        return times(arrays["y_sums"], x.scale[:, None])
    sums = arrays["y_int"].astype(np.float64)
    scale = w.scale.T.astype(np.float64)
    if w.minimum is None:
        y = sums * scale
    else:
        ones = arrays["ones"][:, None]
        y = (sums + 8 * ones) * scale + ones * w.minimum.T.astype(np.float64)
    return times(y, x.scale[:, None].astype(np.float64))


def _counts(
    unit_name: str,
    config: SparqleConfig,
    settings: SparqleSettings,
    packed: hybrid.Packed,
    measured: Measured,
    w: QuantisedWeights,
) -> dict[str, Any]:
    tokens, in_features, outputs = packed.tokens, packed.in_features, len(w.q)
    share = packed.msb_zero_share
    ideal = baselines(
        config, config.k, measured.golden.ideal_cycles or 1, tokens, in_features, outputs
    )
    return counts_of(
        unit_name,
        config,
        settings,
        {"tokens": tokens, "in_features": w.q.shape[1], "out_features": outputs},
        measured.summary(),
        baselines=baselines(config, config.k, measured.cycles, tokens, in_features, outputs),
        ideal_speedups=[{"unit": row["unit"], "speedup": row["speedup"]} for row in ideal],
        msb_zero_share=share,
        bits_per_activation=packed.bits_per_activation,
        bits_per_activation_padded=packed.bits_per_activation_padded,
        bits_per_weight=w.bits_per_weight,
        bank_bits=config.bank_bits,
    )
