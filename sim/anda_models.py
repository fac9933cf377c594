"""Speed-up of the bit-plane array over the FP16 array on the models that Anda's paper searched."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..golden import anda, fp16
from ..golden.anda_config import AndaConfig
from ..golden.anda_search import PUBLISHED, Published, saving
from ..golden.fp16 import Fp16Config

TOKENS = 2048
LOSSES = ("0.1 %", "1 %")


@dataclass(frozen=True)
class ModelSpeed:
    """What a model's published mantissas give on our arrays.

    Attributes
    ----------
    model
        The model and its published combinations.
    bops
        Saving of bit operations, for a loss of 0.1 % and of 1 %.
    speedup
        Cycles of the FP16 array over ours, one block's linear layers, likewise.
    """

    model: Published
    bops: tuple[float, float]
    speedup: tuple[float, float]


def layers(model: Published) -> tuple[tuple[int, int, int], ...]:
    """Input features, outputs and number of the layers of each kind: qkv, o, u, d."""
    hidden, inner = model.hidden, model.intermediate
    ups = 2 if model.model.startswith("LLaMA") else 1  # gate and up
    return ((hidden, hidden, 3), (hidden, hidden, 1), (hidden, inner, ups), (inner, hidden, 1))


def speeds(config: AndaConfig | None = None, tokens: int = TOKENS) -> Iterator[ModelSpeed]:
    """Golden counts of all models, fill and drain of every layer included."""
    config = config or AndaConfig()
    for model in PUBLISHED:
        combinations = (model.tenth_percent, model.one_percent)
        rival = Fp16Config(rows=config.rows, columns=config.columns, max_k=model.intermediate)
        slow = sum(n * fp16.cycles(rival, tokens, k, o).cycles for k, o, n in layers(model))
        fast = [
            sum(
                n * anda.cycles(config, m, tokens, k, o).cycles
                for (k, o, n), m in zip(layers(model), mantissas, strict=True)
            )
            for mantissas in combinations
        ]
        bops = [saving(mantissas, model.weights) for mantissas in combinations]
        yield ModelSpeed(model, (bops[0], bops[1]), (slow / fast[0], slow / fast[1]))


def geometric_means(found: list[ModelSpeed]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Over all models: of the saving, and of the speed-up."""
    bops = np.exp(np.log([speed.bops for speed in found]).mean(axis=0))
    speedup = np.exp(np.log([speed.speedup for speed in found]).mean(axis=0))
    return (float(bops[0]), float(bops[1])), (float(speedup[0]), float(speedup[1]))
