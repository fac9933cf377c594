"""Faults of what surrounds a process: standard streams, disks, names of folders, signals."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

ODD = 'it\'s a\t"tmp"\n$x; ü #%'
"""A name that no command line takes without quotes."""
GENERATE = ("generate", "bitmap", "--preset", "tiny", "-o")
FILES = {
    f"bitmap_{part}{end}"
    for part in ("decoder", "encoder")
    for end in (".v", ".json", ".vh", ".vlt")
}
NO_SPACE = r"nibbleforge: no space left on the device"


@pytest.fixture
def shell(program, tmp_path):
    """``shell(arguments, redirection, **environment)``: a command as the shell starts it."""

    def runner(arguments, redirection="", **environment) -> "subprocess.CompletedProcess[str]":
        words = ["sh", "-c", f'"$@" {redirection}', "sh", *program, *map(str, arguments)]
        return subprocess.run(
            words,
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return runner


def whole(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} == FILES and all(
        path.read_text().rstrip().endswith("endmodule") for path in folder.glob("*.v")
    )


# --- standard streams -----------------------------------------------------------------------------


def test_a_reader_that_had_enough_is_no_failure(shell):
    done = shell(["units"], "2> err | head -1; cat err", PYTHONUNBUFFERED="1")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("redirection", ["<&- >&- 2>&-", ">&-"])
def test_the_work_does_not_need_closed_streams(shell, tmp_path, redirection):
    done = shell([*GENERATE, "out"], redirection)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert whole(tmp_path / "out")


def test_output_onto_a_full_disk_is_told(shell, tmp_path):
    done = shell([*GENERATE, "out"], "> /dev/full")
    sentence = "nibbleforge: cannot write to standard output: No space left on device.\n"
    assert (done.returncode, done.stderr) == (2, sentence)
    assert whole(tmp_path / "out")


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize(
    "surroundings",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii", "C"],
)
def test_letters_that_the_output_does_not_know(shell, tmp_path, surroundings):
    done = shell([*GENERATE, "ü"], **surroundings)
    assert (done.returncode, done.stderr) == (0, "")
    assert "bitmap_decoder.v" in done.stdout
    assert whole(tmp_path / "ü")


# --- folders --------------------------------------------------------------------------------------


def test_names_that_need_quotes(run, tmp_path, monkeypatch):
    """Everything below such a folder, and temporary files too; the cache is that of all tests."""
    (tmp_path / ODD).mkdir()
    monkeypatch.chdir(tmp_path / ODD)
    monkeypatch.setenv("TMPDIR", str(tmp_path / ODD))
    monkeypatch.setattr("tempfile.tempdir", None)
    np.save("x.npy", np.ones((2, 8), np.float32))
    bitmap = ("bitmap", "--preset", "tiny")
    for command in (
        ("generate", *bitmap),
        ("simulate", *bitmap, "--activations", "x.npy"),
        ("regress", *bitmap, "--seeds", 1),
        ("area", *bitmap, "--runs", 1),
    ):
        done = run(*command, "-o", ODD)
        assert done.status == 0, done.err
    assert {path.name for path in Path.cwd().iterdir()} == {"x.npy", ODD}
    assert {"bitmap_decoder.v", "y.npy", "junit.xml", "area.json"} <= {
        path.name for path in Path(ODD).iterdir()
    }


# --- disks ----------------------------------------------------------------------------------------


@pytest.mark.first(1, deep=4)
@pytest.mark.parametrize("share", [0.6, 0, 0.3, 0.99])
def test_a_disk_that_fills_while_verilog_is_written(full_disk, shell, run, tmp_path, share):
    """Temporary files and results lie on it; what was written before stays."""
    whole = tmp_path / "whole"
    assert run(*GENERATE, whole).status == 0
    size = sum(path.stat().st_size for path in whole.iterdir())
    (tmp_path / "disk" / "out").mkdir(parents=True)
    (tmp_path / "disk" / "out" / "mine").write_text("mine")
    disk = full_disk(tmp_path / "disk", int(share * size))
    done = shell([*GENERATE, "disk/out"], TMPDIR=str(disk.directory), **disk.environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "nibbleforge: no space left on the device while writing to disk/out.\n"
    assert [path.name for path in disk.directory.rglob("*")] == ["out", "mine"]


@pytest.mark.first(1, deep=4)
@pytest.mark.parametrize("command", ["simulate", "regress"])
@pytest.mark.parametrize("left", [300, 2_000])  # with 0, temporary files go elsewhere
def test_a_full_disk_for_temporary_files(full_disk, shell, run, tmp_path, command, left):
    """Of an executable that was built before."""
    np.save(tmp_path / "x.npy", np.ones((20, 8), np.float32))
    options = {"simulate": ("--activations", tmp_path / "x.npy"), "regress": ("--seeds", 1)}
    words = (command, "bitmap", "--preset", "tiny", *options[command], "-o")
    assert run(*words, tmp_path / "first").status == 0
    (tmp_path / "disk").mkdir()
    disk = full_disk(tmp_path / "disk", left)
    done = shell([*words, "out"], TMPDIR=str(disk.directory), **disk.environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("nibbleforge: no space left on the device")
    assert "Traceback" not in done.stderr
    assert not list(disk.directory.iterdir())
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("share", range(8))
def test_a_disk_that_fills_while_a_simulation_is_built(full_disk, shell, tmp_path, share):
    """The cache lies on it: Verilator's C++, objects, the executable."""
    np.save(tmp_path / "x.npy", np.ones((20, 8), np.float32))
    (tmp_path / "disk").mkdir()
    disk = full_disk(tmp_path / "disk", 40_000 << share)
    words = ("simulate", "bitmap", "--preset", "tiny", "--activations", "x.npy", "-o", "out")
    cache = {"NIBBLEFORGE_CACHE": str(disk.directory / "cache")}
    done = shell(words, TMPDIR=str(disk.directory), **cache, **disk.environment)
    assert done.returncode in (0, 2), done.stderr
    if done.returncode == 2:
        assert done.stderr.splitlines()[-1].startswith("nibbleforge: no space left on the device")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in disk.directory.iterdir()] == ["cache"]
    assert not list(disk.directory.glob("cache/*/*.partial-*"))


# --- signals --------------------------------------------------------------------------------------

ENDLESS = """#!/bin/sh
case "$*" in *--version) echo endless 1.0; exit;; esac
touch "$LOG"
exec sleep 600
"""


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize(
    "signals", [[signal.SIGINT] * 3, [signal.SIGTERM]], ids=["three times Ctrl-C", "SIGTERM"]
)
def test_an_impatient_user(spawn, tmp_path, signals):
    """While compiling: the second Ctrl-C does not interrupt what the first one cleans up."""
    compiler, log = tmp_path / "c++", tmp_path / "log"
    compiler.write_text(ENDLESS)
    compiler.chmod(0o755)
    for folder in ("tmp", "cache"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "x.npy", np.ones((2, 8), np.float32))
    process = spawn(
        *("simulate", "bitmap", "--preset", "tiny", "--activations", tmp_path / "x.npy"),
        *("-o", tmp_path / "out"),
        CXX=compiler,
        LOG=log,
        TMPDIR=tmp_path / "tmp",
        NIBBLEFORGE_CACHE=tmp_path / "cache",
    )
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.01)
    for number in signals:
        process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err.splitlines()[-1]) == (130, "interrupted")
    assert "Traceback" not in err
    assert not list((tmp_path / "tmp").iterdir())
    assert not list(tmp_path.glob("cache/*/*.partial-*"))
    assert not (tmp_path / "out").exists()
