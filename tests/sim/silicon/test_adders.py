"""Full adders: how they are known, found and built."""

from pathlib import Path

import pytest
from nibbleforge.golden.units import UNITS
from nibbleforge.sim.silicon.adders import full_adder
from nibbleforge.sim.silicon.area import area
from nibbleforge.sim.silicon.liberty import Adder
from nibbleforge.sim.silicon.netlist import to_verilog
from nibbleforge.sim.silicon.synthesis import Target
from nibbleforge.sim.studies.full_adders import VARIANTS, measure

TINY = Path(__file__).with_name("tiny.lib")
DENSE = UNITS["dense"].presets["tiny"]
(DENSE_ARRAY,) = UNITS["dense"].designs(DENSE)
DELAYS = "".join(
    f'{table} (slope) {{ values ("1, 2, 3", "1, 2, 3", "1, 2, 3"); }}'
    for table in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
)
SUM, CARRY = "((A^B)^C)", "(((A B)+(B C))+(C A))"


def cell(name, area, inputs, **outputs):
    """A cell in Liberty."""
    pins = [f"pin ({pin}) {{ direction : input; }}" for pin in inputs]
    arcs = "".join(f'timing () {{ related_pin : "{pin}"; {DELAYS} }}' for pin in inputs)
    pins += [
        f'pin ({pin}) {{ direction : output; function : "{function}"; {arcs} }}'
        for pin, function in outputs.items()
    ]
    return f"cell ({name}) {{ area : {area};\n" + "\n".join(pins) + "\n}\n"


def adder(total=SUM, carry=CARRY):
    return cell("ADDER", 9, "ABC", S=total, K=carry)


GATES = cell("XOR2", 4, "AB", Y="(A^B)") + cell("AOI22", 3, "ACBD", Y="!((A D)|(B C))")
KINDS = {
    "library": adder(),
    "inverted": adder(f"!{SUM}", f"!{CARRY}"),
    "gates": GATES,
}


@pytest.mark.parametrize(
    ("functions", "found"),
    [
        ({}, True),
        ({"total": "A ^ B ^ C", "carry": "(A*B)|(C*(A^B))"}, True),
        ({"total": "(A*B*C)+(A*!B*!C)+(!A*B*!C)+(!A*!B*C)"}, True),
        ({"total": "!(A^B^C)", "carry": "(!A*!B)+(!A*!C)+(!B*!C)"}, True),
        ({"total": "!(A^B^C)"}, False),
        ({"total": "(A^B)"}, False),
        ({"carry": "(A+B+C)"}, False),
        ({"total": "A'^B^C"}, False),
    ],
)
def test_a_full_adder_is_known_by_what_it_does(extended, read, functions, found):
    library = read(extended(adder(**functions)))
    assert (library.full_adder is not None) == found
    if found:
        inverted = functions.get("total", "").startswith("!")
        pins = Adder(("A", "B", "C"), "S", "K", inverted)
        assert library.cells["ADDER"].full_adder == pins


@pytest.mark.parametrize(
    ("kind", "made", "cells", "size"),
    [
        ("library", "library", "ADDER", 9),
        ("inverted", "library", "ADDER", 9 + 2 * 1.5),
        ("gates", "gates", "2 XOR2, AOI22", 2 * 4 + 3 + 1.5),
    ],
)
def test_what_full_adders_are_made_of(extended, read, kind, made, cells, size):
    found = full_adder(read(extended(KINDS[kind])))
    assert (found.made, found.cells, found.area) == (made, cells, size)
    assert bool(found.dual) == (kind == "inverted")


def test_the_smaller_way_is_taken(extended, read, tiny):
    assert full_adder(read(extended(GATES + cell("ADDER", 13, "ABC", S=SUM, K=CARRY)))).made == (
        "gates"
    )
    assert full_adder(tiny) is None


SUMS = """
module top(input [3:0] a, b, c, d, input [2:0] e, output [5:0] y, output [1:0] z);
  assign y = a + b + c + d;
  assign z = {~(e[0] ^ e[1] ^ e[2]), (e[0] & e[1]) | (e[2] & (e[0] ^ e[1]))};
endmodule
"""


@pytest.mark.parametrize("kind", KINDS)
def test_full_adders_change_no_function(flow, extended, read, tmp_path, kind):
    library = read(extended(KINDS[kind]))
    _, mapped = flow.cells(SUMS, library, full_adder=full_adder(library))
    assert mapped.full_adders["top"] > 5
    kinds = mapped.netlist.modules["top"].kinds
    taken, number = ("XOR2", 2) if kind == "gates" else ("ADDER", 1)
    assert kinds[taken] >= number * mapped.full_adders["top"]
    verilog, _ = to_verilog(mapped.netlist, library)
    Path(tmp_path, "after.v").write_text(verilog)
    Path(tmp_path, "before.v").write_text(SUMS)
    Path(tmp_path, "cells.lib").write_text(library.files[0].plain.read_text())
    flow.yosys(
        "read_verilog before.v",
        "prep -top top",
        "splitnets -ports -format _",
        "rename top before",
        "read_liberty cells.lib",
        "read_verilog after.v",
        "rename top after",
        "flatten after",
        "proc",
        "miter -equiv -flatten before after both",
        "sat -verify -prove trigger 0 both",
    )


def test_full_adders_are_the_default(extended):
    path = extended(adder())
    found = area(DENSE_ARRAY, DENSE, [path], runs=1, timing=False)
    assert found.full_adders >= DENSE.rows * DENSE.columns
    assert found.to_json()["libraries"]["tiny"]["full_adders"] == {
        "made_of": "library",
        "cells": "ADDER",
        "number": found.full_adders,
    }


@pytest.mark.parametrize(("price", "left"), [("9", set()), ("60", {"top"})])
def test_modules_that_would_be_larger_are_left_to_abc(flow, extended, read, price, left):
    library = read(extended(adder().replace("area : 9", f"area : {price}")))
    target = Target(library, full_adder(library))
    assert flow.where_smaller(SUMS, target).left == left


@pytest.mark.needs("osu018")
@pytest.mark.slow
def test_what_is_found_is_as_small_as_by_hand():
    _, measured = measure((), 1, VARIANTS[:2])
    hand, found = (each.area.median for each in measured)
    assert found <= 1.05 * hand
    assert 74_000 < hand < 78_000
