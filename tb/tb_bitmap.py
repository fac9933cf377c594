"""Stimuli of the bitmap decoder and encoder."""

from typing import Any

import numpy as np

from ..golden.bitmap import BitmapConfig, Groups
from .stimuli import Stimuli

EXHAUSTIVE_BITS = 12  # largest group of which every bitmap is tried on every mutant
GROUPS = 120

SMALL_DECODERS = (
    *(
        BitmapConfig(group=16, beat=beat, width=width)
        for beat in (4, 8, 16)
        for width in range(1, min(beat, 8) + 1)
    ),
    BitmapConfig(group=16, beat=4, mode="scatter"),
    BitmapConfig(group=16, beat=16, mode="scatter"),
    BitmapConfig(group=16, value_width=0, width=1),
    BitmapConfig(group=16, value_width=0, width=4),
)
"""Decoders that take every bitmap of 16 elements, with every width."""

SMALL_ENCODERS = (BitmapConfig(group=16, beat=4), BitmapConfig(group=16, beat=16))
"""Encoders that take every bitmap of 16 elements."""


def random_config(rng: np.random.Generator) -> BitmapConfig:
    """A small codec of any kind; illegal combinations are drawn, too."""
    values: dict[str, Any] = {
        "group": int(rng.choice([4, 8, 16, 32])),
        "beat": int(rng.choice([1, 2, 4, 8, 16, 32])),
        "width": int(rng.integers(1, 9)),
        "value_width": int(rng.choice([0, 1, 4, 4, int(rng.integers(2, 17))])),
        "mode": str(rng.choice(["gather", "scatter"])),
    }
    return BitmapConfig(**values)


def random_groups(config: BitmapConfig, rng: np.random.Generator, groups: int = GROUPS) -> Groups:
    """Groups of every density, empty and full ones among them, in tokens of random length."""
    density = rng.choice([0, 0.05, 0.25, 0.5, 0.9, 1], (groups, 1))
    present = rng.random((groups, config.group)) < density
    largest = (1 << max(1, config.value_width)) - 1
    values = rng.integers(1, largest + 1, present.shape)
    extremes = rng.random(present.shape) < 0.2
    dense = np.where(present, np.where(extremes, largest, values), 0).astype(np.uint16)
    last = rng.random(groups) < rng.choice([0.1, 0.5, 1.0])
    last[-1] = True
    return Groups(dense, last)


def corner_groups(config: BitmapConfig) -> Groups:
    """Groups where each element is the only, the first, the last and the only one left.

    What is left of a mask after a beat of pairs is a single element only where the group has one
    more than a multiple of ``width``: random masks of 64 hardly ever leave a given one.
    """
    element = np.arange(config.group)
    only = element[:, None] == element
    first = element[:, None] <= element
    last = element[:, None] >= element
    left = last & (element[:, None] - config.width <= element)
    present = np.concatenate([only, left, first, last])
    largest = (1 << max(1, config.value_width)) - 1
    values = 1 + np.arange(present.size).reshape(present.shape) % largest
    token = np.arange(len(present)) % 7 == 6
    token[-1] = True
    return Groups(np.where(present, values, 0).astype(np.uint16), token)


def bins(config: BitmapConfig, groups: Groups) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    mask = groups.dense != 0
    population = mask.sum(1)
    token_totals = np.bincount(groups.token, population)
    sparsity = np.minimum(9, 10 * (config.group - population) // config.group)
    tails = token_totals[token_totals > 0].astype(int) % config.beat
    deciles = {min(9, 10 * (config.group - n) // config.group) for n in range(config.group + 1)}
    return {
        **{f"sparsity decile {decile}": decile in sparsity for decile in deciles},
        **{f"tail of {tail} in the final beat": tail in tails for tail in range(config.beat)},
        "token without values": (token_totals == 0).any(),
        "empty group": (population == 0).any(),
        "full group": (population == config.group).any(),
        "empty group ends token": (groups.last & (population == 0)).any(),
        "token of one group": (groups.last[1:] & groups.last[:-1]).any(),
    }


def exhaustive_groups(config: BitmapConfig) -> Groups:
    """Every bitmap of a group of up to 16 elements once, values all different from 0."""
    masks = np.arange(1 << config.group)[:, None] >> np.arange(config.group) & 1
    largest = (1 << max(1, config.value_width)) - 1
    values = 1 + np.arange(masks.size).reshape(masks.shape) % largest
    last = np.arange(len(masks)) % 5 == 4
    last[-1] = True
    return Groups((masks * values).astype(np.uint16), last)


def _few(config: BitmapConfig) -> bool:
    return config.group <= EXHAUSTIVE_BITS


DECODER = Stimuli(
    operands=Groups,
    config=random_config,
    random=random_groups,
    corners=corner_groups,
    small=SMALL_DECODERS,
    exhaustive=exhaustive_groups,
    bins=bins,
    few=_few,
    goals="nibbleforge.tb.goals_bitmap:DECODER_GOALS",
)


ENCODER = Stimuli(
    operands=Groups,
    config=random_config,
    random=random_groups,
    corners=corner_groups,
    small=SMALL_ENCODERS,
    exhaustive=exhaustive_groups,
    bins=bins,
    few=_few,
    goals="nibbleforge.tb.goals_bitmap:ENCODER_GOALS",
)
