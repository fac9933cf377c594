"""``nibbleforge demo``: the main job on the embedded sample."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.dense import cycles
from nibbleforge.golden.reglu.config import RegluConfig
from nibbleforge.golden.units import UNITS
from nibbleforge.sim import demo, demo_brief, demo_ffn
from nibbleforge.sim.tensors.files import Capture, sample_path
from nibbleforge.sim.units.simulate import Simulation, Tensors, prepare
from nibbleforge.tb.scoreboard import Mismatch

ROOT = Path(__file__).parents[2]
EQUAL = "Every beat, event and cycle of the RTL equals golden: "


def rows(text: str, first: str) -> list[list[str]]:
    """Cells of the rows of tables whose first cell is `first`."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    return [cells for cells in lines if cells and cells[0] == first]


@pytest.fixture
def small(tmp_path) -> Capture:
    """A capture of one layer: 33 tokens, 40 features and 34 outputs of the embedded one."""
    sample = Capture.open(sample_path())
    layer = sample.layers[0]
    x, w = sample.activations(layer)[:33, :40], sample.weights(layer)[:34, :40]
    meta = {**sample.meta, "tokens": {**sample.meta["tokens"], "count": 33}}
    path = tmp_path / "small.npz"
    np.savez(path, **{"meta": json.dumps(meta), "q/x": x, "q/w": w.astype(np.float16)})
    return Capture.open(path)


def tiny(*names: str) -> demo.Scope:
    """Everything on units of the preset tiny, or some of it."""
    chosen = names or tuple(demo.RUNS)
    return demo.Scope({name: replace(demo.RUNS[name], preset="tiny") for name in chosen})


def test_one_unit_in_both_harnesses(small):
    (result,) = demo.run(small.path, scope=tiny("bitmap"))
    assert not result.failures
    assert set(result.corners) == {"bitmap/bitmap_decoder", "bitmap/bitmap_encoder"}
    assert result.simulations["bitmap"].counts["shape"]["tokens"] == 33


def test_a_scope(small):
    (layer,) = small.layers
    scope = replace(tiny("dense"), layer="elsewhere")
    assert demo.run(small.path, scope=scope) == []
    scope = replace(scope, layer=layer[-1], tokens=5, corner=2)
    (result,) = demo.run(small.path, scope=scope)
    assert not result.failures
    assert result.corners == {"dense/dense_array": ""}
    assert result.simulations["dense"].counts["shape"]["tokens"] == 5


def shorten(monkeypatch):
    """Few tokens of the ReGLU model, on a unit of its size."""
    ffn = RegluConfig(max_features=128, max_neurons=512, max_rank=32)
    monkeypatch.setattr(demo_ffn, "run", partial(demo_ffn.run, scope=demo_ffn.FfnScope(ffn)))
    monkeypatch.setattr(demo_ffn, "TOKENS", 3)
    monkeypatch.setattr(demo_ffn, "CORNER", 1)


@pytest.mark.deep
def test_the_skipping_ffn(monkeypatch):
    shorten(monkeypatch)
    results = demo_ffn.run()
    assert [result.layer for result in results] == [f"layers.{n}" for n in range(4)]
    for result in results:
        assert not result.failures
        assert set(result.corners) == {"reglu/reglu_ffn"}
        counts = result.simulations["reglu"].counts
        assert counts["recall"] > 0.9
        assert counts["baselines"][0]["speedup"] > 1.5


