"""Cycles of the N:M array on one layer for many patterns, by the law and on the RTL."""

from dataclasses import dataclass

import numpy as np

from ...golden import dense
from ...golden.contract.config import Config
from ...golden.contract.events import Counts
from ...golden.contract.workload import Workload
from ...golden.dense import DenseConfig
from ...golden.nm import unit as nm
from ...golden.nm.config import NMConfig, NMSettings
from ...golden.nm.format import slots
from ...golden.nm.pattern import Pattern
from ...golden.nm.values import NMLayer
from ..run.measure import Measured, Runner

PATTERNS = tuple(
    Pattern.parse(text) for text in ("4:4", "2:4", "4:8", "1:4", "2:8", "4:16", "1:8", "1:16")
)

TARGETS = {
    ("2:4", 4096): ">= 1.98 x, utilisation >= 0.99",
    ("4:8", 4096): ">= 1.98 x",
    ("1:4", 4096): ">= 3.9 x",
    ("2:8", 4096): ">= 3.9 x",
    ("1:8", 4096): ">= 7.6 x",
    ("1:16", 256): "utilisation >= 0.85",
}
"""What the project aimed at, by pattern and input features."""


@dataclass(frozen=True)
class Shape:
    """A linear layer.

    Attributes
    ----------
    tokens, in_features, outputs
        Its extent.
    """

    tokens: int
    in_features: int
    outputs: int

    def workload(self, pattern: Pattern) -> Workload:
        """The layer with ``n`` of ``m`` weights."""
        settings = NMSettings(n=pattern.n)
        return Workload(self.tokens, self.in_features, self.outputs, settings)


@dataclass(frozen=True)
class Speed:
    """What a pattern gives on the 16 x 16 array with group scales.

    Attributes
    ----------
    pattern
        N and M.
    config
        The array.
    counts
        By the law.
    dense
        Cycles of the dense array with the same multipliers and no selectors, without group scales.
    """

    pattern: Pattern
    config: Config
    counts: Counts
    dense: int

    @property
    def speedup(self) -> float:
        """Over the dense array."""
        return self.dense / self.counts.cycles

    @property
    def utilisation(self) -> float:
        """Share of multiplier slots that work; fill and drain are counted, padding is not."""
        return (self.counts.ideal_cycles or 0.0) / self.counts.cycles


def config_of(pattern: Pattern) -> NMConfig:
    """The array for blocks of M; two rows of sums a cycle, which 1:16 needs."""
    return NMConfig.model_validate({"m": pattern.m, "dequant": {}, "dequant_rows": 2})


def speed(pattern: Pattern, shape: Shape) -> Speed:
    """Golden counts of a layer."""
    config = config_of(pattern)
    workload = shape.workload(pattern)
    rival = DenseConfig(passes=1, max_k=config.max_k)
    counts = nm.GROUPED.cycles(config, workload)
    return Speed(pattern, config, counts, dense.cycles(rival, workload).cycles)


def measure(pattern: Pattern, shape: Shape, runner: Runner) -> Measured:
    """The same on the RTL, random operands; values, events and cycles compared with golden."""
    config = config_of(pattern)
    rng = np.random.default_rng(pattern.n + pattern.m)
    x = rng.integers(-128, 128, (shape.tokens, shape.in_features), np.int8)
    q = rng.integers(-8, 8, (shape.outputs, shape.in_features), np.int8)
    order = rng.random((shape.outputs, pattern.blocks(shape.in_features), pattern.m), np.float32)
    ranks = order.argsort(axis=2).argsort(axis=2).reshape(shape.outputs, -1)
    keep = ranks[:, : shape.in_features] < pattern.n
    groups = -(-shape.in_features // config.weight_group)
    d = rng.uniform(0.001, 0.1, (shape.outputs, groups)).astype(np.float16)
    packed = slots(np.where(keep, q, np.int8(0)), keep, pattern)
    layer = NMLayer(x, *packed, config.weight_group, d)
    golden = nm.GROUPED.cycles(config, nm.GROUPED.workload(config, layer))
    return runner.measure(nm.GROUPED, config, nm.GROUPED.traffic(config, layer), golden)
