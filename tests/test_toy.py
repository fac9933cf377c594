"""A unit from outside goes through every command, and no file of the project knows it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.sim.verify.soak import ROWS

TESTS = Path(__file__).parent
ENVIRONMENT = {"NIBBLEFORGE_UNITS": "toy.golden", "PYTHONPATH": str(TESTS)}


def run(*command):
    """Run a Python command with the toy unit declared."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )


def nibbleforge(*arguments):
    done = run("-c", "from nibbleforge.scripts.start import main; main()", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_units():
    assert "toy: sum and maximum of packets" in nibbleforge("units")


def test_generate(tmp_path):
    nibbleforge("generate", "toy", "--preset", "tiny", "-o", tmp_path)
    assert {"toy_sum.v", "toy_maximum.v"} <= {path.name for path in tmp_path.iterdir()}
    assert "\nmodule toy_sum (" in (tmp_path / "toy_sum.v").read_text()


def test_regress(tmp_path):
    shown = nibbleforge("regress", "toy", "--preset", "tiny", "--seeds", "2", "-o", tmp_path)
    assert "toy/tiny/toy_sum" in shown
    assert "toy/tiny/toy_maximum" in shown
    assert 'failures="0"' in (tmp_path / "junit.xml").read_text()


def test_simulate(tmp_path):
    x = np.random.default_rng(0).integers(-100, 100, (5, 17), np.int8)
    np.save(tmp_path / "x.npy", x)
    nibbleforge("simulate", "toy", "--activations", tmp_path / "x.npy", "-o", tmp_path / "run")
    counts = json.loads((tmp_path / "run" / "counts.json").read_text())
    assert (counts["mismatches"], counts["cycles"]) == (0, x.size + 1)
    assert set(counts["designs"]) == {"toy_sum", "toy_maximum"}
    assert np.load(tmp_path / "run" / "y.npy").tolist() == x.sum(axis=1, dtype=int).tolist()
    assert np.load(tmp_path / "run" / "largest.npy").tolist() == x.max(axis=1).tolist()


CHECKS = """
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.units import UNITS
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify.jams import check_jams
from nibbleforge.sim.verify.regress import variations
from nibbleforge.sim.verify.verify import check_exhaustive, check_lint, check_random
from nibbleforge.tb.stimuli import stimuli_of

toy = UNITS["toy"]
for design in toy.designs(toy.presets["paper"]):
    assert design.cycles(toy.presets["paper"], Workload(3, 5)).cycles == 16
for variation in variations(["toy"], ["tiny"]):
    model = Model(variation.design, variation.config, optimise="quick")
    found = check_random(model, [0, 1])
    (small, *_) = stimuli_of(variation.design).small
    found += check_exhaustive(Model(variation.design, small, optimise="quick"))
    play = lambda s, g: model.run(s.beats, gates=g).seen
    jams = check_jams(variation.design, variation.config, play)
    assert not (found.wrong or jams), (found.wrong, jams)
    assert not check_lint(variation.design, variation.config)
"""


@pytest.mark.deep
def test_cycles_and_what_the_soak_runs():
    done = run("-c", CHECKS)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_soak(tmp_path):
    page = tmp_path / "verification.md"
    done = run("-m", "nibbleforge.scripts.soak", "toy", "--brief", "-o", page)
    assert done.returncode == 0, done.stdout + done.stderr
    text = page.read_text()
    assert "toy_sum" in text
    assert {line for line in text.splitlines() if line.startswith("## ")} == {
        f"## {title}" for title, _ in ROWS.values()
    }


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("toy.nothing", "toy.nothing is to declare units and cannot be imported:"),
        ("toy.golden,toy.twin", "toy.twin declares a second unit named 'toy'."),
    ],
)
def test_a_declaration_that_cannot_be_used(named, sentence, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "NIBBLEFORGE_UNITS", named)
    done = run("-c", "from nibbleforge.scripts.start import main; main()", "units")
    assert done.returncode == 2
    assert done.stderr.startswith(f"nibbleforge: {sentence}")
    assert done.stderr.count("\n") == 1
