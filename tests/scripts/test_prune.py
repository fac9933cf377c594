"""``nibbleforge prune``."""

import json
import sys

import numpy as np
import pytest
from nibbleforge.golden.nm.format import quantise_sparse
from nibbleforge.golden.nm.prune import METHODS
from nibbleforge.golden.nm.prune import prune as golden_prune
from nibbleforge.scripts.commands import prune
from nibbleforge.sim.llm.model import Source
from nibbleforge.sim.llm.prune import Outcome, Perplexities

SMALL = ("--model", "smollm2", "--tokens", 8, "-o", "out")


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """In place of a model: perplexities, and one small layer."""

    def measure(model, pattern, methods, group, on_pruned, report):
        report("prune", 0, 1)
        w = np.random.default_rng(1).normal(size=(4, 40))
        found = {}
        for n, method in enumerate(methods):
            on_pruned(method, {"layers.0.a": quantise_sparse(*golden_prune(w, pattern), group)})
            found[method] = Perplexities(40.0 - n, 50.0 - n)
        return Outcome(Perplexities(20.0, 21.0), found)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prune, "find", lambda model, report: Source(tmp_path, (), None))
    monkeypatch.setattr(prune, "open_model", lambda source, passage, report: None)
    monkeypatch.setattr(prune, "measure", measure)


def table(out):
    rows = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in rows]


def test_shows_every_method(run, fake, tmp_path):
    done = run("prune", *SMALL, "--pattern", "2:4")
    assert (done.status, done.err) == (0, "prune\n")
    assert table(done.out) == [
        ["dense", "20.000", "21.000", "4.125"],
        ["2:4 magnitude", "40.000", "50.000", "3.125"],
        ["2:4 wanda", "39.000", "49.000", "3.125"],
        ["2:4 second-order", "38.000", "48.000", "3.125"],
    ]
    assert done.out.splitlines()[-1] == "results in out"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert list(report["held_out_perplexity"]) == ["dense", *METHODS]
    assert (report["pattern"], report["settings"]["tokens"]) == ("2:4", 8)


def test_one_method_with_weights(run, fake, tmp_path):
    done = run("prune", *SMALL, "--pattern", "3:8", "--method", "wanda", "--weights")
    assert done.status == 0, done.err
    assert len(table(done.out)) == 2
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["report.json", "weights-wanda.npz"]


def test_ctrl_c(run, fake, monkeypatch, tmp_path):
    def interrupted(model, pattern, methods, group, on_pruned, report):
        on_pruned("wanda", {"a": quantise_sparse(np.ones((1, 4)), np.eye(1, 4, dtype=bool))})
        raise KeyboardInterrupt

    monkeypatch.setattr(prune, "measure", interrupted)
    done = run("prune", *SMALL, "--weights")
    assert (done.status, done.err.splitlines()[-1]) == (130, "interrupted")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--pattern", "2of4"), "a pattern must be written N:M, such as 2:4, got '2of4'."),
        (("--pattern", "2:5"), "M must be one of 4, 8, 16, got 5."),
        (("--pattern", "5:4"), "N must be in 1..4, got 5."),
        (
            ("--method", "x"),
            "--method must be one of magnitude, wanda, second-order, all, got 'x'.",
        ),
        (("--group", 16), "the weight group must be one of 32, 64, 128, got 16."),
        (("--tokens", 1), "tokens must be at least 2, got 1."),
        (("--context", 1), "context must be at least 2, got 1."),
        (("--offset", -1), "offset must be at least 0, got -1."),
        (("--text", "no.txt"), "no.txt cannot be read: No such file or directory."),
        (("-o", "file"), "cannot write to file: file is not a folder."),
    ],
)
def test_bad_input(refused, tmp_path, arguments, sentence):
    (tmp_path / "file").touch()
    assert refused("prune", *SMALL, *arguments) == sentence


def test_without_the_extra(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    sentence = "running an LLM needs the package torch: pip install nibbleforge[llm]."
    assert refused("prune", *SMALL) == sentence


@pytest.mark.needs("torch", "transformers")
def test_unknown_model(refused):
    assert refused("prune", *SMALL, "--model", "x") == (
        "the model must be smollm2, a local Hugging Face directory or a .gguf file, got x."
    )
