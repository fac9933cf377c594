"""Full adders: found among gates, built of a library's cells, kept out of what ABC rearranges.

ABC knows no cell with two outputs. It also takes sums and carries apart, and does not find its way
back. Half adders are left to it: as cells of their own they made arrays larger.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .liberty import Cell
from .library import Library

RIPPLE = """(* techmap_celltype = "$lcu" *)
module _80_ripple_carry (P, G, CI, CO);
parameter WIDTH = 1; input [WIDTH-1:0] P, G; input CI; output [WIDTH-1:0] CO;
assign CO = G | (P & {CO, CI});
endmodule
"""
"""Carries of ``+`` one after the other: of all adders, only these consist of full adders.

Yosys takes the map whose name comes first; its own begin with _90.
"""

DUAL = "nibbleforge_dual_adder"
"""Type of full adders that get inverted inputs."""

_NOT = "nibbleforge_not"
_AND_OR_INVERT = tuple(int(i & 3 != 3 and i >> 2 != 3) for i in range(16))
_XOR = (0, 1, 1, 0)


@dataclass(frozen=True)
class FullAdder:
    """How full adders are built.

    Attributes
    ----------
    made
        ``library``: one cell; ``gates``: several.
    cells
        The cells, for tables.
    area
        Of one with its inverters, in the library's unit.
    body
        Verilog of sum Y and carry X of A, B and C.
    dual
        The same where the inputs come inverted: a cell that inverts sum and carry then needs no
        inverters, for a full adder of inverted inputs has inverted outputs. Empty for others.
    """

    made: Literal["library", "gates"]
    cells: str
    area: float
    body: str
    dual: str = ""

    def module(self, name: str) -> str:
        """Verilog of a full adder: A, B, C to sum Y and carry X."""
        return _module(name, self.body)

    @property
    def techmap(self) -> str:
        """Verilog for Yosys' ``techmap``."""
        bodies = {"$fa": self.body, **({DUAL: self.dual} if self.dual else {})}
        return "".join(
            f'(* techmap_celltype = "{kind}" *) {_module(f"in_cells_{i}", body)}'
            for i, (kind, body) in enumerate(bodies.items())
        )


def _module(name: str, body: str) -> str:
    return (
        f"module {name} (A, B, C, X, Y);\nparameter WIDTH = 1;\n"
        f"input A, B, C; output X, Y;\n{body}\nendmodule\n"
    )


def find_full_adders(modules: Iterable[str]) -> tuple[str, ...]:
    """Yosys commands that put a ``$fa`` in the place of gates, in some modules."""
    return (
        # else an adder takes what is before an inverter, and needs two more
        f"chtype -set {_NOT} t:$_NOT_",
        f"extract_fa -fa {' '.join(modules)}",
        f"chtype -set $_NOT_ t:{_NOT}",
        "opt_clean",
        "rename -enumerate -pattern nibbleforge_adder_% t:$fa",
    )


def full_adder(library: Library) -> FullAdder | None:
    """The smallest full adder that a library has or that its gates make.

    Returns
    -------
    FullAdder | None
        None where it has none and lacks the gates, too: ABC then builds sums as it likes.
    """
    known = [adder for adder in (_of_one_cell(library), _of_gates(library)) if adder]
    return min(known, key=lambda adder: adder.area, default=None)


def _of_one_cell(library: Library) -> FullAdder | None:
    cell, inverter = library.full_adder, library.inverter
    if cell is None or cell.full_adder is None:
        return None
    if not cell.full_adder.inverted:
        return FullAdder("library", cell.name, cell.area, _instance(cell, "", "Y", "X"))
    inverters = 2 * inverter.area if inverter else 0.0
    body = f"wire x, y; assign X = ~x; assign Y = ~y;\n{_instance(cell, '', 'y', 'x')}"
    dual = _instance(cell, "~", "Y", "X")
    return FullAdder("library", cell.name, cell.area + inverters, body, dual)


def _instance(cell: Cell, sign: str, total: str, carry: str) -> str:
    """A full adder in Verilog, inverted inputs where the sign is ``~``."""
    adder = cell.full_adder
    assert adder is not None
    pins = dict(zip(adder.inputs, (f"{sign}{name}" for name in "ABC"), strict=True))
    return _cell(cell, pins | {adder.total: total, adder.carry: carry})


def _of_gates(library: Library) -> FullAdder | None:
    """Two XOR, and an AND-OR-invert for the carry; its inverter is left to ABC."""
    xor, carry, inverter = (
        library.smallest(_XOR),
        library.smallest(_AND_OR_INVERT),
        library.inverter,
    )
    if xor is None or carry is None or inverter is None:
        return None
    body = "\n".join(
        [
            "wire half, x; assign X = ~x;",
            _gate(xor, _XOR, "A", "B", "half"),
            _gate(xor, _XOR, "half", "C", "Y"),
            _gate(carry, _AND_OR_INVERT, "A", "B", "half", "C", "x"),
        ]
    )
    area = 2 * xor.area + carry.area + inverter.area
    return FullAdder("gates", f"2 {xor.name}, {carry.name}", area, body)


def _gate(cell: Cell, table: tuple[int, ...], *wires: str) -> str:
    """A gate in Verilog: wires at its inputs, then the output's."""
    inputs, output = cell.computes(table) or ((), "")
    return _cell(cell, dict(zip((*inputs, output), wires, strict=True)))


def _cell(cell: Cell, pins: dict[str, str]) -> str:
    connections = ", ".join(f".{pin}({wire})" for pin, wire in pins.items())
    return (
        f"\\{cell.name} {cell.name}_of_{'_'.join(pins.values()).replace('~', '')} ({connections});"
    )