@pytest.mark.slow
def test_a_small_capture(run, small, monkeypatch):
    monkeypatch.setattr(demo, "RUNS", tiny().runs)
    shorten(monkeypatch)
    done = run("demo", "--capture", small.path)
    assert done.status == 0, done.err
    assert re.match(r"Activations and weights of \S+, 33 tokens\.\n", done.out)
    numbers, found, of_anda, of_nm = rows(done.out, "q")
    assert numbers[1] == "33 x 40 x 34"
    assert of_anda[1] == "8"
    assert of_nm[1] == "2:4"
    share, bits, padded = (float(cell) for cell in numbers[2:5])
    assert bits == pytest.approx(9 - 4 * share, abs=0.005)
    assert padded >= bits
    for cell, unit in zip(found[1:3], ("dense", "dense2k"), strict=True):
        golden = cycles(UNITS[unit].presets["tiny"], Workload(33, 40, 34))
        assert int(cell.replace(",", "")) == golden.cycles
    assert found[-1] == "yes"
    for name in demo.RUNS:
        assert re.search(rf"^q, {name}: \w+=[\d,]*[1-9]", done.out, re.MULTILINE)
    (skipping,) = rows(done.out, "layers.2")
    assert skipping[1] == "3 x 128 x 512, r = 32"
    assert float(skipping[2]) > float(skipping[3]) > 0.5
    assert float(skipping[4]) > 0.9
    assert float(skipping[-1]) > 2
    assert re.search(r"^layers\.2, reglu: tokens=3 ", done.out, re.MULTILINE)
    assert EQUAL in done.out.splitlines()[-1]


def simulation(name: str, *mismatches: Mismatch) -> Simulation:
    """What a unit would give that took half of its rivals' cycles."""
    shape = {"tokens": 3, "in_features": 4, "out_features": 5, "neurons": 6, "rank": 1}
    codec = {"msb_zero_share": 0.5, "bits_per_activation": 7.0, "bits_per_activation_padded": 8.0}
    counts = {"shape": shape, **codec, "cycles": 9, "sqnr_db": None, "events": {"macs": 60}}
    counts |= {"runtime": {"mantissa": 8, "n": 2}, "config": {"m": 4, "lanes": 16}}
    rivals = {"dense": 18, "dense2k": 9, "fp16": 27, "dense FFN": 36, "early exit": 12}
    if name == "anda":
        rivals = {"fp16": 27}
    baselines = [{"unit": unit, "cycles": n, "speedup": n / 9} for unit, n in rivals.items()]
    counts |= {"ideal_cycles": 8.0, "baselines": baselines, "bits_per_weight": 3.125}
    counts |= {"natural_sparsity": 0.8, "dropped": 0.6, "recall": 1.0, "output_error": 0.0}
    return Simulation({**counts, "utilisation": 0.5}, {}, list(mismatches))


def result(*mismatches: Mismatch, layer: str = "a.q", **corners: str) -> demo.LayerResult:
    """What a run would give that ended so, differences in the dense array."""
    found = {name: simulation(name) for name in demo.RUNS}
    found["dense"] = simulation("dense", *mismatches)
    return demo.LayerResult(layer, found, {f"dense/{name}": why for name, why in corners.items()})


def ffn() -> demo.LayerResult:
    return demo.LayerResult("layers.1", {"reglu": simulation("reglu")}, {"reglu/reglu_ffn": ""})


DIFFERENCES = pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (result(Mismatch(7, "y beat 0", "1", "2")), "a.q: cycle 7: y beat 0: expected 1, got 2\n"),
        (result(dense_array="beat 0 is wrong"), "a.q: dense/dense_array: beat 0 is wrong\n"),
    ],
    ids=["native", "cocotb"],
)


@DIFFERENCES
def test_in_full_a_difference_in_either_harness_ends_with_1(run, monkeypatch, found, complaint):
    monkeypatch.setattr(demo_ffn, "run", lambda *_: [ffn()])
    good = result(layer="a.p", dense_array="")
    for results, status in ([good], 0), ([good, found], 1):
        monkeypatch.setattr(demo, "run", lambda *_, r=results: r)
        done = run("demo", "--full")
        assert done.status == status
        assert (EQUAL in done.out) == (status == 0)
    assert done.err == f"{complaint}nibbleforge: RTL and golden differ in 1 of 3 layers.\n"
    verdicts = [cells[-1] for name in "pq" for cells in rows(done.out, name)]
    assert [cell for cell in verdicts if cell in ("yes", "NO")] == ["yes", "NO"]


