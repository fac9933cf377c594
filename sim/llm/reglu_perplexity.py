"""What a predictor of active neurons costs the embedded ReGLU model in perplexity.

Every FFN of the model is in integers, calibrated on inputs of text it was trained on; perplexity is
measured on text it was not. What a predictor costs is relative to the same integers without one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...golden.reglu.ffn import IntegerFfn, quantise_ffn, reference, run
from ...golden.reglu.predictor import PredictsNeurons
from ..tensors.ffns import FfnLayer, FfnSample
from ..tools.threads import threads
from .reglu_build import split
from .reglu_network import Floats, Network, losses


@dataclass(frozen=True, eq=False)
class Prepared:
    """An FFN of the model, in integers, and what it is calibrated on.

    Attributes
    ----------
    layer
        Weights and inputs.
    x1, x2
        Halves of ``layer.x``: inputs that give factors, and those that give thresholds.
    ffn
        The FFN, scales from all of ``layer.x``.
    natural
        Share of neurons that add nothing, over X2.
    """

    layer: FfnLayer
    x1: Floats
    x2: Floats
    ffn: IntegerFfn
    natural: float

    @classmethod
    def of(cls, layer: FfnLayer) -> "Prepared":
        """Quantise an FFN."""
        weights, x1, x2 = split(layer.weights, layer.x, None)
        ffn = quantise_ffn(*weights, layer.x)
        survivors = run(ffn, ffn.take(x2)).survivors
        return cls(layer, x1, x2, ffn, 1 - float(survivors.mean()))

    def exact(self, x: Floats) -> Floats:
        """The FFN in floating point."""
        return reference(*self.layer.weights, x).astype(np.float32)


Make = Callable[[Prepared], PredictsNeurons]
"""From a layer to its predictor."""


class Skipping:
    """An integer FFN as the network runs it; counts what its predictor drops.

    Parameters
    ----------
    ffn
        The FFN.
    predictor
        Which neurons are computed; None for all.
    """

    def __init__(self, ffn: IntegerFfn, predictor: PredictsNeurons | None = None):
        self.ffn, self.predictor = ffn, predictor
        self.dropped = self.neurons = 0

    def __call__(self, x: Floats) -> Floats:
        """Outputs ``(tokens, d)`` of inputs of the same shape."""
        x_q = self.ffn.take(x)
        mask = self.predictor.predict(x_q) if self.predictor else None
        if mask is not None:
            self.dropped += int(mask.size - mask.sum())
            self.neurons += mask.size
        return self.ffn.dequantise(run(self.ffn, x_q, mask).y)


class Cost(NamedTuple):
    """Of a predictor.

    Attributes
    ----------
    dropped
        Share of all neurons that it drops.
    loss
        Of perplexity: 0.01 is 1 % more than without it.
    error
        Standard error of ``loss``, from the differences between windows.
    """

    dropped: float
    loss: float
    error: float


@dataclass(frozen=True, eq=False)
class Bench:
    """The model on some windows of held-out text.

    Attributes
    ----------
    network
        It, but for its FFNs.
    layers
        Its FFNs.
    windows
        ``(windows, tokens)``, uint8.
    floating, integer
        Losses ``(windows,)`` in nats per byte, without predictor: FFNs in floating point and in
        integers.
    """

    network: Network
    layers: tuple[Prepared, ...]
    windows: NDArray[np.uint8]
    floating: NDArray
    integer: NDArray

    @classmethod
    def of(cls, sample: FfnSample, windows: int | None = None) -> "Bench":
        """Prepare a sample, with windows at equal distances; None for all."""
        network, text = sample.network(), sample.held_out()
        if windows is not None:
            text = text[np.linspace(0, len(text) - 1, min(windows, len(text))).astype(int)]
        layers = tuple(Prepared.of(sample.layer(number)) for number in range(sample.layers))
        exact = [layer.exact for layer in layers]
        integer = [Skipping(layer.ffn) for layer in layers]
        with threads(1):
            floating, whole = (losses(network, ffns, text) for ffns in (exact, integer))
        return cls(network, layers, text, floating, whole)

    def cost(self, make: Make) -> Cost:
        """Run the model with a predictor a layer."""
        with threads(1):
            ffns = [Skipping(layer.ffn, make(layer)) for layer in self.layers]
            more = losses(self.network, ffns, self.windows) - self.integer
        loss = float(np.exp(more.mean()) - 1)
        error = (1 + loss) * float(more.std(ddof=1)) / len(more) ** 0.5
        dropped = sum(ffn.dropped for ffn in ffns) / sum(ffn.neurons for ffn in ffns)
        return Cost(dropped, loss, error)


def perplexity(found: NDArray) -> float:
    """Of losses ``(windows,)``."""
    return float(np.exp(found.mean()))
