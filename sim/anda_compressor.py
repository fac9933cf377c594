"""Simulation of the run-time compressor on a user's activations."""

import numpy as np
from numpy.typing import NDArray

from ..golden import anda_compressor
from ..golden.anda_compressor import COMPRESSOR, CompressorConfig, LaneGroups
from ..golden.anda_config import MantissaSettings
from ..golden.anda_format import encode, to_fp16
from ..golden.quantise import check_matrix
from .measure import Runner
from .simulate import Simulation, Tensors, counts_of, sqnr_db


def simulate(
    unit_name: str,
    config: CompressorConfig,
    settings: MantissaSettings,
    tensors: Tensors,
    runner: Runner,
) -> Simulation:
    """Round to FP16, run the RTL over all tokens, as many at a time as there are lanes; compare."""
    activations = check_matrix("activations", tensors.activations)
    x = to_fp16("activations", tensors.activations)
    tokens, in_features = x.shape
    operands = groups_of(config, settings, x)
    golden = anda_compressor.cycles(config, len(operands.values), settings.mantissa)
    traffic = anda_compressor.traffic(config, operands)
    measured = runner.measure(COMPRESSOR, config, traffic, golden)
    encoded = encode(config, settings.mantissa, x)
    decoded = encoded.decode()
    counts = counts_of(
        unit_name,
        config,
        settings,
        {"tokens": tokens, "in_features": in_features, "out_features": None},
        measured.summary(),
        bits_per_activation=encoded.bits_per_element,
        bits_per_activation_padded=encoded.bits_per_element * encoded.padded_features / in_features,
        sqnr_db=sqnr_db(activations, decoded),
    )
    arrays: dict[str, NDArray] = {
        "x": x,
        "sign": np.packbits(encoded.sign, axis=1, bitorder="little"),
        "magnitude": encoded.magnitude,
        "exponent": encoded.exponent,
    }
    return Simulation(counts, arrays, measured.mismatches)


def groups_of(
    config: CompressorConfig, settings: MantissaSettings, x: NDArray[np.float16]
) -> LaneGroups:
    """Operands of the compressor: tokens side by side in lanes, groups along in_features."""
    tokens, in_features = x.shape
    padded = np.pad(x, ((0, -tokens % config.lanes), (0, -in_features % config.group)))
    blocks = padded.reshape(-1, config.lanes, padded.shape[1] // config.group, config.group)
    values = np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)).view(np.uint16)
    values = values.reshape(-1, config.lanes, config.group)
    return LaneGroups(values, np.full(len(values), settings.mantissa, np.uint8))
