"""Simulation of the FP16 array on a user's layer."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ...golden import fp16
from ...golden.anda.format import to_fp16
from ...golden.arithmetic.quantise import QuantisedWeights, take_weights
from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.layer import WEIGHT_BITS
from ...golden.fp16 import ARRAY, OPERAND_BITS, Fp16Config, Fp16Layer, HalfConfig
from ..run.measure import Measured, fp32_results
from .simulate import Finished, Prepared, Run, Tensors, layer_sqnr_db


@dataclass(frozen=True, eq=False)
class HalfLayer(Prepared):
    """A layer with activations and weights in FP16."""

    design: Design
    config: Any
    tensors: Tensors
    w: QuantisedWeights
    layer: Fp16Layer

    @property
    def shape(self) -> dict[str, int | None]:
        """Tokens, input features and outputs."""
        tokens, in_features = self.layer.x.shape
        return {"tokens": tokens, "in_features": in_features, "out_features": len(self.layer.w)}

    @property
    def runs(self) -> tuple[Run, ...]:
        """The whole layer."""
        return (Run(self.design, self.config, self.layer),)

    def finish(self, *measured: Measured) -> Finished:
        """``y`` is what the hardware gives."""
        (run,) = measured
        layer = self.layer
        y = fp32_results(layer.tiling(self.config), self.design.ports(self.config)[-1], run)
        useful = layer.x.size * len(layer.w)
        figures = {
            "bits_per_activation": float(OPERAND_BITS),
            "bits_per_activation_padded": _padded(self.config, layer.x.shape[1]),
            "bits_per_weight": float(WEIGHT_BITS),
            "sqnr_db": layer_sqnr_db(*self.tensors.matrices(), y),
            "utilisation": useful / (self.config.macs_per_step * run.cycles),
        }
        arrays: dict[str, NDArray] = {
            "y": y,
            "x": layer.x,
            "w_q": self.w.q,
            "w_scale": self.w.scale,
        }
        return Finished(arrays, figures)


def prepare(config: Fp16Config, settings: Config, tensors: Tensors) -> HalfLayer:
    """Round to FP16.

    Weights are quantised per output channel to INT4, then dequantised and rounded to FP16: what
    a GPU does with INT4 weights and FP16 activations. The array reads them in FP16; in memory
    they take 4 bits.
    """
    return prepared(ARRAY, config, tensors)


def prepared(design: Design, config: Any, tensors: Tensors) -> HalfLayer:
    """The same for any array that takes FP16 operands."""
    _, weights = tensors.matrices()
    w = take_weights(weights)
    layer = Fp16Layer(
        to_fp16("activations", tensors.activations), to_fp16("weights", w.dequantise())
    )
    fp16.check(config, layer)
    return HalfLayer(design, config, tensors, w, layer)


def _padded(config: HalfConfig, in_features: int) -> float:
    """Bits per activation that a row reads, the empty lanes of its final beat included."""
    return OPERAND_BITS * config.beats(in_features) * config.lanes / in_features
