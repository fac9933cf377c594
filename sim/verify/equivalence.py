"""Equivalence of a changed design and its original at the ports, in any run from reset on.

Both stand side by side in one module with the same inputs, whose only output tells that they
differ. Yosys turns it into an and-inverter graph, and ABC shows that the output stays 0 in every
reachable state: signals that are equal by induction are merged, registers first (``lcorr``), then
any (``scorr``), and property-directed reachability (``pdr``) settles what is left, or finds inputs
that tell the two apart.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.errors import ToolError
from ...golden.contract.ports import Port
from ..tools import toolchain

Answer = Literal["equal", "different", "undecided"]

PROOF_SECONDS = 50.0  # for one comparison
GRAPH_SECONDS = 300.0  # for its graph, which products of wide words make large


@dataclass(frozen=True)
class Comparison:
    """Whether two variants of a design behave the same.

    Attributes
    ----------
    answer
        ``equal``: proved; ``different``: there is a run that tells them apart; ``undecided``.
    reason
        One clause.
    seconds
        Wall time.
    """

    answer: Answer
    reason: str
    seconds: float


def compare(
    design: Design,
    config: Config,
    verilog: str,
    constants: Mapping[str, int],
    others: Mapping[str, int],
    seconds: float = PROOF_SECONDS,
) -> Comparison:
    """Compare two variants of a design that one Verilog holds.

    Parameters
    ----------
    design, config
        What the Verilog implements; tells the ports.
    verilog
        The design with inputs beside its own.
    constants, others
        Values of those inputs in the first and the second variant.
    seconds
        Time limit of the proof.

    Returns
    -------
    Comparison
        Equal means: from the first reset on, whatever the inputs, both give the same ``ready``,
        ``valid``, events and, where valid is 1, payload in every cycle without reset. Sources keep
        the handshake rules: what they offer stays until it is taken.

    Raises
    ------
    ToolError
        Yosys or ABC failed.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        Path(folder, "variants.v").write_text(verilog)
        Path(folder, "miter.v").write_text(miter(design, config, constants, others))
        try:
            yosys(_GRAPH, folder, GRAPH_SECONDS)
            answer, reason = _proved(folder, seconds)
        except subprocess.TimeoutExpired as limit:
            answer, reason = "undecided", f"undecided in {limit.timeout:.0f} s"
    return Comparison(answer, reason, time.perf_counter() - start)


def yosys(commands: Iterable[str], folder: str | Path, seconds: float | None = None) -> None:
    """Run Yosys commands in a process of its own, where it names things the same every time.

    Raises
    ------
    subprocess.TimeoutExpired
        They took longer than ``seconds``.
    ToolError
        A command failed.
    """
    command = [sys.executable, "-c", _RUNNER]
    run = _run(command, folder, seconds, "\n".join(commands))
    if run.returncode:
        raise ToolError("Yosys failed.", f"Yosys failed: {run.stdout[-_TAIL:]}")


# Both variants in one module

_MITER = """\
module miter({pins}, differs);
input clk, rst;
output differs;
reg started = 0;
always @(posedge clk) started <= 1;
wire reset = rst || !started;
{wires}
{name} gold ({gold});
{name} gate ({gate});
assign differs = !reset && ({unequal});
endmodule
"""

# A source that may change its mind only while nothing waits.
_SOURCE = """\
input {name}_offers;
input {bits} {name}_fresh;
reg {name}_waits = 0;
reg {bits} {name}_before = 0;
wire {name}_valid = {name}_waits || {name}_offers;
wire {bits} {name}_payload = {name}_waits ? {name}_before : {name}_fresh;
always @(posedge clk) {name}_waits <= {name}_valid && !gold_{name}_ready && !reset;
always @(posedge clk) {name}_before <= {name}_payload;
"""


