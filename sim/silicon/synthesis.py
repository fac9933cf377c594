"""Synthesis of emitted Verilog to cells, by Yosys in processes of their own.

Every module of the design is synthesised once, with its hierarchy kept. ABC, which Yosys starts,
belongs to the process group that :class:`nibbleforge.sim.tools.workers.Workers` ends.
"""

import contextlib
import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...golden.contract.errors import ToolError, UserError
from ..tools.workers import Workers
from .adders import DUAL, RIPPLE, FullAdder, find_full_adders
from .clock_gates import gate_clocks
from .liberty import Cell
from .library import Library, LibraryFile
from .memories import BOX, Memory, Pricing, box_memories
from .netlist import Netlist, insert_buffers, read_netlist
from .polarity import dual_adders

ABC_SCRIPT = "+strash;ifraig;dc2;strash;dch;map"
"""The script inside plain ``synth`` hardly ends on trees of multipliers."""

_RUNNER = (
    "import sys; from pyosys import libyosys; design = libyosys.Design()\n"
    "for line in open(sys.argv[1]): libyosys.Pass.call(design, line.rstrip())"
)
_NOTHING = 100_000  # bytes; a device that takes no more than this is full
_COUNTED = "$_BUF_ $_NOT_ $_AND_ $_NAND_ $_OR_ $_NOR_ $_XOR_ $_XNOR_ $_ANDNOT_ $_ORNOT_ $_MUX_ "
_COUNTED += "$_NMUX_ $_AOI3_ $_OAI3_ $_AOI4_ $_OAI4_ $_DFF_P_ $_DFF_N_"


@dataclass(frozen=True)
class Synthesised:
    """A design in generic gates.

    Attributes
    ----------
    top
        Name of the top module.
    rtlil
        The gates, hierarchy and the boxes in the place of memories.
    memories
        Memories that are not among the gates.
    transistors
        Estimate for each module's own gates.
    instances
        How often each module occurs.
    """

    top: str
    rtlil: str
    memories: tuple[Memory, ...]
    transistors: dict[str, int]
    instances: dict[str, int]


@dataclass(frozen=True)
class Target:
    """What a design is mapped to.

    Attributes
    ----------
    library
        The cells.
    full_adder
        What full adders are built of; None leaves sums to ABC.
    clock_gate
        Cell for the clocks of registers that share an enable; None keeps the enables.
    left
        Modules whose sums are left to ABC all the same.
    """

    library: Library
    full_adder: FullAdder | None = None
    clock_gate: Cell | None = None
    left: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Mapped:
    """A design in the cells of a library.

    Attributes
    ----------
    areas
        Area of each module's own cells, without buffers.
    cells
        Number of each module's own cells, without buffers.
    buffers
        Buffers that each module needs.
    full_adders, clock_gates
        How many of them each module has itself.
    netlist
        Cells and buffers.
    """

    areas: dict[str, float]
    cells: dict[str, int]
    buffers: dict[str, int]
    full_adders: dict[str, int]
    clock_gates: dict[str, int]
    netlist: Netlist


def synthesise(
    verilog: str,
    top: str,
    memories: Pricing,
    workers: Workers,
    folder: Path,
    *,
    ripple: bool = False,
) -> Synthesised:
    """Synthesise Verilog to generic gates and count transistors.

    Parameters
    ----------
    verilog, top
        The design and the name of its top module.
    memories
        ``table``: memories stay apart; ``registers``: they become flip-flops and multiplexers.
    workers, folder
        Where to run Yosys, and an existing folder of its own for the files.
    ripple
        Whether carries of ``+`` go from bit to bit: smaller and slower than in trees.

    Raises
    ------
    UserError
        The estimate leaves cells out.
    """
    Path(folder, "design.v").write_text(verilog)
    coarse = (
        "read_verilog design.v",
        f"hierarchy -check -top {top}",
        f"synth -noabc -top {top} -run begin:fine",
        "write_rtlil coarse.il",
    )
    run_yosys(coarse, workers, folder)
    text, boxed = _read_rtlil(folder / "coarse.il"), list[Memory]()
    if memories == "table":
        text, boxed = box_memories(text)
    Path(folder, "coarse.il").write_text(text)
    Path(folder, "ripple.v").write_text(RIPPLE)
    carries = "-extra-map ripple.v" if ripple else ""
    fine = (
        "read_rtlil coarse.il",
        f"synth -noabc -top {top} {carries} -run fine:",
        "write_rtlil gates.il",
        "dfflegalize -cell $_DFF_?_ 01 -cell $_DFF_???_ 01 -cell $_DLATCH_?_ x",
        "techmap",
        "opt_clean",
        f"delete */t:{BOX}*",  # priced apart
        "tee -q -o gates.json stat -tech cmos -json",
    )
    run_yosys(fine, workers, folder)
    modules = _statistics(folder / "gates.json", top)
    kinds = {name: Counter(content["num_cells_by_type"]) for name, content in modules.items()}
    return Synthesised(
        top,
        _read_rtlil(folder / "gates.il"),
        tuple(boxed),
        _own({name: _transistors(name, content) for name, content in modules.items()}, kinds),
        _instances(top, kinds),
    )


