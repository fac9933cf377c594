"""Areas of arrays, all measured in one way on one library."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.units import UNITS
from ..silicon.area import Progress, area
from ..silicon.memories import Pricing
from ..silicon.report import AreaReport, ModuleArea

C = TypeVar("C", bound=Config)

SCALE = 1e6
"""Areas are shown in millions of the library's unit."""
LONGEST = 14336
"""Input features that accumulators of tiny arrays are made for."""


@dataclass(frozen=True)
class Array:
    """A unit in one configuration.

    Attributes
    ----------
    name
        As it is shown.
    unit, preset, values
        What is measured: a preset of a unit, with some parameters changed.
    memories
        How memories are priced.
    runs
        Orders of the cells.
    """

    name: str
    unit: str
    preset: str = "paper"
    values: dict[str, Any] = field(default_factory=dict)
    memories: Pricing = "table"
    runs: int = 5

    @property
    def config(self) -> Config:
        """The configuration."""
        return UNITS[self.unit].presets[self.preset].replace(**self.values)

    @property
    def design(self) -> Design:
        """Its only design."""
        (design,) = UNITS[self.unit].designs(self.config)
        return design


@dataclass(frozen=True)
class Found:
    """Area of an array.

    Attributes
    ----------
    array
        What was measured.
    report
        All about it.
    """

    array: Array
    report: AreaReport

    @property
    def area(self) -> float:
        """Median area, memories included, in the library's unit."""
        return self.report.area.median if self.report.area else 0.0

    def config_as(self, model: type[C]) -> C:
        """The array's configuration, of this class; others are a ``TypeError``."""
        if not isinstance(self.report.config, model):
            raise TypeError(f"{self.array.name} has no {model.__name__}")
        return self.report.config

    @property
    def library(self) -> str:
        """Name of the library."""
        return self.report.library.name if self.report.library else ""

    @property
    def spread(self) -> str:
        """Median and extremes in millions."""
        known = self.report.area
        if known is None:
            return "-"
        least, most = known.least / SCALE, known.most / SCALE
        return f"{self.area / SCALE:.2f} ({least:.2f}..{most:.2f})"

    @property
    def memories(self) -> float:
        """Of it memories that are priced from the table."""
        return self.report.memory_area or 0.0

    @property
    def path(self) -> float | None:
        """Critical path in ns; None where it is not known."""
        return self.report.period.median if self.report.period else None

    def modules(self, *names: str) -> float:
        """Area of all instances of modules whose names begin so, after the design's name."""
        return sum(module.total for module in self._named(*names))

    def each(self, *names: str) -> float:
        """Area of one instance of every such module."""
        return sum(module.total / module.instances for module in self._named(*names))

    def _named(self, *names: str) -> Iterator[ModuleArea]:
        prefix = f"{self.report.design.name}_"
        for module in self.report.modules:
            if module.name.removeprefix(prefix).startswith(names):
                yield module


def tiny(array: Array) -> Array:
    """The preset tiny in its place, for whole layers; one run."""
    sized = "max_k" in UNITS[array.unit].config.model_fields
    return replace(array, preset="tiny", values={"max_k": LONGEST} if sized else {}, runs=1)


def measure(arrays: Sequence[Array], progress: Progress, *, timing: bool = True) -> list[Found]:
    """Measure arrays one after the other.

    Raises
    ------
    UserError
        There is no Liberty library.
    """
    found = []
    for array in arrays:
        report = area(
            array.design,
            array.config,
            runs=array.runs,
            memories=array.memories,
            timing=timing,
            progress=progress,
        )
        if report.library is None:
            raise UserError("the study needs a Liberty library: see `nibbleforge doctor`.")
        found.append(Found(array, report))
    return found
