"""``nibbleforge generate``: the files of every preset, and every bad input."""

import ctypes
import errno
import json
import os
import re
from itertools import chain

import pytest
from nibbleforge.golden.units import UNITS
from nibbleforge.hw.generate import Generated

PRESETS = [
    pytest.param(unit.name, preset, marks=() if preset == "tiny" else pytest.mark.slow)
    for unit in UNITS.values()
    for preset in unit.presets
]
SUFFIXES = (".json", ".v", ".vh", ".vlt")
TINY = ("generate", "dense", "--preset", "tiny")
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # of linux/prctl.h, linux/capability.h


def config_of(folder) -> dict:
    """Configuration in the manifest of a folder with one design."""
    (manifest,) = folder.glob("*.json")
    return json.loads(manifest.read_text())["config"]


def set_options(*assignments) -> list[str]:
    return [word for text in assignments for word in ("--set", text)]


@pytest.mark.parametrize(("unit", "preset"), PRESETS)
def test_every_preset(run, tmp_path, unit, preset):
    out = tmp_path / "out"
    done = run("generate", unit, "--preset", preset, "-o", out)
    assert (done.status, done.err) == (0, "")
    config = UNITS[unit].presets[preset]
    names = [design.name for design in UNITS[unit].designs(config)]
    files = {str(out / f"{name}{suffix}") for name in names for suffix in SUFFIXES}
    assert set(done.out.splitlines()) == files
    assert {str(path) for path in out.iterdir()} == files
    for name in names:
        manifest = json.loads((out / f"{name}.json").read_text())
        assert manifest["config_hash"] == config.config_hash
        assert f"// Configuration hash: {config.config_hash}\n" in (out / f"{name}.v").read_text()


def test_the_paper_preset_is_the_default(run, tmp_path):
    run("generate", "dense", "-o", tmp_path)
    paper = UNITS["dense"].presets["paper"]
    said = paper.model_dump(exclude=set(paper.idle))
    assert config_of(tmp_path) == {"type": "DenseConfig"} | said


def test_single_parameters_override_a_file_and_a_file_the_preset(run, tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('rows = 2\ncolumns = 3\nrecode = "twos"\n')
    options = set_options("columns=4", "recode=balanced")
    done = run(*TINY, "--config", file, *options, "-o", tmp_path / "out")
    assert done.status == 0, done.err
    config = config_of(tmp_path / "out")
    assert (config["rows"], config["columns"], config["max_k"]) == (2, 4, 64)
    assert config["recode"] == "balanced"


@pytest.mark.parametrize(
    ("preset", "assignments", "scales"),
    [
        ("paper", [], None),
        ("paper", ["dequant.weight_group=32", "dequant.add_latency=2"], (32, 2)),
        ("paper", ["dequant={weight_group = 64}"], (64, 3)),
        ("q4_0", ["dequant.add_latency=4"], (32, 4)),
        ("q4_0", ["dequant=none"], None),
        ("q4_0", ["dequant=none", "dequant.add_latency=1"], (32, 1)),
    ],
)
def test_nested_parameters(run, tmp_path, preset, assignments, scales):
    shape = ("rows=2", "columns=2", "max_k=256")
    options = set_options(*shape, *assignments)
    done = run("generate", "dense", "--preset", preset, *options, "-o", tmp_path)
    assert done.status == 0, done.err
    found = config_of(tmp_path)["dequant"]
    assert scales == (found and (found["weight_group"], found["add_latency"]))


def test_nested_parameters_in_a_file(run, tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("max_k = 64\n[dequant]\nweight_group = 16\nadd_latency = 2\n")
    options = set_options("dequant.add_latency=4")
    assert run(*TINY, "--config", file, *options, "-o", tmp_path / "out").status == 0
    found = config_of(tmp_path / "out")["dequant"]
    assert (found["weight_group"], found["add_latency"]) == (16, 4)


@pytest.mark.parametrize(
    "text", ['recode="twos"', "recode='twos'", "recode=twos", " recode = twos"]
)
def test_strings_need_no_quotes(run, tmp_path, text):
    assert run(*TINY, "--set", text, "-o", tmp_path).status == 0
    assert config_of(tmp_path)["recode"] == "twos"


def test_name_and_reset(run, tmp_path):
    assert run(*TINY, "--name", "mine", "--reset", "low", "-o", tmp_path).status == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"mine{suffix}" for suffix in SUFFIXES}
    assert re.search(r"^  input rst_n,", (tmp_path / "mine.v").read_text(), re.MULTILINE)


def test_of_a_unit_with_two_designs_the_name_is_a_prefix(run, tmp_path):
    done = run("generate", "bitmap", "--preset", "tiny", "--name", "my", "-o", tmp_path)
    assert done.status == 0
    assert {path.stem for path in tmp_path.iterdir()} == {"my_bitmap_decoder", "my_bitmap_encoder"}


def test_files_are_replaced_and_others_are_left_alone(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "settings.json").write_text("[]")
    run(*TINY, "-o", tmp_path)
    before = (tmp_path / "dense_array.v").read_text()
    (tmp_path / "dense_array.v").write_text("// an older version")
    assert run(*TINY, "-o", tmp_path).status == 0  # the same design once more
    assert (tmp_path / "dense_array.v").read_text() == before
    assert run(*TINY, "--set", "rows=2", "--force", "-o", tmp_path).status == 0
    assert (tmp_path / "dense_array.v").read_text() != before
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "settings.json").unlink()
    assert {path.name for path in tmp_path.iterdir()} == {
        "notes.txt",
        *(f"dense_array{suffix}" for suffix in SUFFIXES),
    }


