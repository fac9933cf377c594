"""``nibbleforge regress``: progress, table, JUnit XML, and what a failure shows."""

import dataclasses
import json
import re
import shlex

import junitparser
import pytest
from nibbleforge.golden.units import UNITS
from nibbleforge.sim.run import cocotb
from nibbleforge.sim.tools import toolchain
from nibbleforge.sim.verify import regress
from nibbleforge.sim.verify.regress import variations

TESTS = ("free_flow", "stalls", "reset_in_mid_work", "negative_control")
TINY = ("--preset", "tiny")


def properties(suite) -> dict[str, str]:
    return {item.name: item.value for item in suite.properties()}


@pytest.fixture(scope="module")
def seeds() -> list[int]:
    return list(range(100, 106))  # more than one process takes


def test_progress_table_and_junit(run, tmp_path, seeds):
    out = tmp_path / "out"
    options = ("--seeds", len(seeds), "--first-seed", seeds[0], "--jobs", 2, "-o", out)
    done = run("regress", "dense2k", *TINY, *options)
    assert done.status == 0, done.err
    assert {path.name for path in out.iterdir()} == {"junit.xml", "summary.json"}

    assert done.err.splitlines()[0] == "regression"
    assert re.fullmatch(r"(regression: \d0 %\n)*", done.err.partition("\n")[2])
    (row,) = [line for line in done.out.splitlines() if "dense2k/tiny/dense2k_array" in line]
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells[1:4] == [str(len(seeds)), str(len(TESTS) * len(seeds)), "0"]
    assert done.out.endswith(f"results in {out}\n")

    (suite,) = junitparser.JUnitXml.fromfile(str(out / "junit.xml"))
    assert suite.name == "dense2k/tiny/dense2k_array"
    assert (suite.tests, suite.failures, suite.errors) == (len(TESTS) * len(seeds), 0, 0)
    assert {case.name for case in suite} == {
        f"{test}/seed={seed}" for test in TESTS for seed in seeds
    }
    found = properties(suite)
    assert found["seeds"] == " ".join(map(str, seeds))
    assert found["config_hash"] == UNITS["dense2k"].presets["tiny"].config_hash
    assert float(found["wall_s"]) > 0
    assert int(found["cycles_per_s"]) > 0
    assert toolchain.versions().items() <= found.items()

    summary = json.loads((out / "summary.json").read_text())["dense2k/tiny/dense2k_array"]
    assert (summary["seeds"], summary["tests"], summary["failures"]) == (
        seeds,
        len(TESTS) * len(seeds),
        [],
    )
    assert summary["scalars"] == int(found["scalars"]) > 0
    assert summary["cycles"] == int(found["cycles"]) > 0


@pytest.fixture
def wrong_hardware(monkeypatch):
    """One bit of the results that leave the array is inverted."""
    right = cocotb.emitted

    def generate(design, config):
        generated = right(design, config)
        text, changes = re.subn(
            r"^  assign y_payload = (.*);$",
            r"  assign y_payload = (\1) ^ 1;",
            generated.verilog,
            flags=re.M,
        )
        assert changes == 1
        return dataclasses.replace(generated, verilog=text)

    monkeypatch.setattr(cocotb, "emitted", generate)


def test_a_failure_tells_seed_and_the_command_that_repeats_it(run, tmp_path, wrong_hardware):
    out = tmp_path / "out"
    options = ("--set", "lanes=2", "--seeds", 2, "--first-seed", 41, "-o", out)
    done = run("regress", "dense", *TINY, *options)
    assert done.status == 1
    shown = re.findall(
        r"^dense/tiny/dense_array (\w+)/seed=(\d+): (.*)\n  repeat: (.*)$", done.err, re.M
    )
    assert {(test, seed) for test, seed, _, _ in shown} == {
        (test, seed) for test in TESTS for seed in ("41", "42")
    }
    assert len({command for *_, command in shown}) == 2  # one a seed
    test, seed, message, command = next(row for row in shown if row[:2] == ("free_flow", "42"))
    assert re.search(r"seed 42, free flow: cycle \d+: y beat 0: expected ", message)

    (suite,) = junitparser.JUnitXml.fromfile(str(out / "junit.xml"))
    assert suite.failures == len(shown)
    case = next(case for case in suite if case.name == f"{test}/seed={seed}")
    assert message in case.result[0].message
    summary = json.loads((out / "summary.json").read_text())["dense/tiny/dense_array"]
    assert f"{test}/seed={seed}: {message}" in summary["failures"]
    assert summary["config"]["lanes"] == 2

    words = shlex.split(command)
    assert words.pop(0) == "nibbleforge"
    assert words[words.index("--set") + 1] == "lanes=2"
    again = run(*(tmp_path / "again" if word == "DIR" else word for word in words))
    assert again.status == 1
    assert f"{test}/seed={seed}: {message}" in again.err
    assert f"seed={int(seed) - 1}" not in again.err
    wave = tmp_path / "again" / "dense-tiny-dense_array-42.vcd"
    assert re.search(r"\$var wire +\d+ \S+ y_payload ", wave.read_text())


def test_a_simulation_that_dies_is_no_difference(run, tmp_path, monkeypatch):
    monkeypatch.setattr(cocotb, "MODULE", "nibbleforge.absent")
    done = run("regress", "dense2k", *TINY, "--seeds", 1, "-o", tmp_path / "out")
    assert done.status == 2
    assert "nibbleforge: the simulation ended without a whole report: " in done.err
    assert "nibbleforge.absent" in done.err
    assert not (tmp_path / "out").exists()


