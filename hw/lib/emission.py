"""Verilog emission: every distinct module once, readable names, one pass of Yosys.

Amaranth emits one module per instance. Here :func:`place` puts a part into a design either as a
submodule (for Amaranth's simulator) or as an instance of a module that the :class:`Emitter`
converts once per class and configuration.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from amaranth import hdl
from amaranth.back import rtlil
from amaranth.hdl._ir import PortDirection  # what rtlil.convert() takes; nowhere public
from amaranth.lib.wiring import Flow, In, Out

from ...golden.contract.config import Config
from ...golden.contract.errors import ToolError
from .base import Part, Unit
from .yosys import run_yosys


@dataclass(frozen=True)
class Converted:
    """A module converted to RTLIL."""

    name: str
    text: str

    @property
    def clocked(self) -> bool:
        """Whether the module has clock and reset inputs."""
        return re.search(r"^\s*wire .*input \d+\s+\\clk$", self.text, re.MULTILINE) is not None


class Emitter:
    """The platform of an emission: converts each distinct part once.

    Parameters
    ----------
    top
        Name of the top module and prefix of all others, so that two generated designs can be
        used side by side.
    """

    def __init__(self, top: str):
        self.top = top
        self.modules: dict[tuple[str, str], Converted] = {}

    def convert(self, part: Part, name: str) -> Converted:
        """RTLIL of one module; the parts it places are converted on the way."""
        if part.key not in self.modules:
            ports = {port: (value, _DIRECTION[flow]) for port, flow, value in _ports(part)}
            text = rtlil.convert(part, name=name, platform=self, ports=ports, emit_src=False)
            self.modules[part.key] = Converted(name, text)
        return self.modules[part.key]

    def instance(self, part: Part, inputs: Mapping[str, hdl.ValueLike]) -> hdl.Instance:
        """An instance of the part's module; other ports are connected to the part's own."""
        module = self.convert(part, self._name(part))
        part._MustUse__used = True  # only the first part of its kind is elaborated
        connections: list[tuple[str, str, object]] = []
        if module.clocked:
            connections += [("i", "clk", hdl.ClockSignal()), ("i", "rst", hdl.ResetSignal())]
        for port, flow, value in _ports(part):
            connections.append(("i" if flow == In else "o", port, inputs.get(port, value)))
        return hdl.Instance(module.name, *connections)

    def _name(self, part: Part) -> str:
        """Module name after the class; a second configuration of a class gets its hash."""
        kind, digest = part.key
        name = f"{self.top}_{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', kind).lower()}"
        taken = {module.name for key, module in self.modules.items() if key != part.key}
        return f"{name}_{digest[:6]}" if name in taken else name


def place(m: hdl.Module, platform: object, name: str, part: Part, **inputs: hdl.ValueLike) -> None:
    """Put ``part`` into ``m`` under ``name``: as an instance when emitting, else as a submodule.

    Inputs may be given at once, exactly as wide as the port: what the parent need not hold in
    signals of its own makes emission faster.
    """
    for port, value in inputs.items():
        wanted, given = (len(hdl.Value.cast(v)) for v in (getattr(part, port), value))
        if wanted != given:
            raise ValueError(f"{port} of {name} has {wanted} bits, got {given}")
    if not isinstance(platform, Emitter):
        m.submodules[name] = part
        m.d.comb += [getattr(part, port).eq(value) for port, value in inputs.items()]
        return
    m.submodules[name] = platform.instance(part, inputs)
    for port, _, value in _ports(part):
        value.name = f"{name}_{port}"  # a wire of the parent now


def _ports(part: Part) -> Iterator[tuple[str, Flow, hdl.Signal]]:
    """Verilog name, direction and signal of every port of a part."""
    for path, member, value in part.signature.flatten(part):
        yield "_".join(map(str, path)), member.flow, hdl.Value.cast(value)


_DIRECTION = {In: PortDirection.Input, Out: PortDirection.Output}


class ActiveLowReset(Part[Config]):
    """Wrapper that gives a unit an active-low synchronous reset ``rst_n``."""

    def __init__(self, unit: Unit):
        self.unit = unit
        clocking = {"clk": In(1), "rst_n": In(1)}
        super().__init__(unit.config, {**clocking, **unit.signature.members})

    def elaborate(self, platform: object) -> hdl.Module:
        m = hdl.Module()
        m.domains.sync = hdl.ClockDomain("sync")
        m.d.comb += [hdl.ClockSignal().eq(self.clk), hdl.ResetSignal().eq(~self.rst_n)]
        place(m, platform, "unit", self.unit)
        outer = {port: value for port, _, value in _ports(self)}
        for port, flow, inside in _ports(self.unit):
            m.d.comb += inside.eq(outer[port]) if flow == In else outer[port].eq(inside)
        return m


def to_verilog(unit: Unit, top: str, *, active_low: bool = False) -> tuple[str, tuple[str, ...]]:
    """Verilog of a unit under the name ``top``.

    Returns
    -------
    Verilog text and the names of its modules, leaves first.

    Raises
    ------
    ToolError
        Yosys did not write all of it.
    """
    emitter = Emitter(top)
    emitter.convert(ActiveLowReset(unit) if active_low else unit, top)
    modules = list(emitter.modules.values())
    text = run_yosys(
        "\n".join(module.text for module in modules),
        "read_rtlil {source}",
        "proc -nomux -norom",
        "memory_collect",
        "opt_clean -purge",
        "write_verilog -noattr {result}",
    )
    written = len(re.findall(r"^endmodule$", text, re.MULTILINE))
    if written != len(modules) or not text.endswith("endmodule\n"):
        raise ToolError(f"Yosys wrote only {written} of {len(modules)} modules.")
    return _tidy(text), tuple(module.name for module in modules)


def _tidy(verilog: str) -> str:
    """What Yosys offers no option for.

    Every always @* starts with a register that is written once: give it a readable name. A
    comparison with zero comes as logical not of a vector: make it a reduction. The order of
    assignments depends on what Yosys did before in this process: sort them, as builds are cached.
    """
    verilog = re.sub(r"\\\$auto\$verilog_backend\S* ", "at_start", verilog)
    verilog = re.sub(r"(?:^  assign .*;\n)+", _sorted_lines, verilog, flags=re.MULTILINE)
    return verilog.replace("= ! ", "= ~| ")


def _sorted_lines(found: re.Match[str]) -> str:
    return "".join(sorted(found[0].splitlines(keepends=True)))
