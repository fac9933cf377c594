"""Native harness: whole layers through the Verilated model without Python in the loop."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import ToolError
from ...golden.contract.ports import Port
from ...golden.contract.schedule import Answers, Beats, Pulses, Traffic
from ...hw.generate import Generated
from ...tb.scoreboard import Observation
from ...tb.stalls import Gates
from ..tools.cache import Cache
from ..tools.workers import Workers
from . import verilator
from .emitted import emitted

MAIN, DRIVER = (Path(__file__).parents[1] / "cxx" / name for name in ("main.cpp", "driver.cpp"))
TAIL = 64  # cycles a run goes on after the final expected beat, to catch surplus ones
IDLE_LIMIT = 100_000  # cycles without any handshake after which a run is given up


@dataclass(frozen=True)
class Memory:
    """A memory that answers bursts of AXI, in order, a beat a cycle; elsewhere with errors.

    Attributes
    ----------
    bursts, answers
        Ports: address in bytes and beats but one; data, response, final beat of the burst.
    content
        ``(bytes,)``, uint8.
    address
        Where it begins.
    latency
        Cycles from a burst to its first beat.
    """

    bursts: Port
    answers: Port
    content: NDArray[np.uint8]
    address: int
    latency: int

    def line(self, folder: Path) -> str:
        """The line of a job."""
        content = _store(folder, "memory.content", self.content)
        bits = self.bursts.fields[0].bits
        beat = self.answers.fields[0].bits // 8
        names = f"{self.answers.name} {self.bursts.name} {content}"
        return f"memory {names} {self.address} {bits} {beat} {self.latency}"


@dataclass(frozen=True)
class Run:
    """Result of one native run.

    Attributes
    ----------
    seen
        Beats, events and, where traced, their cycles.
    cycles
        Simulated cycles, the tail included.
    seconds
        Wall time of the simulation loop alone.
    """

    seen: Observation
    cycles: int
    seconds: float

    @property
    def cycles_per_second(self) -> float:
        """Simulation speed."""
        return self.cycles / max(self.seconds, 1e-9)


_ARGUMENTS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert")
_WIDE = ("-fno-expand", "-fno-dfg", "-fno-gate", "-fno-inline", "-Wno-UNOPTFLAT")


def wide_arguments(design: Design) -> tuple[str, ...]:
    """Arguments of Verilator for a design of wide vectors; none for others."""
    return _WIDE if design.wide else ()


class Model:
    """A design built with the native driver.

    Parameters
    ----------
    design, config
        What to build.
    verilog
        Verilog to use instead of the generated one, for example a mutant, and inputs it has
        beside those of the design, which runs hold at constant values.
    constants
        Names of such inputs.
    optimise
        ``fast`` for whole layers, ``quick`` for short runs.
    """

    def __init__(
        self,
        design: Design,
        config: Config,
        *,
        verilog: str | None = None,
        constants: tuple[str, ...] = (),
        optimise: verilator.Optimise = "fast",
        cache: Cache | None = None,
    ):
        self.design = design
        self.config = config
        self.ports = design.ports(config)
        self.events = design.events(config)
        generated = emitted(design, config)
        with tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
            source = Path(folder, f"{generated.name}.v")
            source.write_text(verilog or generated.verilog)
            Path(folder, "ports.h").write_text(_glue(generated, self.ports, constants))
            self.executable = verilator.build(
                [source],
                generated.name,
                MAIN,
                library=[DRIVER],
                includes=[Path(folder)],
                verilator_args=(*_ARGUMENTS, *wide_arguments(design)),
                optimise=optimise,
                cache=cache,
            )

    def run(
        self,
        traffic: Traffic,
        *,
        gates: Gates | None = None,
        trace: bool = False,
        garbage: bool = False,
        reset_after: int = 0,
        constants: Mapping[str, int] | None = None,
        idle_limit: int = IDLE_LIMIT,
        memory: Memory | None = None,
        progress: Callable[[int], None] | None = None,
        workers: Workers | None = None,
    ) -> Run:
        """Play the input beats of ``traffic`` and record what comes out.

        Parameters
        ----------
        traffic
            Beats of every port; of outputs only their number is used.
        gates
            Stall patterns, see :mod:`nibbleforge.tb.stalls`.
        trace
            Record the cycle of every beat and event.
        garbage
            Random payload wherever valid is 0.
        reset_after
            Reset in this cycle and start again from the first beat.
        constants
            Values of the held inputs.
        idle_limit
            Cycles without a handshake after which the run is given up.
        memory
            Who answers bursts; their port is then no part of ``traffic``.
        progress
            Called with the number of output beats so far.
        workers
            Pool that the process belongs to.

        Raises
        ------
        ToolError
            The simulation failed, or left no whole result.
        """
        settings = {"trace": trace, "garbage": garbage, "reset_after": reset_after}
        settings |= {"tail": TAIL, "idle_limit": idle_limit}
        settings |= {f"constant_{name}": value for name, value in (constants or {}).items()}
        with tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
            lines = [memory.line(Path(folder))] if memory else []
            lines += [f"set {name} {int(value)}" for name, value in settings.items()]
            report = self._launch(Path(folder), traffic, gates or {}, lines, progress, workers)
            with _whole_results():
                seen = self._observation(Path(folder), report, trace)
        return Run(seen, report["cycles"], report["seconds"])

    def free_run(self, traffic: Traffic, cycles: int) -> Run:
        """Clock the bare model with its inputs held, to see what the driver costs."""
        with tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
            report = self._launch(Path(folder), traffic, {}, [f"set free_cycles {cycles}"])
        return Run(Observation({}, {}, 0), report["cycles"], report["seconds"])

    def _launch(
        self,
        folder: Path,
        traffic: Traffic,
        gates: Gates,
        more: list[str],
        progress: Callable[[int], None] | None = None,
        workers: Workers | None = None,
    ) -> dict:
        played = [port for port in self.ports if port.name in traffic]
        lines = [self._port_line(folder, port, traffic[port.name], gates) for port in played]
        lines += [
            self._answers_line(folder, port, answers)
            for port in played
            if (answers := traffic[port.name].answers)
        ]
        lines += more
        job, result = folder / "job", folder / "result"
        job.write_text("\n".join(lines) + "\n")
        command = [str(self.executable), job.name, result.name]
        each = (lambda line: _report(line, progress)) if progress else None
        if workers:
            workers.run(command, cwd=folder, each_line=each)
        else:
            with Workers(1) as own:
                own.run(command, cwd=folder, each_line=each)
        with _whole_results():
            return json.loads(result.read_text())

    def _port_line(self, folder: Path, port: Port, beats: Beats, gates: Gates) -> str:
        """A port's line of the job, and its files; names are relative to ``folder``."""
        gate = "-"
        if port.name in gates:
            gate = _store(folder, f"{port.name}.gate", gates[port.name])
        if port.direction == "out":
            return f"output {port.name} {len(beats)} {gate} {port.name}"
        segments = beats.segments
        if segments is None:
            segments = np.array([[0, len(beats.words)]])
        words = _store(folder, f"{port.name}.words", beats.words.astype("<u4"))
        order = _store(folder, f"{port.name}.segments", segments.astype("<i8"))
        return f"input {port.name} {words} {order} {gate}"

    def _answers_line(self, folder: Path, port: Port, answers: Answers) -> str:
        """Which requests the beats of an input wait for."""
        needs = _store(folder, f"{port.name}.needs", answers.needs.astype("<i8"))
        latency = _store(folder, f"{port.name}.latency", answers.latency.astype("<i8"))
        return f"answers {port.name} {answers.port} {needs} {latency}"

    def _observation(self, folder: Path, report: dict, trace: bool) -> Observation:
        words, cycles, pulses = {}, {}, {}
        for port in self.ports:
            base = folder / port.name if port.direction == "out" else folder / f"result.{port.name}"
            if port.direction == "out":
                words[port.name] = np.fromfile(f"{base}.words", "<u4").reshape(-1, port.words)
            if trace:
                cycles[port.name] = np.fromfile(f"{base}.cycles", "<i8")
        if trace:
            for i, event in enumerate(self.events):
                when, amount = (
                    np.fromfile(folder / f"result.{i}.{kind}", "<i8")
                    for kind in ("cycles", "increments")
                )
                pulses[event.name] = Pulses(when, amount)
        totals = {
            event.name: total for event, total in zip(self.events, report["events"], strict=True)
        }
        violations = (report["violation"],) if report["violation"] else ()
        return Observation(words, totals, report["span"], cycles, pulses, violations)