def miter(
    design: Design, config: Config, constants: Mapping[str, int], others: Mapping[str, int]
) -> str:
    """Verilog of a module with both variants; its output ``differs`` is 1 where it matters.

    The first cycle is a reset, further ones come at any time; outputs do not matter during reset.
    """
    ports = design.ports(config)
    results = {"events": sum(event.width for event in design.events(config))}
    for port in ports:
        results |= {f"{port.name}_ready": 1} if port.direction == "in" else _offers(port)
    wires = [
        f"wire [{width - 1}:0] {which}_{name};"
        for name, width in results.items()
        for which in ("gold", "gate")
    ]
    pins = ["clk", "rst"]
    shared = {"clk": "clk", "rst": "reset"}
    for port in ports:
        if port.direction == "in":
            pins += [f"{port.name}_offers", f"{port.name}_fresh"]
            wires.append(_SOURCE.format(name=port.name, bits=f"[{port.width - 1}:0]"))
            shared |= {f"{port.name}_{part}": f"{port.name}_{part}" for part in _OFFER}
        else:
            pins.append(f"{port.name}_ready")
            wires.append(f"input {port.name}_ready;")
            shared[f"{port.name}_ready"] = f"{port.name}_ready"
    return _MITER.format(
        name=design.name,
        pins=", ".join(pins),
        wires="\n".join(wires),
        gold=_connected(shared | _own("gold", results) | _numbers(constants)),
        gate=_connected(shared | _own("gate", results) | _numbers(others)),
        unequal=" || ".join(_unequal(name) for name in results),
    )


_OFFER = ("valid", "payload")


def _offers(port: Port) -> dict[str, int]:
    return {f"{port.name}_valid": 1, f"{port.name}_payload": port.width}


def _own(which: str, results: Iterable[str]) -> dict[str, str]:
    return {name: f"{which}_{name}" for name in results}


def _numbers(constants: Mapping[str, int]) -> dict[str, str]:
    return {name: str(value) for name, value in constants.items()}


def _connected(pins: Mapping[str, str]) -> str:
    return ", ".join(f".{pin}({signal})" for pin, signal in pins.items())


def _unequal(name: str) -> str:
    """Where an output differs; a payload counts only while it is offered."""
    differs = f"gold_{name} != gate_{name}"
    stem, _, part = name.rpartition("_")
    return f"(gold_{stem}_valid && {differs})" if part == "payload" else differs


# The proof

_RUNNER = (
    "import sys; from pyosys import libyosys; design = libyosys.Design()\n"
    "for line in sys.stdin: libyosys.Pass.call(design, line.strip())"
)
_TAIL = 4000  # characters of a failed tool's output worth showing
_GRAPH = (
    "read_verilog variants.v miter.v",
    "hierarchy -check -top miter",
    "proc",
    "flatten",
    "opt -full",
    "techmap",
    "opt",
    "setundef -zero",  # what a memory gives beyond its depth
    "async2sync",
    "dffunmap",
    "aigmap",
    "opt_clean",
    "write_aiger -zinit miter.aig",
)
_REACHES = re.compile(r"was asserted in frame (\d+)")
_SPARE = 10.0  # seconds for everything but the reachability


def _proved(folder: str, seconds: float) -> tuple[Answer, str]:
    """What ABC finds out about the miter."""
    limit = max(1, round(seconds - _SPARE))
    script = f"read_aiger miter.aig; lcorr; scorr; write_aiger merged.aig; pdr -T {limit}"
    abc = toolchain.require("pyosys").path / "yosys-abc"
    run = _run([str(abc), "-c", script], folder, seconds)
    merged = Path(folder, "merged.aig")
    if run.returncode or not merged.exists():
        raise ToolError("ABC failed.", f"ABC failed: {run.stdout[-_TAIL:]}")
    if _constant(merged):
        return "equal", "proved by merging equal signals"
    reaches = _REACHES.search(run.stdout)
    if reaches:
        return "different", f"differs in cycle {reaches[1]}"
    if "Property proved" in run.stdout:
        return "equal", "proved by reachability"
    return "undecided", f"undecided in {seconds:.0f} s"


def _constant(graph: Path) -> bool:
    """Whether nothing is left of a graph with one output but the constant 0."""
    with graph.open("rb") as file:
        _, _, _, latches, outputs, ands = file.readline().split()[:6]
        return (latches, outputs, ands) == (b"0", b"1", b"0") and file.readline() == b"0\n"


def _run(
    command: list[str], folder: str | Path, seconds: float | None, text: str = ""
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        timeout=seconds,
        check=False,
    )
