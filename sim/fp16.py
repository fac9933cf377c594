"""Simulation of the FP16 array on a user's layer."""

import numpy as np
from numpy.typing import NDArray

from ..golden import fp16
from ..golden.config import Config
from ..golden.errors import UserError
from ..golden.fp16 import ARRAY, OPERAND_BITS, Fp16Config, Fp16Layer
from ..golden.layer import WEIGHT_BITS
from ..golden.quantise import check_matrix, take_weights
from .measure import Measured, Runner
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
    layer = Fp16Layer(to_half("activations", activations), to_half("weights", w.dequantise()))
    fp16.check(config, layer)

    tokens, in_features = activations.shape
    shape = {"tokens": tokens, "in_features": in_features, "out_features": len(weights)}
    golden = fp16.cycles(config, tokens, in_features, len(weights))
    measured = runner.measure(ARRAY, config, fp16.traffic(config, layer), golden)
    y = _results(config, layer, measured)
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


def to_half(name: str, matrix: NDArray) -> NDArray[np.float16]:
    """A finite matrix rounded to FP16; what overflows is a :class:`UserError`."""
    with np.errstate(over="ignore"):
        half = matrix.astype(np.float16)
    wrong = np.argwhere(~np.isfinite(half))
    if len(wrong):
        row, column = wrong[0]
        raise UserError(
            f"{name} must fit FP16 (at most 65504), "
            f"got {matrix[row, column]:g} in row {row}, column {column}."
        )
    return half


def _padded(config: Fp16Config, in_features: int) -> float:
    """Bits per activation that a row reads, the empty lanes of its final beat included."""
    return OPERAND_BITS * config.beats(in_features) * config.lanes / in_features


def _results(config: Fp16Config, layer: Fp16Layer, measured: Measured) -> NDArray[np.float32]:
    """What the hardware gave, as ``(tokens, outputs)``; zeros if beats are missing."""
    tiling = layer.tiling(config)
    port = fp16.ports(config)[2]
    values = port.unpack(measured.run.seen.words[port.name])["value"]
    whole = np.zeros((len(tiling) * config.rows, config.columns), np.uint32)
    whole[: len(values)] = values[: len(whole)]
    tiles = whole.reshape(len(tiling), config.rows, config.columns)
    return tiling.join_result(tiles).view(np.float32)
