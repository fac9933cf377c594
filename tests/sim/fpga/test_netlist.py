"""Netlists of ECP5 cells in simulation: memories, products, units and cores as Yosys maps them."""

import subprocess

import pytest
from nibbleforge.golden.units import core_name, unit
from nibbleforge.hw.generate import generate
from nibbleforge.sim.fpga import folder as folders
from nibbleforge.sim.fpga.flows import flow
from nibbleforge.sim.fpga.netlist import simulated_netlist
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.tools.workers import Workers
from nibbleforge.sim.verify import verify

VECTORS = 1_000_000


def netlist_of(verilog: str, top: str, folder) -> str:
    """The netlist of a design with models of its cells."""
    (folder / "work").mkdir()
    with Workers(1) as workers:
        return simulated_netlist(verilog, top, workers, folder / "work")


PRODUCTS = [
    *(("$signed", a, b) for a, b in ((18, 18), (4, 8), (13, 7), (9, 26), (30, 30))),
    *(("$unsigned", a, b) for a, b in ((18, 18), (5, 4), (17, 11), (24, 18), (20, 33))),
]


def products() -> str:
    """Products that fill a multiplier, a part of one, or several; their sum without carries."""
    lines = "".join(
        f"  wire [63:0] y{i} = {sign}(a[{m - 1}:0]) * {sign}(b[{n - 1}:0]);\n"
        for i, (sign, m, n) in enumerate(PRODUCTS)
    )
    terms = " ^ ".join(f"(y{i} << {i})" for i in range(len(PRODUCTS)))
    return f"""
module products(input [35:0] a, input [35:0] b, output [63:0] y);
{lines}  assign y = {terms};
endmodule
"""


@pytest.mark.deep
def test_products_of_many_widths(tmp_path, wrong_vectors):
    netlist = netlist_of(products(), "products", tmp_path)
    assert netlist.count("MULT18X18D ") > len(PRODUCTS)
    mapped = netlist.replace("module products(", "module mapped(")
    bench = f"""
module bench(input clk, output reg wrong = 0);
  reg [35:0] a = 0, b = 0;
  wire [63:0] wanted, found;
  products generic(a, b, wanted);
  mapped cells(a, b, found);
  always @(negedge clk) begin
    wrong <= found != wanted;
    a <= {{$random, $random}} | {{36{{$random % 8 == 0}}}};
    b <= {{$random, $random}} & ~{{36{{$random % 8 == 0}}}};
  end
endmodule
{products()}"""
    assert wrong_vectors(bench + mapped, VECTORS) == 0


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
    "reset": "if (we[0]) words[wa[9:0]] <= d[17:0]; "
    "if (rst) q <= 0; else if (!we[0]) q <= words[wa[9:0]];",
    "reset_first": "if (rst) q <= 0; "
    "else if (we[0]) words[wa[9:0]] <= d[17:0]; else q <= words[wa[9:0]];",
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


@pytest.mark.slow
def test_memories_of_all_widths_and_modes(tmp_path, wrong_vectors):
    netlist = netlist_of(memories(), "memories", tmp_path)
    for width in DEPTHS:
        assert f".DATA_WIDTH_B(32'd{width})" in netlist
    for mode in ("NORMAL", "READBEFOREWRITE", "WRITETHROUGH"):
        assert f'.WRITEMODE_A("{mode}")' in netlist
    mapped = netlist.replace("module memories(", "module mapped(")
    assert wrong_vectors(memory_bench(mapped), VECTORS) == 0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("dense2k", marks=pytest.mark.deep),
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("core/dense2k", "sparqle")),
    ],
)
def test_netlists_equal_golden(tmp_path, name):
    """Values and cycles of whole tiles."""
    owner = unit(name)
    config = owner.presets["tiny"]
    design = owner.designs(config)[0]
    verilog = generate(design, config).verilog
    netlist = netlist_of(verilog, design.name, tmp_path)
    assert "MULT18X18D" in netlist.partition("module LUT2")[0]
    model = Model(design, config, verilog=netlist, optimise="quick")
    checked = verify.check_random(model, seeds=range(3))
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 100


def ends(folder, top: str, netlist: str) -> "subprocess.CompletedProcess[str]":
    """What the testbench of an exported core says of a netlist in the place of the core."""
    (folder / "netlist.v").write_text(netlist)
    files = (f"{top}_tb.v", "netlist.v")
    compiler = ("iverilog", "-g2005", "-s", f"{top}_tb", "-o", "netlist.vvp", *files)
    subprocess.run(compiler, cwd=folder, capture_output=True, check=True)
    run = ("vvp", "-n", "netlist.vvp", "+pauses")
    return subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.needs("iverilog")
@pytest.mark.parametrize(
    ("name", "top", "cells", "fault"),
    [
        (
            "dense2k",
            "core_dense2k_array",
            ("MULT18X18D", "DP16KD"),
            ("= product[35:0]", "= product[35:0] ^ 36'd8"),
        ),
        pytest.param(
            "reglu",
            "core_reglu_ffn",
            ("MULT18X18D", "DP16KD", "TRELLIS_DPR16X4"),
            ("before_b = words[word_b]", "before_b = words[word_b] ^ 36'd8"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_cores_pass_their_testbench(tmp_path, name, top, cells, fault):
    """Every word and register of a run is golden, four-valued; not so with a fault in a model."""
    config = unit(core_name(name)).presets["tiny"]
    folders.export(flow("verilog"), name, config).write(tmp_path)
    netlist = netlist_of((tmp_path / f"{top}.v").read_text(), top, tmp_path)
    for cell in cells:
        assert f"  {cell} " in netlist.partition("module LUT2")[0]
    done = ends(tmp_path, top, netlist)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("PASS: ")
    assert fault[0] in netlist
    done = ends(tmp_path, top, netlist.replace(*fault))
    assert done.returncode != 0
    assert "FAIL: " in done.stdout
