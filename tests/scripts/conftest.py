"""The command line as a function and as a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.scripts import main

PROGRAM = (sys.executable, "-c", "from nibbleforge.scripts.start import main; main()")


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capfd) -> Callable[..., Done]:
    """``run(*arguments)``: the command line within this process."""

    def runner(*arguments) -> Done:
        monkeypatch.setattr(sys, "argv", ["nibbleforge", *map(str, arguments)])
        capfd.readouterr()
        status = main.status(main.app)
        captured = capfd.readouterr()
        return Done(status, captured.out, captured.err)

    return runner


@pytest.fixture
def refused(run, tmp_path, monkeypatch) -> Callable[..., str]:
    """``refused(*arguments)``: the sentence of a command that must end with 2, nothing written.

    Runs in a folder of its own; what lies in ``tmp_path`` beforehand may stay and nothing may come.
    """
    monkeypatch.chdir(tmp_path)

    def runner(*arguments) -> str:
        before = _snapshot(tmp_path)
        done = run(*arguments)
        assert (done.status, done.out) == (2, ""), done
        assert _snapshot(tmp_path) == before
        prefix, newline = "nibbleforge: ", "\n"
        assert done.err.startswith(prefix)
        assert done.err.endswith("." + newline)
        assert done.err.count(newline) == 1
        return done.err[len(prefix) : -len(newline)]

    return runner


def _snapshot(folder) -> dict:
    """Every path below a folder, with size and time of files."""
    paths = [path for path in folder.rglob("*") if "cache" not in path.parts]
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns) if path.is_file() else None
        for path in paths
    }


@pytest.fixture
def program() -> tuple[str, ...]:
    """How the command line starts as a process."""
    return PROGRAM


def _begin(before: Callable[[], None] | None) -> None:
    """Heed Ctrl-C, which a shell has what it starts in the background ignore; then `before`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if before is not None:
        before()


@pytest.fixture
def spawn() -> Callable[..., "subprocess.Popen[str]"]:
    """``spawn(*arguments, **environment)``: the command line as a process, killed at the end.

    `before` is called in the process before the command line begins.
    """
    started = []

    def runner(*arguments, before=None, **environment) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            preexec_fn=lambda: _begin(before),
            env={**os.environ, **{name: str(value) for name, value in environment.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield runner
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def save(tmp_path) -> Callable[..., "os.PathLike[str]"]:
    """``save(name, array)``: a ``.npy`` file with the array."""

    def writer(name, array):
        np.save(tmp_path / f"{name}.npy", array)
        return tmp_path / f"{name}.npy"

    return writer


@pytest.fixture
def processes_of() -> Callable[[Path], dict[int, str]]:
    """``processes_of(folder)``: those that use or work in a folder, number to name.

    Using it means having it for temporary files.
    """

    def found(folder: Path) -> dict[int, str]:
        numbers = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                told = str(folder).encode() in (process / "environ").read_bytes()
                if told or (process / "cwd").readlink().is_relative_to(folder):
                    numbers[int(process.name)] = (process / "comm").read_text().strip()
            except OSError:  # it has ended
                continue
        return numbers

    return found


@pytest.fixture
def interrupt(spawn, processes_of, tmp_path) -> Callable[..., None]:
    """``interrupt(begun, *arguments, patience)``: Ctrl-C once ``begun(name)`` of a child.

    The command ends as it should: nothing of it runs on, and nothing is written. ``patience`` is in
    seconds.
    """

    def runner(begun: Callable[[str], bool], *arguments, patience: float) -> None:
        scratch = tmp_path / "tmp"
        scratch.mkdir()
        process = spawn(*arguments, "-o", tmp_path / "out", TMPDIR=scratch)
        deadline = time.monotonic() + patience
        while not any(
            begun(comm) and number != process.pid for number, comm in processes_of(scratch).items()
        ):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=patience)
        assert process.returncode == 130, err
        assert err.splitlines()[-1] == "interrupted"
        assert processes_of(scratch) == {}
        assert list(scratch.iterdir()) == []
        assert not (tmp_path / "out").exists()

    return runner