def library_map(
    design: Synthesised, target: Target, seed: int, workers: Workers, folder: Path
) -> Mapped:
    """Map gates to the cells of a library.

    Parameters
    ----------
    design
        What to map.
    target
        The cells.
    seed
        Of the permutation of all gates, which moves the result; 0 leaves them as they are.
    workers, folder
        Where to run Yosys, and an existing folder of its own for the files.

    Raises
    ------
    UserError
        The library lacks cells for some gates, or states no area for a cell that is used.
    """
    library = target.library
    files = library.link(folder)
    Path(folder, "gates.il").write_text(permuted(design.rtlil, seed))
    try:
        found = _place_full_adders(design, target, workers, folder)
        with _plain_name(folder) as here:
            run_yosys(_mapping(target, files, here), workers, folder)
    except YosysError as error:
        raise UserError(f"cannot map to the library {library.paths}: {error.last}.") from error
    modules = _statistics(folder / "mapped.json", design.top)
    kinds = {name: Counter(content["num_cells_by_type"]) for name, content in modules.items()}
    _check_cells(kinds, library)
    netlist = read_netlist(Path(folder, "netlist.json").read_text(), design.top)
    totals = _areas(modules, kinds, library)
    cells = {
        name: sum(number for kind, number in counts.items() if kind in library.cells)
        for name, counts in kinds.items()
    }
    gate = target.clock_gate.name if target.clock_gate else ""
    return Mapped(
        _own(totals, kinds),
        cells,
        insert_buffers(netlist, library),
        {name: found.get(name, 0) for name in kinds},
        {name: counts[gate] for name, counts in kinds.items()},
        netlist,
    )


def _mapping(target: Target, files: Mapping[str, LibraryFile], folder: str) -> list[str]:
    """Commands that map gates; only ABC wants to know the folder."""
    every = " ".join(f"-liberty {name}" for name in files)
    logic = [name for name, file in files.items() if not file.modelled]
    for_registers = " ".join(f"-liberty {name}" for name in logic)
    for_gates = " ".join(f"-liberty {folder}/{name}" for name in logic)
    unwanted = " ".join(f"-dont_use {name}" for name in target.library.passed_over)
    return [
        "read_rtlil gates.il",
        *(gate_clocks(target.clock_gate) if target.clock_gate else ()),
        f"dfflibmap {unwanted} {for_registers}",
        f"abc {for_gates} -script {ABC_SCRIPT}",
        "opt_clean",
        f"tee -q -o mapped.json stat {every} -json",
        "write_json netlist.json",
    ]


def _place_full_adders(
    design: Synthesised, target: Target, workers: Workers, folder: Path
) -> dict[str, int]:
    """Build the full adders of ``gates.il`` of cells; how many there are in each module."""
    adder, top = target.full_adder, design.top
    modules = sorted(design.instances.keys() - target.left)
    if adder is None or not modules:
        return {}
    Path(folder, "full_adders.v").write_text(adder.techmap)
    find = ["read_rtlil gates.il", *find_full_adders(modules), "tee -q -o adders.json stat -json"]
    place = ["techmap -map full_adders.v", "simplemap", "opt_clean", "write_rtlil gates.il"]
    if adder.dual:
        run_yosys([*find, "write_rtlil adders.il", "write_json netlist.json"], workers, folder)
        netlist = read_netlist(Path(folder, "netlist.json").read_text(), top)
        find = ["read_rtlil adders.il", *_turned(netlist)]
    run_yosys([*find, *place], workers, folder)
    return {
        name: content["num_cells_by_type"].get("$fa", 0)
        for name, content in _statistics(folder / "adders.json", top).items()
    }


def _turned(netlist: Netlist) -> Iterator[str]:
    """Commands that give some full adders inverted inputs."""
    for module in netlist.modules.values():
        names = dual_adders(module)
        if names:
            yield f"chtype -set {DUAL} {' '.join(f'{module.name}/{name}' for name in names)}"


_CELL = re.compile(r"^(?:  attribute [^\n]*\n)*  cell .*?^  end\n", re.MULTILINE | re.DOTALL)


def permuted(rtlil: str, seed: int) -> str:
    """RTLIL with the cells of every module in another order; seed 0 changes nothing.

    ABC sees gates and flip-flops in the order in which they are listed, and its result depends
    on it, while names do not matter.
    """
    if seed == 0:
        return rtlil
    order = random.Random(seed)
    parts = []
    for part in re.split(r"(?m)^(?=module )", rtlil):
        cells = _CELL.findall(part)
        order.shuffle(cells)
        shuffled = iter(cells)
        parts.append(_CELL.sub(lambda _, shuffled=shuffled: next(shuffled), part))
    return "".join(parts)


# Yosys


