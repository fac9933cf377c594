"""Ctrl-C: exit 130, no partial result, no stale lock, nothing left running, and a second start."""

import fcntl
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from nibbleforge.sim.tools.cache import Cache

# A compiler that starts a child, tells both process numbers and never ends.
ENDLESS = """#!/bin/sh
if [ "$1" = --version ]; then echo endless 1.0; exit; fi
sleep 600 &
echo $$ $! >> "$LOG"
wait
"""
PATIENCE = 60  # seconds; the machine may be busy


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def interrupt(process, at_most: float = 15) -> None:
    """Press Ctrl-C, and check what the process still says."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=at_most)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted"


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended but is not reaped yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def compiler(tmp_path) -> dict[str, Path]:
    """Environment with an endless compiler, a cache and a folder for temporary files."""
    program = tmp_path / "endless-c++"
    program.write_text(ENDLESS)
    program.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    return {
        "CXX": program,
        "LOG": tmp_path / "log",
        "NIBBLEFORGE_CACHE": tmp_path / "cache",
        "TMPDIR": tmp_path / "tmp",
    }


@pytest.fixture
def commands(save) -> dict[str, tuple]:
    """Small work for every command that simulates, without its output."""
    x, w = save("a", np.ones((4, 6), np.float32)), save("w", np.ones((5, 6), np.float32))
    return {
        "simulate": ("simulate", "dense", "--activations", x, "--weights", w, "--preset", "tiny"),
        "regress": ("regress", "dense2k", "--preset", "tiny", "--jobs", 2),
        "demo": ("demo", "--jobs", 1),
    }


def nothing_left(environment: dict[str, Path]) -> bool:
    """No temporary files, half builds or compilers."""
    cache = Cache(environment["NIBBLEFORGE_CACHE"])
    left = [*environment["TMPDIR"].iterdir(), *cache.root.glob("*/*.partial-*")]
    compilers = [int(word) for word in environment["LOG"].read_text().split()]
    wait_until(lambda: not any(map(alive, compilers)))  # a killed one may be seen for a moment
    return not left and cache.info().entries == 0


def test_while_loading(spawn, tmp_path):
    """A library that never ends loading."""
    (tmp_path / "typer.py").write_text(
        "import os, pathlib, time\npathlib.Path(os.environ['LOG']).touch()\ntime.sleep(600)\n"
    )
    log = tmp_path / "log"
    process = spawn("units", PYTHONPATH=tmp_path, LOG=log)
    wait_until(log.exists)
    interrupt(process)


@pytest.mark.first(2, deep=3)
@pytest.mark.parametrize("command", ["simulate", "regress", "demo"])
def test_while_compiling(spawn, commands, compiler, tmp_path, command):
    out = tmp_path / "new" / "out"
    output = () if command == "demo" else ("-o", out)
    process = spawn(*commands[command], *output, **compiler)
    log = compiler["LOG"]
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    interrupt(process)
    assert not out.parent.exists()
    assert nothing_left(compiler)
    assert_unlocked(Cache(compiler["NIBBLEFORGE_CACHE"]))


def assert_unlocked(cache: Cache) -> None:
    """Whoever comes next may build what the interrupted process was building, and clear."""
    locks = list(cache.root.glob("*/*.lock"))
    assert locks
    for lock in locks:
        with FileLock(lock, timeout=0):
            pass
    with (cache.root / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.deep
def test_a_second_start_works(spawn, run, commands, tmp_path, monkeypatch):
    """Half-way through the seeds, results of an earlier run in the folder."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text("earlier")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = spawn(*commands["regress"], "--seeds", 100, "-o", out)
    while not process.stderr.readline().startswith("regression: "):
        assert process.poll() is None
    interrupt(process)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"summary.json": "earlier"}
    assert not list(tmp_path.glob("nibbleforge-*"))

    done = run(*commands["regress"], "--seeds", 1, "-o", out)
    assert done.status == 0, done.err
    assert {path.name for path in out.iterdir()} == {"junit.xml", "summary.json"}
    assert (out / "summary.json").read_text() != "earlier"


@pytest.mark.deep
def test_a_second_start_of_a_simulation_works(spawn, run, commands, tmp_path):
    """The first is interrupted with the simulation itself under way."""
    x = tmp_path / "long.npy"
    np.save(x, np.ones((2_000, 60), np.float32))
    long = ("--activations", x, "--weights", x, "-o", tmp_path / "out")
    run(*commands["simulate"], "-o", tmp_path / "first")  # so that it is built
    process = spawn("simulate", "dense", "--preset", "tiny", *long)
    while process.stderr.readline() != "simulating dense_array\n":
        assert process.poll() is None
    interrupt(process)
    assert not (tmp_path / "out").exists()
    done = run(*commands["simulate"], "-o", tmp_path / "out")
    assert done.status == 0, done.err
    assert len(list((tmp_path / "out").iterdir())) == len(list((tmp_path / "first").iterdir()))
