"""Studies and pages of measurements: their tables as documents show them."""

import sys

import pytest
from nibbleforge.golden.bitmap import DECODER, BitmapConfig
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.sparqle.config import SparqleConfig
from nibbleforge.scripts import bench, main, show, soak
from nibbleforge.scripts.commands.regress import varied
from nibbleforge.scripts.studies import (
    anda_models,
    area,
    balance,
    bitstreams,
    comparisons,
    nm_speed,
    operands,
    reglu_speed,
)
from nibbleforge.sim.benchmarks import Figure
from nibbleforge.sim.studies import area_sparqle, core
from nibbleforge.sim.studies.area import Array
from nibbleforge.sim.studies.balance import VARIANTS, Variant
from nibbleforge.sim.studies.comparisons import COMPARISONS, Candidate, Comparison, by_law
from nibbleforge.sim.tensors.files import sample_path
from nibbleforge.sim.verify import soak as soaks
from nibbleforge.sim.verify.soak import Finding, named


@pytest.fixture
def tables(monkeypatch, capsys):
    """``tables(study, *arguments)``: cells of every table that it prints in Markdown."""

    def runner(study, *arguments):
        monkeypatch.setattr(sys, "argv", ["study", *map(str, arguments), "--markdown"])
        assert main.status(study.app) == 0
        found, open_table = [], False
        for line in capsys.readouterr().out.splitlines():
            if line.startswith("|"):
                if not open_table:
                    found.append([])
                found[-1].append([cell.strip() for cell in line[1:-1].split("|")])
                assert len(found[-1][-1]) == len(found[-1][0]) <= 7
            assert len(line) <= show.LINE
            open_table = line.startswith("|")
        return [[table[0], *table[2:]] for table in found]

    return runner


def test_nm_speed(tables):
    ((columns, *rows),) = tables(nm_speed, "--tokens", 16, "--in-features", 256, "--outputs", 16)
    assert columns[-1] == "target"
    assert {row[0]: row[5] for row in rows}["1:16"] == "utilisation >= 0.85"
    assert {row[0]: float(row[4]) for row in rows}["2:4"] == pytest.approx(2, rel=0.2)


def test_reglu_speed(tables):
    large, _ = tables(reglu_speed)
    gains = [float(row[-1]) for row in large[1:]]
    assert gains[0] < 1 < gains[1] < gains[2] < gains[3]


def test_how_busy_cores_keep_units():
    found = core.chosen_usage("sparqle", "tiny", 64, tokens=12, in_features=40, outputs=16)
    assert (found.stays, found.bus_width) == ("tokens", 64)
    assert 0.8 < found.share < 1
    design, config = core.core_of("sparqle", "tiny", bus_width=64)
    operands = core.operands_of("sparqle", config.unit, 12, 40, 16)
    assert core.usage(design, config, operands, stay=True).words > found.words


@pytest.mark.parametrize(
    ("name", "tokens", "sentence"),
    [
        ("reglu", 1, "reglu runs no linear layers."),
        ("dense", 257, "the layer of the sample has 256 tokens, asked for are 257."),
    ],
)
def test_cores_on_layers_that_are_not_there(name, tokens, sentence):
    _, config = core.core_of(name, "tiny")
    with pytest.raises(UserError) as caught:
        core.operands_of(name, config.unit, tokens, 8, 8)
    assert str(caught.value) == sentence


def test_anda_models(tables):
    ((_, *rows),) = tables(anda_models)
    ((_, *serial),) = tables(anda_models, "--serial")
    assert len(rows) == 10
    assert float(serial[-1][-1]) < float(rows[-1][-1])


def test_balance(tables, monkeypatch):
    variants = (Variant(SparqleConfig(), 32, target="none"), Variant(SparqleConfig(), 32, False))
    monkeypatch.setattr("nibbleforge.sim.studies.balance.balance.__defaults__", (variants,))
    ((_, *rows),) = tables(balance, sample_path())
    assert [row[0] for row in rows] == ["32 tokens", "32 tokens, natural order"]
    assert float(rows[0][3]) > float(rows[1][3])
    assert rows[0][6] == "none"


def test_variants_have_names_of_their_own():
    assert len({balance.describe(variant) for variant in VARIANTS}) == len(VARIANTS)


@pytest.mark.needs("osu018")
def test_areas(tables, monkeypatch):
    monkeypatch.setattr(area_sparqle, "ARRAYS", area_sparqle.ARRAYS[:3])
    sizes, elements = tables(area, "sparqle", "--tiny")
    names = ["dense, 16 x 16", "dense2k, 16 x 16", "sparqle, 16 x 16"]
    assert [row[0] for row in sizes[1:]] == names
    assert [row[0] for row in elements[1:]] == names[1:]
    assert 0 < float(elements[2][2]) < 1
    assert float(elements[1][3]) == 0 < float(elements[2][3]) < 1


