"""What finding full adders is worth: an element with them by hand, found, and left to ABC."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...golden.contract.errors import UserError
from ..silicon.adders import RIPPLE
from ..silicon.area import chosen_target
from ..silicon.library import read_library
from ..silicon.prices import find_table
from ..silicon.report import Spread
from ..silicon.synthesis import Synthesised, Target, library_map, run_yosys
from ..silicon.timing import critical_path
from ..tools import toolchain
from ..tools.workers import Workers
from .dot_product import element

LANES = 16
_HAND = "by_hand"  # module of a full adder


@dataclass(frozen=True)
class Variant:
    """How the element's sums are made.

    Attributes
    ----------
    name
        As it is shown.
    by_hand
        Whether the Verilog instantiates every full adder.
    found, ripple, clock_gates
        What the flow does.
    """

    name: str
    by_hand: bool = False
    found: bool = False
    ripple: bool = False
    clock_gates: bool = False


VARIANTS = (
    Variant("full adders instantiated by hand", by_hand=True),
    Variant("found by the flow", found=True),
    Variant("found by the flow, --ripple", found=True, ripple=True),
    Variant("found by the flow, with clock gates", found=True, clock_gates=True),
    Variant("--no-full-adders"),
)


@dataclass(frozen=True)
class Measured:
    """An element in one variant: area, and critical path where OpenSTA is installed."""

    variant: Variant
    area: Spread
    path: Spread | None


def measure(
    liberty: Sequence[Path], runs: int, variants: Sequence[Variant] = VARIANTS
) -> tuple[Target, list[Measured]]:
    """Area of the element in every variant, in a library.

    Returns
    -------
    What is taken of the library, and the areas.

    Raises
    ------
    UserError
        There is no library, or it has no full adder and no gates for one.
    """
    files = tuple(liberty) or toolchain.liberty_files()
    if not files:
        raise UserError(toolchain.TOOLS["liberty"].missing)
    with (
        tempfile.TemporaryDirectory(prefix="nibbleforge-") as name,
        Workers(temporary=Path(name)) as workers,
    ):
        folder = Path(name)
        library = read_library(files, folder)
        target = chosen_target(library, folder, find_table(library.name))
        if target.full_adder is None:
            raise UserError(f"the library {library.name} has nothing to make full adders of.")
        measured: list[Measured] = []
        for variant in variants:
            own = folder / f"variant-{len(measured)}"
            own.mkdir()
            measured.append(_measure(variant, target, runs, workers, own))
    return target, measured


def _measure(
    variant: Variant, target: Target, runs: int, workers: Workers, folder: Path
) -> Measured:
    adder = target.full_adder
    assert adder is not None
    verilog = element(LANES)
    if variant.by_hand:
        verilog = element(LANES, _HAND) + adder.module(_HAND)
    gates = _gates(verilog, target, variant.ripple, workers, folder)
    taken = replace(
        target,
        full_adder=adder if variant.found else None,
        clock_gate=target.clock_gate if variant.clock_gates else None,
    )
    areas, paths = [], []
    for seed in range(runs):
        own = folder / f"run-{seed}"
        own.mkdir()
        mapped = library_map(gates, taken, seed, workers, own)
        areas.append(sum(mapped.areas.values()))
        if toolchain.find("sta"):
            path = critical_path(mapped.netlist, target.library, {}, workers, own)
            paths += [path.ns] if path else []
    return Measured(variant, Spread(tuple(areas)), Spread(tuple(paths)) if paths else None)


def _gates(
    verilog: str, target: Target, ripple: bool, workers: Workers, folder: Path
) -> Synthesised:
    """The element in gates, and in cells where somebody instantiated them."""
    Path(folder, "design.v").write_text(verilog)
    Path(folder, "ripple.v").write_text(RIPPLE)
    carries = "-extra-map ripple.v" if ripple else ""
    run_yosys(
        [
            *(
                f"read_liberty -lib -ignore_miss_func {name}"
                for name in target.library.link(folder)
            ),
            "read_verilog design.v",
            f"synth -noabc -flatten {carries} -top top",
            "delete =A:blackbox t:$scopeinfo",
            "write_rtlil gates.il",
        ],
        workers,
        folder,
    )
    return Synthesised("top", Path(folder, "gates.il").read_text(), (), {"top": 0}, {"top": 1})
