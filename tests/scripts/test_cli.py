"""Commands without hardware: help, version, units, doctor, cache."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from nibbleforge.golden.units import UNITS
from nibbleforge.golden.version import VERSION
from nibbleforge.scripts import main
from nibbleforge.sim.tools import toolchain
from nibbleforge.sim.tools.cache import Cache

COMMANDS = (
    "units",
    "generate",
    "export",
    "simulate",
    "regress",
    "timing",
    "capture",
    "predictor",
    "prune",
    "doctor",
    "cache",
    "demo",
)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Cache:
    monkeypatch.setenv("NIBBLEFORGE_CACHE", str(tmp_path / "cache"))
    return Cache()


def failing(error: BaseException) -> typer.Typer:
    """An application whose only command raises."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def command() -> None:
        raise error

    return app


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_lists_every_command(run, arguments):
    done = run(*arguments)
    assert (done.status, done.err) == (0, "")
    listed = {line.split()[0] for line in done.out.splitlines() if line.startswith("  ")}
    assert set(COMMANDS) <= listed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    done = run(command, "--help")
    assert (done.status, done.err) == (0, "")
    assert done.out.lstrip().startswith(f"Usage: nibbleforge {command} ")
    assert "--help" in done.out


def test_version(run):
    assert run("--version") == run("--version")
    assert run("--version").out == f"{VERSION}\n"


def test_the_installed_program_runs():
    program = Path(sys.executable).with_name("nibbleforge")
    if not program.exists():
        pytest.skip("nibbleforge is not installed beside this Python")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{VERSION}\n", "")


def test_units_lists_presets_parameters_and_their_meaning(run):
    done = run("units")
    assert done.status == 0
    for unit in UNITS.values():
        assert f"{unit.name}: {unit.summary}\n" in done.out
        assert f"  presets: {', '.join(unit.presets)}\n" in done.out
        for name, field in unit.config.model_fields.items():
            value = getattr(unit.presets["paper"], name)
            if value is None:
                value = "none"
            elif unit.config.nested(name):
                value = "as follows"
            plain = re.sub(r":\w+:|`", "", field.description)
            assert f"  {name} = {value}: {plain}\n" in done.out


# --- bad commands and options ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], "No such command 'nonsense'."),
        (["units", "--nonsense"], "No such option: --nonsense."),
        (["--nonsense"], "No such option: --nonsense."),
        (["units", "surplus"], "Got unexpected extra argument(s) (surplus)."),
        (["generate"], "Missing argument 'UNIT'."),
        (["generate", "dense"], "Missing option '--output' / '-o'."),
        (["cache"], "Missing command."),
        (["cache", "nonsense"], "No such command 'nonsense'."),
        (["demo", "--jobs", "0"], "--jobs must be at least 1, got 0."),
        (["demo", "--jobs", "-3"], "--jobs must be at least 1, got -3."),
        (["demo", "--capture", "absent.npz"], "absent.npz does not exist."),
    ],
)
def test_what_the_command_line_does_not_take(refused, arguments, sentence):
    assert refused(*arguments) == sentence


def test_an_option_that_is_no_number_is_named(refused):
    sentence = refused("demo", "--jobs", "many")
    assert sentence.startswith("Invalid value for '--jobs': ")


# --- doctor ---------------------------------------------------------------------------------------


def test_doctor_tells_where_each_tool_is_or_what_to_do(run):
    done = run("doctor")
    assert (done.status, done.err) == (0, "")
    for row in toolchain.report():
        assert row.tool.name in done.out
        if row.found is None:
            assert f"{row.tool.missing}\n" in done.out
        else:
            assert row.found.version in done.out
            assert row.tool.missing not in done.out


def test_doctor_without_compiler_says_so_and_fails(run, monkeypatch):
    monkeypatch.setenv("CXX", "/absent/c++")
    done = run("doctor")
    assert done.status == 2
    assert "CXX names /absent/c++, which was not found: " in done.out
    assert done.err == "nibbleforge: nothing works without g++.\n"


# --- cache ----------------------------------------------------------------------------------------


def fill(cache: Cache) -> None:
    cache.build("thing", {"key": "1"}, lambda folder: (folder / "file").write_bytes(bytes(123_456)))


def test_cache_info(run, cache):
    fill(cache)
    done = run("cache", "info")
    assert done.status == 0
    assert done.out.startswith(f"{cache.root}\n")  # on one line, however long
    rows = [line.split("│")[1:-1] for line in done.out.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert cells == [["thing", "1", "0.123"], ["all", "1", "0.123"]]


def test_cache_clear(run, cache):
    fill(cache)
    assert run("cache", "clear").out == "freed 0.1 MB\n"
    assert cache.info().entries == 0
    done = run("cache", "clear")
    assert (done.status, done.out) == (0, "freed 0.0 MB\n")


def test_a_cache_that_does_not_exist_is_empty(run, cache):
    done = run("cache", "info")
    assert done.status == 0
    assert not cache.root.exists()


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence(number, capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nibbleforge"])
    assert main.status(failing(OSError(number, os.strerror(number)))) == 2
    sentence = "no space left on the device; free some space or set TMPDIR."
    assert capfd.readouterr().err == f"nibbleforge: {sentence}\n"


def test_an_error_of_a_file_names_it(capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nibbleforge"])
    error = PermissionError(errno.EACCES, "Permission denied", "some/file")
    assert main.status(failing(error)) == 2
    assert capfd.readouterr().err == "nibbleforge: some/file: Permission denied.\n"


def test_an_interrupt_is_130(capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nibbleforge"])
    assert main.status(failing(KeyboardInterrupt())) == 130
    assert capfd.readouterr().err.splitlines()[-1] == "interrupted"


def test_a_bug_is_one_sentence_and_can_be_traced(capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nibbleforge"])
    assert main.status(failing(ZeroDivisionError("by nought"))) == 2
    sentence = (
        "nibbleforge: internal error (ZeroDivisionError: by nought);"
        " set NIBBLEFORGE_TRACEBACK=1 to see where, and report it.\n"
    )
    assert capfd.readouterr().err == sentence
    monkeypatch.setenv("NIBBLEFORGE_TRACEBACK", "1")
    assert main.status(failing(ZeroDivisionError("by nought"))) == 2
    err = capfd.readouterr().err
    assert err.startswith("Traceback ")
    assert err.endswith(sentence)
