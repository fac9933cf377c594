"""A job: what one cocotb simulation process runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.operands import from_arrays
from ..golden.contract.schedule import Schedule
from ..golden.units import unit
from .stalls import PROFILES
from .stimuli import illegal_run, stimuli_of

JOB = "NIBBLEFORGE_JOB"
"""Environment variable that names the JSON file of the job."""

RESULT = "NIBBLEFORGE_RESULT"
"""Environment variable that names the file of results, one JSON object a line."""


@dataclass(frozen=True)
class Job:
    """One simulation: a design, its configuration, its operands.

    Attributes
    ----------
    unit, design, config
        What is simulated; ``config`` as a mapping of its fields.
    seeds
        Seeds of random operands, stall patterns and garbage; every test runs once per seed.
    operands
        ``.npz`` with operands for each of the seeds; empty: random ones.
    profiles
        Stall profiles to run.
    """

    unit: str
    design: str
    config: dict[str, Any]
    seeds: list[int]
    operands: Sequence[str] = ()
    profiles: tuple[str, ...] = PROFILES

    @classmethod
    def of(
        cls, unit_name: str, design: Design, config: Config, seeds: list[int], **options: Any
    ) -> "Job":
        """The job of a configured design."""
        return cls(unit_name, design.name, config.model_dump(mode="json"), seeds, **options)

    def resolve(self) -> tuple[Design, Config]:
        """The declared design and its configuration."""
        owner = unit(self.unit)
        config = owner.config(**self.config)
        return next(d for d in owner.designs(config) if d.name == self.design), config

    @property
    def reports_errors(self) -> bool:
        """Whether the design has illegal operands to report, and those of the job are random."""
        design, _ = self.resolve()
        return stimuli_of(design).illegal is not None and not self.operands

    @property
    def has_software(self) -> bool:
        """Whether software can have the design run again and again."""
        design, _ = self.resolve()
        return stimuli_of(design).software is not None

    def illegal_schedule(self, seed: int) -> Schedule:
        """Golden schedule of a seed's run with illegal operands."""
        design, config = self.resolve()
        return illegal_run(design, config, seed)

    def schedule(self, seed: int) -> Schedule:
        """Golden schedule of the operands of a seed."""
        design, config = self.resolve()
        stimuli = stimuli_of(design)
        if not self.operands:
            return design.schedule(config, stimuli.random(config, np.random.default_rng(seed)))
        with np.load(self.operands[self.seeds.index(seed)]) as arrays:
            return design.schedule(config, from_arrays(stimuli.operands, arrays))
