"""The bit-plane array and the FP16 array on the models that Anda's paper searched."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...golden import fp16
from ...golden.anda.config import AndaConfig, AndaSettings
from ...golden.anda.search import PUBLISHED, Published, saving
from ...golden.anda.unit import ARRAY, UNIT
from ...golden.anda.values import AndaLayer
from ...golden.contract.workload import Workload
from ...golden.fp16 import Fp16Config, Fp16Layer
from ..run.measure import Measured, Runner
from ..units.simulate import Run

TOKENS = 2048
RIVAL_OUTPUTS = 64
WEIGHT_GROUP = 128
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
        slow = sum(
            n * fp16.cycles(rival, Workload(tokens, k, o)).cycles for k, o, n in layers(model)
        )
        fast = [
            sum(
                n * ARRAY.cycles(config, Workload(tokens, k, o, AndaSettings(mantissa=m))).cycles
                for (k, o, n), m in zip(layers(model), mantissas, strict=True)
            )
            for mantissas in combinations
        ]
        bops = [saving(mantissas, model.weights) for mantissas in combinations]
        yield ModelSpeed(model, (bops[0], bops[1]), (slow / fast[0], slow / fast[1]))


@dataclass(frozen=True)
class Shape:
    """A layer of one or more of the models, as it is run on the 16 x 16 bit-plane array.

    Attributes
    ----------
    in_features, outputs
        Extent; all of in_features.
    mantissa
        Bits of a mantissa (M).
    """

    in_features: int
    outputs: int
    mantissa: int
    unit: ClassVar[str] = UNIT.name

    def run(self, x: NDArray[np.float16], w: NDArray[np.int8], d: NDArray[np.float16]) -> Run:
        """The array with operands of this shape, scales of groups among them."""
        layer = AndaLayer(x, self.mantissa, w, d, WEIGHT_GROUP)
        return Run(ARRAY, AndaConfig(), layer)


@dataclass(frozen=True)
class RivalShape(Shape):
    """A layer as it is run on the FP16 array, whose mantissas all have 16 bits here."""

    unit: ClassVar[str] = fp16.UNIT.name

    def run(self, x: NDArray[np.float16], w: NDArray[np.int8], d: NDArray[np.float16]) -> Run:
        """The array with activations and weights alone."""
        config = Fp16Config(max_k=max(model.intermediate for model in PUBLISHED))
        return Run(fp16.ARRAY, config, Fp16Layer(x, w.astype(np.float16)))


def shapes(outputs_of_fp16: int = RIVAL_OUTPUTS) -> list[Shape]:
    """Every different layer with every published mantissa, shortest first.

    The FP16 array, whose tiles take the same cycles each, runs only so many outputs.
    """
    found = set()
    for model in PUBLISHED:
        for mantissas in (model.tenth_percent, model.one_percent):
            for (k, outputs, _), mantissa in zip(layers(model), mantissas, strict=True):
                found.add(Shape(k, outputs, mantissa))
                found.add(RivalShape(k, min(outputs, outputs_of_fp16), 16))
    return sorted(found, key=lambda s: (s.unit, s.in_features * s.outputs * s.mantissa))


def measure(shape: Shape, runner: Runner, tokens: int = 16) -> Measured:
    """Run a layer of this shape, random operands, on the 16 x 16 array's RTL; compare."""
    rng = np.random.default_rng(shape.in_features + shape.outputs + shape.mantissa)
    x = rng.standard_normal((tokens, shape.in_features), np.float32).astype(np.float16)
    w = rng.integers(-8, 8, (shape.outputs, shape.in_features), np.int8)
    d = rng.uniform(0.001, 0.1, (shape.outputs, -(-shape.in_features // WEIGHT_GROUP)))
    return shape.run(x, w, d.astype(np.float16)).measure(runner)


def geometric_means(found: list[ModelSpeed]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Over all models: of the saving, and of the speed-up."""
    bops = np.exp(np.log([speed.bops for speed in found]).mean(axis=0))
    speedup = np.exp(np.log([speed.speedup for speed in found]).mean(axis=0))
    return (float(bops[0]), float(bops[1])), (float(speedup[0]), float(speedup[1]))
