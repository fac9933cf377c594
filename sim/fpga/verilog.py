"""Flow ``verilog``: a core with a testbench that any simulator of Verilog runs by itself.

Everything that the testbench sends and expects is golden: packets and registers of a layer, its
results, and the counters of a run without pauses.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.design import Design
from ...golden.contract.ports import WORD_BITS
from ...golden.soc.config import CoreConfig
from ...golden.soc.registers import ADDRESS_BITS, Register
from ...golden.soc.unit import SETTLE
from ...golden.version import VERSION
from ...hw.soc.axi import signals
from ...hw.soc.generate import GeneratedCore
from .folder import Added, Flow
from .layer import CoreLayer, drawn

_PATIENCE = 20  # times as long as golden says may a run take: pauses, accesses to registers
_TEXT = Path(__file__).with_name("testbench.v")


class _Testbench(Template):
    """Verilog with ``@@{name}`` where a design's own text goes; Verilog uses ``$`` itself."""

    delimiter = "@@"


def add(core: GeneratedCore, design: Design, config: CoreConfig) -> Added:
    """A testbench and the words of its streams."""
    layer = drawn(design, config)
    top = core.name
    files = {
        f"{top}_tb.v": _testbench(top, layer, config),
        f"{top}_stream.hex": _memory(layer.words(config, "s_axis"), config.bus_width),
        f"{top}_results.hex": _memory(layer.words(config, "m_axis"), config.bus_width + 1),
    }
    notes = (
        f"* `{top}_tb.v`: testbench of a layer of {_shape(layer)}; it ends with PASS, or with FAIL "
        "and a status that is not 0.",
        f"* `{top}_stream.hex`, `{top}_results.hex`: its words in, and TLAST and words out. "
        "`+pauses` at the end of a run line makes both streams pause at random.",
    )
    return Added(files, notes, _commands(top))


def _commands(top: str) -> tuple[str, ...]:
    bench, verilog, waivers = f"{top}_tb", f"{top}.v", f"{top}.vlt"
    return (
        f"iverilog -g2005 -Wall -s {bench} -o {bench}.vvp {bench}.v {verilog} && "
        f"vvp -n {bench}.vvp",
        f"verilator --binary --top-module {bench} {waivers} {bench}.v {verilog} && "
        f"obj_dir/V{bench}",
    )


FLOW = Flow("verilog", add)


# --- text -------------------------------------------------------------------------------------


def _testbench(top: str, layer: CoreLayer, config: CoreConfig) -> str:
    """The testbench of a core of that name."""
    control, status = layer.known["control"], layer.known["status"]
    return _Testbench(_TEXT.read_text()).substitute(
        top=top,
        version=VERSION,
        layer=_shape(layer),
        bus=config.bus_width,
        stream_words=len(layer.schedule.beats["s_axis"]),
        result_words=len(layer.schedule.beats["m_axis"]),
        limit=_PATIENCE * layer.schedule.counts().cycles,
        declarations=_declarations(config),
        connections=",\n".join(f"    .{name}({name})" for name in signals(config.bus_width)),
        before=_lines(_check, layer.session.before, 4),
        writes=_lines(_write, layer.session.writes, 4),
        settle=SETTLE,
        snapshot=_write(control, 1 << control.bit("snapshot")),
        status=_hex(status.offset, ADDRESS_BITS),
        counting=status.bit("counting"),
        after=_lines(_check, layer.session.after, 4),
        time_counters=_lines(_check, layer.time_counters, 6),
        clear=_lines(_write, [(r, r.mask) for r in layer.known.of("sticky")], 4),
    )


def _shape(layer: CoreLayer) -> str:
    tokens, features, outputs = layer.shape
    return f"{tokens} tokens, {features} in_features and {outputs} outputs"


def _declarations(config: CoreConfig) -> str:
    """Signals of the core; what it takes is a register of the testbench."""
    lines = []
    for name, (way, bits) in signals(config.bus_width).items():
        extent = f"[{bits - 1}:0] " if bits > 1 else ""
        lines.append(f"  reg {extent}{name} = 0;" if way == "in" else f"  wire {extent}{name};")
    return "\n".join(lines)


def _lines(
    statement: Callable[[Register, int], str],
    accesses: Iterable[tuple[Register, int]],
    indent: int,
) -> str:
    """A statement an access."""
    return "\n".join(" " * indent + statement(register, value) for register, value in accesses)


def _write(register: Register, value: int) -> str:
    return f"write({_access(register, value)});"


def _check(register: Register, value: int) -> str:
    return f"check({_access(register, value)});"


def _access(register: Register, value: int) -> str:
    """Arguments of a task: name, address, value."""
    return f'"{register.name}", {_hex(register.offset, ADDRESS_BITS)}, {_hex(value, WORD_BITS)}'


def _hex(value: int, bits: int) -> str:
    return f"{bits}'h{value:0{-(-bits // 4)}x}"


def _memory(words: NDArray[np.uint32], bits: int) -> str:
    """Words as ``$readmemh`` takes them, the most significant digit first."""
    digits = -(-bits // 4)
    lines = ("".join(f"{part:08x}" for part in row[::-1])[-digits:] for row in words.tolist())
    return "\n".join(lines) + "\n"
