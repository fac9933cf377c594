"""N:M arrays with lanes beside dense arrays of equal work, and of equal bandwidth.

Equal work: as many weights of a layer are done with in a cycle. L lanes that keep n of m weights do
the work of L * m / n dense lanes. Equal bandwidth: the dense array needs no more bits a cycle than
the N:M array, activations and weights together; :func:`nibbleforge.golden.nm.config.bandwidth` and
:func:`nibbleforge.golden.dense.bandwidth` work them out of the widths of the ports.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...golden import dense
from ...golden.contract.elements import Tree
from ...golden.contract.workload import Workload
from ...golden.dense import DenseConfig
from ...golden.nm.config import NMConfig, NMSettings, bandwidth
from ...golden.nm.pattern import Pattern
from .area import LONGEST, SCALE, Array, Found

PATTERNS = (Pattern(2, 4), Pattern(1, 4))
TREES: tuple[Tree, ...] = ("pair_sums", "carry_save")
"""Of dense arrays of equal work. N:M arrays have no pair sums: each column selects for itself."""


@dataclass(frozen=True)
class Extent:
    """What is compared.

    Attributes
    ----------
    size
        Rows and columns of all arrays.
    lanes, spans
        Of N:M arrays; a span as large as the array is a broadcast.
    """

    size: int
    lanes: tuple[int, ...]
    spans: tuple[int, ...]

    @property
    def sparse(self) -> list[NMConfig]:
        """N:M arrays."""
        return [
            NMConfig(
                rows=self.size,
                columns=self.size,
                lanes=lanes,
                span=span,
                tree="carry_save",
                max_k=LONGEST,
            )
            for lanes in self.lanes
            for span in self.spans
        ]

    @property
    def rivals(self) -> list[DenseConfig]:
        """Dense arrays that these are compared with, in order of their lanes."""
        found = {
            (rival.lanes, rival.tree): rival
            for config in self.sparse
            for pattern in PATTERNS
            for rival in (*equal_work(config, pattern), equal_bandwidth(config, pattern))
        }
        return [found[key] for key in sorted(found)]

    @property
    def arrays(self) -> list[Array]:
        """All of them, each measured once."""
        return [
            *(_array("nm", "channel", each, f"span {each.span}") for each in self.sparse),
            *(_array("dense2k", "paper", each, each.tree) for each in self.rivals),
        ]


WHOLE = Extent(8, (4, 8), (4, 8))
TINY = Extent(4, (2,), (4,))


def _array(unit: str, preset: str, config: NMConfig | DenseConfig, kind: str) -> Array:
    name = f"{unit}, {config.lanes} lanes, {kind}"
    return Array(name, unit, preset, config.model_dump(), runs=1)


def equal_work(config: NMConfig, pattern: Pattern) -> list[DenseConfig]:
    """Dense arrays that are done with as many weights a cycle, one for each tree."""
    return [_dense(config, config.lanes * pattern.m // pattern.n, tree) for tree in TREES]


def equal_bandwidth(config: NMConfig, pattern: Pattern) -> DenseConfig:
    """The dense array with most lanes that needs no more bits a cycle; pair sums if it can."""
    limit = sum(bandwidth(config, pattern.n).values())
    most = max(
        lanes
        for lanes in range(1, config.lanes * pattern.m // pattern.n + 1)
        if sum(dense.bandwidth(_dense(config, lanes, "carry_save")).values()) <= limit
    )
    return _dense(config, most, "carry_save" if most % 2 else "pair_sums")


def _dense(config: NMConfig, lanes: int, tree: Tree) -> DenseConfig:
    return DenseConfig(
        rows=config.rows,
        columns=config.columns,
        passes=1,
        lanes=lanes,
        tree=tree,
        max_k=config.max_k,
    )


def size_row(found: Found) -> list[object]:
    """Area of the array, of an element's lane, and path."""
    config: Any = found.report.config
    lane = found.area / config.macs_per_step
    return [found.array.name, f"{found.area / SCALE:.2f}", round(lane), found.path]


@dataclass(frozen=True)
class Run:
    """An array on a layer.

    Attributes
    ----------
    found
        Its area and path.
    kept
        Weights that an N:M array keeps; None for a dense array.
    bits
        Bits a cycle of activations and of weights, in steady state.
    cycles
        By the law.
    work
        Products of all weights of the layer, those not kept included, over cycles.
    """

    found: Found
    kept: Pattern | None
    bits: tuple[float, float]
    cycles: int
    work: float

    def row(self) -> list[object]:
        """As a table shows it."""
        return [
            self.found.array.name,
            str(self.kept or "all"),
            *(f"{bits:,.0f}" for bits in self.bits),
            self.cycles,
            f"{self.work:,.0f}",
            f"{self.work / self.found.area * SCALE:.1f}",
        ]

    def over(self, rival: "Run") -> list[object]:
        """The rival; work a cycle, and per area at equal clock and with both paths, over its."""
        speed = self.work / rival.work
        per_area = speed * rival.found.area / self.found.area
        own, other = self.found.path, rival.found.path
        paths = f" ({per_area * other / own:.2f})" if own and other else ""
        name = rival.found.array.name.removeprefix("dense2k, ")
        return [name, f"{speed:.2f}", f"{per_area:.2f}{paths}"]


def runs(found: Sequence[Found], shape: tuple[int, int, int]) -> list[Run]:
    """Every array on a layer of these tokens, input features and outputs, N:M ones per pattern."""
    return [run for each in found for run in _runs(each, shape)]


def _runs(found: Found, shape: tuple[int, int, int]) -> Iterator[Run]:
    config, design = found.report.config, found.report.design
    if not isinstance(config, NMConfig):
        yield _run(found, None, design.bandwidth(config), Workload(*shape))
        return
    for kept in PATTERNS:
        workload = Workload(*shape, NMSettings(n=kept.n))
        yield _run(found, kept, bandwidth(config, kept.n), workload)


def _run(found: Found, kept: Pattern | None, rates: dict[str, float], workload: Workload) -> Run:
    cycles = found.report.design.cycles(found.report.config, workload).cycles
    return Run(found, kept, (rates["x"], rates["w"]), cycles, math.prod(workload.layer) / cycles)


def comparisons(measured: Sequence[Run]) -> Iterator[list[object]]:
    """Each N:M array and pattern over the smallest dense array of equal work, and bandwidth."""
    dense_runs = {run.found.report.config: run for run in measured if run.kept is None}
    for run in measured:
        if run.kept is None:
            continue
        config = run.found.config_as(NMConfig)
        candidates = [dense_runs[rival] for rival in equal_work(config, run.kept)]
        smallest = min(candidates, key=lambda candidate: candidate.found.area)
        work, _, gain = run.over(smallest)
        narrow = dense_runs[equal_bandwidth(config, run.kept)]
        yield [run.found.array.name, str(run.kept), work, gain, *run.over(narrow)]
