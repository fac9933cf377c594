"""Stimuli of the mantissa array behind aligners: those of the array alone."""

from dataclasses import replace

import numpy as np

from ..golden.contract.schedule import Schedule
from ..golden.figna import FignaLayer
from ..golden.fp16_int4 import Fp16Int4Config
from . import tb_figna

SMALL = tuple(Fp16Int4Config(**config.model_dump()) for config in tb_figna.SMALL)
"""Arrays that multiply every mantissa of 11 bits with every weight."""


def random_config(rng: np.random.Generator) -> Fp16Int4Config:
    """A small array of any kind."""
    values = tb_figna.random_config(rng).model_dump(exclude={"rounding"})
    return Fp16Int4Config(**values)


def bins(config: Fp16Int4Config, operands: FignaLayer) -> dict[str, bool]:
    """Functional bins, and whether these operands hit them."""
    exponents = np.maximum((operands.x.view(np.uint16) >> 10) & 31, 1)
    shifts = operands.encoded(config).exponent[:, :1] - exponents[:, : config.group]
    return {
        **tb_figna.bins(config, operands),
        "shift of 16 and more": (shifts >= 16).any(),
    }


def under_way(schedule: Schedule) -> int:
    """The aligners have a tile's first group."""
    return int(schedule.cycles["scale"][0])


ARRAY = replace(tb_figna.ARRAY, config=random_config, small=SMALL, bins=bins, under_way=under_way)
