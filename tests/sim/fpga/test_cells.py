"""Models of ECP5 cells against processes that any reader of Verilog knows, without Yosys."""

import itertools
import random
import subprocess

import pytest
from nibbleforge.sim.fpga.netlist import CELLS

VECTORS = 1_000_000

# --- MULT18X18D ---------------------------------------------------------------------------------

CORNERS = (0, 1, 0x1FFFE, 0x1FFFF, 0x20000, 0x20001, 0x3FFFE, 0x3FFFF)


def pins(name: str, width: int, signal: str) -> str:
    """Every bit of a signal at its pin."""
    return ", ".join(f".{name}{i}({signal}[{i}])" for i in range(width))


def products(model: str) -> str:
    """Operands of either sign, every other one a corner: all pairs of corners are met."""
    corners = "".join(f"      {i}: corner = 18'd{value};\n" for i, value in enumerate(CORNERS))
    return f"""
module bench(input clk, output reg wrong = 0);
  function [17:0] corner(input [2:0] which);
    case (which)
{corners}    endcase
  endfunction
  reg [17:0] a = 0, b = 0;
  reg signed_a = 0, signed_b = 0;
  reg [31:0] dice;
  wire [35:0] found;
  reg signed [35:0] wanted;
  always @*
    case ({{signed_a, signed_b}})
      2'b11: wanted = $signed(a) * $signed(b);
      2'b10: wanted = $signed(a) * $signed({{1'b0, b}});
      2'b01: wanted = $signed({{1'b0, a}}) * $signed(b);
      2'b00: wanted = a * b;
    endcase
  MULT18X18D multiplier({pins("A", 18, "a")}, {pins("B", 18, "b")}, {pins("P", 36, "found")},
    .SIGNEDA(signed_a), .SIGNEDB(signed_b), .SOURCEA(1'b0), .SOURCEB(1'b0));
  always @(negedge clk) begin
    wrong <= found != wanted;
    dice = $random;
    a <= dice[0] ? corner(dice[4:2]) : $random;
    b <= dice[1] ? corner(dice[7:5]) : $random;
    {{signed_a, signed_b}} <= dice[9:8];
  end
endmodule
{model}"""


def changed(old: str, new: str) -> str:
    """The models with a fault."""
    model = CELLS.read_text()
    assert old in model
    return model.replace(old, new)


def test_products(wrong_vectors):
    assert wrong_vectors(products(CELLS.read_text()), VECTORS) == 0


def test_another_product_is_noticed(wrong_vectors):
    """The negative control of the test above."""
    model = changed("SIGNEDB & b[17]", "SIGNEDA & b[17]")
    assert wrong_vectors(products(model), VECTORS) > 1000


# --- DP16KD -------------------------------------------------------------------------------------

NARROW = (1, 2, 4, 9, 18)
MODES = ("NORMAL", "WRITETHROUGH", "READBEFOREWRITE")
PAIRS = [*itertools.product(NARROW, NARROW), (36, 36), *((36, w) for w in NARROW)]
PAIRS += [(w, 36) for w in NARROW]
LINE = 9  # bits; the last of each is out of reach at widths 1, 2 and 4


def contents(seed: int) -> tuple[str, str]:
    """Bits of a whole memory, and the parameters that hold them: 18 bits in 20."""
    drawn = random.Random(seed)
    words = [drawn.getrandbits(18) for _ in range(1024)]
    bits = sum(word << 18 * i for i, word in enumerate(words))
    padded = [word | drawn.getrandbits(2) << 18 for word in words]
    parameters = (
        f".INITVAL_{i:02X}(320'h{sum(v << 20 * j for j, v in enumerate(padded[16 * i :][:16])):x})"
        for i in range(64)
    )
    return f"18432'h{bits:x}", ", ".join(parameters)


def port(name: str) -> str:
    """Pins of a port."""
    low = name.lower()
    return (
        f"{pins(f'DI{name}', 18, f'di{low}')}, {pins(f'AD{name}', 14, f'ad{low}')}, "
        f"{pins(f'DO{name}', 18, f'do{low}')}, .CLK{name}(clk), .CE{name}(en_{low}), "
        f".OCE{name}(1'b1), .WE{name}(we_{low}), .RST{name}(rst_{low}), "
        f".CS{name}0(1'b0), .CS{name}1(1'b0), .CS{name}2(1'b0)"
    )


