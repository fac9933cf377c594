"""Memories in a netlist."""

from nibbleforge.sim.silicon.memories import box_memories

MEMORY = """
module top(input clk, we, input [3:0] wa, ra, rb, input [7:0] wd,
           output reg [7:0] x, output [7:0] y);
  reg [7:0] mem [0:15];
  reg [7:0] q;
  always @(posedge clk) if (we) mem[wa] <= wd;
  always @(posedge clk) q <= mem[ra];
  always @(posedge clk) x <= ~q;
  assign y = mem[rb];
endmodule
"""


def test_memories_stay_apart_or_become_registers(flow):
    boxed = flow.gates(MEMORY)
    (memory,) = boxed.memories
    assert (memory.module, memory.name, memory.words, memory.width) == ("top", "mem", 16, 8)
    assert (memory.reads, memory.writes, memory.address_bits) == (2, 1, 4)
    assert sorted(memory.clocked) == [False, True]
    assert str(memory) == "16 x 8 bits, 2 unclocked read, 1 write ports"
    registers = flow.gates(MEMORY, "registers")
    assert registers.memories == ()
    assert registers.transistors["top"] > boxed.transistors["top"] + 128 * 16
    assert boxed.transistors["top"] == 8 * (16 + 2)  # x and its inverters


def test_memories_that_are_never_written_remain():
    rom = "module \\m\n  cell $mem_v2 \\rom\n    parameter \\WR_PORTS 0\n  end\nend\n"
    assert box_memories(rom) == (rom, [])
