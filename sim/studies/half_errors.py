"""Errors of FP16 arrays on layers of the sample: sums in FP32, and fused dot products."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ...golden import fp16, fp16_fused
from ...golden.fp16 import Fp16Config, Fp16Layer
from ...golden.fp16_fused import Fp16FusedConfig
from ..tensors.files import Capture, sample_path

TOKENS, OUTPUTS = 32, 128
GUARDS = (2, 3, 4)


def errors(guards: Sequence[int] = GUARDS) -> Iterator[tuple[str, list[float]]]:
    """Root mean square of errors over that of results: ``fp16``, guards, exact sums rounded once.

    Yields
    ------
    tuple
        A layer's name, and its errors.
    """
    sample = Capture.open(sample_path())
    for name in sample.layers:
        x = sample.activations(name)[:TOKENS]
        w = sample.weights(name)[:OUTPUTS].astype(np.float16)
        layer = Fp16Layer(x, w)
        exact = x.astype(np.float64) @ w.astype(np.float64).T
        results = [
            fp16.compute(Fp16Config(), layer),
            *(fp16_fused.compute(Fp16FusedConfig(guard=guard), layer) for guard in guards),
            exact.astype(np.float32),
        ]
        yield name, [_relative(found, exact) for found in results]


def _relative(found: NDArray[np.float32], exact: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(found - exact).mean() / np.square(exact).mean()))
