"""How close the hybrid array comes to its ideal speed-up on captured layers: golden counts only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...golden.arithmetic.quantise import quantise_activations
from ...golden.contract.errors import UserError
from ...golden.contract.workload import PackedBitmap, Workload
from ...golden.grouped import GroupScales
from ...golden.sparqle import format as hybrid
from ...golden.sparqle import timing as sparqle_timing
from ...golden.sparqle.config import SparqleConfig, SparqleSettings
from ..tensors.files import Capture
from ..units.dense import baselines


@dataclass(frozen=True)
class Variant:
    """An array and the order of tokens.

    Attributes
    ----------
    config
        Parameters of the array.
    tokens
        Tokens of a layer, from the first on.
    sort
        Whether tokens are dealt to tiles by density.
    target
        What the project aimed at, in words.
    """

    config: SparqleConfig
    tokens: int
    sort: bool = True
    target: str = ""


@dataclass(frozen=True)
class Balance:
    """What a variant reaches over all layers of a capture.

    Attributes
    ----------
    variant
        The variant.
    over_dense, over_dense2k
        Geometric mean of the speed-up in cycles over each baseline of the same extent.
    mean_share, worst_share
        Share of the ideal speed-up over ``dense``, ``2 / (2 - s)``: geometric mean and minimum.
    worst_layer
        Layer of the minimum.
    """

    variant: Variant
    over_dense: float
    over_dense2k: float
    mean_share: float
    worst_share: float
    worst_layer: str


VARIANTS = (
    Variant(SparqleConfig(), 512),
    Variant(SparqleConfig(), 256, target="worst >= 0.96"),
    *(Variant(SparqleConfig(), tokens) for tokens in (128, 64)),
    Variant(SparqleConfig(), 512, sort=False),
    Variant(SparqleConfig(), 256, sort=False),
    Variant(SparqleConfig(chunk=16), 512, target="worst >= 0.94"),
    *(Variant(SparqleConfig(chunk=chunk), 512) for chunk in (32, 128)),
    *(Variant(SparqleConfig(chunk=16, weight_banks=banks), 512) for banks in (3, 4)),
    *(
        Variant(SparqleConfig(sharing=sharing), 512, target=target)
        for sharing, target in {2: ">= 1.42 x dense", 4: ">= 1.32", 8: "", 16: ">= 1.20"}.items()
    ),
    *(Variant(SparqleConfig(sharing=sharing), 512, sort=False) for sharing in (2, 4, 8, 16)),
    Variant(SparqleConfig(rows=1, columns=256), 512),
    *(
        Variant(SparqleConfig(dequant=GroupScales(weight_group=size), chunk=32, group=32), 512)
        for size in (32, 64)
    ),
)
"""What docs/sparqle.md shows."""


def balance(capture: Capture, variants: Sequence[Variant] = VARIANTS) -> Iterator[Balance]:
    """Count every variant over all layers of a capture.

    Raises
    ------
    UserError
        The capture has fewer tokens than a variant needs.
    """
    longest = max(variant.tokens for variant in variants)
    for layer in capture.layers:
        tokens = len(capture.activations(layer))
        if tokens < longest:
            raise UserError(f"the study needs {longest} tokens, {layer} has {tokens}.")
    return (_balance(capture, variant) for variant in variants)


def _balance(capture: Capture, variant: Variant) -> Balance:
    config, tokens = variant.config, variant.tokens
    speedups = []
    shares = []
    for layer in capture.layers:
        x = capture.activations(layer)[:tokens]
        packed = hybrid.encode(config.format, quantise_activations(x, config.limit).q)
        shape = (packed.in_features, len(capture.weights(layer)))
        profile = PackedBitmap(packed.bitmap)
        settings = SparqleSettings(sort=variant.sort)
        workload = Workload(tokens, *shape, settings, profile=profile)
        counts = sparqle_timing.cycles(config, workload)
        rivals = baselines(config, config.k, counts.cycles, (tokens, *shape))
        speedups.append([rival["speedup"] for rival in rivals])
        shares.append(speedups[-1][0] * (2 - packed.msb_zero_share) / 2)
    means = np.exp(np.log(speedups).mean(axis=0))
    worst = int(np.argmin(shares))
    return Balance(
        variant,
        over_dense=float(means[0]),
        over_dense2k=float(means[1]),
        mean_share=float(np.exp(np.log(shares).mean())),
        worst_share=shares[worst],
        worst_layer=capture.layers[worst],
    )
