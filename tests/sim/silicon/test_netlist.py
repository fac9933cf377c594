"""Buffers, and Verilog of mapped netlists."""

import re
from collections import Counter
from pathlib import Path

from nibbleforge.sim.silicon.netlist import MOST_PINS, to_verilog

TINY = Path(__file__).with_name("tiny.lib")

FANOUT = """
module leaf(input a, input [{last}:0] b, output [{last}:0] y);
  assign y = ~({{{n}{{a}}}} & b);
endmodule
module top(input a, input [{last}:0] b, c, output [{last}:0] y, z);
  leaf one(a, b, y);
  leaf two(a, c, z);
endmodule
"""


def test_no_net_feeds_too_many_pins(flow):
    n = 300
    _, mapped = flow.cells(FANOUT.format(n=n, last=n - 1))
    # 300 pins take 19 buffers, those 2; both leaves load the net outside with 2 each
    assert mapped.buffers == {"leaf": 21, "top": 0}
    leaf = mapped.netlist.modules["leaf"]
    inputs = Counter(
        bit
        for cell in leaf.instances.values()
        for pin, bits in cell.pins.items()
        if pin != "Y"
        for bit in bits
    )
    assert max(inputs.values()) <= MOST_PINS


def test_buffers_change_no_function(flow, tiny, tmp_path):
    source = FANOUT.format(n=40, last=39)
    _, mapped = flow.cells(source)
    assert mapped.buffers["leaf"] == 3
    verilog, ports = to_verilog(mapped.netlist, tiny)
    assert ports["y_39"] == "output"
    Path(tmp_path, "after.v").write_text(verilog)
    Path(tmp_path, "before.v").write_text(source)
    flow.yosys(
        "read_verilog before.v",
        "hierarchy -top top",
        "flatten",
        "splitnets -ports -format _",
        "rename top before",
        "delete leaf",
        f"read_liberty {TINY}",
        "read_verilog after.v",
        "rename top after",
        "select -module after",
        "select -clear",
        "flatten after",
        "proc",
        "miter -equiv -flatten before after both",
        "sat -verify -prove trigger 0 both",
    )


def test_clock_nets_get_no_buffers(flow):
    verilog = (
        "module top(input clk, input [99:0] d, output reg [99:0] q);"
        "always @(posedge clk) q <= d; endmodule"
    )
    _, mapped = flow.cells(verilog)
    assert mapped.buffers == {"top": 0}


def test_names_are_plain_and_distinct(flow, tiny):
    verilog = (
        r"module top(input clk, a_0, input [1:0] \a , output reg \b$c.d , b_c_d);"
        r"always @(posedge clk) begin \b$c.d <= a_0 ^ \a [0]; b_c_d <= a_0 & \a [1]; end endmodule"
    )
    _, mapped = flow.cells(verilog)
    text, ports = to_verilog(mapped.netlist, tiny)
    assert len(ports) == 6
    assert all(re.fullmatch(r"\w+", port) for port in ports)
    names = re.findall(r"^(?:input|output|wire) (\w+);|^[A-Z]\w* (\w+) \(", text, re.MULTILINE)
    flat = [first or second for first, second in names]
    assert len(flat) == len(set(flat))


def test_constants_are_tied(flow, tiny):
    _, mapped = flow.cells("module top(output [1:0] y); assign y = 2; endmodule")
    text, _ = to_verilog(mapped.netlist, tiny)
    assert "assign y_0 = 1'b0;" in text
    assert "assign y_1 = 1'b1;" in text
    assert mapped.areas == {"top": 0}
