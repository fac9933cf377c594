"""Parameter fuzz: random legal configurations, built and run like any other."""

import numpy as np

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.units import designs
from ...tb.stalls import PROFILES
from ...tb.stimuli import stimuli_of
from ..run.native import Model
from .verify import Checked, check_schedule, random_operands

RUNS = 4  # random operands a configuration must get right


def draw(seed: int) -> tuple[Design, Config]:
    """A design and a small legal configuration of it; the designs take turns."""
    rng = np.random.default_rng(seed)
    every = list(designs())
    owner, wanted = every[seed % len(every)]
    while True:
        try:
            config = stimuli_of(wanted).config(rng)
        except UserError:
            continue
        for design in owner.designs(config):
            if design.name == wanted.name:
                return design, config


def check(seed: int) -> Checked:
    """Build what a seed draws; play random operands freely and stalled, each after a reset."""
    design, config = draw(seed)
    rng = np.random.default_rng([seed, 1])
    model = Model(design, config, optimise="quick")
    total = Checked(0, [])
    for run in range(RUNS):
        schedule = random_operands(design, config, RUNS * seed + run)
        for profile in ("none", str(rng.choice(PROFILES[1:]))):
            total += check_schedule(
                model,
                schedule,
                profile,
                seed,
                garbage=True,
                reset_after=int(rng.integers(schedule.counts().cycles + 1)),
                label=f"{config}",
            )
    return total
