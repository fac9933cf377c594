"""Verilog emission: every distinct module once, readable names, one pass of Yosys.

Amaranth emits one module per instance. Here :func:`place` puts a part into a design either as a
submodule (for Amaranth's simulator) or as an instance of a module that the :class:`Emitter`
converts once per class and configuration.
"""

import contextlib
import gc
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth import hdl
from amaranth.back import rtlil
from amaranth.hdl._dsl import FSM  # nowhere public
from amaranth.hdl._ir import PortDirection  # what rtlil.convert() takes; nowhere public
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib.wiring import Flow, In, Out

from ...golden.contract.config import Config
from ...golden.contract.errors import ToolError, UserError
from .base import Part
from .codes import Codes
from .memories import BUFFER_ATTRIBUTES
from .readable import Description, readable
from .verilog_module import renamed
from .yosys import run_yosys


@dataclass(frozen=True)
class Pin:
    """A port of a part: its Verilog name and direction, and where the part has its signal."""

    name: str
    flow: Flow
    path: tuple[str | int, ...]

    def signal(self, part: Part) -> hdl.Signal:
        """The signal of a part that has such a port."""
        found: Any = part
        for step in self.path:
            found = found[step] if isinstance(step, int) else getattr(found, step)
        return hdl.Value.cast(found)


@dataclass(frozen=True)
class Converted:
    """A module converted to RTLIL."""

    name: str
    text: str
    description: Description
    pins: tuple[Pin, ...]
    buffers: tuple[str, ...] = ()

    @cached_property
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

    def convert(self, part: Part, name: str = "") -> Converted:
        """RTLIL of one module, by default named after what the part is.

        The parts it places are converted on the way.
        """
        if part.key not in self.modules:
            name = name or self._name(part)
            pins = _pins(part)
            ports = {pin.name: (pin.signal(part), _DIRECTION[pin.flow]) for pin in pins}
            fragment = hdl.Fragment.get(part, self)
            _empty_buffers(fragment)
            text = rtlil.convert(fragment, name=name, platform=self, ports=ports, emit_src=False)
            states = _states(fragment)
            description = Description(part.summary, ["clk", "rst", *ports], states, part.codes)
            text, buffers = _buffers(text)
            self.modules[part.key] = Converted(name, text, description, pins, buffers)
        return self.modules[part.key]

    def instance(
        self, part: Part, name: str, inputs: Mapping[str, hdl.ValueLike], domain: str
    ) -> hdl.Instance:
        """An instance of the part's module; other ports are connected to wires of its name."""
        module = self.convert(part)
        part._MustUse__used = True  # only the first part of its kind is elaborated
        connections: list[tuple[str, str, object]] = []
        if module.clocked:
            connections += [
                ("i", "clk", hdl.ClockSignal(domain)),
                ("i", "rst", hdl.ResetSignal(domain)),
            ]
        for pin in module.pins:
            wire = pin.signal(part)
            wire.name = f"{name}_{pin.name}"
            way = "i" if pin.flow == In else "o"
            connections.append((way, pin.name, inputs.get(pin.name, wire)))
        return hdl.Instance(module.name, *connections)

    def _name(self, part: Part) -> str:
        """Module name after what the part is; further parts of that title get a number."""
        name = f"{self.top}_{part.title}"
        taken = {module.name for key, module in self.modules.items() if key != part.key}
        names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        return next(free for free in names if free not in taken)


def place(
    m: hdl.Module,
    platform: object,
    name: str,
    part: Part,
    *,
    domain: str = "sync",
    **inputs: hdl.ValueLike,
) -> None:
    """Put ``part`` into ``m`` under ``name``: as an instance when emitting, else as a submodule.

    The part is clocked by ``domain``. Inputs may be given at once, exactly as wide as the port:
    what the parent need not hold in signals of its own makes emission faster.
    """
    for port, value in inputs.items():
        wanted, given = (len(hdl.Value.cast(v)) for v in (getattr(part, port), value))
        if wanted != given:
            raise ValueError(f"{port} of {name} has {wanted} bits, got {given}")
    if not isinstance(platform, Emitter):
        m.submodules[name] = part if domain == "sync" else hdl.DomainRenamer(domain)(part)
        m.d.comb += [getattr(part, port).eq(value) for port, value in inputs.items()]
        return
    m.submodules[name] = platform.instance(part, name, inputs, domain)


