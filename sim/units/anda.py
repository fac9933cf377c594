"""Simulation of the bit-plane array on a user's layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden import fp16
from ...golden.anda import compressed as anda_compressed
from ...golden.anda import values as anda_values
from ...golden.anda.compressed import COMPRESSED, CompressedLayer
from ...golden.anda.config import AndaConfig, AndaSettings, GroupArrayConfig
from ...golden.anda.format import to_fp16
from ...golden.anda.unit import ARRAY
from ...golden.anda.values import AndaLayer
from ...golden.arithmetic.quantise import QuantisedWeights, take_weights
from ...golden.contract.config import Config
from ...golden.contract.workload import Workload
from ...golden.fp16 import Fp16Config
from ..run.measure import Measured, results
from .anda_compressor import arrays_of
from .anda_compressor import results as compressed_results
from .simulate import Finished, Prepared, Run, Tensors, layer_sqnr_db


@dataclass(frozen=True, eq=False)
class FloatLayer(Prepared):
    """A layer with activations in the Anda format and INT4 weights in groups.

    Attributes
    ----------
    layer
        Operands, with activations in the Anda format.
    """

    config: Any
    settings: Config
    tensors: Tensors
    w: QuantisedWeights
    layer: Any

    @property
    def shape(self) -> dict[str, int | None]:
        """Tokens, input features and outputs."""
        tokens, in_features = self.layer.x.shape
        return {"tokens": tokens, "in_features": in_features, "out_features": len(self.w.q)}

    def report(self, run: Measured, given: Mapping[str, NDArray]) -> Finished:
        """Files and figures of a run; what the hardware gave is given, ``y`` among it."""
        encoded = self.layer.encoded(self.config)
        padding = encoded.padded_features / encoded.in_features
        extent = (*self.layer.x.shape, len(self.w.q))
        figures = {
            "baselines": _baselines(self.config, run.cycles, *extent),
            "bits_per_activation": encoded.bits_per_element,
            "bits_per_activation_padded": encoded.bits_per_element * padding,
            "bits_per_weight": self.w.bits_per_weight,
            "sqnr_db": layer_sqnr_db(*self.tensors.matrices(), given["y"]),
            "utilisation": (run.golden.ideal_cycles or 0.0) / run.cycles,
        }
        arrays = {**given, "x": self.layer.x, "w_q": self.w.q, "w_scale": self.w.scale}
        if self.w.minimum is not None:
            arrays["w_min"] = self.w.minimum
        return Finished(arrays, figures)


class PlaneLayer(FloatLayer):
    """A layer on the bit-plane array alone."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """The whole layer."""
        return (Run(ARRAY, self.config, self.layer),)

    def finish(self, *measured: Measured) -> Finished:
        """``y`` is what the hardware gives, in FP32 or FP16."""
        (run,) = measured
        bits = results(self.layer.tiling(self.config), ARRAY.ports(self.config)[-1], run)
        if self.config.output == "fp16":
            return self.report(run, {"y": bits.astype(np.uint16).view(np.float16)})
        return self.report(run, {"y": bits.astype(np.uint32).view(np.float32)})


class ChainedLayer(FloatLayer):
    """A layer whose results go through the compressor, outputs padded to whole groups."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """The whole layer."""
        return (Run(COMPRESSED, self.config, self._padded()),)

    def _padded(self) -> CompressedLayer:
        """The same operands with outputs of zeros up to whole groups of results."""
        layer: AndaLayer = self.layer
        padding = ((0, -len(layer.w) % self.config.group), (0, 0))
        minimum = layer.minimum
        settings: AndaSettings = self.settings  # type: ignore[assignment]
        return CompressedLayer(
            layer.x,
            layer.mantissa,
            np.pad(layer.w, padding),
            np.pad(layer.d, padding),
            layer.weight_group,
            np.pad(minimum, padding) if minimum.size else minimum,
            result_mantissa=settings.result_mantissa,
        )

    def finish(self, *measured: Measured) -> Finished:
        """Results in the Anda format, and ``y`` that they stand for."""
        (run,) = measured
        settings: AndaSettings = self.settings  # type: ignore[assignment]
        unit, ports = anda_compressed.compressor_config(self.config), COMPRESSED.ports(self.config)
        tokens, outputs = len(self.layer.x), len(self.layer.w)
        y = compressed_results(unit, ports[-3:], run, settings.result_mantissa, tokens, outputs)
        files = {f"y_{name}": array for name, array in arrays_of(y).items()}
        return self.report(run, {"y": y.decode().astype(np.float32), **files})


def prepare(config: AndaConfig, settings: AndaSettings, tensors: Tensors) -> FloatLayer:
    """Round to FP16, encode.

    Weights are quantised to INT4 per weight group; with ``asymmetric`` they have minima, and are
    taken from the model's file if that holds them so.
    """
    _, weights = tensors.matrices()
    w = weights_of(config, settings.weight_group, tensors, weights)
    minimum = [] if w.minimum is None else [w.minimum]
    x = to_fp16("activations", tensors.activations)
    layer = AndaLayer(x, settings.mantissa, w.q, w.scale, w.group, *minimum)
    chained = config.output == "anda"
    anda_values.check(anda_compressed.array_config(config) if chained else config, layer)
    return (ChainedLayer if chained else PlaneLayer)(config, settings, tensors, w, layer)


def weights_of(
    config: GroupArrayConfig, weight_group: int, tensors: Tensors, weights: NDArray
) -> QuantisedWeights:
    """INT4 weights per weight group: the file's own where the array can take them."""
    blocks = tensors.blocks
    if config.asymmetric and blocks is not None and blocks.group % config.group == 0:
        return blocks
    return take_weights(weights, "group", weight_group, not config.asymmetric)


def _baselines(
    config: GroupArrayConfig, cycles: float, tokens: int, in_features: int, outputs: int
) -> list[dict[str, object]]:
    """Cycles of the FP16 array of the same extent, and the speed-up over it."""
    rival = Fp16Config(rows=config.rows, columns=config.columns, max_k=max(in_features, 1))
    needed = fp16.ARRAY.cycles(rival, Workload(tokens, in_features, outputs)).cycles
    return [{"unit": "fp16", "cycles": needed, "speedup": needed / cycles}]
