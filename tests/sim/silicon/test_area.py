"""Area and critical path: synthesis, memories, buffers, timing, and what must not pass silently."""

import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.units import UNITS
from nibbleforge.sim.silicon import synthesis
from nibbleforge.sim.silicon.area import Spread, area
from nibbleforge.sim.silicon.liberty import read_library
from nibbleforge.sim.silicon.memories import (
    TECH,
    Memory,
    MemoryPrice,
    MemoryTable,
    box_memories,
    find_table,
    read_table,
)
from nibbleforge.sim.silicon.netlist import MOST_PINS, to_verilog
from nibbleforge.sim.silicon.synthesis import YosysError, library_map, permuted, synthesise
from nibbleforge.sim.silicon.timing import critical_path
from nibbleforge.sim.tools import toolchain
from nibbleforge.sim.tools.workers import Workers

TINY = Path(__file__).with_name("tiny.lib")
DENSE = UNITS["dense"].presets["tiny"]
(DENSE_ARRAY,) = UNITS["dense"].designs(DENSE)

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


@pytest.fixture
def flow(tmp_path):
    """The steps of the flow on a Verilog module ``top``."""
    with Workers(1, tmp_path) as workers:

        class Flow:
            def gates(self, verilog, memories="table"):
                return synthesise(verilog, "top", memories, workers, tmp_path)

            def cells(self, verilog, library, seed=0):
                gates = self.gates(verilog)
                return gates, library_map(gates, read_library(library), seed, workers, tmp_path)

            def path(self, verilog, access_ns=0.0):
                gates, mapped = self.cells(verilog, TINY)
                memories = {memory.box: (memory, access_ns) for memory in gates.memories}
                library = read_library(TINY)
                return critical_path(mapped.netlist, library, memories, workers, tmp_path)

            def yosys(self, *commands):
                synthesis.run_yosys(commands, workers, tmp_path)

        yield Flow()


@pytest.fixture
def changed(tmp_path):
    """``changed(old, new)``: the tiny library with something replaced."""

    def write(old, new):
        text = TINY.read_text()
        assert old in text
        path = tmp_path / "changed library.lib"  # a space must not matter
        path.write_text(text.replace(old, new))
        return path

    return write


# --- the whole ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report():
    return area(DENSE_ARRAY, DENSE, TINY, runs=3, timing=False)


def test_every_module_counts_as_often_as_it_is_instantiated(report):
    rows, columns = DENSE.rows, DENSE.columns
    counts = {module.name: module.instances for module in report.modules}
    assert counts == {
        "dense_array": 1,
        "dense_array_dense_row": rows,
        "dense_array_multiply_accumulate": rows * columns,
        "dense_array_row_drain": 1,
        "dense_array_stream_register_w20": 1,
        "dense_array_stream_register_w25": 1,
    }
    assert report.modules[-1].name == "dense_array"
    assert report.transistors == sum(m.instances * m.transistors for m in report.modules)
    for run in range(3):
        parts = [m.instances * (m.area.values[run] + m.buffers.values[run]) for m in report.modules]
        assert report.area.values[run] == pytest.approx(sum(parts))


def test_runs_differ_and_repeat(report):
    assert report.seeds == (0, 1, 2)
    assert len(set(report.area.values)) > 1
    again = area(DENSE_ARRAY, DENSE, TINY, runs=2, timing=False)
    assert again.area.values == report.area.values[:2]


def test_result_file(report):
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["config_hash"] == DENSE.config_hash
    assert list(content["libraries"]) == ["tiny"]
    result = content["libraries"]["tiny"]
    assert result["sha256"] == read_library(TINY).sha256
    assert [run["seed"] for run in result["runs"]] == [0, 1, 2]
    assert result["area"]["median"] == report.area.median
    assert result["unit"] == "units of the library"
    assert result["critical_path_ns"] is None


def test_spread():
    spread = Spread((3.0, 1.0, 2.0, 7.0))
    assert (spread.least, spread.median, spread.most) == (1.0, 2.5, 7.0)


def test_without_a_library_there_are_transistors(monkeypatch, report, tmp_path):
    monkeypatch.setenv("NIBBLEFORGE_LIBERTY", str(tmp_path / "missing"))
    bare = area(DENSE_ARRAY, DENSE)
    assert (bare.library, bare.area, bare.period, bare.path) == (None, None, None, None)
    assert bare.transistors == report.transistors
    assert bare.notes == (f"No areas: {toolchain.TOOLS['liberty'].missing}",)
    assert bare.to_json()["libraries"] == {}


def test_without_opensta_there_is_no_path(monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda *names, **options: None)
    found = area(DENSE_ARRAY, DENSE, TINY, runs=1)
    assert found.period is None
    assert found.notes == (f"No critical path: {toolchain.TOOLS['sta'].missing}",)