@pytest.mark.deep
def test_all_units_fit_into_one_folder(run, tmp_path):
    """Their default names differ, and so do those of all their modules."""
    for unit in UNITS.values():
        assert run("generate", unit.name, "--preset", "tiny", "-o", tmp_path).status == 0
    modules = [json.loads(path.read_text())["modules"] for path in tmp_path.glob("*.json")]
    assert len(modules) == len(set(chain(*modules)) & {path.stem for path in tmp_path.iterdir()})
    assert sum(map(len, modules)) == len(set(chain(*modules)))


def test_needs_no_compiler(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert run(*TINY, "-o", tmp_path / "out").status == 0


# --- bad input ------------------------------------------------------------------------------------

UNITS_KNOWN = f"there is no unit 'sparse'; the units are {', '.join(UNITS)}."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sparse"], UNITS_KNOWN),
        (["dense", "--preset", "huge"], "dense has no preset 'huge'; its presets are "),
        (["bitmap", "--preset", "vector"], "bitmap has no preset 'vector'; its presets are "),
        (["dense", "--set", "widths=4"], "dense has no parameter 'widths'; its parameters are "),
        (
            ["dense", "--set", "dequant=group"],
            "dequant must be none, or group scales such as dequant.weight_group=128, got 'group'.",
        ),
        (
            ["dense", "--set", "dequant.weight_group=48"],
            "dequant.weight_group must be one of 4, 8, 16, 32, 64, 128, got 48.",
        ),
        (
            ["dense", "--set", "dequant.rows=2"],
            "dequant.rows is not a parameter here; the parameters are convert_latency, "
            "multiply_latency, add_latency, weight_group.",
        ),
        (
            ["dense", "--set", "weight_group=32"],
            "dense has no parameter 'weight_group'; its parameters are dequant.convert_latency, "
            "dequant.multiply_latency, dequant.add_latency, dequant.weight_group, rows, columns, "
            "k, activation_bits, weight_bits, passes, recode, lanes, tree, max_k.",
        ),
        (["dense", "--set", "rows.x=2"], "rows: input should be a valid integer, got {'x': 2}."),
        (["dense", "--set", "rows"], "--set takes KEY=VALUE, got 'rows'."),
        (["dense", "--set", "=4"], "--set takes KEY=VALUE, got '=4'."),
        (["dense", "--set", ""], "--set takes KEY=VALUE, got ''."),
        (["dense", "--set", "rows=0"], "rows: input should be greater than or equal to 1, got 0."),
        (["dense", "--set", "rows=-5"], "rows: input should be greater than or equal to 1, got -5"),
        (
            ["dense", "--set", "rows=257"],
            "rows: input should be less than or equal to 256, got",
        ),
        (["dense", "--set", "rows=four"], "rows: input should be a valid integer, got 'four'."),
        (["dense", "--set", "rows=4.0"], "rows: input should be a valid integer, got 4.0."),
        (["dense", "--set", "rows=true"], "rows: input should be a valid integer, got True."),
        (["dense", "--set", "rows=[4]"], "rows: input should be a valid integer, got [4]."),
        (["dense", "--set", "rows="], "rows: input should be a valid integer, got ''."),
        (["dense", "--set", "rows=nan"], "rows: input should be a valid integer, got nan."),
        (["dense", "--set", "rows=1e400"], "rows: input should be a valid integer, got inf."),
        (["dense", "--set", "k=3"], "k: input should be 2, 4 or 8, got 3."),
        (["dense", "--set", "recode=1"], "recode: input should be 'balanced' or 'twos', got 1."),
        (["bitmap", "--set", "width=9"], "width: input should be less than or equal to 8, got 9."),
        (
            ["bitmap", "--set", "width=8", "--set", "beat=4"],
            "width must not exceed beat, got ",
        ),
        (["bitmap", "--set", "group=24"], "group must be one of (4, 8, 16, 32, 64, 128), got 24."),
        (
            ["bitmap", "--set", "mode=scatter", "--set", "value_width=0"],
            "mode scatter needs ",
        ),
        (["bitmap", "--set", "tau_lo=-1"], "tau_lo: input should be greater than or equal to 0"),
        (["dense", "--reset", "both"], "--reset must be high or low, got 'both'."),
        (["dense", "--name", "2big"], "a module name must be a Verilog identifier, got '2big'."),
        (["dense", "--name", ""], "a module name must be a Verilog identifier, got ''."),
        (["bitmap", "--name", ""], "a module name must be a Verilog identifier, got ''."),
        (["dense", "--name", "../x"], "a module name must be a Verilog identifier, got '../x'."),
        (["dense", "--name", "module"], "a module name must not be a keyword of Verilog, got "),
        (["dense", "--name", "events"], "a module name must not be that of one of its ports, got "),
        (
            ["dense", "--config", "absent.toml"],
            "cannot read absent.toml: No such file",
        ),
        (["dense", "--config", "."], "cannot read .: Is a directory."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_parameters(refused, arguments, sentence):
    assert refused("generate", *arguments, "-o", "out").startswith(sentence)


def test_a_value_of_thousands_of_digits(refused):
    assert refused(*TINY, "--set", f"rows={'9' * 5000}", "-o", "out").startswith("rows: ")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"rows = ", r"my\.toml is not TOML: .*\."),
        (b"\xff\xfe", r"my\.toml is not TOML: .*\."),
        (b"widths = 4", r"dense has no parameter 'widths'; its parameters are .*\."),
        (b"rows = 'four'", r"rows: input should be a valid integer, got 'four'\."),
        (b"[array]\nrows = 4", r"dense has no parameter 'array'; its parameters are .*\."),
    ],
)
def test_bad_files(refused, tmp_path, content, sentence):
    (tmp_path / "my.toml").write_bytes(content)
    found = refused("generate", "dense", "--config", "my.toml", "-o", "out")
    assert re.fullmatch(sentence, found)


