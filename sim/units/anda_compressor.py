"""Simulation of the run-time compressor on a user's activations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...golden.anda.compressor import COMPRESSOR, CompressorConfig, LaneGroups
from ...golden.anda.config import MantissaSettings
from ...golden.anda.format import Anda, to_fp16
from ...golden.arithmetic.quantise import check_matrix
from ...golden.contract.ports import Port
from ..run.measure import Measured
from .simulate import Finished, Prepared, Run, Tensors, sqnr_db


@dataclass(frozen=True, eq=False)
class LanesOfTokens(Prepared):
    """Activations in FP16, as many tokens at a time as there are lanes."""

    config: CompressorConfig
    settings: MantissaSettings
    tensors: Tensors
    x: NDArray[np.float16]

    @property
    def shape(self) -> dict[str, int | None]:
        """Tokens and input features."""
        tokens, in_features = self.x.shape
        return {"tokens": tokens, "in_features": in_features, "out_features": None}

    @property
    def runs(self) -> tuple[Run, ...]:
        """All tokens."""
        return (Run(COMPRESSOR, self.config, _groups(self.config, self.settings, self.x)),)

    def finish(self, *measured: Measured) -> Finished:
        """The tensor in the Anda format that the hardware gives."""
        ports = COMPRESSOR.ports(self.config)[1:]
        encoded = results(self.config, ports, measured[0], self.settings.mantissa, *self.x.shape)
        padding = encoded.padded_features / encoded.in_features
        activations = check_matrix("activations", self.tensors.activations)
        figures = {
            "bits_per_activation": encoded.bits_per_element,
            "bits_per_activation_padded": encoded.bits_per_element * padding,
            "sqnr_db": sqnr_db(activations, encoded.decode()),
        }
        return Finished({"x": self.x, **arrays_of(encoded)}, figures)


def prepare(
    config: CompressorConfig, settings: MantissaSettings, tensors: Tensors
) -> LanesOfTokens:
    """Round to FP16."""
    check_matrix("activations", tensors.activations)
    return LanesOfTokens(config, settings, tensors, to_fp16("activations", tensors.activations))


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


def _groups(
    config: CompressorConfig, settings: MantissaSettings, x: NDArray[np.float16]
) -> LaneGroups:
    """Operands of the compressor: tokens side by side in lanes, groups along in_features."""
    tokens, in_features = x.shape
    padded = np.pad(x, ((0, -tokens % config.lanes), (0, -in_features % config.group)))
    blocks = padded.reshape(-1, config.lanes, padded.shape[1] // config.group, config.group)
    values = np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)).view(np.uint16)
    values = values.reshape(-1, config.lanes, config.group)
    return LaneGroups(values, np.full(len(values), settings.mantissa, np.uint8))
