"""Flip-flop bits that a clock edge reaches, where clock gates stand before registers with enables.

The emitted Verilog is given to Yosys, which says what enables each register. A counter in every
module adds up the bits that are enabled, and takes the place of the unit's events, so that the
native harness adds them up over a run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...golden.contract.errors import ToolError, UserError
from ...golden.units import unit
from ...hw.generate import Generated
from ...hw.lib.yosys import run_yosys
from ..run.emitted import emitted
from ..run.native import Model
from ..tensors.files import Capture, sample_path
from ..units.simulate import Run, Tensors, prepare

_COARSE = (
    "read_verilog {source}",
    "proc",
    "opt",
    "opt_dff",
    "opt_clean",
    "memory_dff",
    "memory_collect",
    "write_rtlil {result}",
)
_COUNT = 32  # bits of the counters
_MODULE = re.compile(r"^module (\S+)$(.*?)^end$", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^  cell (\S+) \S+$(.*?)^  end$", re.MULTILINE | re.DOTALL)
_REGISTER = re.compile(r"\$(_|s|a|al)?dff(e|ce)?$")


@dataclass(frozen=True)
class Clocked:
    """What a run clocks.

    Attributes
    ----------
    bits
        Flip-flops of the design, without memories.
    reached
        Mean of those that a clock edge reaches.
    cycles
        Cycles of the run.
    """

    bits: int
    reached: float
    cycles: int

    @property
    def share(self) -> float:
        """Of the flip-flops."""
        return self.reached / self.bits


UNITS = ("dense2k", "sparqle", "nm", "anda")
"""Units of linear layers that are shown by default."""


def on_sample(name: str, preset: str, tokens: int, outputs: int) -> Clocked:
    """Count on some tokens and outputs of the sample's first layer."""
    owner = unit(name)
    if preset not in owner.presets:
        raise UserError(f"{name} has no preset {preset}; it has {', '.join(owner.presets)}.")
    sample = Capture.open(sample_path())
    layer = sample.layers[0]
    tensors = Tensors(sample.activations(layer)[:tokens], sample.weights(layer)[:outputs])
    prepared = prepare(owner, owner.presets[preset], owner.settings(), tensors)
    return clocked(prepared.runs[0])


def clocked(run: Run) -> Clocked:
    """Count in a free-flowing run."""
    generated = emitted(run.design, run.config)
    verilog, bits = counting(generated)
    model = Model(run.design, run.config, verilog=verilog, optimise="quick")
    found = model.run(run.design.traffic(run.config, run.operands))
    fields = generated.manifest["events"]["fields"]
    total = sum(found.seen.totals[field["name"]] << field["offset"] for field in fields)
    return Clocked(bits, total / found.cycles, found.cycles)


def counting(generated: Generated) -> tuple[str, int]:
    """Verilog whose ``events`` are the number of bits clocked, and how many bits there are."""
    text = run_yosys(generated.verilog, *_COARSE)
    modules = dict(_MODULE.findall(text))
    top = f"\\{generated.name}"
    bits = _bits_of(modules, top)
    width = max(
        field["offset"] + field["width"] for field in generated.manifest["events"]["fields"]
    )
    if bits >> width:
        raise ToolError(f"{bits} flip-flops are too many for the {width} bits of the events.")
    counted = "".join(
        f"module {name}\n{_counter(modules, body, width if name == top else 0)}\nend\n"
        for name, body in modules.items()
    )
    return run_yosys(counted, "read_rtlil {source}", "write_verilog -noattr {result}"), bits


def _bits_of(modules: dict[str, str], name: str) -> int:
    """Flip-flops of a module and all below it."""
    total = 0
    for kind, body in _CELL.findall(modules[name]):
        if kind in modules:
            total += _bits_of(modules, kind)
        elif _REGISTER.match(kind):
            total += _parameter(body, "WIDTH")
    return total


def _counter(modules: dict[str, str], body: str, events: int) -> str:
    """A module with an output for the bits clocked in it and below; the top has it for events."""
    port = 1 + max(map(int, re.findall(r"(?:input|output) (\d+) ", body)), default=0)
    if events:
        body = re.sub(r"^(  wire (?:width \d+ )?)output \d+ (\\events)$", r"\1\2", body, flags=re.M)
        body = re.sub(r"(?<!    connect )\\events\b", r"\\counted_events", body)  # no cell's port
    result, width = ("events", events) if events else ("clocked", _COUNT)
    wires, cells = [f"  wire width {width} output {port} \\{result}"], []
    total = f"{_COUNT}'{0:032b}"
    for number, (name, term) in enumerate(_terms(modules, body)):
        named = f"\\clocked_{number}"
        wires += [_wire(name, _COUNT), _wire(named, _COUNT)]
        cells += [*term, _add(f"$clocked_add_{number}", total, name, named)]
        total = named
    body = _with_outputs(modules, body)
    fitted = f"{total} [{width - 1}:0]"
    if width > _COUNT:
        fitted = f"{{ {width - _COUNT}'{'0' * (width - _COUNT)} {total} }}"
    return "\n".join([*wires, body, *cells, f"  connect \\{result} {fitted}"])


def _terms(modules: dict[str, str], body: str) -> Iterator[tuple[str, list[str]]]:
    """Wires with the bits that each register or part clocks in a cycle, and what drives them."""
    for number, (kind, cell) in enumerate(_CELL.findall(body)):
        name = f"\\clocked_by_{number}"
        if kind in modules:
            yield name, []
        elif match := _REGISTER.match(kind):
            enable, polarity = "1'1", 1
            if match[2]:
                (enable,) = re.findall(r"^    connect \\EN (.*)$", cell, re.M)
                polarity = _parameter(cell, "EN_POLARITY")
            choice = ["0".zfill(_COUNT), f"{_parameter(cell, 'WIDTH'):032b}"]
            no, yes = choice if polarity else reversed(choice)
            yield (
                name,
                [
                    _choice(
                        f"$clocked_mux_{number}", f"{_COUNT}'{no}", f"{_COUNT}'{yes}", enable, name
                    )
                ],
            )


def _with_outputs(modules: dict[str, str], body: str) -> str:
    """The module with the outputs of its parts connected."""
    number = -1

    def connected(match: re.Match[str]) -> str:
        nonlocal number
        number += 1
        if match[1] not in modules:
            return match[0]
        return (
            match[0].removesuffix("  end") + f"    connect \\clocked \\clocked_by_{number}\n  end"
        )

    return _CELL.sub(connected, body)


def _parameter(cell: str, name: str) -> int:
    """A parameter of a cell, a plain or a binary number."""
    (value,) = re.findall(rf"^    parameter \\{name} (\S+)$", cell, re.M)
    return int(value.split("'")[1], 2) if "'" in value else int(value)


def _wire(name: str, width: int) -> str:
    return f"  wire width {width} {name}"


def _choice(name: str, a: str, b: str, select: str, result: str) -> str:
    return (
        f"  cell $mux {name}\n    parameter \\WIDTH {_COUNT}\n    connect \\A {a}\n"
        f"    connect \\B {b}\n    connect \\S {select}\n    connect \\Y {result}\n  end"
    )


def _add(name: str, a: str, b: str, result: str) -> str:
    sizes = "".join(f"    parameter \\{key}_WIDTH {_COUNT}\n" for key in "ABY")
    signs = "".join(f"    parameter \\{key}_SIGNED 0\n" for key in "AB")
    return (
        f"  cell $add {name}\n{signs}{sizes}    connect \\A {a}\n    connect \\B {b}\n"
        f"    connect \\Y {result}\n  end"
    )