# --- bad outputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["file", "file/out", "file/further/out"])
def test_an_output_under_a_regular_file(refused, tmp_path, output):
    (tmp_path / "file").write_text("content")
    sentence = refused(*TINY, "-o", output)
    assert re.fullmatch(rf"cannot write to {output}: \S*file is not a folder\.", sentence)


def test_an_output_through_a_broken_link(refused, tmp_path):
    (tmp_path / "link").symlink_to("absent")
    assert refused(*TINY, "-o", "link") == "cannot write to link: link is a broken link."


def test_an_output_with_too_long_a_name(refused):
    name = "x" * 300
    assert refused(*TINY, "-o", name) == f"{name}: File name too long."


@pytest.mark.parametrize(
    "other",
    [
        ("dense", "--preset", "tiny", "--set", "rows=2"),
        ("dense", "--preset", "tiny", "--reset", "low"),
        ("dense2k", "--preset", "tiny", "--name", "dense_array"),
        ("bitmap", "--preset", "tiny", "--name", "mine"),
    ],
    ids=lambda other: " ".join(other[3:]),
)
def test_an_output_with_another_design_of_that_name(run, refused, tmp_path, other):
    assert run(*TINY, "-o", tmp_path / "out").status == 0
    assert run(*TINY, "--name", "mine_bitmap_encoder", "-o", tmp_path / "out").status == 0
    name = "mine_bitmap_encoder" if "mine" in other else "dense_array"
    assert refused("generate", *other, "-o", "out") == (
        f"out/{name}.v is there already and not of this design and configuration: "
        "choose another name (--name) or folder, or replace it (--force)."
    )
    assert run("generate", *other, "--force", "-o", tmp_path / "out").status == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_output_with_a_file_of_that_name(refused, tmp_path, suffix):
    (tmp_path / f"dense_array{suffix}").write_text("{}")
    assert refused(*TINY, "-o", ".").startswith(f"dense_array{suffix} is there already and not ")


