"""Clock gates: where they stand, and that registers do what they did."""

import subprocess
from pathlib import Path

import pytest
from nibbleforge.golden.units import UNITS
from nibbleforge.sim.silicon.area import area
from nibbleforge.sim.silicon.clock_gates import LEAST, MODEL, model
from nibbleforge.sim.silicon.liberty import ClockGate
from nibbleforge.sim.silicon.netlist import to_verilog

DENSE = UNITS["dense"].presets["tiny"]
(DENSE_ARRAY,) = UNITS["dense"].designs(DENSE)
GATE = """cell (GATE) { area : 3; dont_use : true; clock_gating_integrated_cell : KIND;
  pin (E) { direction : input; clock_gate_enable_pin : true; }
  pin (T) { direction : input; clock_gate_test_pin : true; }
  pin (CK) { direction : input; clock_gate_clock_pin : true; }
  pin (G) { direction : output; state_function : "CK * L"; clock_gate_out_pin : true; } }
"""
REGISTERS = """
module top(input clk, rst, en, go, input [3:0] d, output reg [3:0] q, s, p, output reg one);
  always @(posedge clk) begin
    if (rst) q <= 4'h5; else if (en) q <= d;
    if (rst) s <= 0; else if (en) s <= s + d;
    if (go) p <= d ^ q;
    if (go) begin if (rst) one <= 0; else one <= p[0]; end
  end
endmodule
"""


@pytest.fixture
def gated(extended, read):
    """The tiny library with a clock gate."""
    return read(extended(GATE.replace("KIND", "latch_posedge_precontrol")))


def test_a_clock_gate_is_known_by_its_pins(gated, extended, read):
    assert gated.clock_gate.clock_gate == ClockGate("E", "CK", "G", ("T",))
    assert gated.clock_gate.pins["CK"].clock
    for kind in ("latch_negedge", "none_posedge"):
        assert read(extended(GATE.replace("KIND", kind))).clock_gate is None


def test_registers_that_share_an_enable_share_a_gate(flow, gated):
    _, plain = flow.cells(REGISTERS, gated)
    _, mapped = flow.cells(REGISTERS, gated, clock_gate=gated.clock_gate)
    kinds = mapped.netlist.modules["top"].kinds
    # q and s share the enable with the reset in it; p, and one, whose reset waits for the enable
    assert mapped.clock_gates == {"top": 2}
    assert (kinds["GATE"], kinds["DFF"]) == (2, 13)
    assert mapped.areas["top"] < plain.areas["top"]


def test_few_registers_keep_their_enable(flow, gated):
    for width, gates in ((LEAST - 1, 0), (LEAST, 1)):
        verilog = (
            f"module top(input clk, en, input [{width - 1}:0] d, output reg [{width - 1}:0] q);"
            "always @(posedge clk) if (en) q <= d; endmodule"
        )
        _, mapped = flow.cells(verilog, gated, clock_gate=gated.clock_gate)
        assert mapped.clock_gates == {"top": gates}


CELLS = """
module GATE(input E, T, CK, output G); reg open; always @* if (!CK) open = E | T;
  assign G = CK & open; endmodule
module DFF(input D, CK, output reg Q); always @(posedge CK) Q <= D; endmodule
module INV(input A, output Y); assign Y = ~A; endmodule
module BUF(input A, output Y); assign Y = A; endmodule
module NAND2(input A, B, output Y); assign Y = ~(A & B); endmodule
module NOR2(input A, B, output Y); assign Y = ~(A | B); endmodule
"""
BENCH = """
module bench;
  reg clk = 0, rst = 1, en = 0, go = 0;
  reg [3:0] d;
  wire [12:0] wanted, found;
  integer i, wrong = 0, moved = 0;
  top source(clk, rst, en, go, d, wanted[12:9], wanted[8:5], wanted[4:1], wanted[0]);
  mapped cells(.clk(clk), .rst(rst), .en(en), .go(go),
    .d_0(d[0]), .d_1(d[1]), .d_2(d[2]), .d_3(d[3]),
    .q_0(found[9]), .q_1(found[10]), .q_2(found[11]), .q_3(found[12]),
    .s_0(found[5]), .s_1(found[6]), .s_2(found[7]), .s_3(found[8]),
    .p_0(found[1]), .p_1(found[2]), .p_2(found[3]), .p_3(found[4]), .one(found[0]));
  initial begin
    for (i = 0; i < 1000; i = i + 1) begin
      {rst, en, go, d} = $urandom;
      if (i < 4) {rst, en, go} = {i < 2, 2'b11};
      #1 clk = 1;
      #1 if (i > 3 && found !== wanted) wrong = wrong + 1;
      if (wanted[12:9] != 4'h5) moved = moved + 1;
      clk = 0;
      #1 ;
    end
    $display("%0d %0d", wrong, moved > 100);
  end
endmodule
"""


@pytest.mark.needs("iverilog")
def test_clock_gates_change_no_value(flow, gated, tmp_path):
    _, mapped = flow.cells(REGISTERS, gated, clock_gate=gated.clock_gate)
    verilog, _ = to_verilog(mapped.netlist, gated)
    text = REGISTERS + verilog.replace("module top", "module mapped") + CELLS + BENCH
    Path(tmp_path, "bench.v").write_text(text)
    subprocess.run(["iverilog", "-g2012", "-o", "bench", "bench.v"], cwd=tmp_path, check=True)
    ran = subprocess.run(["vvp", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["0", "1"]


def test_a_modelled_clock_gate(tmp_path, tiny):
    library = tiny.with_model(model(4.5), tmp_path)
    assert library.clock_gate.name == MODEL
    assert library.clock_gate.area == 4.5
    assert library.paths == tiny.paths


TABLE = """
library = "tiny"
unit = "beans"
[[memory]]
kind = "jar"
source = "the grocer"
bit = 3.0
[clock_gate]
source = "the gardener"
area = 4.0
"""


def test_a_table_may_price_a_clock_gate(tmp_path):
    Path(tmp_path, "table.toml").write_text(TABLE)
    liberty = [Path(__file__).with_name("tiny.lib")]
    table = tmp_path / "table.toml"
    found = area(DENSE_ARRAY, DENSE, liberty, runs=1, table=table, timing=False)
    assert found.clock_gates > 0
    result = found.to_json()["libraries"]["tiny"]
    assert result["clock_gates"] == {"cells": MODEL, "number": found.clock_gates}
    assert [file["modelled"] for file in result["files"]] == [False, True]


@pytest.mark.needs("sta")
def test_paths_go_through_clock_gates(flow, tiny, tmp_path):
    """To gated registers, and to the enable, which is wanted at the clock edge."""
    library = tiny.with_model(model(4.5), tmp_path)
    verilog = (
        "module top(input clk, d, output [2:0] q); reg e; reg [2:0] r; assign q = r;"
        "always @(posedge clk) begin e <= d; if (~e) r <= {r[1:0], d}; end endmodule"
    )
    path = flow.path(verilog, library=library, clock_gate=library.clock_gate)
    assert path.start == "e_reg"
    assert path.ns == pytest.approx(0.5 + 1, abs=0.1)
