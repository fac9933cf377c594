"""Synthesis and mapping: what they count, and what must not pass silently."""

import re
from collections import Counter

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.silicon import synthesis
from nibbleforge.sim.silicon.synthesis import YosysError, permuted


def test_permutation_moves_whole_cells():
    text = "module \\a\n  wire \\x\n" + "".join(
        f'  attribute \\src "{i}"\n  cell $_NOT_ $c{i}\n    connect \\A \\x\n  end\n'
        for i in range(9)
    )
    text += "  connect \\x 1'0\nend\nmodule \\b\n  cell \\a \\only\n  end\nend\n"
    assert permuted(text, 0) == text
    assert permuted(text, 1) != text
    assert permuted(text, 1) == permuted(text, 1) != permuted(text, 2)
    assert Counter(permuted(text, 1).splitlines()) == Counter(text.splitlines())
    order = re.findall(r'src "(\d)"\n  cell \$_NOT_ \$c(\d)', permuted(text, 1))
    assert len(order) == 9
    assert all(first == second for first, second in order)


def test_cells_without_an_estimate_are_named(flow):
    verilog = "module top(input e, d, output reg q); always @* if (e) q = d; endmodule"
    with pytest.raises(UserError) as error:
        flow.gates(verilog)
    assert str(error.value) == "the estimate of the transistors of top leaves out 1 $_DLATCH_P_."


FLIP_FLOP = "module top(input clk, d, output reg q); always @(posedge clk) q <= ~d; endmodule"


def test_cells_without_area_are_refused(flow, read, changed):
    with pytest.raises(UserError) as error:
        flow.cells(FLIP_FLOP, read(changed("area : 6;", "area : 0;")))
    assert str(error.value) == (
        "the library tiny gives no area for DFF, which the mapped netlist uses: its area would be "
        "too small."
    )


def test_cells_that_the_library_lacks_are_named(flow, read, tiny, changed):
    with pytest.raises(UserError) as error:
        synthesis._check_cells({"top": Counter({"$_TBUF_": 2, "INV": 1})}, tiny)
    assert str(error.value) == "the library tiny has no cell for $_TBUF_."
    with pytest.raises(UserError, match=r"cannot map to .* flip-flops are not supported"):
        flow.cells(FLIP_FLOP, read(changed('clocked_on : "CK"', 'clocked_on : "!CK & D"')))


def test_a_library_that_abc_refuses_is_one_sentence(flow, read, changed):
    with pytest.raises(UserError) as error:
        flow.cells(FLIP_FLOP, read(changed("index_1", "index_3")))
    assert str(error.value).startswith("cannot map to the library ")
    assert "\n" not in str(error.value)


def test_silent_ends_are_noticed(flow, monkeypatch):
    monkeypatch.setattr(synthesis, "_RUNNER", "pass")
    with pytest.raises(YosysError):
        flow.gates(FLIP_FLOP)


@pytest.mark.parametrize(
    "change", [lambda top: top.pop("area"), lambda top: top.update(area="12+")]
)
def test_a_missing_statistic_is_an_error(flow, monkeypatch, change):
    read = synthesis._statistics

    def without(path, top):
        modules = read(path, top)
        change(modules[top])
        return modules

    gates = flow.gates(FLIP_FLOP)
    monkeypatch.setattr(flow, "gates", lambda verilog: gates)
    monkeypatch.setattr(synthesis, "_statistics", without)
    with pytest.raises(YosysError, match="hold no area of top"):
        flow.cells(FLIP_FLOP)
