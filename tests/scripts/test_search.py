"""``nibbleforge search`` and ``python -m nibbleforge.scripts.studies.perplexity``."""

import json
import sys

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.llm import Linear
from nibbleforge.scripts import main
from nibbleforge.scripts.commands import search
from nibbleforge.scripts.studies import perplexity
from nibbleforge.sim.llm.model import Source

SMALL = ("--model", "smollm2", "--tokens", 8, "-o", "out")
LINEARS = tuple((kind, Linear(kind, 64, 64)) for kind in ("qkv", "o", "u", "d"))


class Fake:
    """A model that bears 6 bits, and 5 for down; ``stop`` counts down to Ctrl-C."""

    linears = LINEARS
    stop = -1

    def perplexity(self, mantissas, *, held_out=False, progress=None):
        if Fake.stop == 0:
            raise KeyboardInterrupt
        Fake.stop -= 1
        if mantissas is None:
            return 21.0 if held_out else 20.0
        good = min(mantissas[:3]) >= 6 and mantissas[3] >= 5
        return (20.125 if good else 30.0) + held_out


@pytest.fixture
def fake(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Fake, "stop", -1)
    for module in (search, perplexity):
        monkeypatch.setattr(module, "find", lambda model, report: Source(tmp_path, (), None))
        monkeypatch.setattr(module, "open_model", lambda source, passage, report: Fake())
    return Fake


def test_shows_every_round_and_the_outcome(run, fake, tmp_path):
    done = run("search", "anda", *SMALL)
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[:4] == [
        "[ 4,  4,  4,  4]   4.00x BOPs  perplexity    30.000  rejected",
        "[ 5,  5,  5,  5]   3.20x BOPs  perplexity    30.000  rejected",
        "[ 6,  6,  6,  6]   2.67x BOPs  perplexity    20.125  accepted",
        "[ 5,  6,  6,  6]   2.78x BOPs  perplexity    30.000  rejected",
    ]
    assert lines[6] == "[ 6,  6,  6,  5]   2.78x BOPs  perplexity    20.125  accepted"
    assert "[ 7,  7,  7,  7]   2.29x BOPs  perplexity         -  dropped" in lines
    assert "[6, 6, 6, 5] passes and saves 2.78x BOPs: 11 combinations evaluated." in lines
    table = [line.split("│")[1:-1] for line in lines if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in table] == [
        ["FP16", "20.000", "21.000", "1.000", "8,192", "1.000"],
        ["[6, 6, 6, 5]", "20.125", "21.125", "2.783", "2,944", "2.783"],
    ]
    assert lines[-1] == "results in out"
    assert json.loads((tmp_path / "out/search.json").read_text())["best"] == [6, 6, 6, 5]


def test_nothing_passes(run, fake):
    done = run("search", "anda", *SMALL, "--max-rounds", 2)
    assert done.status == 0
    assert "Nothing passes: 2 combinations evaluated, none within the tolerated loss." in done.out
    assert done.out.count("│ FP16") == 1


def test_goes_on_after_ctrl_c(run, fake, tmp_path):
    whole = run("search", "anda", *SMALL, "-o", "whole")
    fake.stop = 5  # the reference and four rounds
    stopped = run("search", "anda", *SMALL)
    assert (stopped.status, stopped.err.splitlines()[-1]) == (130, "interrupted")
    assert stopped.out.splitlines() == whole.out.splitlines()[:4]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rounds.jsonl"]
    fake.stop = -1
    again = run("search", "anda", *SMALL)
    assert again.status == 0
    assert again.out == whole.out.replace("results in whole", "results in out")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("dense", *SMALL), "there is no search for 'dense'; there is one for anda."),
        (("anda", *SMALL, "--loss", "0"), "--loss must be above 0 and below 1, got 0.0."),
        (("anda", *SMALL, "--loss", "1"), "--loss must be above 0 and below 1, got 1.0."),
        (("anda", *SMALL, "--loss", "nan"), "--loss must be above 0 and below 1, got nan."),
        (("anda", *SMALL, "--max-rounds", 0), "--max-rounds must be at least 1, got 0."),
        (("anda", *SMALL, "--tokens", 1), "tokens must be at least 2, got 1."),
        (("anda", *SMALL, "--context", 1), "context must be at least 2, got 1."),
        (("anda", *SMALL, "--text", "no.txt"), "no.txt cannot be read: No such file or directory."),
        (("anda", *SMALL, "-o", "file"), "cannot write to file: file is not a folder."),
    ],
)
def test_bad_input(refused, tmp_path, arguments, sentence):
    (tmp_path / "file").touch()
    assert refused("search", *arguments) == sentence


def test_without_the_extra(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    sentence = "running an LLM needs the package torch: pip install nibbleforge[llm]."
    assert refused("search", "anda", *SMALL) == sentence


@pytest.mark.needs("torch", "transformers")
def test_unknown_model(refused):
    assert refused("search", "anda", *SMALL, "--model", "x") == (
        "the model must be smollm2, a local Hugging Face directory or a .gguf file, got x."
    )


def test_refuses_a_record_of_another_search(run, fake, refused):
    run("search", "anda", *SMALL)
    assert refused("search", "anda", *SMALL, "--loss", 0.5) == (
        "out/rounds.jsonl records a search with loss 0.01, not 0.5: choose another folder."
    )


# --- perplexity of given lengths ------------------------------------------------------------------


def test_perplexities(monkeypatch, capsys, fake):
    arguments = ["--model", "smollm2", "--mantissa", "6", "--mantissa", "6,6,6,4"]
    monkeypatch.setattr(sys, "argv", ["perplexity", *arguments])
    assert main.status(perplexity.app) == 0
    assert capsys.readouterr().out.splitlines() == [
        "FP16              perplexity    20.000",
        "[6, 6, 6, 6]      perplexity    20.125",
        "[6, 6, 6, 4]      perplexity    30.000",
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("x", "--mantissa takes a number or 4 of them (qkv,o,u,d), got 'x'."),
        ("6,6", "--mantissa takes a number or 4 of them (qkv,o,u,d), got '6,6'."),
        ("17", "mantissa must be in 1..16, got 17."),
    ],
)
def test_illegal_lengths(given, sentence):
    with pytest.raises(UserError) as caught:
        perplexity.command("smollm2", [given])
    assert str(caught.value) == sentence
