"""What the four systems gain in cycles, and what they lose to: golden counts, in seconds."""

from collections.abc import Iterator
from dataclasses import dataclass

from ...golden.nm.pattern import Pattern
from ...golden.reglu.config import RegluConfig
from ...golden.sparqle.config import SparqleConfig
from ..tensors.files import Capture, sample_path
from . import anda_models, nm_speed, reglu_speed
from .balance import Variant, balance

TOKENS = 256
LAYER = nm_speed.Shape(64, 4096, 4096)
FFN = (4096, 11008, 256)  # d, D, r
NATURAL, LATENCY = 0.9, 100


@dataclass(frozen=True)
class Finding:
    """Cycles of a system against a rival.

    Attributes
    ----------
    what
        The system and what it ran.
    rival
        What it is compared with.
    speedup
        Cycles of the rival over those of the system.
    limits
        Where that does not hold, or what it costs.
    """

    what: str
    rival: str
    speedup: float
    limits: str


def findings() -> Iterator[Finding]:
    """All of them, a system after the other."""
    (hybrid,) = balance(Capture.open(sample_path()), [Variant(SparqleConfig(), TOKENS)])
    layers = "SPARQLe, four layers of SmolLM2"
    yield Finding(layers, "`dense`", hybrid.over_dense, "`dense` has 4-bit multipliers, too")
    limits = "**slower**: `dense2k` has 8-bit multipliers"
    yield Finding(layers, "`dense2k`", hybrid.over_dense2k, limits)
    _, means = anda_models.geometric_means(list(anda_models.speeds()))
    layers = f"Anda, nine LLMs, loss {anda_models.LOSSES[-1]}"
    yield Finding(layers, "`fp16`", means[-1], "lengths of mantissas are the paper's")
    half = nm_speed.speed(Pattern(2, 4), LAYER)
    limits = "SmolLM2 pruned to 2:4 became unusable"
    yield Finding("N:M at 2:4, one large layer", "`dense2k`", half.speedup, limits)
    for dropped, limits in (
        (0.5, "most gates of the model must be negative"),
        (0.0, "**slower**: the predictor costs cycles and drops nothing"),
    ):
        found = reglu_speed.speed(RegluConfig(), FFN, NATURAL, dropped, LATENCY)
        gain = found.early_exit / found.counts.cycles
        what = f"ReGLU, {dropped:.0%} of idle neurons dropped"
        yield Finding(what, "early exit", gain, limits)
