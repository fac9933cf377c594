"""The PLL of a board: its dividers by the data sheet, and a board's top module behind a model."""

import re
import subprocess
from fractions import Fraction

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.soc.registers import IDENTIFICATION
from nibbleforge.golden.soc.unit import registers
from nibbleforge.golden.units import unit
from nibbleforge.hw.soc.board import board_verilog
from nibbleforge.hw.soc.generate import generate_core
from nibbleforge.hw.soc.pll import pll
from nibbleforge.hw.soc.uart import UartConfig

MHZ = 1_000_000
BOARD = 25 * MHZ
BAUD = 5 * MHZ
BIT_NS = 1e9 / BAUD

TIMES = "`timescale 1ns/1fs"

# Frequencies are those of the data sheet: CLKOP closes the loop. What is illegal is printed.
MODEL = """
module EHXPLLL #(
    parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 8, CLKOS_DIV = 8,
    parameter CLKOP_CPHASE = 0, CLKOS_CPHASE = 0,
    parameter CLKOP_ENABLE = "DISABLED", CLKOS_ENABLE = "DISABLED", FEEDBK_PATH = "NONE"
) (
    input CLKI, CLKFB, RST, STDBY, PLLWAKESYNC, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP,
    input PHASELOADREG, ENCLKOP, ENCLKOS,
    output reg CLKOP, output reg CLKOS, output reg LOCK
);
  real edge_ns, detector, oscillator;
  initial begin
    {CLKOP, CLKOS, LOCK} = 0;
    @(posedge CLKI) edge_ns = $realtime;
    @(posedge CLKI) detector = ($realtime - edge_ns) * CLKI_DIV;
    oscillator = detector / (CLKFB_DIV * CLKOP_DIV);
    if (detector > 100 || oscillator < 1.25 || oscillator > 2.5) $display("illegal frequency");
    if (CLKOP_ENABLE != "ENABLED" || CLKOS_ENABLE != "ENABLED" || FEEDBK_PATH != "CLKOP")
      $display("open loop");
    fork
      forever #(oscillator * CLKOP_DIV / 2) CLKOP = !CLKOP;
      forever #(oscillator * CLKOS_DIV / 2) CLKOS = !CLKOS;
      #5000 LOCK = 1;
    join
  end
  always @(CLKOP) #0.01 if (CLKFB !== CLKOP || RST || STDBY) $display("open loop");
endmodule
"""

# Bytes at the pins in real time. What comes back is printed.
BENCH = """
module bench;
  reg clk = 0, rx = 1;
  wire tx;
  mine_board board(clk, rx, tx);
  always #20 clk = !clk;
  integer i, j;
  task send(input [7:0] value);
    reg [9:0] bits;
    begin
      bits = {1'b1, value, 1'b0};
      for (i = 0; i < 10; i = i + 1) #(@BIT) rx = bits[i];
    end
  endtask
  reg [9:0] got;
  always @(negedge tx) begin
    #(@BIT / 2);
    for (j = 0; j < 10; j = j + 1) begin
      got[j] = tx;
      if (j < 9) #(@BIT);
    end
    if (got[9] && !got[0]) $display("%0d", got[8:1]);
    else $display("a byte without start or stop bit");
  end
  initial begin
    #10000;
@STEPS
    $finish;
  end
endmodule
"""


def parameters(lines: list[str]) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"\.(\w+)\((\d+)\)", "\n".join(lines))}


SOME = [(BOARD, wanted) for wanted in range(BOARD, 75 * MHZ + 1, 6_250_000)]


@pytest.mark.parametrize(
    ("source", "wanted"),
    [*SOME, (BOARD, 3_125_000), (BOARD, 400 * MHZ), (12 * MHZ, 48 * MHZ), (100 * MHZ, BOARD)],
)
def test_what_the_data_sheet_allows(source, wanted):
    found = parameters(pll(source, wanted).verilog("clk", "clock", "locked"))
    detector = Fraction(source, found["CLKI_DIV"])
    oscillator = detector * found["CLKFB_DIV"] * found["CLKOP_DIV"]
    assert 10 * MHZ <= detector <= 400 * MHZ
    assert 400 * MHZ <= oscillator <= 800 * MHZ
    assert oscillator / found["CLKOS_DIV"] == wanted
    dividers = ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV", "CLKOS_DIV")
    assert all(1 <= found[name] <= 128 for name in dividers)


