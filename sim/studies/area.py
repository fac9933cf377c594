"""Areas that the documents compare: arrays of one system beside its rivals, on one library."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.reglu.config import RegluConfig
from ...golden.sparqle.config import SparqleConfig
from ...golden.units import UNITS
from ..silicon.area import AreaReport, ModuleArea, Progress, area
from ..silicon.memories import Pricing
from ..tensors.files import Capture
from .balance import Variant, balance

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
    full_adders
        Whether adders are made of the library's full adder.
    runs
        Orders of the cells.
    """

    name: str
    unit: str
    preset: str = "paper"
    values: dict[str, Any] = field(default_factory=dict)
    memories: Pricing = "table"
    full_adders: bool = False
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
    def bits(self) -> int:
        """Bits of these memories."""
        return sum(found.instances * found.memory.bits for found in self.report.memories)

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
            full_adders=array.full_adders,
            progress=progress,
        )
        if report.library is None:
            raise UserError("the study needs a Liberty library: see `nibbleforge doctor`.")
        found.append(Found(array, report))
    return found


# --- SPARQLe ------------------------------------------------------------------------------------

SPARQLE = (
    Array("dense, 16 x 16", "dense"),
    Array("dense2k, 16 x 16", "dense2k"),
    Array("sparqle, 16 x 16", "sparqle"),
    Array("sparqle, chunk = 16, 16 x 16", "sparqle", values={"chunk": 16}),
    Array("sparqle, sharing = 4, 16 x 16", "sparqle", values={"sharing": 4}),
    Array("sparqle, sharing = 16, 16 x 16", "sparqle", values={"sharing": 16}),
    Array("sparqle, banks of registers, 16 x 16", "sparqle", memories="registers"),
    Array("dense, 1 x 256", "dense", "vector"),
    Array("dense2k, 1 x 256", "dense2k", "vector"),
    Array("sparqle, 1 x 256", "sparqle", "vector"),
)
GROUP_SCALES = (
    Array("sparqle with dequantizer, 16 x 16", "sparqle", "q4_1"),
    Array("dense with dequantizer, 16 x 16", "dense", "q4_0"),
    Array("dense2k with dequantizer, 16 x 16", "dense2k", "q4_0"),
)


@dataclass(frozen=True)
class Throughput:
    """An array's speed against its rivals of the same extent.

    Attributes
    ----------
    found
        The array's area.
    dense, dense2k
        The rivals' areas.
    over_dense2k
        Speed in cycles over ``dense2k``; ``dense`` has half of it.
    """

    found: Found
    dense: Found
    dense2k: Found
    over_dense2k: float

    def per_area(self, rival: Found, speed: float, *, memories: bool = True) -> float:
        """Throughput per area over a rival's at equal clock."""
        own = self.found.area - (0.0 if memories else self.found.memories)
        return speed * rival.area / own

    def break_even(self, rival: Found, speed: float) -> float | None:
        """Price of a memory bit at which throughput per area is the rival's; None without one."""
        logic = self.found.area - self.found.memories
        left = speed * rival.area - logic
        return left / self.found.bits if self.found.bits and left > 0 else None

    def row(self) -> list[object]:
        """As a table shows it."""
        twice = 2 * self.over_dense2k
        return [
            self.found.array.name,
            self.over_dense2k,
            f"{self.per_area(self.dense2k, self.over_dense2k):.2f}",
            f"{self.per_area(self.dense, twice):.2f}",
            f"{self.per_area(self.dense2k, self.over_dense2k, memories=False):.2f}",
            _price(self.break_even(self.dense2k, self.over_dense2k)),
            _price(self.break_even(self.dense, twice)),
        ]


def _price(price: float | None) -> str:
    return "none" if price is None else f"{price:.1f}"


def element_row(found: Found, rival: Found) -> list[object]:
    """One processing element beside the rival's; the share of decoders, memories left out."""
    element, other = (each.each("multiply_accumulate") for each in (found, rival))
    decoders = found.modules("list_decoder") / (found.area - found.memories)
    return [found.array.name, round(element), f"{element / other:.2f}", f"{decoders:.2f}"]


def throughputs(found: Sequence[Found], capture: Capture, tokens: int) -> Iterator[Throughput]:
    """Speed per area of hybrid arrays on the layers of a capture.

    The rivals of an array are the last ``dense`` and ``dense2k`` of :data:`SPARQLE` before it.
    """
    rivals: dict[str, Found] = {}
    for each in found:
        config = each.report.config
        if not isinstance(config, SparqleConfig):
            rivals[each.array.unit] = each
            if each.array.unit == "dense2k":
                dense, dense2k = rivals["dense"], rivals["dense2k"]
                yield Throughput(dense, dense, dense2k, 0.5)
                yield Throughput(dense2k, dense, dense2k, 1.0)
            continue
        (speed,) = balance(capture, [Variant(config, tokens)])
        yield Throughput(each, rivals["dense"], rivals["dense2k"], speed.over_dense2k)


# --- N:M ----------------------------------------------------------------------------------------

