"""Simulation of the dense array on a user's layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden import dense
from ...golden.arithmetic.quantise import (
    Activations,
    QuantisedWeights,
    take_activations,
    take_weights,
)
from ...golden.contract.config import Config
from ...golden.contract.layer import ArrayConfig, Layer
from ...golden.contract.workload import Workload
from ...golden.dense import DenseConfig
from ..run.measure import Measured, fp32_results, results
from .grouped import grouped_layer, take_groups
from .simulate import Finished, Prepared, Run, Tensors, layer_sqnr_db, times


@dataclass(frozen=True, eq=False)
class DenseLayer(Prepared):
    """A layer with activations and weights in integers."""

    config: DenseConfig
    tensors: Tensors
    x: Activations
    w: QuantisedWeights
    layer: Layer

    @property
    def shape(self) -> dict[str, int | None]:
        """Tokens, input features and outputs."""
        tokens, in_features = self.x.q.shape
        return {"tokens": tokens, "in_features": in_features, "out_features": len(self.w.q)}

    @property
    def runs(self) -> tuple[Run, ...]:
        """The whole layer."""
        return (Run(dense.design(self.config), self.config, self.layer),)

    def finish(self, *measured: Measured) -> Finished:
        """Scale back: ``y = y_int * x_scale * w_scale`` in float64, FP32 sums in float32."""
        (run,) = measured
        found = self._results(run)
        bits = float(self.config.bits_per_activation)
        useful = self.config.passes * self.layer.x.size * len(self.layer.w)
        figures = {
            "baselines": baselines(
                self.config,
                self.config.k,
                run.cycles,
                (*self.x.q.shape, len(self.w.q)),
                self.config.lanes,
            ),
            "bits_per_activation": bits,
            "bits_per_activation_padded": bits,
            "bits_per_weight": self.w.bits_per_weight,
            "sqnr_db": layer_sqnr_db(*self.tensors.matrices(), found["y"]),
            "utilisation": useful / (self.config.macs_per_step * run.cycles),
        }
        operands = {
            "x_q": self.x.q,
            "x_scale": self.x.scale,
            "w_q": self.w.q,
            "w_scale": self.w.scale,
        }
        return Finished({**found, **operands}, figures)

    def _results(self, run: Measured) -> dict[str, NDArray]:
        """What the hardware gave, and the float32 result that it stands for."""
        port = dense.design(self.config).ports(self.config)[-1]
        tiling = self.layer.tiling(self.config)
        if self.config.grouped:
            sums = fp32_results(tiling.results, port, run)
            return {"y": times(sums, self.x.scale[:, None]), "y_sums": sums}
        y_int = results(tiling, port, run)
        scale = self.x.scale[:, None].astype(np.float64) * self.w.scale.T.astype(np.float64)
        return {"y": times(y_int, scale), "y_int": y_int}


def prepare(config: DenseConfig, settings: Config, tensors: Tensors) -> DenseLayer:
    """Quantise to integers.

    Activations are quantised per token to the range of the array, weights to those of its bits per
    output channel, or per weight group where the array takes group scales.
    """
    activations, weights = tensors.matrices()
    x = take_activations(activations, config.activation_range[1], tensors.int8_policy)
    if x.recode == "twos" and config.passes == 2:
        config = config.replace(recode="twos")
    if config.grouped:
        w = take_groups(config, weights, tensors.blocks)
        return DenseLayer(config, tensors, x, w, grouped_layer(config, x.q, w))
    w = take_weights(weights, bits=config.weight_bits)
    return DenseLayer(config, tensors, x, w, Layer(x.q, w.q))


def baselines(
    config: ArrayConfig,
    k: int,
    cycles: float,
    shape: tuple[int, int, int],
    lanes: int = 1,
) -> list[dict[str, Any]]:
    """Cycles of both baselines on an array of the same extent, and the speed-up over each.

    Parameters
    ----------
    shape
        Tokens, in_features and outputs.
    lanes
        Of their elements.
    """
    rows = []
    for name, passes in (("dense", 2), ("dense2k", 1)):
        extent = {"rows": config.rows, "columns": config.columns, "max_k": config.max_k}
        rival = DenseConfig.model_validate({**extent, "k": k, "passes": passes, "lanes": lanes})
        needed = dense.ARRAY.cycles(rival, Workload(*shape)).cycles
        rows.append({"unit": name, "cycles": needed, "speedup": needed / cycles})
    return rows