def test_without_a_buffer_there_is_no_path(changed, monkeypatch):
    """OpenSTA is not started, so this needs none that works."""
    opensta = replace(toolchain.TOOLS["sta"], finder=lambda: toolchain.Found(Path("sta"), "0"))
    monkeypatch.setitem(toolchain.TOOLS, "sta", opensta)
    found = area(DENSE_ARRAY, DENSE, changed('function : "A"', 'function : "A A"'), runs=1)
    assert found.notes == ("No critical path: the library tiny has no buffer.",)
    assert found.buffers.values == (0,)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"runs": 0}, "the number of runs must be at least 1, got 0."),
        ({"memories": "sram"}, "memories must be table or registers, got 'sram'."),
    ],
)
def test_illegal_options(options, sentence):
    with pytest.raises(UserError) as error:
        area(DENSE_ARRAY, DENSE, **options)
    assert str(error.value) == sentence


@pytest.mark.needs("sta", "osu018")
@pytest.mark.slow
def test_arrays_of_256_elements():
    for unit in ("dense", "dense2k"):
        config = UNITS[unit].presets["paper"]
        (design,) = UNITS[unit].designs(config)
        found = area(design, config, runs=5)
        assert found.unit == "square micrometres"
        assert (found.area.most - found.area.least) / found.area.median < 0.1
        assert 2 < found.period.median < 10
        assert found.buffers.median < 0.05 * found.area.median


@pytest.mark.needs("osu018")
@pytest.mark.parametrize(("bits", "expected"), [(8, 19_842), (4, 13_036)])
def test_multiply_accumulate_as_in_the_study(flow, bits, expected):
    """Areas of bare processing elements, found with another front end."""
    addend = "product" if bits == 8 else "(high ? product <<< 4 : product)"
    verilog = f"""
    module top(input clk, clr, high, input signed [{bits - 1}:0] x, input signed [3:0] w,
               output reg signed [24:0] acc = 0);
      wire signed [{bits + 3}:0] product = x * w;
      wire signed [11:0] addend = {addend};
      always @(posedge clk) acc <= (clr ? 25'sd0 : acc) + addend;
    endmodule
    """
    _, mapped = flow.cells(verilog, toolchain.require("liberty").path)
    assert mapped.areas["top"] == pytest.approx(expected, rel=0.06)


# --- synthesis ------------------------------------------------------------------------------------


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


def test_cells_without_area_are_refused(flow, changed):
    with pytest.raises(UserError) as error:
        flow.cells(FLIP_FLOP, changed("area : 6;", "area : 0;"))
    assert str(error.value) == (
        "the library tiny gives no area for DFF, which the mapped netlist uses: its area would be "
        "too small."
    )


def test_cells_that_the_library_lacks_are_named(flow, changed):
    with pytest.raises(UserError) as error:
        synthesis._check_cells({"top": Counter({"$_TBUF_": 2, "INV": 1})}, read_library(TINY))
    assert str(error.value) == "the library tiny has no cell for $_TBUF_."
    with pytest.raises(UserError, match=r"cannot map to .* flip-flops are not supported"):
        flow.cells(FLIP_FLOP, changed('clocked_on : "CK"', 'clocked_on : "!CK & D"'))


def test_a_library_that_abc_refuses_is_one_sentence(flow, changed):
    with pytest.raises(UserError) as error:
        flow.cells(FLIP_FLOP, changed("index_1", "index_3"))
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
        flow.cells(FLIP_FLOP, TINY)


# --- memories -------------------------------------------------------------------------------------


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


def memory(words=64, width=8, clocked=(True,), writes=1):
    return Memory("nibbleforge_memory_0", "m", "bank", words, width, clocked, writes, 6)


def test_price():
    price = MemoryPrice(
        kind="k", source="s", fixed=100.0, bit=2.0, read=0.5, write=0.25, address=10.0
    )
    assert price.price(memory()) == 100 + 512 * 2.5 + 60
    assert price.price(memory(clocked=(True, False), writes=3)) == 100 + 512 * 3.5 + 60


def test_the_first_kind_that_suits_is_taken():
    table = read_table(TECH / "osu018.toml")
    assert table.kind_of(memory()).kind == "latch array"
    assert table.kind_of(memory(words=256)).kind == "sram"
    assert table.kind_of(memory(words=256, clocked=(False,))).kind == "latch array"
    assert table.kind_of(memory(words=256, clocked=(True, True))).kind == "latch array"
    assert table.kind_of(memory(words=256, writes=2)).kind == "latch array"
    small = MemoryTable(library="l", unit="u", memory=[table.memory[0]])
    with pytest.raises(UserError) as error:
        small.kind_of(memory())
    assert str(error.value) == (
        "no kind in the memory table for l suits bank of m: 64 x 8 bits, 1 clocked read, "
        "1 write ports."
    )