NM_RIVAL = Array("dense2k", "dense2k")
NM = tuple(
    Array(name, "nm", "channel", {"m": m, "span": span}, runs=5 if span == 4 else 3)
    for name, m, span in (
        ("m = 4, span = 4 (preset)", 4, 4),
        ("m = 8, span = 4", 8, 4),
        ("m = 16, span = 4", 16, 4),
        ("m = 4, span = 1: textbook", 4, 1),
        ("m = 4, span = 8", 4, 8),
        ("m = 4, span = 16: broadcast", 4, 16),
        ("m = 16, span = 1", 16, 1),
        ("m = 16, span = 16", 16, 16),
    )
)
KEPT = (2, 4, 8)
"""One weight of so many is kept."""


def nm_row(found: Found, rival: Found) -> list[object]:
    """Area and throughput per area over the rival's: at equal clock, and with both paths."""
    ratio = found.area / rival.area
    paths = rival.path / found.path if rival.path and found.path else None
    cells = []
    for kept in KEPT:
        speed = kept / ratio
        cells.append(f"{speed:.2f}" + ("" if paths is None else f" ({speed * paths:.2f})"))
    m = int(found.report.config.model_dump()["m"])
    path = "-" if found.path is None else f"{found.path:.2f}"
    shown = [cell if kept < 2 * m else "" for kept, cell in zip(KEPT, cells, strict=True)]
    return [found.array.name, found.spread, f"{ratio:.2f}", path, *shown]


# --- Anda ---------------------------------------------------------------------------------------

_SINGLE = {"multiply_latency": 1, "add_latency": 1}
ANDA = (
    Array("fp16", "fp16", full_adders=True, runs=3),
    Array("anda", "anda", values=_SINGLE, full_adders=True, runs=3),
)
_FP16 = {"rows": 1, "columns": 1}
_ROW = {"rows": 1, "columns": 4}
_STAGES = {"multiply_latency": 2, "add_latency": 3}
SINGLE = (
    Array("fp16, 1 x 1", "fp16", values=_FP16, full_adders=True),
    Array(
        "anda, 1 x 4, product and sum in a stage each",
        "anda",
        values={**_ROW, **_SINGLE},
        full_adders=True,
    ),
    Array("anda, 1 x 4, as it is by default", "anda", values=_ROW, full_adders=True),
    Array(
        "fp16, 1 x 1, with the same stages",
        "fp16",
        values={**_FP16, **_STAGES},
        full_adders=True,
    ),
    Array("compressor, 16 lanes of G = 64", "compressor"),
)
"""Small arrays for their critical paths, and the compressor."""


@dataclass(frozen=True)
class Processor:
    """One processor of a 16 x 16 array, with its share of what processors share.

    Attributes
    ----------
    name
        As it is shown.
    values
        Parameters.
    held_by
        Whether weights are held once a column, or once a processor.
    """

    name: str
    values: dict[str, Any]
    held_by: str = "column"

    @property
    def array(self) -> Array:
        """A row of the array, whose modules are measured."""
        return Array(self.name, "anda", values={**_ROW, **self.values}, full_adders=True, runs=3)


ROWS = 16
_BINARY = {"tree": "binary"}
PROCESSORS = (
    Processor("binary tree", _BINARY, "processor"),
    Processor("carry-save tree", {}, "processor"),
    Processor("binary tree", _BINARY),
    Processor("carry-save tree, fp_share = 1", {"fp_share": 1}),
    Processor("carry-save tree, fp_share = 2", {"fp_share": 2}),
    Processor("carry-save tree", {}),
    Processor("the same, product and sum in a stage each, as in fp16", _SINGLE),
    Processor("the same, M up to 11", {**_SINGLE, "max_mantissa": 11}),
)
RIVAL = Array("fp16", "fp16", values=_FP16, full_adders=True, runs=3)


def processor_row(processor: Processor, found: Found, rival: float) -> list[object]:
    """Parts of a processor, and how it compares with four FP16 multiply-accumulates."""
    columns = _ROW["columns"]
    own = found.modules("bit_plane_processors") / columns
    held = found.modules("weight_registers") / columns
    weights = held / ROWS if processor.held_by == "column" else held
    post = found.modules("post_processor", "int_to_float", "float_multiply", "float_add") / columns
    whole = own + weights + post
    parts = [round(part) for part in (own, weights, post, whole)]
    return [processor.name, processor.held_by, *parts, f"{whole / rival:.2f}"]


def rival_area(found: Found) -> float:
    """Multiply-accumulates of an FP16 element with their registers, a row's share of conversions.

    The tree that adds up a column's results is left out.
    """
    lanes = int(found.report.config.model_dump()["lanes"])
    adders = lanes * found.each("float_add")
    own = found.modules("float_multiply", "fp16_pe") + adders
    return own + found.modules("fp16_to_fp32") / ROWS


# --- ReGLU --------------------------------------------------------------------------------------

REGLU = tuple(
    Array(preset, "reglu", preset, runs=3)
    for preset in ("tiny", "fpga", "small", "early_exit", "paper")
)


def reglu_row(found: Found) -> list[object]:
    """Sizes and area of a preset."""
    config = found.report.config
    assert isinstance(config, RegluConfig)
    rank = f"{config.max_rank:,}" if config.predictor else "none"
    sizes = f"{config.max_features:,}, {config.max_neurons:,}, {rank}"
    return [found.array.name, config.lanes, sizes, found.spread, found.memories / SCALE, found.path]
