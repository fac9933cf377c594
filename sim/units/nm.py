"""Simulation of the N:M-sparse array on a user's layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import (
    FP16_BITS,
    Activations,
    QuantisedWeights,
    take_activations,
    take_weights,
)
from ...golden.contract.workload import Workload
from ...golden.nm import unit as nm
from ...golden.nm.config import ACTIVATION_BITS, BEAT_BITS, NMConfig, NMSettings
from ...golden.nm.format import Slots, pack, slots
from ...golden.nm.prune import Calibration, prune
from ...golden.nm.values import NMLayer
from ..run.measure import Measured, fp32_results, results
from .dense import baselines
from .simulate import Finished, Prepared, Run, Tensors, layer_sqnr_db, times


@dataclass(frozen=True, eq=False)
class SparseLayer(Prepared):
    """A layer whose weights are pruned and packed."""

    config: NMConfig
    settings: NMSettings
    tensors: Tensors
    x: Activations
    w: QuantisedWeights
    packed: Slots

    @property
    def shape(self) -> dict[str, int | None]:
        """Tokens, input features and outputs."""
        tokens, in_features = self.x.q.shape
        return {"tokens": tokens, "in_features": in_features, "out_features": len(self.w.q)}

    @property
    def layer(self) -> NMLayer:
        """Operands of the array."""
        q = self.x.q.astype(np.int8)
        if self.config.grouped:
            return NMLayer(q, *self.packed, self.w.group, self.w.scale)
        return NMLayer(q, *self.packed, q.shape[1])

    @property
    def runs(self) -> tuple[Run, ...]:
        """The whole layer."""
        return (Run(nm.design(self.config), self.config, self.layer),)

    def finish(self, *measured: Measured) -> Finished:
        """Scale back."""
        (run,) = measured
        found = self._results(run)
        arrays = {
            **found,
            "x_q": self.x.q,
            "x_scale": self.x.scale,
            "w_q": self.w.q,
            "w_scale": self.w.scale,
            "w_packed": pack(*self.packed, self.config.pattern(self.settings.n), BEAT_BITS),
        }
        return Finished(arrays, self._figures(run, found["y"]))

    def _results(self, run: Measured) -> dict[str, NDArray]:
        """What the hardware gave, and the float32 result that it stands for."""
        port = nm.design(self.config).ports(self.config)[-1]
        tiling = self.layer.tiling(self.config)
        if self.config.grouped:
            sums = fp32_results(tiling, port, run)
            return {"y": times(sums, self.x.scale[:, None]), "y_sums": sums}
        y_int = results(tiling, port, run)
        scale = self.x.scale[:, None].astype(np.float64) * self.w.scale.T.astype(np.float64)
        return {"y": times(y_int, scale), "y_int": y_int}

    def _figures(self, run: Measured, y: NDArray[np.float32]) -> dict[str, Any]:
        config = self.config
        tokens, in_features = self.x.q.shape
        useful = tokens * in_features * len(self.w.q) * self.settings.n / config.m
        return {
            "baselines": self._baselines(run.cycles),
            "bits_per_activation": float(ACTIVATION_BITS),
            "bits_per_activation_padded": float(ACTIVATION_BITS),
            "bits_per_weight": _bits_per_weight(config, self.settings),
            "sqnr_db": layer_sqnr_db(*self.tensors.matrices(), y),
            "utilisation": useful / (config.macs_per_step * run.cycles),
        }

    def _baselines(self, cycles: int) -> list[dict[str, Any]]:
        """Dense arrays of the same extent, and this one with nothing pruned."""
        config = self.config
        tokens, in_features = self.x.q.shape
        shape = (tokens, in_features, len(self.w.q))
        unpruned = Workload(*shape, NMSettings(n=config.m))
        itself = nm.design(config).cycles(config, unpruned).cycles
        return [
            *baselines(config, ACTIVATION_BITS // 2, cycles, shape, config.lanes),
            {"unit": f"nm at {config.m}:{config.m}", "cycles": itself, "speedup": itself / cycles},
        ]


def prepare(config: NMConfig, settings: NMSettings, tensors: Tensors) -> SparseLayer:
    """Prune, quantise, pack.

    Activations are quantised per token to INT8. Of every M weights N survive; they are quantised to
    INT4 per weight group, or per output channel where the array takes no group scales.
    """
    activations, weights = tensors.matrices()
    config.pattern(settings.n)
    x = take_activations(activations, config.activation_range[1], tensors.int8_policy)
    w, packed = _pruned(config, settings, activations, weights)
    return SparseLayer(config, settings, tensors, x, w, packed)


def _pruned(
    config: NMConfig, settings: NMSettings, activations: NDArray, weights: NDArray
) -> tuple[QuantisedWeights, Slots]:
    """``n`` of every ``m`` weights, quantised, and as slots; int8 ones keep scale 1."""
    pattern = config.pattern(settings.n)
    calibration = None
    if settings.method == "wanda":
        calibration = Calibration.empty(weights.shape[1], gram=False)
        calibration.add(activations.astype(np.float64))
    keep = prune(weights.astype(np.float32), pattern, settings.method, calibration).keep
    survivors = np.where(keep, weights, weights.dtype.type(0))
    if config.grouped:
        w = take_weights(survivors, "group", config.weight_group)
    else:
        w = take_weights(survivors)
    return w, slots(w.q, keep, pattern)


def _bits_per_weight(config: NMConfig, settings: NMSettings) -> float:
    """Bits per weight of the dense matrix, group scales included."""
    pattern = config.pattern(settings.n)
    scales = FP16_BITS / config.weight_group if config.grouped else 0.0
    return pattern.block_bits / config.m + scales