@pytest.mark.parametrize(
    ("frequency", "near"),
    [
        (66 * MHZ, "65.625 MHz and 66.25 MHz"),
        (401 * MHZ, "400 MHz"),
        (3 * MHZ, "3.125 MHz"),
        (50_000_001, "50 MHz and 51.25 MHz"),
    ],
)
def test_frequencies_that_it_does_not_make(frequency, near):
    with pytest.raises(UserError, match=rf"^the PLL makes no .* of .* 25 MHz; nearest: {near}\.$"):
        pll(BOARD, frequency)


def answers(folder, frequency: int, line_clock: int, steps: list[str]) -> list[str]:
    """What a board with a small core prints, its clock made by a PLL, the bench in real time."""
    owner = unit("core/dense2k")
    config = owner.presets["tiny"]
    (design,) = owner.designs(config)
    core = generate_core(design, config, "dense2k", name="mine")
    line = UartConfig(clock=line_clock, baud=BAUD)
    _, board = board_verilog(core.name, design, config, line, pll=pll(BOARD, frequency))
    bench = BENCH.replace("@STEPS", "\n".join(steps)).replace("@BIT", str(BIT_NS))
    (folder / "bench.v").write_text("\n".join([TIMES, core.verilog, board, MODEL, bench]))
    compiler = ("iverilog", "-g2005", "-Wall", "-s", "bench", "-o", "bench.vvp", "bench.v")
    done = subprocess.run(compiler, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    run = ("vvp", "-n", "bench.vvp")
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True)
    return [text for text in done.stdout.splitlines() if "$finish" not in text]


def said(*data: int) -> list[str]:
    """Steps of a bench: bytes sent, and time for the answer."""
    return [*(f"    send({byte});" for byte in data), f"    #({BIT_NS * 80});"]


@pytest.mark.needs("iverilog")
@pytest.mark.parametrize("frequency", [31_250_000, 50 * MHZ, 65_625_000])
def test_a_board_behind_it(tmp_path, frequency):
    """Bits of the serial line have their time; a PLL that loses its lock resets the core."""
    owner = unit("core/dense2k")
    config = owner.presets["tiny"]
    (design,) = owner.designs(config)
    known = registers(design.inner, config)
    setting = next(register for register in known.registers if register.access == "setting")
    changed = setting.value ^ 1
    address = setting.offset.to_bytes(2, "little")
    reading = said(*b"R", *address)
    unlock = ["    force board.pll.LOCK = 0;", "    #1000;", "    release board.pll.LOCK;"]
    steps = [
        *said(*b"R\0\0"),
        *said(*b"W", *address, *changed.to_bytes(4, "little")),
        *reading,
        *[*unlock, "    board.pll.LOCK = 1;", "    #1000;"],
        *reading,
    ]
    wanted = [
        *(0, *IDENTIFICATION.to_bytes(4, "little")),
        0,
        *(0, *changed.to_bytes(4, "little")),
        *(0, *setting.value.to_bytes(4, "little")),
    ]
    assert known.registers[0].offset == 0
    assert answers(tmp_path, frequency, frequency, steps) == [str(byte) for byte in wanted]


@pytest.mark.needs("iverilog")
def test_a_line_for_another_clock_is_noticed(tmp_path):
    """The negative control of the test above."""
    wanted = [str(byte) for byte in (0, *IDENTIFICATION.to_bytes(4, "little"))]
    assert answers(tmp_path, 50 * MHZ, 50 * MHZ, said(*b"R\0\0")) == wanted
    assert answers(tmp_path, 50 * MHZ, BOARD, said(*b"R\0\0")) != wanted
