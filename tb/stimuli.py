"""What a testbench declares for a design: operands of every kind, and what they must reach."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.reference import resolve
from ..golden.contract.schedule import Schedule


@dataclass(frozen=True)
class Software:
    """What software does with a design that it can run again and again.

    Attributes
    ----------
    reset
        ``reset(config, harness)``: bring the design back to idleness without its reset, whatever
        is under way; a coroutine.
    after
        ``after(config, schedule, totals)``: the schedule of a run, had there been other runs with
        these totals of events since the reset.
    """

    reset: Callable[[Any, Any], Awaitable[None]]
    after: Callable[[Any, Schedule, dict[str, int]], Schedule]


@dataclass(frozen=True, kw_only=True)
class Stimuli:
    """Where a design's operands come from.

    Attributes
    ----------
    operands
        Class of the operands; its fields are arrays.
    config
        ``config(rng)``: a small random configuration; an illegal draw raises ``UserError``.
    random
        ``random(config, rng)``: small random operands.
    corners
        ``corners(config)``: operands with a purpose, where random ones seldom go.
    small, exhaustive
        Configurations with a small space, and ``exhaustive(config)``: that space in full.
    few
        ``few(config)``: whether that space is small enough to be tried on every mutant.
    bins
        ``bins(config, operands)``: functional bins, which all must be hit, and whether these
        operands hit them.
    waiting
        ``waiting(config, rng)``: operands that need every port more than once in the midst of
        work, so that a closed port brings the design to a halt; by default random ones.
    under_way
        ``under_way(schedule)``: cycle in a free-flowing run of those operands from which on every
        part of the design is in the midst of work, so that ports may be closed.
    illegal
        ``illegal(config, rng)``: schedule of a run of at least three tiles, tokens or groups, in
        which one that is neither the first nor the last must report an error, if there is any.
    goals
        Reference to what formal proofs are to show, a sequence of
        :class:`~nibbleforge.tb.goals.Goal`; empty: nothing. See
        :mod:`~nibbleforge.golden.contract.reference`.
    software
        What software does between runs, if there is any.
    """

    operands: type
    config: Callable[[Any], Config]
    random: Callable[[Any, Any], Any]
    corners: Callable[[Any], Any]
    small: Sequence[Config]
    exhaustive: Callable[[Any], Any]
    bins: Callable[[Any, Any], dict[str, bool]]
    few: Callable[[Any], bool] = lambda config: True
    waiting: Callable[[Any, Any], Any] | None = None
    under_way: Callable[[Schedule], int] = lambda schedule: 0
    illegal: Callable[[Any, Any], Schedule] | None = None
    goals: str = ""
    software: Software | None = None


def stimuli_of(design: Design) -> Stimuli:
    """The stimuli that a design declares."""
    found = resolve(design.stimuli)
    stimuli: Stimuli = found if design.inner is None else found(design.inner)
    return stimuli


def bins_of(design: Design, config: Config, seeds: Iterable[int]) -> dict[str, bool]:
    """Functional bins, and whether random operands of these seeds hit them."""
    stimuli = stimuli_of(design)
    found: dict[str, bool] = {}
    for seed in seeds:
        operands = stimuli.random(config, np.random.default_rng(seed))
        for name, hit in stimuli.bins(config, operands).items():
            found[name] = found.get(name, False) or bool(hit)
    return found


def illegal_run(design: Design, config: Config, seed: int) -> Schedule:
    """Golden schedule of a seed's run with illegal operands; the design has some."""
    illegal = stimuli_of(design).illegal
    if illegal is None:
        raise ValueError(f"{design.name} reports no errors")
    return illegal(config, np.random.default_rng(seed))
