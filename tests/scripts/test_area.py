"""``nibbleforge area``: what it shows and writes, every bad input, and Ctrl-C."""

import gzip
import json
from pathlib import Path

import pytest

TINY = Path(__file__).parents[1] / "sim" / "silicon" / "tiny.lib"
DENSE = ("area", "dense", "--preset", "tiny")
QUICK = ("--liberty", TINY, "--runs", 2, "--no-timing")
PATIENCE = 60  # seconds; the machine may be busy


def test_table_and_file(run, tmp_path):
    done = run(*DENSE, *QUICK, "-o", tmp_path / "out")
    assert done.status == 0
    for text in (
        "dense_array_multiply_accumulate",
        "dense_array_dense_row",
        "units of the library, tiny; full adders: none; clock gates: none",
    ):
        assert text in done.out
    assert done.out.splitlines()[-1] == f"results in {tmp_path / 'out' / 'area.json'}"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["area.json"]
    content = json.loads((tmp_path / "out" / "area.json").read_text())
    assert content["unit"] == "dense"
    assert content["seeds"] == [0, 1]
    assert {"pyosys", "sta", "nibbleforge"} <= set(content["versions"])
    (design,) = content["designs"].values()
    runs = design["libraries"]["tiny"]["runs"]
    assert [run["area"] for run in runs] == [run["logic"] + run["buffers"] for run in runs]


def test_a_row_per_design(run):
    done = run("area", "bitmap", "--preset", "tiny", *QUICK)
    totals = done.out[done.out.index("totals") :]
    assert done.status == 0
    assert "bitmap_decoder" in totals
    assert "bitmap_encoder" in totals


def test_without_a_library(run, monkeypatch, tmp_path):
    monkeypatch.setenv("NIBBLEFORGE_LIBERTY", str(tmp_path / "none"))
    done = run(*DENSE, "-o", tmp_path / "out")
    assert done.status == 0
    assert "dense_array (transistors)" in done.out
    (note,) = [line for line in done.out.splitlines() if line.startswith("No areas: ")]
    assert note.endswith("NIBBLEFORGE_LIBERTY.")
    content = json.loads((tmp_path / "out" / "area.json").read_text())
    assert content["designs"]["dense_array"]["libraries"] == {}
    assert content["designs"]["dense_array"]["transistors"] > 10_000


@pytest.mark.deep
def test_memories_both_ways(run, tmp_path):
    table = tmp_path / "table.toml"
    table.write_text(
        'library = "tiny"\nunit = "beans"\n'
        '[[memory]]\nkind = "jar"\nsource = "the grocer"\nbit = 3.0\n'
    )
    sparqle = ("area", "sparqle", "--preset", "tiny", "--liberty", TINY, "--runs", 1, "--no-timing")
    priced = run(*sparqle, "--memory-table", table, "-o", tmp_path / "priced")
    assert priced.status == 0
    assert "(jar)" in priced.out
    assert "(beans, tiny; full" in priced.out
    built = run(*sparqle, "--memories", "registers", "-o", tmp_path / "built")
    assert built.status == 0
    results = {}
    for name in ("priced", "built"):
        content = json.loads((tmp_path / name / "area.json").read_text())
        results[name] = content["designs"]["sparqle_array"]
    memories = results["priced"]["memories"]
    assert memories
    assert all(m["area"] == 3 * m["bits"] for m in memories)
    total = sum(m["instances"] * m["area"] for m in memories)
    assert results["priced"]["libraries"]["tiny"]["memories"] == total
    assert results["built"]["memories"] == []
    assert results["built"]["transistors"] > results["priced"]["transistors"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--runs", 0), "--runs must be at least 1, got 0."),
        (("--memories", "sram"), "--memories must be table or registers, got 'sram'."),
        (("--liberty", "no.lib"), "cannot read no.lib: No such file or directory."),
        (("--liberty", "."), "cannot read .: Is a directory."),
        (("--memory-table", "no.toml"), "cannot read no.toml: No such file or directory."),
        (("--set", "rows=0"), None),
        (("--preset", "huge"), None),
    ],
)
def test_bad_options(refused, options, sentence):
    options = ("--liberty", TINY, *options)
    assert refused(*DENSE, *options, "-o", "out") == sentence or sentence is None


def test_unknown_unit(refused):
    assert refused("area", "sparse").startswith("there is no unit 'sparse'; the units are ")


def test_libraries_of_several_files(refused, tmp_path):
    """What is wrong with one of them is said before anything is synthesised."""
    content = TINY.read_bytes()
    flip_flop = content.index(b"  cell (DFF)")
    files = {
        "logic.lib": content[:flip_flop] + b"}\n",
        "all.lib.gz": gzip.compress(content),
        "half.lib.gz": gzip.compress(content)[:-20],
        "text.lib.gz": content,
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    said = {
        "logic.lib": "the library logic.lib has no flip-flop: if it has several files, give "
        "--liberty for each.",
        "half.lib.gz": "half.lib.gz is not a whole gzip file: Compressed file ended before the "
        "end-of-stream marker was reached.",
        "text.lib.gz": "text.lib.gz is not a whole gzip file: Not a gzipped file (b'/*').",
    }
    for name, sentence in said.items():
        assert refused(*DENSE, "--liberty", name, "-o", "out") == sentence
    both = ("--liberty", "logic.lib", "--liberty", "all.lib.gz")
    assert refused(*DENSE, *both, "-o", "out") == (
        "logic.lib and all.lib.gz both have the cell INV: give one of them."
    )


def test_a_library_that_is_compressed(run, tmp_path):
    (tmp_path / "l.lib.gz").write_bytes(gzip.compress(TINY.read_bytes()))
    done = run(
        "area", "bitmap", "--preset", "tiny", "--liberty", tmp_path / "l.lib.gz", "--runs", 1
    )
    assert done.status == 0
    assert "units of the library, tiny" in done.out


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\x1f\x8b", b"module top; endmodule", b"library ("]
)
def test_what_is_no_liberty(refused, tmp_path, content):
    (tmp_path / "bad.lib").write_bytes(content)
    assert refused(*DENSE, "--liberty", "bad.lib", "-o", "out").startswith(
        "bad.lib is not a Liberty"
    )


def test_cells_without_area(run, tmp_path):
    """Found only in the mapped netlist; progress has been shown by then."""
    (tmp_path / "free.lib").write_text(TINY.read_text().replace("area : 6;", "area : 0;"))
    done = run(*DENSE, "--liberty", tmp_path / "free.lib", "-o", tmp_path / "out")
    assert (done.status, done.out) == (2, "")
    assert "gives no area for DFF" in done.err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("name", ["python", "yosys-abc"])
def test_interrupted(interrupt, name):
    """Neither Yosys nor its ABC outlives the command."""
    command = ("area", "bitmap", "--preset", "fpga", "--liberty", TINY)
    interrupt(lambda comm: comm.startswith(name), *command, patience=PATIENCE)
