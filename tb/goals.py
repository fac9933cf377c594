"""What is to be shown of a design, for :mod:`nibbleforge.sim.verify.formal`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from amaranth.hdl import Elaboratable

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..hw.lib.base import Part
from .properties import HandshakeProperties


@dataclass(frozen=True)
class Settings:
    """What is to be shown, and how hard to try.

    Attributes
    ----------
    mode
        prove: the assertions hold in every reachable state; bmc: they hold in every run of
        ``depth`` cycles; cover: every Cover statement is reached within ``depth`` cycles.
    engine
        As SymbiYosys spells it: ``abc pdr`` (prove; needs no invariants), ``abc bmc3`` (bmc) or
        ``smtbmc z3`` (all modes; prove by k-induction, k = depth).
    depth
        Cycles; without meaning for ``abc pdr``.
    seconds
        Time limit.
    """

    mode: Literal["prove", "bmc", "cover"] = "prove"
    engine: str = "abc pdr"
    depth: int = 20
    seconds: int = 600


Target = Literal["test", "deep", "soak"]
"""Targets of make, each of which runs what those before it leave out."""

PROVE = Settings("prove", "abc pdr", seconds=1200)
COVER = Settings("cover", "smtbmc z3", depth=16)


@dataclass(frozen=True)
class Goal:
    """A design in one configuration, and what is to be shown of it.

    Attributes
    ----------
    design, config
        The subject.
    settings
        For its properties; None: that no output of a stream depends on the same stream's inputs
        in the same cycle.
    target
        Where it belongs.
    part
        Class of a part of the design, which then is the subject; ``config`` is the part's.
    properties
        Specification of the subject, as a design without ports: ``properties(unit)``.
    """

    design: Design
    config: Config
    settings: Settings | None
    target: Target = "soak"
    part: type[Part[Any]] | None = None
    properties: Callable[[Any], Elaboratable] = HandshakeProperties

    @property
    def subject(self) -> str:
        """Name of the design, or of its part."""
        return self.part.__name__ if self.part else self.design.name

    @property
    def parameters(self) -> str:
        """Parameters of the subject."""
        return ", ".join(f"{name}={value}" for name, value in self.config)

    @property
    def name(self) -> str:
        """Readable name, for example ``bitmap_encoder, group=4, beat=2: prove``."""
        what = self.settings.mode if self.settings else "paths"
        return f"{self.subject}, {self.parameters}: {what}"


def shown(
    design: Design,
    config: Config,
    properties: Callable[[Any], Elaboratable] = HandshakeProperties,
    *,
    target: Target = "soak",
    part: type[Part[Any]] | None = None,
) -> Iterator[Goal]:
    """That properties hold in all runs, and, beyond ``make test``, that they speak of something."""
    yield Goal(design, config, PROVE, target, part, properties)
    yield Goal(design, config, COVER, "deep" if target == "test" else target, part, properties)


def proved_in_the_soak(
    design: Design,
    config: Config,
    properties: Callable[[Any], Elaboratable] = HandshakeProperties,
    *,
    depth: int,
    target: Target = "test",
    part: type[Part[Any]] | None = None,
) -> Iterator[Goal]:
    """Of a proof that may take minutes: `target` has its first cycles instead."""
    yield Goal(design, config, PROVE, "soak", part, properties)
    yield Goal(design, config, bounded(depth), target, part, properties)
    yield Goal(design, config, COVER, "deep", part, properties)


def bounded(depth: int) -> Settings:
    """That properties hold in all runs of so many cycles."""
    return Settings("bmc", "abc bmc3", depth, seconds=1200)
