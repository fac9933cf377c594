"""Area and critical path of whole designs."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.units import UNITS
from nibbleforge.sim.silicon.area import area
from nibbleforge.sim.silicon.prices import TECH
from nibbleforge.sim.silicon.report import Spread
from nibbleforge.sim.tools import toolchain

TINY = Path(__file__).with_name("tiny.lib")
DENSE = UNITS["dense"].presets["tiny"]
(DENSE_ARRAY,) = UNITS["dense"].designs(DENSE)


@pytest.fixture(scope="module")
def report():
    return area(DENSE_ARRAY, DENSE, [TINY], runs=3, timing=False)


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
    again = area(DENSE_ARRAY, DENSE, [TINY], runs=2, timing=False)
    assert again.area.values == report.area.values[:2]


def test_result_file(report):
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["config_hash"] == DENSE.config_hash
    assert list(content["libraries"]) == ["tiny"]
    result = content["libraries"]["tiny"]
    digest = hashlib.sha256(TINY.read_bytes()).hexdigest()
    assert result["files"] == [{"path": str(TINY), "sha256": digest, "modelled": False}]
    assert result["full_adders"] == result["clock_gates"] == {"cells": "none", "number": 0}
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
    found = area(DENSE_ARRAY, DENSE, [TINY], runs=1)
    assert found.period is None
    assert found.notes == (f"No critical path: {toolchain.TOOLS['sta'].missing}",)


def test_without_a_buffer_there_is_no_path(changed, monkeypatch):
    """OpenSTA is not started, so this needs none that works."""
    opensta = replace(toolchain.TOOLS["sta"], finder=lambda: toolchain.Found(Path("sta"), "0"))
    monkeypatch.setitem(toolchain.TOOLS, "sta", opensta)
    found = area(DENSE_ARRAY, DENSE, [changed('function : "A"', 'function : "A A"')], runs=1)
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
def test_multiply_accumulate_as_in_the_study(flow, read, bits, expected):
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
    _, mapped = flow.cells(verilog, read(*toolchain.liberty_files()))
    assert mapped.areas["top"] == pytest.approx(expected, rel=0.06)


def test_a_table_for_another_library(tmp_path):
    with pytest.raises(UserError) as error:
        area(DENSE_ARRAY, DENSE, [TINY], table=TECH / "osu018.toml")
    assert str(error.value) == (
        f"{TECH / 'osu018.toml'} is for the library osu018_stdcells, not tiny."
    )