def process(name: str) -> str:
    """A port of a generic memory: its bits one by one, output and all."""
    p, low = name, name.lower()
    return f"""
  reg [35:0] old_{low}, new_{low}, q_{low} = 0;
  integer i_{low};
  reg known_{low} = 1;
  always @(posedge clk) begin
    if (rst_{low} || en_{low}) known_{low} = 1;
    for (i_{low} = 0; i_{low} < W{p}; i_{low} = i_{low} + 1) begin
      old_{low}[i_{low}] = bits[index(W{p}, ad{low}, i_{low})];
      if (en_{low} && we_{low} && !rst_{low} && (W{p} < 18 || ad{low}[i_{low} / 9]))
        bits[index(W{p}, ad{low}, i_{low})] = data_{low}[i_{low}];
      new_{low}[i_{low}] = bits[index(W{p}, ad{low}, i_{low})];
    end
    if (rst_{low}) q_{low} <= 0;
    else if (en_{low} && !we_{low}) q_{low} <= old_{low};
    else if (en_{low} && M{p} == "READBEFOREWRITE" && W{p} >= 9) q_{low} <= old_{low};
    else if (en_{low} && M{p} == "READBEFOREWRITE") known_{low} = 0;
    else if (en_{low} && M{p} == "WRITETHROUGH") q_{low} <= new_{low};
  end"""


def memories(model: str) -> str:
    """Every pair of widths side by side; what one port writes the other leaves alone.

    Half of the addresses are among few, so that reads meet earlier writes.
    """
    bits, parameters = contents(1)
    cells = "\n".join(
        f'  pair #({a}, {b}, "{MODES[(i + j) % 3]}", "{MODES[(i + 2 * j) % 3]}") '
        f"pair_{a}_{b}(clk, ada, adb, d, dice, wrongs[{k}]);"
        for k, (a, b) in enumerate(PAIRS)
        for i, j in [((*NARROW, 36).index(a), (*NARROW, 36).index(b))]
    )
    return f"""
module bench(input clk, output wrong);
  reg [13:0] ada = 0, adb = 0;
  reg [35:0] d = 0;
  reg [31:0] dice = 0;
  wire [{len(PAIRS) - 1}:0] wrongs;
  assign wrong = |wrongs;
  always @(negedge clk) begin
    ada <= $random & ($random % 2 ? 14'h3fff : 14'h7f);
    adb <= $random & ($random % 2 ? 14'h3fff : 14'h7f);
    d <= {{$random, $random}};
    dice <= $random;
  end
{cells}
endmodule

module pair #(
    parameter WA = 18, parameter WB = 18, parameter MA = "NORMAL", parameter MB = "NORMAL"
) (input clk, input [13:0] ada, input [13:0] adb, input [35:0] d, input [31:0] dice,
    output reg wrong);
  wire [17:0] dia = d[17:0], dib = d[35:18], doa, dob;
  wire [35:0] data_a = d, data_b = d >> 18;
  wire we_a = dice[0] || WA == 36, we_b = dice[1] && WA < 36 && WB < 36;
  wire rst_a = dice[6:2] == 0, rst_b = dice[11:7] == 0;
  wire en_a = dice[13:12] != 0;
  wire en_b = dice[15:14] != 0 && !(ada[13:5] == adb[13:5] && (en_a && we_a || we_b));
  DP16KD #(.DATA_WIDTH_A(WA), .DATA_WIDTH_B(WB), .WRITEMODE_A(MA), .WRITEMODE_B(MB),
    {parameters}) cell_0({port("A")}, {port("B")});

  reg [18431:0] bits = {bits};
  function integer index(input integer width, input [13:0] address, input integer i);
    index = width == 36 ? 36 * address[13:5] + i
      : width == 18 ? 18 * address[13:4] + i
      : width == 9 ? 9 * address[13:3] + i
      : width == 4 ? {LINE} * address[13:3] + 4 * address[2] + i
      : width == 2 ? {LINE} * address[13:3] + 2 * address[2:1] + i
      : {LINE} * address[13:3] + address[2:0];
  endfunction
{process("A")}
{process("B")}

  wire [35:0] read = {{dob, doa}};
  always @(negedge clk)
    wrong <= WB == 36 ? read != q_b
      : (WA < 36 && known_a && doa != q_a[17:0]) || (known_b && dob != q_b[17:0]);
endmodule
{model}"""


CYCLES = VECTORS // 20  # of 36 memories


@pytest.mark.deep
def test_memories(wrong_vectors):
    assert wrong_vectors(memories(CELLS.read_text()), CYCLES) == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("{9{address[1]}}", "{9{address[0]}}", marks=pytest.mark.deep),
        pytest.param("contents[40*i+20+:18]", "contents[40*i+18+:18]", marks=pytest.mark.slow),
    ],
)
def test_another_memory_is_noticed(wrong_vectors, old, new):
    """Negative controls of the test above."""
    assert wrong_vectors(memories(changed(old, new)), 1000) > 10


# --- what has no model --------------------------------------------------------------------------


