"""Time 0 of a simulation: every ``always @*`` waits for what an ``initial`` block changes.

SystemVerilog gives registers the values of their declarations before any process waits, and a wire
that is constant, or computed of those, need not change afterwards.
"""

import re

import pytest
from nibbleforge.golden.units import UNITS, core_name, unit
from nibbleforge.hw.generate import generate
from nibbleforge.hw.lib.readable import Description, readable
from nibbleforge.hw.soc.generate import generate_core

MODULE = re.compile(r"^module (\w+) \((.*?)^endmodule", re.M | re.S)
WAITING = re.compile(r"^  always @\*.*\n((?:    .*\n)+)", re.M)
SET = re.compile(r"^  initial.*\n((?:    .*\n)+)", re.M)
COMMENT = "  // Changes at time 0, on which every always @* waits.\n"
CORES = [
    name if name in ("anda", "reglu") else pytest.param(name, marks=pytest.mark.slow)
    for name in UNITS
]


def asleep(verilog: str) -> list[str]:
    """Processes that read nothing that an ``initial`` block sets."""
    found = []
    for name, body in MODULE.findall(verilog):
        is_set = set(re.findall(r"^    (\w+) = ", "".join(SET.findall(body)), re.M))
        found += [
            f"{name}: {process}"
            for process in WAITING.findall(body)
            if is_set.isdisjoint(re.findall(r"\w+", process))
        ]
    return found


@pytest.mark.parametrize("name", UNITS)
def test_nothing_of_a_unit_sleeps_on(name):
    config = UNITS[name].presets["tiny"]
    for design in UNITS[name].designs(config):
        assert asleep(generate(design, config).verilog) == []


@pytest.mark.parametrize("name", CORES)
def test_nothing_of_a_core_sleeps_on(name):
    owner = unit(core_name(name))
    config = owner.presets["tiny"]
    for design in owner.designs(config):
        verilog = generate_core(design, config, name).verilog
        assert asleep(verilog) == []
        assert WAITING.search(verilog)


def table(selector: str) -> str:
    """A module as Yosys writes it, with a table that is too long for an expression."""
    labels = "".join(f"      4'h{n}:\n        out = 3'h{n * 5 % 7};\n" for n in range(9))
    return (
        "module m(clk, in, y, out);\n  input clk;\n  wire clk;\n  input [3:0] in;\n"
        "  wire [3:0] in;\n  output [3:0] y;\n  reg [3:0] y = 4'h5;\n"
        "  output [3:0] out;\n  reg [3:0] out;\n"
        "  always @(posedge clk)\n    y <= in;\n"
        f"  always @* begin\n    casez ({selector})\n{labels}"
        "      default:\n        out = 3'h0;\n    endcase\n  end\nendmodule\n"
    )


def written(selector: str) -> str:
    return readable(table(selector), {"m": Description("A table.", ["clk", "in", "y", "out"])})


def test_a_register_that_is_read_changes_at_the_start():
    verilog = written("y")
    assert verilog.endswith(f"{COMMENT}  initial\n    y = 4'h5;\nendmodule\n")
    assert "output reg [3:0] y,\n" in verilog
    assert asleep(verilog) == []


def test_what_reads_no_register_reads_one_for_that_purpose():
    verilog = written("in")
    assert verilog.endswith(f"{COMMENT}  initial\n    at_start = 1'b0;\nendmodule\n")
    assert "  always @* begin\n    if (at_start) begin end\n    case (in)\n" in verilog
    assert "output reg [3:0] y = 4'h5,\n" in verilog
    assert asleep(verilog) == []


def test_a_process_that_sleeps_on_is_noticed():
    """The negative control of the tests above."""
    assert len(asleep(written("y").replace("    y = 4'h5;\n", "    z = 4'h5;\n"))) == 1