class YosysError(ToolError):
    """Yosys failed or left out what it was asked for."""

    def __init__(self, output: str) -> None:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
        abc = [line for line in lines if re.match(r"ABC: .*(error|assertion|fail)", line, re.I)]
        if abc and errors and "ABC" in errors[-1]:  # the script failed: no reason to be shown
            errors = [abc[-1]]
        self.last = (errors or lines or ["no output"])[-1].rstrip(".")
        super().__init__(f"Yosys failed: {self.last}.")


def run_yosys(commands: Sequence[str], workers: Workers, folder: Path) -> None:
    """Run Yosys commands; that it got to their end is seen by a file, not by its exit status."""
    done = folder / "done"
    done.unlink(missing_ok=True)
    script = "\n".join([*commands, f"tee -q -o {done.name} log done"])
    Path(folder, "commands.ys").write_text(script)
    output = workers.run(
        [sys.executable, "-c", _RUNNER, "commands.ys"],
        {"TMPDIR": "."},  # ABC keeps what it made of the library there, and knows no quotes
        cwd=folder,
        check=False,
    )
    if not done.exists() or done.read_text().strip() != "done":
        (folder / "probe").write_bytes(bytes(_NOTHING))  # Yosys does not say that a disk is full
        raise YosysError(output)


@contextlib.contextmanager
def _plain_name(folder: Path) -> Iterator[str]:
    """Another absolute name of a folder: ABC knows no quotes, Yosys gives it no relative name."""
    file = os.open(folder, os.O_PATH)
    try:
        yield f"/proc/{os.getpid()}/fd/{file}"
    finally:
        os.close(file)


def _read_rtlil(path: Path) -> str:
    """A design that Yosys wrote."""
    text = path.read_text()
    if not text.endswith("\nend\n"):
        raise YosysError(f"{path.name} is not whole")
    return text


# Statistics


def _statistics(path: Path, top: str) -> dict[str, dict]:
    """Yosys' statistics by module."""
    try:
        modules = json.loads(path.read_text())["modules"]
    except (OSError, ValueError, KeyError) as error:
        raise YosysError(f"{path.name} holds no statistics ({error})") from error
    found = {name.lstrip("\\"): content for name, content in modules.items()}
    if top not in found:
        raise YosysError(f"{path.name} holds no statistics of {top}")
    return {name: content for name, content in found.items() if not name.startswith(BOX)}


def _areas(
    modules: dict[str, dict], kinds: dict[str, Counter[str]], library: Library
) -> dict[str, float]:
    """Area of each module with what it instantiates; Yosys states none where there are no cells."""
    stated = {name: content.get("area") for name, content in modules.items()}
    for name, area in stated.items():
        empty = not any(kind in library.cells or stated.get(kind) for kind in kinds[name])
        if not isinstance(area, int | float) and not (area is None and empty):
            raise YosysError(f"the statistics hold no area of {name}")
    return {name: area or 0.0 for name, area in stated.items()}


def _transistors(module: str, content: dict) -> int:
    """Estimate of a module with what it instantiates."""
    figure = str(content.get("estimated_num_transistors", ""))
    if re.fullmatch(r"\d+", figure):
        return int(figure)
    kinds = content.get("num_cells_by_type", {})
    left = {kind: n for kind, n in kinds.items() if kind.startswith("$") and kind not in _KNOWN}
    if not figure.endswith("+"):
        raise YosysError(f"the statistics hold no estimate of the transistors of {module}")
    listed = ", ".join(f"{number} {kind}" for kind, number in left.items()) or "cells inside it"
    raise UserError(f"the estimate of the transistors of {module} leaves out {listed}.")


_KNOWN = frozenset(_COUNTED.split())


def _own(totals: dict, kinds: dict[str, Counter[str]]) -> dict:
    """What each module has itself, of totals that include what it instantiates."""
    return {
        name: total - sum(totals[kind] * n for kind, n in kinds[name].items() if kind in totals)
        for name, total in totals.items()
    }


def _instances(top: str, kinds: dict[str, Counter[str]]) -> dict[str, int]:
    """How often each module occurs in the whole design."""
    counts: Counter[str] = Counter()

    def visit(name: str, number: int) -> None:
        counts[name] += number
        for kind, inside in kinds[name].items():
            if kind in kinds:
                visit(kind, number * inside)

    visit(top, 1)
    return dict(counts)


def _check_cells(kinds: dict[str, Counter[str]], library: Library) -> None:
    """Refuse cells that the area would leave out."""
    cells: Counter[str] = Counter()
    for counts in kinds.values():
        cells.update({k: n for k, n in counts.items() if k not in kinds and not k.startswith(BOX)})
    unmapped = sorted(kind for kind in cells if kind not in library.cells)
    if unmapped:
        raise UserError(f"the library {library.name} has no cell for {', '.join(unmapped)}.")
    free = sorted(kind for kind in cells if not library.cells[kind].area > 0)
    if free:
        raise UserError(
            f"the library {library.name} gives no area for {', '.join(free)}, which the mapped "
            "netlist uses: its area would be too small."
        )
