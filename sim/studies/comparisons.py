"""Systems beside the best designs that do the same job, per area: what is compared, and how.

A product is one of a dense layer, so that a design that skips some, or stores fewer weights, does
as many in fewer cycles. All arrays of a comparison have as many elements.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...golden.anda import config as anda
from ...golden.arithmetic.quantise import quantise_activations
from ...golden.contract.config import Config
from ...golden.contract.errors import UserError
from ...golden.contract.workload import Workload
from ...golden.grouped import GroupScales
from ...golden.nm import config as nm
from ...golden.sparqle import format as hybrid
from ...golden.sparqle.config import SparqleConfig
from ..llm.operands import FP16
from ..tensors.files import Capture, sample_path
from . import reglu_speed
from .area import Array, Found
from .balance import Variant, balance

LAYER = (256, 4096, 4096)
"""Tokens, input features and outputs that cycles are counted for."""
TOKENS = 256
FFN = (4096, 11008, 256)  # d, D, r
NATURAL, LATENCY = 0.9, 100
"""Share of neurons that add nothing; cycles of the memory."""
LARGE = 1000
"""Areas are shown without a fraction from here on."""
WEIGHT_GROUP = 128
"""Input features whose weights share a scale, where they do; the default of units without one."""


@dataclass(frozen=True)
class Pace:
    """How fast a design works, and what that takes.

    Attributes
    ----------
    products
        Products of a dense layer a cycle.
    bits
        Bits that come in, operands and scales, for each of them.
    """

    products: float
    bits: float


PaceOf = Callable[[Array], Pace]


@dataclass(frozen=True)
class Candidate:
    """A design in a comparison.

    Attributes
    ----------
    array
        What is measured.
    operands
        What its accuracy depends on, see :meth:`nibbleforge.sim.llm.operands.Operands.of`; none: no
        model at hand has such layers.
    pace
        How fast it works.
    remark
        What the preset does not say.
    rival
        Whether others are compared with it, or with a better rival.
    """

    array: Array
    operands: str | None
    pace: PaceOf
    remark: str = ""
    rival: bool = False

    @property
    def name(self) -> str:
        """Unit, preset and what is changed of it."""
        changed = (f"{key} {_said(value)}" for key, value in self._changed.items())
        return " ".join(filter(None, [self.array.unit, self.array.preset, *changed, self.remark]))

    @property
    def _changed(self) -> dict[str, Any]:
        extent = {"rows", "columns", "max_k"}
        return {key: value for key, value in self.array.values.items() if key not in extent}


def _said(value: object) -> str:
    return "group scales" if isinstance(value, GroupScales) else str(value)


@dataclass(frozen=True)
class Comparison:
    """Designs that do one job.

    Attributes
    ----------
    unit
        That of the system.
    candidates
        All of them.
    """

    unit: str
    candidates: tuple[Candidate, ...]

    @property
    def arrays(self) -> list[Array]:
        """What has to be measured, each once."""
        found: list[Array] = []
        for candidate in self.candidates:
            if candidate.array not in found:
                found.append(candidate.array)
        return found


@dataclass(frozen=True)
class Row:
    """A candidate as it was measured.

    Attributes
    ----------
    candidate, found, pace
        What was measured.
    """

    candidate: Candidate
    found: Found
    pace: Pace

    @property
    def area(self) -> float:
        """Area of a product a cycle, memories included."""
        return self.found.area / self.pace.products

    @property
    def cost(self) -> float:
        """Area times path; without a path area alone."""
        return self.area * (self.found.path or 1.0)

    def cells(self, rival: "Row", accuracy: Mapping[str, float]) -> list[object]:
        """As a table shows it."""
        known = accuracy.get(self.candidate.operands or "")
        return [
            self.candidate.name,
            self.lanes,
            f"{self.pace.bits:.2f}",
            f"{self.area:,.0f}" if self.area >= LARGE else f"{self.area:.4g}",
            self.found.path,
            f"{self.cost / rival.cost:.2f}",
            "-" if known is None else f"{known:,.3f}",
        ]

    @property
    def lanes(self) -> int:
        """Multipliers of an element; bits of a group that the bit-serial one takes in a cycle."""
        config: Any = self.found.report.config
        return config.lanes if "lanes" in type(config).model_fields else 1


def rows(comparison: Comparison, found: Sequence[Found]) -> tuple[Row, list[Row]]:
    """The rival and all candidates; of rivals, and of all, the one of least area x path first."""
    known = dict(zip(map(_key, comparison.arrays), found, strict=True))
    measured = [
        Row(each, known[_key(each.array)], each.pace(each.array)) for each in comparison.candidates
    ]
    measured.sort(key=lambda row: row.cost)
    return next(row for row in measured if row.candidate.rival), measured


@dataclass(frozen=True)
class Verdict:
    """A system's design, and the best of those that do its job as accurately.

    Attributes
    ----------
    own, rival
        Both of them.
    """

    own: Row
    rival: Row

    @property
    def ratio(self) -> float:
        """Area times path over the rival's."""
        return self.own.cost / self.rival.cost

    def cells(self, accuracy: Mapping[str, float]) -> list[object]:
        """As a table shows it."""
        shown = []
        for row in (self.own, self.rival):
            known = accuracy.get(row.candidate.operands or "")
            shown += [row.candidate.name, "-" if known is None else f"{known:,.3f}"]
        bits = self.own.pace.bits / self.rival.pace.bits
        return [*shown, f"{self.ratio:.2f}", f"{bits:.2f}"]


