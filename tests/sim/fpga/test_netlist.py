"""Netlists of ECP5 cells in simulation, and the models of cells that Yosys has none of."""

import subprocess

import pytest
from nibbleforge.golden.units import unit
from nibbleforge.hw.generate import generate
from nibbleforge.sim.fpga.netlist import CELLS, simulated_netlist
from nibbleforge.sim.run import verilator
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.tools.workers import Workers
from nibbleforge.sim.verify import verify

VECTORS = 1_000_000

MAIN = """
#include <cstdio>
#include "Vtop.h"
int main() {
    VerilatedContext context;
    Vtop top{&context};
    unsigned wrong = 0;
    for (int cycle = 0; cycle < %d && !context.gotFinish(); ++cycle) {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        wrong += top.wrong;
    }
    std::printf("%%u %%d\\n", wrong, context.gotFinish());
}
"""


def wrong_vectors(folder, verilog) -> int:
    """Cycles in which a bench's ``wrong`` is set."""
    (folder / "bench.v").write_text(verilog)
    (folder / "main.cpp").write_text(MAIN % VECTORS)
    program = verilator.build([folder / "bench.v"], "bench", folder / "main.cpp", optimise="quick")
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    wrong, refused = map(int, done.stdout.split()[-2:])
    assert not refused, done.stdout
    return wrong


def products(model: str) -> str:
    """Random operands, all bits set in some, of either sign."""
    pins = ", ".join(f".{name}{i}({name.lower()}[{i}])" for name in "AB" for i in range(18))
    found = ", ".join(f".P{i}(found[{i}])" for i in range(36))
    return f"""
module bench(input clk, output reg wrong);
  reg [17:0] a = 0, b = 0;
  reg signed_a = 0, signed_b = 0;
  wire [35:0] found;
  wire [35:0] left = {{{{18{{signed_a & a[17]}}}}, a}};
  wire [35:0] right = {{{{18{{signed_b & b[17]}}}}, b}};
  MULT18X18D multiplier({pins}, .SIGNEDA(signed_a), .SIGNEDB(signed_b), {found});
  always @(posedge clk) begin
    wrong <= found != left * right;
    a <= $random | {{18{{$random % 8 == 0}}}};
    b <= $random & ~{{18{{$random % 8 == 0}}}};
    signed_a <= $random;
    signed_b <= $random;
  end
endmodule
{model}"""


def test_products(tmp_path):
    assert wrong_vectors(tmp_path, products(CELLS.read_text())) == 0


def test_the_bench_notices_another_product(tmp_path):
    """The negative control of the test above."""
    model = CELLS.read_text()
    changed = model.replace("SIGNEDB & B17", "SIGNEDA & B17")
    assert changed != model
    assert wrong_vectors(tmp_path, products(changed)) > 1000


DEPTHS = {36: 512, 18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}