def icarus(folder, bench: str) -> "subprocess.CompletedProcess[str]":
    """What a bench prints."""
    (folder / "bench.v").write_text(bench)
    compiler = ("iverilog", "-g2005", "-s", "bench", "-o", "bench.vvp", "bench.v", str(CELLS))
    compiled = subprocess.run(compiler, cwd=folder, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr
    return subprocess.run(
        ("vvp", "-n", "bench.vvp"), cwd=folder, capture_output=True, text=True, check=False
    )


def one_cell(
    parameters: str = "", clock_b: str = "clk", select: int = 0, edges: int = 1, **values: int
) -> str:
    """A memory at whose first edge port A writes 3; at later edges both ports read its address."""
    names = ("en_a", "we_a", "rst_a", "en_b", "we_b", "rst_b")
    known = {"en_a": 1, "we_a": 1, "en_b": 1, "dia": 3, "dib": 5, "ada": 3, "adb": 3, **values}
    signals = "".join(f"  reg {name} = {known.get(name, 0)};\n" for name in names)
    buses = "".join(f"  reg [17:0] {name} = {known[name]};\n" for name in ("dia", "dib"))
    buses += "".join(f"  reg [13:0] {name} = {known[name]};\n" for name in ("ada", "adb"))
    port_a = port("A").replace(".CSA0(1'b0)", f".CSA0(1'b{select})")
    port_b = port("B").replace(".CLKB(clk)", f".CLKB({clock_b})")
    return f"""
module bench;
  reg clk = 0;
{signals}{buses}  wire [17:0] doa, dob;
  DP16KD #({parameters}) cell_0({port_a}, {port_b});
  initial begin
    repeat ({edges}) begin #5 clk = 1; #5 clk = 0; we_a = 0; we_b = 0; en_b = 1; end
    $display("%b %b", doa, dob);
    $finish;
  end
endmodule
"""


@pytest.mark.needs("iverilog")
@pytest.mark.parametrize(
    ("bench", "sentence"),
    [
        (one_cell('.REGMODE_A("OUTREG")'), "DP16KD: not modelled: output registers"),
        (one_cell('.REGMODE_B("OUTREG")'), "DP16KD: not modelled: output registers"),
        (one_cell('.RESETMODE("ASYNC")', rst_b=1), "DP16KD: not modelled: asynchronous reset"),
        (one_cell('.CSDECODE_A("0b001")'), "DP16KD: not modelled: selection by CS"),
        (one_cell(select=1), "DP16KD: not modelled: selection by CS"),
        (one_cell(".DATA_WIDTH_A(8)"), "DP16KD: not modelled: a width of port A"),
        (one_cell(".DATA_WIDTH_B(72)"), "DP16KD: not modelled: a width of port B"),
        (one_cell('.WRITEMODE_B("OTHER")'), "DP16KD: not modelled: a mode of writing"),
        (
            one_cell('.INIT_DATA("DYNAMIC")'),
            "DP16KD: not modelled: contents that change at run time",
        ),
        (one_cell('.CLKBMUX("INV")'), "DP16KD: not modelled: two edges"),
        (one_cell(clock_b="~clk"), "DP16KD: not modelled: two clocks"),
        (one_cell(".DATA_WIDTH_A(36)", we_a=0), "DP16KD: not modelled: reading 36 bits by port A"),
        (one_cell(".DATA_WIDTH_B(36)", we_b=1), "DP16KD: not modelled: writing 36 bits by port B"),
        *(
            (
                f'module bench; MULT18X18D #(.REG_{name}_CLK("CLK0")) cell_0(); endmodule',
                "MULT18X18D: registers are not modelled",
            )
            for name in ("INPUTA", "INPUTB", "INPUTC", "PIPELINE", "OUTPUT")
        ),
        *(
            (
                f"module bench; MULT18X18D cell_0(.{pin}(1'b1)); endmodule",
                "MULT18X18D: operands of a shift chain are not modelled",
            )
            for pin in ("SOURCEA", "SOURCEB")
        ),
    ],
)
def test_modes_without_a_model_end_the_simulation(tmp_path, bench, sentence):
    done = icarus(tmp_path, bench)
    assert done.returncode != 0
    assert sentence in done.stdout.splitlines()


@pytest.mark.needs("iverilog")
@pytest.mark.parametrize(
    ("bench", "printed"),
    [
        (
            one_cell('.DATA_WIDTH_A(4), .WRITEMODE_A("READBEFOREWRITE")', adb=0x13),
            f"{0:014b}xxxx {0:018b}",
        ),
        (one_cell(adb=0x13), f"{0:018b} {0:018b}"),
        (one_cell(ada=1), f"{0:018b} {0:09b}{'x' * 9}"),
        (one_cell(ada=1, edges=2), f"{3:018b} {3:018b}"),
        (one_cell(ada=1, we_b=1, edges=2), f"{0:09b}{'x' * 9} {0:09b}{'x' * 9}"),
    ],
)
def test_what_meets_is_unknown(tmp_path, bench, printed):
    """One port writes what the other reads, or writes, at that edge, or what it reads itself."""
    done = icarus(tmp_path, bench)
    assert (done.returncode, done.stdout.strip()) == (0, printed)