def _states(fragment: hdl.Fragment) -> Codes:
    """State registers of a module, with the names of their states."""
    machines = (found for found in fragment.generated.values() if isinstance(found, FSM))
    return {machine.state.name: dict(machine.decoding) for machine in machines}


def _pins(part: Part) -> tuple[Pin, ...]:
    """The ports of a part."""
    found = part.signature.flatten(part)
    return tuple(Pin("_".join(map(str, path)), member.flow, path) for path, member, _ in found)


_DIRECTION = {In: PortDirection.Input, Out: PortDirection.Output}


class ActiveLowReset(Part[Config]):
    """Wrapper that gives a unit an active-low synchronous reset ``rst_n``."""

    def __init__(self, unit: Part):
        self.unit = unit
        clocking = {"clk": In(1), "rst_n": In(1)}
        super().__init__(unit.config, {**clocking, **unit.signature.members})

    def elaborate(self, platform: object) -> hdl.Module:
        m = hdl.Module()
        m.domains.sync = hdl.ClockDomain("sync")
        m.d.comb += [hdl.ClockSignal().eq(self.clk), hdl.ResetSignal().eq(~self.rst_n)]
        place(m, platform, "unit", self.unit)
        for pin in _pins(self.unit):
            inside, outside = pin.signal(self.unit), pin.signal(self)
            m.d.comb += inside.eq(outside) if pin.flow == In else outside.eq(inside)
        return m


def to_verilog(unit: Part, top: str, *, active_low: bool = False) -> tuple[str, tuple[str, ...]]:
    """Verilog of a unit under the name ``top``.

    Returns
    -------
    Verilog text, the top module first, and the names of its modules, leaves first.

    Raises
    ------
    UserError
        ``top`` is a keyword.
    ToolError
        Yosys did not write all of it.
    """
    emitter = Emitter(top)
    with _without_collection():
        emitter.convert(ActiveLowReset(unit) if active_low else unit, top)
    modules = list(emitter.modules.values())
    text = _yosys(modules)
    if not re.search(rf"^module {top}\(", text, re.MULTILINE):  # Yosys had to escape it
        raise UserError(f"a module name must not be a keyword of Verilog, got {top!r}.")
    text = readable(text, {module.name: module.description for module in reversed(modules)})
    text = _with_defaults(_with_attributes(text, modules))
    return text, tuple(module.name for module in modules)


def _empty_buffers(fragment: hdl.Fragment) -> None:
    """Take zeros out of buffers, in which nobody reads them: Amaranth writes them bit by bit."""
    for inner, *_ in fragment.subfragments:
        _empty_buffers(inner)
    if isinstance(fragment, MemoryInstance):
        contents = fragment._data._init
        if BUFFER_ATTRIBUTES.items() <= fragment._attrs.items() and not any(contents._raw):
            contents._raw = []


def _buffers(text: str) -> tuple[str, tuple[str, ...]]:
    """RTLIL without contents of buffers that are zeros, which nobody reads; names of buffers."""
    names: list[str] = []
    if "\n  memory " not in text:
        return text, ()
    for attributes, name in _MEMORY.findall(text):
        if all(f"attribute \\{attribute} " in attributes for attribute in BUFFER_ATTRIBUTES):
            names.append(name)
            memory = re.escape(f'"\\\\{name}"')
            head = rf"^  cell \$meminit_v2 \S+\n    parameter \\MEMID {memory}\n"
            zeros = r"(?:    (?!connect \\DATA \d+'0*1).*\n)*"
            text = re.sub(rf"{head}{zeros}  end\n", "", text, flags=re.MULTILINE)
    return text, tuple(names)