def test_tables_that_come_along():
    for path in TECH.glob("*.toml"):
        table = read_table(path)
        assert find_table(table.library) == table
        assert all(entry.source for entry in table.memory)
    assert find_table("unheard of") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("library = ", "Invalid value"),
        ('library = "l"\nunit = "u"\nmemory = []', "at least 1 item"),
        ('library = "l"\nunit = "u"', "memory is required"),
        ('library = "l"\nunit = "u"\n[[memory]]\nkind = "k"\nsource = "s"\nbit = -1.0', "greater"),
    ],
)
def test_what_is_no_table(tmp_path, text, reason):
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(UserError, match=reason) as error:
        read_table(tmp_path / "t.toml")
    assert str(error.value).startswith(f"{tmp_path / 't.toml'} is not a memory table: ")


def test_a_table_for_another_library(tmp_path):
    with pytest.raises(UserError) as error:
        area(DENSE_ARRAY, DENSE, TINY, table=TECH / "osu018.toml")
    assert str(error.value) == (
        f"{TECH / 'osu018.toml'} is for the library osu018_stdcells, not tiny."
    )


# --- buffers and Verilog --------------------------------------------------------------------------

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
    _, mapped = flow.cells(FANOUT.format(n=n, last=n - 1), TINY)
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


def test_buffers_change_no_function(flow, tmp_path):
    source = FANOUT.format(n=40, last=39)
    _, mapped = flow.cells(source, TINY)
    assert mapped.buffers["leaf"] == 3
    verilog, ports = to_verilog(mapped.netlist, read_library(TINY))
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
    _, mapped = flow.cells(verilog, TINY)
    assert mapped.buffers == {"top": 0}


def test_names_are_plain_and_distinct(flow):
    verilog = (
        r"module top(input clk, a_0, input [1:0] \a , output reg \b$c.d , b_c_d);"
        r"always @(posedge clk) begin \b$c.d <= a_0 ^ \a [0]; b_c_d <= a_0 & \a [1]; end endmodule"
    )
    _, mapped = flow.cells(verilog, TINY)
    text, ports = to_verilog(mapped.netlist, read_library(TINY))
    assert len(ports) == 6
    assert all(re.fullmatch(r"\w+", port) for port in ports)
    names = re.findall(r"^(?:input|output|wire) (\w+);|^[A-Z]\w* (\w+) \(", text, re.MULTILINE)
    flat = [first or second for first, second in names]
    assert len(flat) == len(set(flat))


def test_constants_are_tied(flow):
    _, mapped = flow.cells("module top(output [1:0] y); assign y = 2; endmodule", TINY)
    text, _ = to_verilog(mapped.netlist, read_library(TINY))
    assert "assign y_0 = 1'b0;" in text
    assert "assign y_1 = 1'b1;" in text
    assert mapped.areas == {"top": 0}


# --- timing ---------------------------------------------------------------------------------------

ROUND = 0.1  # ns; delays of the tiny library grow by 0.01 with every pin


@pytest.mark.needs("sta")
def test_path_between_registers(flow):
    verilog = (
        "module top(input clk, d, output q); reg r, s; assign q = s;"
        "always @(posedge clk) begin r <= d; s <= ~r; end endmodule"
    )
    path = flow.path(verilog)
    assert path.ns == pytest.approx(0.5 + 1 + 0.25, abs=ROUND)
    assert (path.start, path.end) == ("r_reg", "s_reg")


@pytest.mark.needs("sta")
def test_path_between_ports(flow):
    path = flow.path("module top(input a, output y); assign y = ~a; endmodule")
    assert path.ns == pytest.approx(1, abs=ROUND)
    assert (path.start, path.end) == ("a", "y")


@pytest.mark.needs("sta")
def test_no_path(flow):
    assert flow.path("module top(output y); assign y = 1; endmodule") is None


@pytest.mark.needs("sta")
@pytest.mark.parametrize(("access", "expected"), [(5.0, 5.0), (0.0, 1.75)])
def test_memories_have_their_access_time(flow, access, expected):
    """Unclocked reads take the access time, clocked ones start with it; or registers decide."""
    path = flow.path(MEMORY, access)
    if access:
        assert path.ns == pytest.approx(access + 1.25, abs=ROUND)
        assert path.end.startswith("x_")
    else:
        assert path.ns < expected + ROUND


@pytest.mark.needs("sta")
def test_libraries_that_opensta_refuses(flow, changed, monkeypatch):
    library = changed("slew_lower_threshold_pct_rise : 20;", "")
    monkeypatch.setattr(f"{__name__}.TINY", library)
    with pytest.raises(UserError) as error:
        flow.path(FLIP_FLOP)
    assert str(error.value).startswith("OpenSTA cannot find the critical path with tiny: ")