@contextlib.contextmanager
def _whole_results() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise ToolError("the simulation left no whole result.") from error


def _store(folder: Path, name: str, array: NDArray) -> str:
    (folder / name).write_bytes(np.ascontiguousarray(array).data)  # tofile() hides why it could not
    return name


def _report(line: str, progress: Callable[[int], None]) -> None:
    if line.strip().isdigit():
        progress(int(line))


def _glue(generated: Generated, ports: tuple[Port, ...], constants: tuple[str, ...]) -> str:
    """The header that tells the driver the design's ports and events."""
    manifest = generated.manifest
    inputs = " ".join(f"X({port.name}, {port.width})" for port in ports if port.direction == "in")
    outputs = " ".join(f"X({port.name}, {port.width})" for port in ports if port.direction == "out")
    events = " ".join(
        f"X({event['offset']}, {event['width']})" for event in manifest["events"]["fields"]
    )
    held = " ".join(f"X({name})" for name in constants)
    return (
        f"#define FOR_INPUTS(X) {inputs}\n#define FOR_OUTPUTS(X) {outputs}\n"
        f"#define FOR_EVENTS(X) {events}\n#define FOR_CONSTANTS(X) {held}\n"
        f"#define RESET {manifest['reset']['name']}\n"
        f"#define RESET_ACTIVE {int(manifest['reset']['active'] == 'high')}\n"
    )