@pytest.mark.deep
@pytest.mark.needs("osu018")
def test_areas_of_lanes(tables):
    sizes, runs, over = tables(area, "nm-lanes", "--tiny")
    assert [row[0] for row in sizes[1:]] == [row[0] for row in runs[1:] if row[1] != "1:4"]
    assert [row[:3] for row in over[1:]] == [
        ["nm, 2 lanes, span 4", "2:4", "4 lanes, pair_sums"],
        ["nm, 2 lanes, span 4", "1:4", "8 lanes, pair_sums"],
    ]
    half, quarter = (float(row[3].split()[0]) for row in over[1:])
    assert 0 < half < quarter


@pytest.mark.needs("osu018")
def test_comparisons(tables, monkeypatch, tmp_path):
    known = tmp_path / "perplexity.json"
    known.write_text('{"a8": 18.25}')
    own, rival = (
        Candidate(Array("", unit, "tiny", {"max_k": 4096}, runs=1), operands, by_law(), rival=rival)
        for unit, operands, rival in (("dense", None, False), ("dense2k", "a8", True))
    )
    monkeypatch.setitem(COMPARISONS, "sparqle", Comparison("sparqle", (own, rival)))
    ((columns, *rows),) = tables(comparisons, "sparqle", "--accuracy", known)
    assert columns[0] == "design"
    cells = {row[0]: row[1:] for row in rows}
    assert cells["dense2k tiny"][-2:] == ["1.00", "18.250"]
    assert float(cells["dense tiny"][-2]) > 1
    assert cells["dense tiny"][-1] == "-"


def test_a_system_that_is_not_compared(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["comparisons", "dense"])
    assert main.status(comparisons.app) == 2
    sentence = "the system must be one of sparqle, anda, nm, reglu, got 'dense'."
    assert capsys.readouterr().err == f"nibbleforge: {sentence}\n"


def test_perplexity_of_other_operands_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["operands", "--model", "smollm2", "--operands", "w4"])
    assert main.status(operands.app) == 2
    sentence = "operands must be like w4a8, 2:4w4a8, a8, m7 or mxint8, got 'w4'."
    assert capsys.readouterr().err == f"nibbleforge: {sentence}\n"


@pytest.mark.needs("amaranth-boards")
def test_a_core_without_a_bitstream(tables, monkeypatch):
    def refuse(*_, **__):
        raise UserError("it does not fit.")

    monkeypatch.setattr("nibbleforge.sim.studies.bitstreams.export", refuse)
    ((columns, row),) = tables(bitstreams, "--unit", "reglu")
    assert columns == ["core", "LUT4", "TRELLIS_FF", "MULT18X18D", "DP16KD", "MHz", "s"]
    assert row[:-1] == ["core_reglu_ffn", *["-"] * 5]


# --- pages ----------------------------------------------------------------------------------------


def test_a_long_first_cell_goes_on():
    rows = show.page_row("word " * 40, "found", "yes")
    assert all(len(row) <= show.LINE for row in rows)
    assert rows[0].endswith("| found | yes |")
    assert rows[1].startswith("| … word")
    assert rows[1].endswith("| | |")
    assert " ".join(row.strip("| …").split(" |")[0] for row in rows).split() == ["word"] * 40


def test_a_design_is_named_by_what_is_unusual():
    assert named(DECODER, BitmapConfig()) == "bitmap_decoder"
    assert named(DECODER, BitmapConfig(group=16)) == "bitmap_decoder group=16"


def test_pages_are_narrow():
    figures = [Figure("what " * 40, ">= 2", "3", True), Figure("that", ">= 2", "1", False)]
    found = [Finding("lint", "subject " * 30, "0 warnings")]
    lines = [*bench._page(figures).splitlines(), *soak._page(found)]
    assert all(len(line) <= show.LINE for line in lines)
    assert "| that | >= 2 | 1 | **no** |" in lines
    assert "## Lint" in lines


def test_one_configuration_is_verified(monkeypatch, tmp_path, capsys):
    """With parameters changed: values, harnesses, bins, mutants and lint of that one alone."""
    called = {}

    def soaked(names, jobs, progress, effort, given):
        called.update(names=names, given=given)
        return [Finding("lint", given[0].name, "0 warnings")]

    monkeypatch.setattr(soak, "soak", soaked)
    page = tmp_path / "page.md"
    options = ["dense2k", "--set", "lanes=8", "--set", "tree=packed", "--output", str(page)]
    monkeypatch.setattr(sys, "argv", ["soak", *options])
    assert main.status(soak.app) == 0
    (given,) = called["given"]
    assert (given.unit, given.preset) == ("dense2k", "tiny")
    assert (given.config.lanes, given.config.tree) == (8, "packed")
    assert "1 verifications, 0 failed" in capsys.readouterr().out


def test_mutants_are_of_the_given_configuration():
    (given,) = varied(["dense2k"], ["tiny"], ["lanes=2"])
    tasks = [*soaks._of_variations([given], soaks.BRIEF), *soaks._mutations([given], soaks.BRIEF)]
    assert [task.func.__name__ for task in tasks] == [
        "_values", "_harnesses", "_bins", "_lint", "_mutants",
    ]  # fmt: skip
    assert tasks[-1].args[1].lanes == 2