def two_ports(width: int) -> str:
    """A memory with a port to write, 9 bits at a time, and one to read, with initial contents."""
    depth, lines = DEPTHS[width], -(-width // 9)
    bits = (depth - 1).bit_length()
    steps = "".join(
        f"    if (we[{i}]) words[wa[{bits - 1}:0]][{min(9 * i + 8, width - 1)}:{9 * i}]"
        f" <= d[{min(9 * i + 8, width - 1)}:{9 * i}];\n"
        for i in range(lines)
    )
    return f"""
module two_ports_{width}(input clk, input [13:0] wa, input [13:0] ra, input [35:0] d,
    input [3:0] we, input re, input rst, output reg [{width - 1}:0] q = 0);
  (* ram_style = "block" *) reg [{width - 1}:0] words [0:{depth - 1}];
  integer i;
  initial for (i = 0; i < {depth}; i = i + 1) words[i] = i * 36'd40503040503;
  always @(posedge clk) begin
{steps}  end
  always @(posedge clk) if (rst) q <= 0; else if (re) q <= words[ra[{bits - 1}:0]];
endmodule
"""


SINGLE = {
    "no_change": "if (we[0]) words[wa[9:0]] <= d[17:0]; else q <= words[wa[9:0]];",
    "read_first": "if (we[0]) words[wa[9:0]] <= d[17:0]; q <= words[wa[9:0]];",
    "write_first": "if (we[0]) begin words[wa[9:0]] <= d[17:0]; q <= d[17:0]; end "
    "else q <= words[wa[9:0]];",
}


def one_port(mode: str) -> str:
    """A memory whose port writes or reads, in one of the modes of the cell."""
    return f"""
module one_port_{mode}(input clk, input [13:0] wa, input [13:0] ra, input [35:0] d,
    input [3:0] we, input re, input rst, output reg [17:0] q = 0);
  (* ram_style = "block" *) reg [17:0] words [0:1023];
  integer i;
  initial for (i = 0; i < 1024; i = i + 1) words[i] = i * 20077;
  always @(posedge clk) if (re) begin {SINGLE[mode]} end
endmodule
"""


INPUTS = "input clk, input [13:0] wa, input [13:0] ra, input [35:0] d, input [3:0] we"
SHAPES = {
    **{f"two_ports_{width}": (width, two_ports(width)) for width in DEPTHS},
    **{f"one_port_{mode}": (18, one_port(mode)) for mode in SINGLE},
}
TOTAL = sum(width for width, _ in SHAPES.values())


def memories() -> str:
    """One of every shape side by side."""
    instances, offset = "", 0
    for name, (width, _) in SHAPES.items():
        instances += f"  {name} {name}_0 (clk, wa, ra, d, we, re, rst, q[{offset} +: {width}]);\n"
        offset += width
    texts = "".join(text for _, text in SHAPES.values())
    return (
        f"module memories({INPUTS}, input re, input rst, output [{TOTAL - 1}:0] q);\n"
        f"{instances}endmodule\n{texts}"
    )


def memory_bench(mapped: str) -> str:
    """Random accesses, half of them to few addresses so that reads meet writes."""
    return f"""
module bench(input clk, output reg wrong);
  reg [13:0] wa = 0, ra = 0;
  reg [35:0] d = 0;
  reg [3:0] we = 0;
  reg re = 0, rst = 0;
  wire [{TOTAL - 1}:0] wanted, found;
  memories generic(clk, wa, ra, d, we, re, rst, wanted);
  mapped cells(clk, wa, ra, d, we, re, rst, found);
  always @(negedge clk) begin
    wrong <= found != wanted;
    wa <= $random & ($random % 2 ? 14'h3fff : 14'h7);
    ra <= $random & ($random % 2 ? 14'h3fff : 14'h7);
    d <= {{$random, $random}};
    we <= $random;
    re <= $random % 4 != 0;
    rst <= $random % 16 == 0;
  end
endmodule
{memories()}{mapped}"""


def test_memories_of_all_widths_and_modes(tmp_path):
    (tmp_path / "work").mkdir()
    with Workers(1) as workers:
        netlist = simulated_netlist(memories(), "memories", workers, tmp_path / "work")
    for width in (36, 18, 9, 4, 2, 1):
        assert f".DATA_WIDTH_B(32'd{width})" in netlist
    for mode in ("NORMAL", "READBEFOREWRITE", "WRITETHROUGH"):
        assert f'.WRITEMODE_A("{mode}")' in netlist
    mapped = netlist.replace("module memories(", "module mapped(")
    assert wrong_vectors(tmp_path, memory_bench(mapped)) == 0
    changed = mapped.replace("9 * (i % 2) +: 9]", "9 - 9 * (i % 2) +: 9]")
    assert changed != mapped
    assert wrong_vectors(tmp_path, memory_bench(changed)) > 100


@pytest.mark.parametrize(
    "name",
    ["dense2k", *(pytest.param(n, marks=pytest.mark.slow) for n in ("core/dense2k", "sparqle"))],
)
def test_netlists_equal_golden(tmp_path, name):
    """Values and cycles of whole tiles."""
    owner = unit(name)
    config = owner.presets["tiny"]
    design = owner.designs(config)[0]
    with Workers(1) as workers:
        verilog = generate(design, config).verilog
        netlist = simulated_netlist(verilog, design.name, workers, tmp_path)
    assert "MULT18X18D" in netlist.partition("module LUT4")[0]
    model = Model(design, config, verilog=netlist, optimise="quick")
    checked = verify.check_random(model, seeds=range(3))
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 100
