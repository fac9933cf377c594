"""Simulation of the hybrid array on a user's layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import (
    Activations,
    QuantisedWeights,
    take_activations,
    take_weights,
)
from ...golden.contract.layer import Layer
from ...golden.sparqle import format as hybrid
from ...golden.sparqle import timing
from ...golden.sparqle import unit as sparqle
from ...golden.sparqle.config import SparqleConfig, SparqleSettings, y_port
from ..run.measure import Measured, fp32_results, results
from .dense import baselines
from .grouped import grouped_layer, take_groups
from .simulate import Finished, Prepared, Run, Tensors, layer_sqnr_db, times


@dataclass(frozen=True, eq=False)
class SparqleLayer(Prepared):
    """A layer in integers, tokens in the order in which they are dealt to tiles."""

    config: SparqleConfig
    tensors: Tensors
    x: Activations
    q: NDArray[np.signedinteger]
    w: QuantisedWeights
    order: NDArray[np.int64]
    layer: Layer

    @property
    def shape(self) -> dict[str, int | None]:
        """Tokens, input features (those of padded groups included) and outputs."""
        return {
            "tokens": len(self.q),
            "in_features": self.w.q.shape[1],
            "out_features": len(self.w.q),
        }

    @property
    def runs(self) -> tuple[Run, ...]:
        """The whole layer."""
        return (Run(sparqle.design(self.config), self.config, self.layer),)

    def finish(self, *measured: Measured) -> Finished:
        """Undo the order, scale back.

        With ``asymmetric`` weights are ``scale * (q + 8) + minimum``, whose constant parts take
        the further column's sums.
        """
        (run,) = measured
        unordered = np.argsort(self.order)
        arrays = {
            **{name: rows[unordered] for name, rows in self._results(run).items()},
            "x_q": self.q,
            "x_scale": self.x.scale,
            "w_q": self.w.q,
            "w_scale": self.w.scale,
            "order": self.order,
        }
        if self.w.minimum is not None:
            arrays["w_min"] = self.w.minimum
        arrays["y"] = self._scaled(arrays)
        return Finished(arrays, self._figures(run, arrays["y"]))

    def _results(self, run: Measured) -> dict[str, NDArray]:
        """What the hardware gave, tokens in the order of the tiles."""
        port = sparqle.design(self.config).ports(self.config)[-1]
        tiling = self.layer.tiling(self.config)
        if self.config.grouped:
            return {"y_sums": fp32_results(tiling.results, port, run)}
        found: dict[str, NDArray] = {"y_int": results(tiling, port, run)}
        if self.w.minimum is not None:
            found["ones"] = self._ones(run)
        return found

    def _ones(self, run: Measured) -> NDArray[np.int64]:
        """Sums of activations that the hardware gave, ``(tokens,)``; zeros if beats are missing."""
        tiling = self.layer.tiling(self.config)
        port = y_port(self.config)
        sums = port.unpack(run.run.seen.words[port.name])["ones"]
        whole = np.zeros(len(tiling) * self.config.rows, np.int64)
        whole[: len(sums)] = sums[: len(whole)]
        by_tile = whole.reshape(tiling.token_blocks, tiling.output_blocks, self.config.rows)
        return by_tile[:, 0].ravel()[: tiling.tokens]

    def _scaled(self, arrays: dict[str, NDArray]) -> NDArray[np.float32]:
        """The float32 result of FP32 sums or of integer sums."""
        x_scale = self.x.scale[:, None]
        if "y_sums" in arrays:
            return times(arrays["y_sums"], x_scale)
        sums = arrays["y_int"].astype(np.float64)
        scale = self.w.scale.T.astype(np.float64)
        if self.w.minimum is None:
            y = sums * scale
        else:
            ones = arrays["ones"][:, None]
            y = (sums + 8 * ones) * scale + ones * self.w.minimum.T.astype(np.float64)
        return times(y, x_scale.astype(np.float64))

    def _figures(self, run: Measured, y: NDArray[np.float32]) -> dict[str, Any]:
        packed = hybrid.encode(self.config.format, self.layer.x)
        extent = (packed.tokens, packed.in_features, len(self.w.q))
        ideal = baselines(self.config, self.config.k, run.golden.ideal_cycles or 1, extent)
        return {
            "baselines": baselines(self.config, self.config.k, run.cycles, extent),
            "ideal_speedups": [{"unit": row["unit"], "speedup": row["speedup"]} for row in ideal],
            "msb_zero_share": packed.msb_zero_share,
            "bits_per_activation": packed.bits_per_activation,
            "bits_per_activation_padded": packed.bits_per_activation_padded,
            "bits_per_weight": self.w.bits_per_weight,
            "bank_bits": self.config.bank_bits,
            "sqnr_db": layer_sqnr_db(*self.tensors.matrices(), y),
        }


def prepare(config: SparqleConfig, settings: SparqleSettings, tensors: Tensors) -> SparqleLayer:
    """Quantise, raise the share of zero high halves, sort tokens by density.

    Activations are quantised per token to the range of the recoding, weights to INT4 per output
    channel, or per weight group where the array takes group scales.
    """
    activations, weights = tensors.matrices()
    x = take_activations(activations, config.limit, tensors.int8_policy)
    config = config.replace(recode=x.recode)
    q = hybrid.enhance(config.format, x.q, settings.tau_lo, settings.tau_hi)
    order = _order(config, settings, q)
    if config.grouped:
        w = take_groups(config, weights, tensors.blocks)
        return SparqleLayer(config, tensors, x, q, w, order, grouped_layer(config, q[order], w))
    w = take_weights(weights, symmetric=not config.asymmetric)
    return SparqleLayer(config, tensors, x, q, w, order, Layer(q[order], w.q))


def _order(
    config: SparqleConfig, settings: SparqleSettings, q: NDArray[np.signedinteger]
) -> NDArray[np.int64]:
    """Order in which tokens are dealt to tiles."""
    if not settings.sort:
        return np.arange(len(q))
    _, high = hybrid.split(config.format, q)
    return timing.density_order(np.count_nonzero(high, axis=1))