def verdict(unit: str, measured: Sequence[Row], accuracy: Mapping[str, float]) -> Verdict:
    """The design of a unit that does best against the best other one that is as accurate.

    Where accuracy is not known, rivals are those that the comparison names.
    """
    own = [row for row in measured if row.candidate.array.unit == unit and not row.candidate.rival]
    found = []
    for row in own:
        rivals = [
            other
            for other in measured
            if other not in own and _stands_against(other.candidate, row.candidate, accuracy)
        ]
        found += [Verdict(row, min(rivals, key=lambda other: other.cost))] if rivals else []
    return min(found, key=lambda each: each.ratio)


def _stands_against(other: Candidate, own: Candidate, accuracy: Mapping[str, float]) -> bool:
    known = [accuracy.get(candidate.operands or "") for candidate in (other, own)]
    if known[0] is None or known[1] is None:
        return other.rival
    return known[0] <= known[1]


def _key(array: Array) -> str:
    return repr(array)


def read_accuracy(path: Path) -> dict[str, float]:
    """Perplexities by operands, as the study of operands wrote them.

    Raises
    ------
    UserError
        It is no such file.
    """
    try:
        return {name: float(value) for name, value in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        raise UserError(f"{path} holds no perplexities of the study of operands.") from None


# --- paces ------------------------------------------------------------------------------------


def by_law(
    settings: Config | None = None,
    bandwidth: Callable[[Any], Mapping[str, float]] | None = None,
) -> PaceOf:
    """Cycles by the design's law for the layer; bits by the bandwidth that it needs."""

    def pace(array: Array) -> Pace:
        design, config = array.design, array.config
        workload = Workload(*LAYER, settings)
        products = math.prod(LAYER) / design.cycles(config, workload).cycles
        bits = sum((bandwidth or design.bandwidth)(config).values())
        return Pace(products, bits / products)

    return pace


def planes(mantissa: int) -> PaceOf:
    """Of the bit-serial array with mantissas of so many bits."""
    return by_law(
        anda.AndaSettings(mantissa=mantissa), lambda config: anda.bandwidth(config, mantissa)
    )


def kept(number: int) -> PaceOf:
    """Of the N:M array with so many of four weights."""
    return by_law(nm.NMSettings(n=number), lambda config: nm.bandwidth(config, number))


def layers_of_the_sample(array: Array) -> Pace:
    """Of the hybrid array: geometric mean over captured layers, as the dense array's cycles."""
    config: Any = array.config
    sample = Capture.open(sample_path())
    (found,) = balance(sample, [Variant(config, TOKENS)])
    products = found.over_dense2k * config.rows * config.columns
    activation = np.mean([_bits_per_activation(config, sample, each) for each in sample.layers])
    bits = float(activation) / config.columns + 4 / config.rows
    return Pace(products, bits)


def _bits_per_activation(config: SparqleConfig, capture: Capture, layer: str) -> float:
    x = capture.activations(layer)[:TOKENS]
    return hybrid.encode(config.format, quantise_activations(x, config.limit).q).bits_per_activation


def neurons(dropped: float) -> PaceOf:
    """Of the FFN, when the predictor drops this share of the neurons that add nothing."""

    def pace(array: Array) -> Pace:
        config: Any = array.config
        d, D, _ = FFN
        found = reglu_speed.speed(
            config.replace(predictor=True), FFN, NATURAL, dropped, LATENCY, tokens=1
        )
        cycles = found.counts.cycles if config.predictor else found.early_exit
        products = 3 * d * D / cycles
        return Pace(products, 8 * config.lanes / products)

    return pace


# --- what is compared -------------------------------------------------------------------------

SMALL = {"rows": 8, "columns": 8}


def _dense(preset: str, operands: str, **values: Any) -> Candidate:
    """A dense array with pair sums, whose presets have 16 lanes; the usual one is the rival."""
    array = Array("", "dense2k", preset, values, runs=1)
    return Candidate(array, operands, by_law(), rival=preset == "lanes16")


def _own(unit: str, preset: str, operands: str | None, pace: PaceOf, **values: Any) -> Candidate:
    return Candidate(Array("", unit, preset, values, runs=1), operands, pace)


def _anda(mantissa: int, **values: Any) -> Candidate:
    array = Array("", "anda", "paper", {**SMALL, **values}, runs=1)
    return Candidate(array, f"m{mantissa}", planes(mantissa), f"M = {mantissa}")


_GROUPS = {"dequant": GroupScales(weight_group=WEIGHT_GROUP)}

ANDA = Comparison(
    "anda",
    (
        *(_anda(mantissa) for mantissa in (11, 8, 7)),
        *(_anda(mantissa, max_mantissa=8) for mantissa in (8, 7, 6)),
        _own("figna", "m11", "m11", by_law(), **SMALL),
        _own("figna", "m8", "m8", by_law(), **SMALL),
        _own("figna", "mxint8", "mxint8", by_law(), **SMALL),
        _own("fp16_int4", "paper", "m11", by_law(), **SMALL),
        _own("fp16", "paper", FP16, by_law(), **SMALL),
        _own("fp16_fused", "paper", FP16, by_law(), **SMALL),
        _dense("lanes16", "a8", lanes=8, **SMALL, **_GROUPS),
        _dense("lanes16", "a8", **SMALL, **_GROUPS),
        _dense("lanes16", "a8", lanes=32, rows=4, columns=16, **_GROUPS),
        _dense("w4a7", "a7", **SMALL, **_GROUPS),
    ),
)
"""Weights are INT4 with scales of groups of 128, or FP16 numbers."""

SPARQLE = Comparison(
    "sparqle",
    (
        _dense("lanes16", "a8", lanes=8, **SMALL),
        _dense("lanes16", "a8", **SMALL),
        _dense("lanes16", "a8", lanes=32, **SMALL),
        _dense("w4a7", "a7", **SMALL),
        _dense("w4a6", "a6", **SMALL),
        _own("sparqle", "paper", "a8", layers_of_the_sample, **SMALL),
        _own("sparqle", "paper", "a8", layers_of_the_sample, **SMALL, chunk=16),
        _own("sparqle", "paper", "a8", layers_of_the_sample, **SMALL, sharing=8),
    ),
)

NM = Comparison(
    "nm",
    (
        _dense("lanes16", "w4a8", lanes=8, **SMALL),
        _dense("lanes16", "w4a8", **SMALL),
        _dense("lanes16", "w4a8", lanes=32, **SMALL),
        _dense("w3a8", "w3a8", **SMALL),
        _dense("w2a8", "w2a8", **SMALL),
        *(
            Candidate(
                Array("", "nm", "lanes16", {**SMALL, "lanes": 8, "span": span}, runs=1),
                f"{n}:4w4a8",
                kept(n),
                f"{n}:4",
            )
            for span in (4, 8)
            for n in (2, 1)
        ),
    ),
)

_PREDICTOR = Array("", "reglu", "paper", runs=1)
REGLU = Comparison(
    "reglu",
    (
        Candidate(Array("", "reglu", "early_exit", runs=1), None, neurons(0.0), rival=True),
        *(
            Candidate(
                Array("", "reglu", "paper", runs=1),
                None,
                neurons(dropped),
                f"{dropped:.0%} dropped",
            )
            for dropped in (0.0, 0.5, 0.9)
        ),
        _own("dense2k", "lanes16", "w4a8", by_law(), rows=1),
    ),
)
"""One token at a time."""

COMPARISONS = {comparison.unit: comparison for comparison in (SPARQLE, ANDA, NM, REGLU)}
"""By the unit of the system."""
