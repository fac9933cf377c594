"""Simulation of the FP16 array on a user's layer."""

import numpy as np
from numpy.typing import NDArray

from ...golden import fp16
from ...golden.anda.format import to_fp16
from ...golden.arithmetic.quantise import check_matrix, take_weights
from ...golden.contract.config import Config
from ...golden.contract.errors import UserError
from ...golden.contract.layer import WEIGHT_BITS
from ...golden.fp16 import ARRAY, OPERAND_BITS, Fp16Config, Fp16Layer
from ..run.measure import Runner, fp32_results
from .simulate import Simulation, Tensors, counts_of, sqnr_db


def simulate(
    unit_name: str, config: Fp16Config, settings: Config, tensors: Tensors, runner: Runner
) -> Simulation:
    """Round to FP16, run the RTL over the whole layer, compare.

    Weights are quantised per output channel to INT4, then dequantised and rounded to FP16: what
    a GPU does with INT4 weights and FP16 activations. The array reads them in FP16; in memory
    they take 4 bits.
    """
    if tensors.weights is None:
        raise UserError(f"{unit_name} needs weights.")
    activations = check_matrix("activations", tensors.activations)
    weights = check_matrix("weights", tensors.weights)
    w = take_weights(weights)
    layer = Fp16Layer(
        to_fp16("activations", tensors.activations), to_fp16("weights", w.dequantise())
    )
    fp16.check(config, layer)

    tokens, in_features = activations.shape
    shape = {"tokens": tokens, "in_features": in_features, "out_features": len(weights)}
    golden = fp16.cycles(config, tokens, in_features, len(weights))
    measured = runner.measure(ARRAY, config, fp16.traffic(config, layer), golden)
    y = fp32_results(layer.tiling(config), fp16.ports(config)[-1], measured)
    exact = activations.astype(np.float64) @ weights.astype(np.float64).T
    useful = layer.x.size * len(layer.w)
    counts = counts_of(
        unit_name,
        config,
        settings,
        shape,
        measured.summary(),
        bits_per_activation=float(OPERAND_BITS),
        bits_per_activation_padded=_padded(config, in_features),
        bits_per_weight=float(WEIGHT_BITS),
        sqnr_db=sqnr_db(exact, y),
        utilisation=useful / (config.macs_per_step * measured.cycles),
    )
    arrays: dict[str, NDArray] = {"y": y, "x": layer.x, "w_q": w.q, "w_scale": w.scale}
    return Simulation(counts, arrays, measured.mismatches)


def _padded(config: Fp16Config, in_features: int) -> float:
    """Bits per activation that a row reads, the empty lanes of its final beat included."""
    return OPERAND_BITS * config.beats(in_features) * config.lanes / in_features
