"""Cycles of the neuron-skipping FFN at given sparsities, by the schedule and on the RTL."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.events import Counts
from ...golden.contract.workload import Workload
from ...golden.reglu.config import RegluConfig, RegluSettings
from ...golden.reglu.ffn import INT8_LIMIT
from ...golden.reglu.format import FixedPoint, exact_product
from ...golden.reglu.predictor import scores
from ...golden.reglu.quality import share
from ...golden.reglu.timing import FfnProfile, dense_cycles
from ...golden.reglu.unit import REGLU_FFN, SMALL
from ...golden.reglu.values import FfnRun, Neurons
from ..run.measure import Measured, Runner

SETUPS = ((RegluConfig(), (4096, 11008, 256)), (SMALL, (576, 1536, 64)))
"""Units and the shapes that they are measured on: d, D and r."""

DROPPED = (0.0, 0.5, 0.7, 0.9)
"""Share of the neurons that add nothing that the predictor drops."""


@dataclass(frozen=True)
class Speed:
    """What skipping gives.

    Attributes
    ----------
    counts
        Of the unit.
    dense, early_exit
        Cycles of as many lanes on all rows, and on those that gates leave without a predictor.
    share
        Multiplications relative to the dense FFN, as the paper counts them.
    """

    counts: Counts
    dense: int
    early_exit: int
    share: float

    @property
    def over_law(self) -> float:
        """Cycles relative to the beats of rows that are needed."""
        return self.counts.cycles / (self.counts.ideal_cycles or 1.0)


def neurons_of(
    tokens: int, D: int, natural: float, dropped: float, rng: np.random.Generator
) -> Neurons:
    """Neurons of which a share adds nothing and a share of those is not predicted."""
    adding = rng.random((tokens, D)) >= natural
    predicted = adding | (rng.random((tokens, D)) >= dropped)
    return Neurons(predicted, adding, adding)


def speed(
    config: RegluConfig,
    shape: tuple[int, int, int],
    natural: float,
    dropped: float,
    latency: int,
    tokens: int = 4,
) -> Speed:
    """Golden counts of tokens through an FFN of this shape, (d, D, r)."""
    d, D, rank = shape
    neurons = neurons_of(tokens, D, natural, dropped, np.random.default_rng(0))
    everyone = Neurons(np.ones_like(neurons.adding), neurons.positive, neurons.adding)
    settings = RegluSettings(latency=latency)
    predicted, unpredicted = (
        Workload(tokens, d, d, settings, profile=profile)
        for profile in (FfnProfile(neurons, rank), FfnProfile(everyone, 0))
    )
    return Speed(
        REGLU_FFN.cycles(config, predicted),
        dense_cycles(config, tokens, d, D),
        REGLU_FFN.cycles(config.replace(predictor=False), unpredicted).cycles,
        share(d, D, rank, natural, dropped),
    )


def measure(
    config: RegluConfig,
    shape: tuple[int, int, int],
    natural: float,
    dropped: float,
    latency: int,
    runner: Runner,
) -> Measured:
    """One token of the same on the RTL; values, events and cycles compared with golden."""
    operands = operands_of(shape, natural, dropped, latency)
    golden = REGLU_FFN.cycles(config, REGLU_FFN.workload(config, operands))
    return runner.measure(REGLU_FFN, config, REGLU_FFN.traffic(config, operands), golden)


def operands_of(
    shape: tuple[int, int, int], natural: float, dropped: float, latency: int, seed: int = 0
) -> FfnRun:
    """Random operands of one token whose neurons add nothing, and are dropped, as often as asked.

    Gate rows have the sign that makes them so, thresholds are next to the scores.
    """
    d, D, rank = shape
    rng = np.random.default_rng(seed)
    neurons = neurons_of(1, D, natural, dropped, rng)
    x, gate, up, down, a, b = (
        rng.integers(-INT8_LIMIT, INT8_LIMIT + 1, size, np.int8)
        for size in ((1, d), (D, d), (D, d), (D, d), (rank, d), (D, rank))
    )
    wrong = (exact_product(x, gate) > 0) != neurons.positive
    gate[wrong[0]] *= -1
    mult, shift = np.full(D, 1 << 15, np.uint16), np.full(D, 23, np.uint8)
    z_mult, z_shift = np.full(rank, 1 << 15, np.uint16), np.full(rank, 27, np.uint8)
    p = scores(x, a, b, FixedPoint(z_mult, z_shift))
    return FfnRun(
        x=x,
        gate=gate,
        up=up,
        down=down,
        gate_mult=mult,
        gate_shift=shift,
        up_mult=mult,
        up_shift=shift,
        h_mult=1 << 15,
        h_shift=35,
        a=a,
        b=b,
        z_mult=z_mult,
        z_shift=z_shift,
        thresholds=_thresholds(p, neurons.predicted),
        latency=np.array([latency]),
    )


def _thresholds(p: NDArray[np.int32], predicted: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Just below the scores of neurons that are predicted, and equal to those of others."""
    return (p - predicted)[0].astype(np.int32)
