"""Simulation of the run-time compressor on a user's activations."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...golden.anda import compressor as anda_compressor
from ...golden.anda.compressor import COMPRESSOR, CompressorConfig, LaneGroups
from ...golden.anda.config import MantissaSettings
from ...golden.anda.format import Anda, to_fp16
from ...golden.arithmetic.quantise import check_matrix
from ...golden.contract.ports import Port
from ..run.measure import Measured, Runner
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
    ports = anda_compressor.ports(config)[1:]
    encoded = results(config, ports, measured, settings.mantissa, tokens, in_features)
    counts = counts_of(
        unit_name,
        config,
        settings,
        {"tokens": tokens, "in_features": in_features, "out_features": None},
        measured.summary(),
        bits_per_activation=encoded.bits_per_element,
        bits_per_activation_padded=encoded.bits_per_element * encoded.padded_features / in_features,
        sqnr_db=sqnr_db(activations, encoded.decode()),
    )
    return Simulation(counts, {"x": x, **arrays_of(encoded)}, measured.mismatches)


def arrays_of(encoded: Anda) -> dict[str, NDArray]:
    """Files of a tensor in the Anda format."""
    return {
        "sign": np.packbits(encoded.sign, axis=1, bitorder="little"),
        "magnitude": encoded.magnitude,
        "exponent": encoded.exponent,
    }


def results(
    config: CompressorConfig,
    ports: Sequence[Port],
    measured: Measured,
    mantissa: int,
    tokens: int,
    in_features: int,
) -> Anda:
    """The tensor that the hardware gave; zeros where beats are missing.

    Parameters
    ----------
    ports
        Those of sign words, exponents and planes.
    mantissa, tokens, in_features
        Of the tensor.
    """
    groups, blocks = -(-in_features // config.group), -(-tokens // config.lanes)
    each = (1, 1, mantissa)
    found: list[NDArray] = []
    for port, name, beats in zip(ports, ("word", "value", "bits"), each, strict=True):
        seen = port.unpack(measured.run.seen.words[port.name])[name]
        whole = np.zeros((blocks * groups * beats, seen.shape[1]), np.uint16)
        whole[: len(seen)] = seen[: len(whole)]
        found.append(whole)
    sign, exponent, planes = found
    magnitude: NDArray = np.zeros_like(sign)
    for plane in range(mantissa):
        magnitude = magnitude << 1 | planes[plane::mantissa]
    sign, exponent, magnitude = (
        _by_token(values.reshape(blocks, groups, config.lanes, -1))[:tokens]
        for values in (sign, exponent, magnitude)
    )
    return Anda(
        config.group,
        mantissa,
        in_features,
        sign=sign.astype(np.bool_),
        magnitude=magnitude,
        exponent=exponent.astype(np.uint8),
        nonfinite=np.zeros(exponent.shape, np.bool_),
    )


def _by_token(values: NDArray) -> NDArray:
    """``(blocks, groups, lanes, n)`` to ``(tokens, groups * n)``."""
    blocks, _, lanes, _ = values.shape
    return values.swapaxes(1, 2).reshape(blocks * lanes, -1)


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