_MEMORY = re.compile(
    r"((?:^  attribute .*\n)*)^  memory width \d+ size \d+ \\(\S+)\n", re.MULTILINE
)


def _with_attributes(verilog: str, modules: Sequence[Converted]) -> str:
    """Write the attributes of buffers before their declarations."""
    given = ", ".join(
        f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
        for name, value in BUFFER_ATTRIBUTES.items()
    )
    buffers = {module.name: module.buffers for module in modules}
    parts = re.split(r"^(?=module )", verilog, flags=re.MULTILINE)
    for i, part in enumerate(parts):
        found = re.match(r"module (\w+)", part)
        for name in buffers.get(found[1], ()) if found else ():
            declared = rf"^(  reg (?:\[\d+:0\] )?{re.escape(name)} \[)"
            parts[i] = re.sub(declared, rf"  (* {given} *)\n\1", parts[i], flags=re.MULTILINE)
    return "".join(parts)


def _with_defaults(verilog: str) -> str:
    """Add ``default`` to every case that has none: it changes nothing."""
    lines: list[str] = []
    has_default: list[bool] = []
    for line in verilog.splitlines():
        word = line.strip()
        if word.startswith(("casez (", "case (")):
            has_default.append(False)
        elif word.startswith("default:"):
            has_default[-1] = True
        elif word == "endcase" and not has_default.pop():
            lines.append(line.replace("endcase", "  default: ;"))
        lines.append(line)
    return "\n".join([*lines, ""])


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Amaranth makes many small objects that live until the end: looking for garbage is in vain."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _yosys(modules: Sequence[Converted]) -> str:
    """Verilog of modules as Yosys writes it.

    A comparison with zero comes as logical not of a vector: make it a reduction. The order of
    connections, and of what Yosys found to be an inverse, depends on what it did before in this
    process: sort them, as builds are cached.
    """
    text = run_yosys(
        "\n".join(module.text for module in modules),
        "read_rtlil {source}",
        "proc -nomux -norom",
        "memory_collect",
        "wreduce t:$mul t:$add",
        "opt_merge",
        "opt_clean",
        "write_verilog -noattr {result}",
    )
    written = len(re.findall(r"^endmodule$", text, re.MULTILINE))
    if written != len(modules) or not text.endswith("endmodule\n"):
        raise ToolError(f"Yosys wrote only {written} of {len(modules)} modules.")
    parts = text.replace("= ! ", "= ~| ").split("endmodule\n")
    return "".join(_with_sorted_end(_with_sorted_inverses(part)) for part in parts)


def _with_sorted_inverses(module: str) -> str:
    """A module with inverses that come in a row in the order of what they invert."""
    names: dict[str, str] = {}

    def in_order(row: re.Match[str]) -> str:
        found = _INVERSE.findall(row[0])
        inverses = sorted(found, key=lambda inverse: _natural(inverse[1]))
        names.update((old, new) for (old, _), (new, _) in zip(inverses, found, strict=True))
        return "".join(f"  assign {name} = ~ {value};\n" for name, value in inverses)

    module = _INVERSES.sub(in_order, module)
    return renamed(module, names) if names else module


_INVERSE = re.compile(r"  assign (_\d+_) = ~ (\S+);\n")
_INVERSES = re.compile(rf"^(?:{_INVERSE.pattern}){{2,}}", re.MULTILINE)


def _natural(name: str) -> str:
    """A name by which others are sorted as their numbers are."""
    return re.sub(r"\d+", lambda number: number[0].zfill(9), name)


def _with_sorted_end(module: str) -> str:
    """A module without its final line, whose final assignments are put in order."""
    if not module:
        return ""
    lines = module.splitlines(keepends=True)
    end = len(lines)
    while lines[end - 1].startswith("  assign "):
        end -= 1
    return "".join([*lines[:end], *sorted(lines[end:]), "endmodule\n"])