@pytest.mark.parametrize("manifest", ["", "[]", "{}", "null", '{"top": "dense_array"}', "\0"])
def test_a_manifest_that_is_none_proves_nothing(refused, tmp_path, manifest):
    (tmp_path / "dense_array.v").write_text("")
    (tmp_path / "dense_array.json").write_text(manifest)
    assert refused(*TINY, "-o", ".").startswith("dense_array.v is there already and not ")


@pytest.mark.parametrize(
    "names", [("dense_array_multiply_accumulate", None), (None, "dense_array_multiply_accumulate")]
)
def test_an_output_with_a_module_of_that_name(run, refused, tmp_path, names):
    first, second = ([*TINY, *(["--name", name] if name else [])] for name in names)
    assert run(*first, "-o", tmp_path / "out").status == 0
    stem = names[0] or "dense_array"
    assert refused(*second, "-o", "out") == (
        f"out/{stem}.v has a module dense_array_multiply_accumulate, too: "
        "choose another name (--name) or folder."
    )


def test_an_output_where_a_folder_has_the_name_of_a_file(refused, tmp_path):
    (tmp_path / "out" / "dense_array.v").mkdir(parents=True)
    (tmp_path / "out" / "dense_array.v" / "precious").write_text("mine")
    assert refused(*TINY, "-o", "out") == ("cannot write to out: dense_array.v in it is a folder.")


def obey_permissions():
    """Root loses the right to write anywhere with the next exec; others have none to lose."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("out", ["mine", "mine/out"])
def test_an_output_without_permission(spawn, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir(mode=0o500)
    process = spawn(*TINY, "-o", out, before=obey_permissions)
    printed, error = process.communicate()
    assert (process.returncode, printed) == (2, "")
    assert re.fullmatch(rf"nibbleforge: cannot write to {out}: \S*mine is not writable\.\n", error)
    assert not any((tmp_path / "mine").iterdir())


def test_no_space_left_for_the_second_file(refused, monkeypatch):
    def full(self, folder):
        (folder / "dense_array.v").write_text(self.verilog)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "dense_array.json")

    monkeypatch.setattr(Generated, "write", full)
    assert refused(*TINY, "-o", "new/out") == (
        "no space left on the device while writing to new/out."
    )


def test_results_that_cannot_be_printed_are_still_there(tmp_path, spawn):
    process = spawn(*TINY, "-o", tmp_path / "out", PYTHONUNBUFFERED=1)
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert "Traceback" not in process.stderr.read()
    assert len(list((tmp_path / "out").iterdir())) == len(SUFFIXES)
