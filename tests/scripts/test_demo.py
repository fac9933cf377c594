"""``nibbleforge demo``: the main job on the embedded sample."""

import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.dense import cycles
from nibbleforge.golden.reglu.config import RegluConfig
from nibbleforge.golden.units import UNITS
from nibbleforge.sim import demo, demo_ffn
from nibbleforge.sim.tensors.files import Capture, sample_path
from nibbleforge.sim.units.simulate import Simulation
from nibbleforge.tb.scoreboard import Mismatch

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


def test_one_unit_in_both_harnesses(small):
    case = replace(demo.RUNS["bitmap"], preset="tiny")
    (result,) = demo.run(small.path, runs={"bitmap": case})
    assert not result.failures
    assert set(result.corners) == {"bitmap/bitmap_decoder", "bitmap/bitmap_encoder"}
    assert result.simulations["bitmap"].counts["shape"]["tokens"] == 33


def shorten(monkeypatch):
    """Few tokens of the ReGLU model, on a unit of its size."""
    ffn = RegluConfig(max_features=128, max_neurons=512, max_rank=32)
    monkeypatch.setattr(demo_ffn, "run", partial(demo_ffn.run, config=ffn))
    monkeypatch.setattr(demo_ffn, "TOKENS", 3)
    monkeypatch.setattr(demo_ffn, "CORNER", 1)


def test_the_skipping_ffn(monkeypatch):
    shorten(monkeypatch)
    results = demo_ffn.run()
    assert [result.layer for result in results] == [f"layers.{n}" for n in range(4)]
    for result in results:
        assert not result.failures
        assert set(result.corners) == {"reglu/skipping_ffn"}
        counts = result.simulations["reglu"].counts
        assert counts["recall"] > 0.9
        assert counts["baselines"][0]["speedup"] > 1.5


@pytest.mark.slow
def test_a_small_capture(run, small, monkeypatch):
    tiny = {shown: replace(case, preset="tiny") for shown, case in demo.RUNS.items()}
    monkeypatch.setattr(demo, "RUNS", tiny)
    shorten(monkeypatch)
    done = run("demo", "--capture", small.path)
    assert done.status == 0, done.err
    assert re.match(r"Activations and weights of \S+, 33 tokens\.\n", done.out)
    figures, of_anda, of_nm, *events = rows(done.out, "q")
    assert figures[1] == "33 x 40 x 34"
    assert of_anda[1] == "8"
    assert of_nm[1] == "2:4"
    share, bits, padded = (float(cell) for cell in figures[2:5])
    assert bits == pytest.approx(9 - 4 * share, abs=0.005)
    assert padded >= bits
    for cell, unit in zip(figures[5:7], ("dense", "dense2k"), strict=True):
        golden = cycles(UNITS[unit].presets["tiny"], Workload(33, 40, 34))
        assert int(cell.replace(",", "")) == golden.cycles
    assert figures[-1] == "yes"
    assert [cells[1] for cells in events] == sorted(demo.RUNS)
    assert all(re.search(r"\w+=[\d,]*[1-9]", cells[2]) for cells in events)
    skipping, events_of_ffn = rows(done.out, "layers.2")
    assert skipping[1] == "3 x 128 x 512, r = 32"
    assert float(skipping[2]) > float(skipping[3]) > 0.5
    assert float(skipping[4]) > 0.9
    assert float(skipping[-1]) > 2
    assert "tokens=3 " in events_of_ffn[2]
    assert EQUAL in done.out.splitlines()[-1]


def result(*mismatches: Mismatch, **corners: str) -> demo.LayerResult:
    """What a run would give that ended so."""
    shape = {"tokens": 3, "in_features": 4, "out_features": 5}
    codec = {"msb_zero_share": 0.5, "bits_per_activation": 7.0, "bits_per_activation_padded": 8.0}
    counts = {"shape": shape, **codec, "cycles": 9, "sqnr_db": None, "events": {"macs": 60}}
    counts |= {"runtime": {"mantissa": 8, "n": 2}, "config": {"m": 4}, "utilisation": 0.5}
    rivals = [{"unit": name, "cycles": 18, "speedup": 2.0} for name in ("dense", "dense2k")]
    counts |= {"ideal_cycles": 8.0, "baselines": rivals, "bits_per_weight": 3.125}
    found = demo.LayerResult("q", {name: Simulation(counts, {}, []) for name in demo.RUNS}, corners)
    found.simulations["dense"].mismatches.extend(mismatches)
    return found


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (result(Mismatch(7, "y beat 0", "1", "2")), "q: cycle 7: y beat 0: expected 1, got 2\n"),
        (result(dense_array="beat 0 is wrong"), "q: dense_array: beat 0 is wrong\n"),
    ],
    ids=["native", "cocotb"],
)
def test_a_difference_in_either_harness_ends_with_1(run, monkeypatch, found, complaint):
    monkeypatch.setattr(demo_ffn, "run", lambda *_: [])
    good = result(dense_array="")
    for results, status in ([good], 0), ([good, found], 1):
        monkeypatch.setattr("nibbleforge.scripts.commands.demo.run", lambda *_, r=results: r)
        done = run("demo")
        assert done.status == status
        assert (EQUAL in done.out) == (status == 0)
    assert done.err == complaint
    assert [cells[-1] for cells in rows(done.out, "q") if cells[-1] in ("yes", "NO")] == [
        "yes",
        "NO",
    ]


def test_a_corner_without_verdict_is_a_failure():
    outcome = demo.cocotb.Outcome((demo.cocotb.Verdict("free_flow/seed=11", "", 0.1),), (), "log")
    assert demo._verdict(outcome, 11) == ""
    assert demo._verdict(outcome, 1) == "no verdict: log"


@pytest.mark.slow
def test_the_embedded_sample(run):
    done = run("demo")
    assert done.status == 0, done.err
    for layer in Capture.open(sample_path()).layers:
        figures, _, _, *events = rows(done.out, layer)
        assert figures[-1] == "yes"
        assert len(events) == len(demo.RUNS)
    assert len(rows(done.out, "layers.0")) == 2
    assert EQUAL in done.out