@DIFFERENCES
def test_a_difference_in_either_harness_ends_with_1(run, monkeypatch, found, complaint):
    for layer, verdict in (result(dense_array=""), "yes"), (found, "NO"):
        monkeypatch.setattr(demo_brief, "run", lambda *_, r=layer: (r, ffn()))
        done = run("demo")
        assert done.status == (verdict == "NO")
        assert (EQUAL in done.out) == (verdict == "yes")
        verdicts = {cells[1]: cells[-1] for cells in rows(done.out, "q")}
        assert verdicts == {
            "dense": verdict,
            **dict.fromkeys(("sparqle", "dense2k", "nm", "anda"), "yes"),
            "fp16": "counted",
        }
    assert done.err == f"{complaint}nibbleforge: RTL and golden differ in 1 of 2 layers.\n"


def test_one_table_of_100_columns(run, monkeypatch):
    monkeypatch.setattr(demo_brief, "run", lambda *_: (result(), ffn()))
    done = run("demo")
    assert done.status == 0
    assert max(len(line) for line in done.out.splitlines()) <= 100
    *_, nm, rival, anda = rows(done.out, "q")
    assert nm[1:5] == ["nm", "2 of 4 weights", "9", "1.00 x dense2k"]
    assert rival[1:] == ["fp16", "FP16 multipliers", "27", "", "16.000", "counted"]
    assert anda[4:6] == ["3.00 x fp16", "7.000"]
    rival, skipping = rows(done.out, "FFN")
    assert rival[3:] == ["36", "", "8.000", "counted"]
    assert skipping[4] == "4.00 x dense FFN"
    after = done.out[done.out.index("Where to look next:") :]
    assert 4 <= len(after.splitlines()) <= 6
    for path in re.findall(r"\S+\.md", after):
        assert (ROOT / path).is_file()


def shares(extent: int, tokens: int | None, layer: str) -> dict[str, float]:
    """Golden's share of the ideal of the arrays, on the embedded sample."""
    sample = Capture.open(sample_path())
    tensors = Tensors(sample.activations(layer)[:tokens], sample.weights(layer))
    found = {}
    for name in ("sparqle", "nm", "anda", "fp16"):
        case = demo.Case(name, extent=extent)
        (run,) = prepare(UNITS[name], case.config, case.runtime, tensors).runs
        found[name] = run.golden.ideal_cycles / run.golden.cycles
    return found


def test_small_arrays_reach_the_share_of_the_ideal_of_large_ones():
    (layer,) = (
        name for name in Capture.open(sample_path()).layers if name.endswith(demo_brief.SCOPE.layer)
    )
    large = shares(16, None, layer)
    assert min(large.values()) > 0.95
    assert shares(demo_brief.EXTENT, None, layer) == pytest.approx(large, rel=0.02)
    small = shares(demo_brief.EXTENT, demo_brief.SCOPE.tokens, layer)
    assert small == pytest.approx(large, rel=0.02)


def test_a_corner_without_verdict_is_a_failure():
    outcome = demo.cocotb.Outcome((demo.cocotb.Verdict("free_flow/seed=11", "", 0.1),), (), "log")
    assert demo._verdict(outcome, 11) == ""
    assert demo._verdict(outcome, 1) == "no verdict: log"


@pytest.mark.slow
def test_the_embedded_sample(run):
    done = run("demo", "--full")
    assert done.status == 0, done.err
    for layer in Capture.open(sample_path()).layers:
        name = layer.removeprefix("layers.15.")
        _, found, _, _ = rows(done.out, name)
        assert found[-1] == "yes"
        assert done.out.count(f"\n{name}, ") == len(demo.RUNS)
    assert len(rows(done.out, "layers.0")) == 1
    assert EQUAL in done.out


@pytest.mark.slow
def test_one_layer_through_each_system(run):
    done = run("demo")
    assert done.status == 0, done.err
    found = [*rows(done.out, "gate_proj"), *rows(done.out, "FFN")]
    cycles = {cells[1]: int(cells[3].replace(",", "")) for cells in found}
    assert {cells[-1] for cells in found} == {"yes", "counted"}
    assert cycles["dense"] > cycles["sparqle"] > cycles["dense2k"] > cycles["nm"]
    assert cycles["fp16"] > cycles["anda"]
    assert cycles["dense FFN"] > cycles["reglu"]