# --- Liberty --------------------------------------------------------------------------------------


def test_cells_of_a_library():
    library = read_library(TINY)
    assert library.name == "tiny"
    assert {name: cell.area for name, cell in library.cells.items()} == {
        "INV": 1.5,
        "BUF": 2,
        "NAND2": 2,
        "NOR2": 2.5,
        "DFF": 6,
    }
    assert library.buffer.name == "BUF"
    assert library.cells["INV"].buffer is None
    assert library.cells["DFF"].pins["CK"].clock
    assert not library.cells["DFF"].pins["D"].clock


def full_adder(total="((A^B)^C)", carry="(((A B)+(B C))+(C A))"):
    inputs = "".join(f"pin ({name}) {{ direction : input; }}\n" for name in "ABC")
    outputs = "".join(
        f'pin ({name}) {{ direction : output; function : "{function}"; }}\n'
        for name, function in (("S", total), ("K", carry))
    )
    return f"cell (ADDER) {{ area : 9\n{inputs}{outputs} }}\n"


@pytest.mark.parametrize(
    ("functions", "found"),
    [
        ({}, True),
        ({"total": "A ^ B ^ C", "carry": "(A*B)|(C*(A^B))"}, True),
        ({"total": "(A*B*C)+(A*!B*!C)+(!A*B*!C)+(!A*!B*C)"}, True),
        ({"total": "(A^B)"}, False),
        ({"carry": "(A+B+C)"}, False),
        ({"total": "A'^B^C"}, False),
    ],
)
def test_a_full_adder_is_known_by_what_it_does(changed, functions, found):
    head = "cell (INV)" if "cell (INV)" in TINY.read_text() else 'cell ("INV")'
    library = read_library(changed(head, full_adder(**functions) + head))
    assert (library.full_adder is not None) == found
    if found:
        assert library.cells["ADDER"].full_adder == (["A", "B", "C"], "S", "K")


def test_adders_of_full_adders(changed, report):
    head = "cell (INV)" if "cell (INV)" in TINY.read_text() else 'cell ("INV")'
    path = changed(head, full_adder() + head)
    found = area(DENSE_ARRAY, DENSE, path, runs=1, timing=False, full_adders=True)
    assert found.area.median < area(DENSE_ARRAY, DENSE, path, runs=1, timing=False).area.median
    with pytest.raises(UserError, match=r"tiny\.lib has no full adder with an area\.$"):
        area(DENSE_ARRAY, DENSE, TINY, runs=1, timing=False, full_adders=True)


def test_the_strongest_small_buffer_is_taken(tmp_path):
    def cell(name, area, limit, extra=""):
        return (
            f'cell ("{name}") {{ area : {area} {extra}\n pin (A) {{ direction : input }}\n'
            f'pin (Y) {{ direction : output; max_capacitance : {limit}; function : "(A)"; }} }}\n'
        )

    cells = [cell("x1", 2, 1), cell("x2", 4, 2), cell("x4", 5, 4), cell("free", 0, 9)]
    cells.append(cell("no", 2, 9, "\n dont_use : true;"))
    random.Random(1).shuffle(cells)
    path = tmp_path / "l.lib"
    head = "// comment\nlibrary (some) { /* } */ voltage_map (VDD, 1.8);\n"
    path.write_text(head + "".join(cells) + "}")
    library = read_library(path)
    assert library.buffer.name == "x2"
    assert library.cells["x1"].area == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it does not consist of one library group"),
        ("module top; endmodule", "line 1 is neither attribute nor group"),
        ("library (a) {\n cell (b) {", "it ends within cell b"),
        ("library (a) {} }", "line 1 closes what was not opened"),
        ("library (a) {\n values (1, 2\n", "line 2 leaves a parenthesis open"),
        ("library (a) { cell (b) { area : big; } }", "area of cell b is 'big'"),
        ("library (a) {} library (b) {}", "it does not consist of one library group"),
    ],
)
def test_what_is_no_liberty(tmp_path, text, reason):
    path = tmp_path / "l.lib"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_library(path)
    assert str(error.value) == f"{path} is not a Liberty library: {reason}."


def test_a_library_without_cells(tmp_path):
    (tmp_path / "l.lib").write_text("library (a) { }")
    with pytest.raises(UserError, match="it has no cells"):
        read_library(tmp_path / "l.lib")
    with pytest.raises(UserError, match="No such file"):
        read_library(tmp_path / "m.lib")


@pytest.mark.needs("osu018")
def test_the_installed_library_has_a_cell_without_area():
    library = read_library(toolchain.require("liberty").path)
    assert library.cells["LATCH"].area == 0
    assert library.buffer.name == "BUFX4"
