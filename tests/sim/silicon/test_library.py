"""Libraries: their files, and which of their cells are taken."""

import gzip
import random
from pathlib import Path

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.tools import toolchain

TINY = Path(__file__).with_name("tiny.lib")
FLIP_FLOP = """cell (LAST) { area : 9; ff (S, N) { clocked_on : "K"; next_state : "I"; }
 pin (I) { direction : input; } pin (K) { direction : input; }
 pin (O) { direction : output; function : "S"; } }
"""


def library(name, *cells):
    return f"library ({name}) {{\n{''.join(cells)}}}\n"


def gate(name, function="!A", area=1):
    return (
        f"cell ({name}) {{ area : {area}; pin (A) {{ direction : input; }} "
        f'pin (Y) {{ direction : output; function : "{function}"; }} }}\n'
    )


def test_cells_of_a_library(tiny):
    assert tiny.name == "tiny"
    assert {name: cell.area for name, cell in tiny.cells.items()} == {
        "INV": 1.5,
        "BUF": 2,
        "NAND2": 2,
        "NOR2": 2.5,
        "DFF": 6,
    }
    assert tiny.buffer.name == "BUF"
    assert tiny.inverter.name == "INV"
    assert tiny.cells["INV"].buffer is None
    assert tiny.cells["DFF"].pins["CK"].clock
    assert not tiny.cells["DFF"].pins["D"].clock
    assert tiny.cells["DFF"].register is False
    assert tiny.passed_over == ()


# --- several files --------------------------------------------------------------------------------


def test_a_library_of_several_files(tmp_path, read):
    one, two = tmp_path / "one.lib", tmp_path / "two.lib.gz"
    one.write_text(library("cells_fast_logic_7", gate("INV")))
    two.write_bytes(gzip.compress(library("cells_fast_registers_7", FLIP_FLOP).encode()))
    found = read(one, two)
    assert found.name == "cells_fast"
    assert list(found.cells) == ["INV", "LAST"]
    assert [file.path for file in found.files] == [one, two]
    assert found.files[0].plain == one
    assert "registers" in found.files[1].plain.read_text()


def test_names_without_a_common_word(tmp_path, read):
    one, two = tmp_path / "one.lib", tmp_path / "two.lib"
    one.write_text(library("first", gate("INV")))
    two.write_text(library("second", FLIP_FLOP))
    assert read(one, two).name == "first"


def test_files_with_the_same_cell(tmp_path, read):
    one, two = tmp_path / "one.lib", tmp_path / "two.lib"
    one.write_text(library("a", gate("INV")))
    two.write_text(library("b", FLIP_FLOP, gate("INV")))
    with pytest.raises(UserError) as error:
        read(one, two)
    assert str(error.value) == f"{one} and {two} both have the cell INV: give one of them."


def test_a_library_without_flip_flop(tmp_path, read):
    path = tmp_path / "one.lib"
    path.write_text(library("a", gate("INV")))
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value) == (
        f"the library {path} has no flip-flop: if it has several files, give --liberty for each."
    )


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (lambda content: content[:-9], "Compressed file ended before the end-of-stream marker"),
        (lambda content: b"library (a) { }", "Not a gzipped file (b'li')"),
        (lambda content: content[:20] + b"\xff" * 20 + content[40:], None),
    ],
)
def test_a_spoilt_gzip_file(tmp_path, read, spoilt, reason):
    path = tmp_path / "l.lib.gz"
    path.write_bytes(spoilt(gzip.compress(TINY.read_bytes())))
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value).startswith(f"{path} is not a whole gzip file: {reason or ''}")
    assert str(error.value).count(".") == str(path).count(".") + 1


# --- which cells ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("area", "stored", "shown", "passed_over"),
    [
        (4, "!D", "N", ("DFF",)),
        (4, "D", "P", ("DFF",)),
        (4, "!D", "P", ()),  # not inverted in all
        (5, "!D", "N", ()),  # dearer with its inverter
    ],
)
def test_registers_with_inverted_outputs(extended, read, area, stored, shown, passed_over):
    cell = f"""cell (DFFN) {{ area : {area};
      ff (N, P) {{ clocked_on : "CK"; next_state : "{stored}"; }}
      pin (D) {{ direction : input; }} pin (CK) {{ direction : input; }}
      pin (QN) {{ direction : output; function : "{shown}"; }} }}
    """
    assert read(extended(cell)).passed_over == passed_over


def test_the_strongest_small_buffer_is_taken(tmp_path, read):
    def cell(name, area, limit, extra=""):
        return (
            f'cell ("{name}") {{ area : {area} {extra}\n pin (A) {{ direction : input }}\n'
            f'pin (Y) {{ direction : output; max_capacitance : {limit}; function : "(A)"; }} }}\n'
        )

    cells = [cell("x1", 2, 1), cell("x2", 4, 2), cell("x4", 5, 4), cell("free", 0, 9)]
    cells.append(cell("no", 2, 9, "\n dont_use : true;"))
    cells.append(FLIP_FLOP)
    random.Random(1).shuffle(cells)
    path = tmp_path / "l.lib"
    head = "// comment\nlibrary (some) { /* } */ voltage_map (VDD, 1.8);\n"
    path.write_text(head + "".join(cells) + "}")
    library = read(path)
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
def test_what_is_no_liberty(tmp_path, read, text, reason):
    path = tmp_path / "l.lib"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value) == f"{path} is not a Liberty library: {reason}."


def test_a_library_without_cells(tmp_path, read):
    (tmp_path / "l.lib").write_text("library (a) { }")
    with pytest.raises(UserError, match="it has no cells"):
        read(tmp_path / "l.lib")
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / "m.lib")


@pytest.mark.needs("osu018")
def test_the_installed_library_has_a_cell_without_area(read):
    library = read(*toolchain.liberty_files())
    assert library.cells["LATCH"].area == 0
    assert library.buffer.name == "BUFX4"
