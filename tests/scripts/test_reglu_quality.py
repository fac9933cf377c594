"""``python -m nibbleforge.scripts.studies.reglu_quality``."""

import re
import sys

import pytest
from nibbleforge.scripts import main
from nibbleforge.scripts.studies import reglu_quality


@pytest.fixture
def measured(monkeypatch, capfd):
    """``measured(*arguments)``: status, and the rows of every table."""

    def runner(*arguments):
        monkeypatch.setattr(sys, "argv", ["reglu_quality", *map(str, arguments)])
        status = main.status(reglu_quality.app)
        found = capfd.readouterr()
        tables = []
        for line in found.out.splitlines():
            if line.startswith("┏"):
                tables.append([])
            elif line.startswith("│"):
                tables[-1].append([cell.strip() for cell in line.split("│")[1:-1]])
        return status, tables, found.err

    return runner


def percent(cell):
    return float(cell.split()[0])


def test_tables(measured, monkeypatch):
    monkeypatch.setattr(reglu_quality, "RANKS", (4, 64))
    monkeypatch.setattr(reglu_quality, "SHARES", (0.5, 0.9))
    status, tables, _ = measured("--windows", 4, "--rank", 64)
    assert status == 0
    model, layers, ranks, ablation = tables
    floating, integer, bigram, unigram = map(float, model[0])
    assert floating == pytest.approx(integer, rel=0.02)
    assert integer < bigram < unigram
    assert [row[0] for row in layers] == ["0", "1", "2", "3"]
    assert all(float(row[3]) > 0.98 for row in layers)
    losses = [[percent(cell) for cell in row[1:]] for row in ranks]
    assert losses[0][1] > losses[0][0] > 1 > abs(losses[1][1])
    calibrated, _, signs, chance = (percent(row[2]) for row in ablation)
    assert calibrated == losses[1][1] < signs < chance


def test_one_table_in_markdown(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["", "--windows", "2", "--only", "layers", "--markdown", "--rank", "8"]
    )
    assert main.status(reglu_quality.app) == 0
    lines = capsys.readouterr().out.splitlines()
    apart = re.search(r"differs by at most (\S+) of its norm", " ".join(lines))
    assert 0 < float(apart[1]) < 1e-9
    rows = [line for line in lines if line.startswith("|")]
    assert rows[0].startswith("| layer | sparsity | dropped |")
    assert [row[:5] for row in rows[2:]] == ["| 0 |", "| 1 |", "| 2 |", "| 3 |"]


def test_what_is_refused(measured):
    for option, value, sentence in (
        ("--rank", 0, "--rank must be at least 1, got 0."),
        ("--rank", 129, "--rank must be at most 128, got 129."),
        ("--share", 2, "--share must be in 0..1, got 2.0."),
        ("--only", "all", "--only must be one of model, layers, ranks, predictors, got 'all'."),
        ("--windows", 1, "--windows must be at least 2, got 1."),
    ):
        assert measured(option, value) == (2, [], f"nibbleforge: {sentence}\n")