# --- what is run ----------------------------------------------------------------------------------


@pytest.fixture
def chosen(monkeypatch) -> list[str]:
    """Names of the designs that the command would run."""
    names = []

    def note(variations, seeds, jobs, **options):
        names.extend(variation.name for variation in variations)
        return []

    monkeypatch.setattr("nibbleforge.scripts.commands.regress.regress", note)
    return names


@pytest.fixture
def configurations(monkeypatch) -> list[object]:
    """Configurations that the command would run."""
    found = []

    def note(variations, seeds, jobs, **options):
        found.extend(variation.config for variation in variations)
        return []

    monkeypatch.setattr("nibbleforge.scripts.commands.regress.regress", note)
    return found


def test_all_units_and_two_presets_are_the_default(run, tmp_path, chosen):
    assert run("regress", "-o", tmp_path).status == 0
    assert set(chosen) == {
        f"{unit.name}/{preset}/{design.name}"
        for unit in UNITS.values()
        for preset in ("tiny", "paper")
        for design in unit.designs(unit.presets[preset])
    }


def test_all_presets(run, tmp_path, chosen):
    assert run("regress", "bitmap", "dense", "--preset", "all", "-o", tmp_path).status == 0
    assert {name.rpartition("/")[0] for name in chosen} == {
        f"{unit}/{preset}" for unit in ("bitmap", "dense") for preset in UNITS[unit].presets
    }


def test_a_parameter_is_changed_in_every_preset(run, tmp_path, configurations):
    arguments = ("dense", "nm", "--preset", "tiny", "--preset", "lanes16", "--set", "lanes=2")
    assert run("regress", *arguments, "-o", tmp_path).status == 0
    assert configurations == [
        UNITS[unit].presets[preset].replace(lanes=2)
        for unit in ("dense", "nm")
        for preset in UNITS[unit].presets
        if preset in {"tiny", "lanes16"}
    ]


def test_a_parameter_may_lead_to_another_design(run, tmp_path, chosen):
    assignment = ("--set", "dequant.weight_group=32")
    assert run("regress", "dense", "--preset", "fpga", *assignment, "-o", tmp_path).status == 0
    assert chosen == ["dense/fpga/dense_grouped"]


def test_what_is_named_twice_runs_once(run, tmp_path, chosen):
    presets = ("--preset", "tiny", "--preset", "tiny")
    assert run("regress", "dense", "dense", *presets, "-o", tmp_path).status == 0
    assert chosen == ["dense/tiny/dense_array"]


def test_every_seed_runs_once(monkeypatch):
    ran = []

    def note(variation, seeds, waves, workers):
        ran.extend(seeds)
        return cocotb.Outcome((), (), ""), 0.0

    monkeypatch.setattr(regress, "_run", note)
    reported = []
    chosen = variations(["dense"], ["tiny"])
    regress.regress(chosen, range(7, 20), 2, progress=lambda *state: reported.append(state[1:]))
    assert sorted(ran) == list(range(7, 20))
    assert (reported[0], reported[-1]) == ((0, 13), (13, 13))


@pytest.mark.parametrize("seed", [10**40])
def test_seeds_may_be_huge(run, tmp_path, seed):
    options = ("--seeds", 1, "--first-seed", seed, "-o", tmp_path / "out")
    done = run("regress", "dense2k", *TINY, *options)
    assert done.status == 0, done.err
    (suite,) = junitparser.JUnitXml.fromfile(str(tmp_path / "out" / "junit.xml"))
    assert properties(suite)["seeds"] == str(seed)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seeds", "0"], "--seeds must be at least 1, got 0."),
        (["--seeds", "-5"], "--seeds must be at least 1, got -5."),
        (["--seeds", str(10**20)], f"--seeds must be at most 1000000, got {10**20}."),
        (["--seeds", "many"], "Invalid value for '--seeds': "),
        (["--first-seed", "-1"], "--first-seed must be at least 0, got -1."),
        (["--jobs", "0"], "--jobs must be at least 1, got 0."),
        (["--jobs", "-2"], "--jobs must be at least 1, got -2."),
        (["sparse"], "there is no unit 'sparse'; the units are "),
        (["dense", "sparse"], "there is no unit 'sparse'; the units are "),
        (["sparse", "--preset", "all"], "there is no unit 'sparse'; the units are "),
        (
            ["dense", "--preset", "huge"],
            "there is no preset 'huge'; the presets are fpga, lanes16, paper, ",
        ),
        (["dense", "--set", "lane=2"], "dense has no parameter 'lane'; its parameters are "),
        (["dense", "--set", "lanes"], "--set takes KEY=VALUE, got 'lanes'."),
        (["bitmap", "dense", "--set", "lanes=2"], "bitmap has no parameter 'lanes'; "),
        (
            ["nm", *TINY, "--set", "n=2"],
            "regress draws n with the operands: it cannot be set.",
        ),
        (
            ["dense", "--preset", "mask"],
            "there is no preset 'mask'; the presets are fpga, lanes16, paper, ",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments(refused, arguments, sentence):
    assert refused("regress", *arguments, "-o", "out").startswith(sentence)


def test_an_output_under_a_regular_file(refused, tmp_path):
    (tmp_path / "file").write_text("content")
    sentence = refused("regress", "dense", *TINY, "-o", "file/out")
    assert re.fullmatch(r"cannot write to file/out: \S*file is not a folder\.", sentence)


def test_without_a_compiler(refused, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert refused("regress", "dense", *TINY, "-o", "out") == toolchain.TOOLS["g++"].missing
