"""Critical path of a mapped netlist, by OpenSTA."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...golden.contract.errors import UserError
from ..tools import toolchain
from ..tools.workers import Workers
from .liberty import write_library
from .library import Library
from .memories import Memory, box_ports
from .netlist import Netlist, scalar_name, to_verilog

CLOCK = "clk"
_PERIOD = 10000.0  # ns; longer than any path, so that no slack is negative


@dataclass(frozen=True)
class CriticalPath:
    """The slowest path of a design.

    Attributes
    ----------
    ns
        Shortest clock period: clock-to-output delay, gates and setup time. Wires are free, ports
        are driven at the clock edge and wanted at the next.
    start, end
        Instances or ports it leads from and to; a flip-flop has the name of its register.
    """

    ns: float
    start: str
    end: str


def critical_path(
    netlist: Netlist,
    library: Library,
    memories: Mapping[str, tuple[Memory, float]],
    workers: Workers,
    folder: Path,
) -> CriticalPath | None:
    """Find the slowest path of a netlist, hierarchy kept.

    Parameters
    ----------
    netlist, library
        What to analyse.
    memories
        By the name of their modules, memories that stand apart and their access times in ns.
    workers, folder
        Where to run OpenSTA, and an existing folder for the files.

    Returns
    -------
    CriticalPath | None
        None where the design has no path at all.

    Raises
    ------
    UserError
        OpenSTA is not installed, or cannot work with the library.
    """
    sta = toolchain.require("sta")
    files = library.link(folder)
    verilog, ports = to_verilog(netlist, library)
    Path(folder, "mapped.v").write_text(verilog)
    Path(folder, "memories.lib").write_text(memory_library(memories))
    boxes = ["memories.lib"] if memories else []
    Path(folder, "timing.tcl").write_text(_script([*files, *boxes], netlist.top, ports))
    command = [*sta.command, "-no_splash", "-exit", "timing.tcl"]
    output = workers.run(command, sta.environment, cwd=folder, check=False)
    # It ends with status 0 whatever happened.
    wrong = re.search(r"^(Error|Warning: .*mapped\.v).*", output, re.MULTILINE)
    if wrong or "analysed" not in output:
        raise _failed(library, wrong[0] if wrong else output)
    return _read(output, library)


def _script(libraries: Sequence[str], top: str, ports: Mapping[str, str]) -> str:
    clock = f"[get_ports {CLOCK}]" if CLOCK in ports else ""
    inputs = [name for name, way in ports.items() if way == "input" and name != CLOCK]
    outputs = [name for name, way in ports.items() if way == "output"]
    lines = [
        *(f"read_liberty {name}" for name in libraries),
        "read_verilog mapped.v",
        f"link_design {top}",
        "set_cmd_units -time ns",
        f"create_clock -name {CLOCK} -period {_PERIOD} {clock}",
        _delay("set_input_delay", inputs),
        _delay("set_output_delay", outputs),
        "report_checks -path_delay max -digits 4",
        "puts analysed",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _delay(command: str, ports: Sequence[str]) -> str:
    return f"{command} 0 -clock {CLOCK} {{{' '.join(ports)}}}" if ports else ""


def _read(output: str, library: Library) -> CriticalPath | None:
    start = re.search(r"^Startpoint: (\S+)", output, re.MULTILINE)
    end = re.search(r"^Endpoint: (\S+)", output, re.MULTILINE)
    slack = re.search(r"^\s*(-?[\d.]+)\s+slack", output, re.MULTILINE)
    if start and end and slack:
        return CriticalPath(round(_PERIOD - float(slack[1]), 4), start[1], end[1])
    if "No paths found" in output:
        return None
    raise _failed(library, output)


def _failed(library: Library, output: str) -> UserError:
    lines = output.strip().splitlines() or ["it printed nothing"]
    reason = lines[-1].removeprefix("Error: ").rstrip(".")
    return UserError(f"OpenSTA cannot find the critical path with {library.name}: {reason}.")


# Memories


def memory_library(memories: Mapping[str, tuple[Memory, float]]) -> str:
    """Liberty library of memories with declared access times.

    A clocked read gives data so long after the clock edge, any other so long after the address;
    inputs are wanted at the clock edge.
    """
    cells = "".join(_cell(name, memory, ns) for name, (memory, ns) in memories.items())
    return write_library("memories", cells)


def _cell(name: str, memory: Memory, ns: float) -> str:
    pins = []
    for port, width in box_ports(memory).items():
        for i in range(width):
            pins.append(_pin(scalar_name(port, i, width), port, i, memory, ns))
    return f" cell({name}) {{\n{''.join(pins)} }}\n"


def _pin(pin: str, port: str, i: int, memory: Memory, ns: float) -> str:
    if port.endswith("_CLK"):
        return f"  pin({pin}) {{ direction : input; capacitance : 0; clock : true; }}\n"
    if port == "RD_DATA":
        read = i // memory.width
        if memory.clocked[read]:
            arc = f"related_pin : {_scalar('RD_CLK', read, memory)}; timing_type : rising_edge;"
        else:
            bits = range(memory.address_bits * read, memory.address_bits * (read + 1))
            address = " ".join(_scalar("RD_ADDR", bit, memory) for bit in bits)
            arc = f'related_pin : "{address}"; timing_sense : non_unate;'
        delays = "".join(
            f' {edge}(scalar) {{ values("{value}"); }}'
            for edge, value in (
                ("cell_rise", ns),
                ("cell_fall", ns),
                ("rise_transition", 0),
                ("fall_transition", 0),
            )
        )
        return f"  pin({pin}) {{ direction : output; timing() {{ {arc}{delays} }} }}\n"
    return f"  pin({pin}) {{ direction : input; capacitance : 0;{_setup(port, i, memory)} }}\n"


def _setup(port: str, i: int, memory: Memory) -> str:
    """Constraint of an input at its port's clock; unclocked reads have none."""
    side, _, _ = port.partition("_")
    count = memory.reads if side == "RD" else memory.writes
    index = i // (box_ports(memory)[port] // count)
    if side == "RD" and not memory.clocked[index]:
        return ""
    edges = "".join(f' {e}_constraint(scalar) {{ values("0"); }}' for e in ("rise", "fall"))
    clock = _scalar(f"{side}_CLK", index, memory)
    return f" timing() {{ related_pin : {clock}; timing_type : setup_rising;{edges} }}"


def _scalar(port: str, i: int, memory: Memory) -> str:
    return scalar_name(port, i, box_ports(memory)[port])
