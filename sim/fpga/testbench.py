"""A testbench of a core that any simulator of Verilog runs by itself.

Everything that the testbench sends and expects is golden: packets and registers of a run, its
results, what memory is asked and answers, and the counters of a run without pauses.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.design import Design
from ...golden.contract.ports import WORD_BITS, port_of
from ...golden.soc.config import ShellConfig
from ...golden.soc.registers import ADDRESS_BITS, Register
from ...golden.soc.unit import SETTLE
from ...golden.version import VERSION
from ...hw.lib.verilog_module import Net
from ...hw.soc.axi import signals
from ...hw.soc.generate import GeneratedCore
from .run import GoldenRun, drawn
from .text import filled

_PATIENCE = 20  # times as long as golden says may a run take: pauses, accesses to registers


@dataclass(frozen=True)
class Bench:
    """Files of a testbench.

    Attributes
    ----------
    name
        Its module, and the stem of its file.
    verilog
        Its text.
    vectors
        File name to what it reads as it runs.
    notes
        Lines of a README.
    """

    name: str
    verilog: str
    vectors: dict[str, str]
    notes: tuple[str, ...]

    @property
    def files(self) -> dict[str, str]:
        """File name to content."""
        return {f"{self.name}.v": self.verilog, **self.vectors}


def bench_of(core: GeneratedCore, design: Design, config: ShellConfig, pauses: str) -> Bench:
    """A testbench of a small run, and the words of its streams.

    ``pauses``: what users write, and where, to have all streams pause at random.
    """
    run = drawn(design, config)
    top = core.name
    ports = {name: port for name, port in _PORTS.items() if name in run.schedule.beats}
    vectors = ", ".join(f"`{top}_{stem}.hex` ({what})" for stem, what in ports.values())
    return Bench(
        name=f"{top}_tb",
        verilog=_testbench(top, run, design, config),
        vectors={
            f"{top}_{stem}.hex": _readable(run.words(name), port_of(run.ports, name).width)
            for name, (stem, _) in ports.items()
        },
        notes=(
            f"* `{top}_tb.v`: testbench of {run.described}; it ends with PASS, or with FAIL and a "
            "status that is not 0.",
            f"* {vectors}: what it sends and expects. {pauses}: all streams pause at random.",
        ),
    )


_PORTS = {
    "s_axis": ("stream", "words in"),
    "m_axis": ("results", "TLAST and words out"),
    "m_axi_ar": ("bursts", "length and address"),
    "m_axi_r": ("memory", "RLAST, RRESP and data"),
}
"""Ports whose beats lie in files: the end of the file's name, and what it holds."""


# --- text -------------------------------------------------------------------------------------


def _testbench(top: str, run: GoldenRun, design: Design, config: ShellConfig) -> str:
    """The testbench of a core of that name."""
    assert design.inner is not None
    members = signals(config, design.inner)
    control, status = run.known["control"], run.known["status"]
    return filled(
        "testbench.v",
        top=top,
        version=VERSION,
        run=run.described,
        bus=config.bus_width,
        stream_words=len(run.words("s_axis")),
        result_words=len(run.words("m_axis")),
        limit=_PATIENCE * run.schedule.counts().cycles,
        declarations=_declarations(members),
        connections=",\n".join(f"    .{name}({name})" for name in members),
        memory=_memory_model(top, run) if "m_axi_ar" in run.schedule.beats else "",
        before=_lines(_check, run.before, 4),
        writes=_lines(_write, run.writes, 4),
        settle=SETTLE,
        snapshot=_write(control, 1 << control.bit("snapshot")),
        status=_hex(status.offset, ADDRESS_BITS),
        counting=status.bit("counting"),
        after=_lines(_check, run.after, 4),
        time_counters=_lines(_check, run.time_counters, 6),
        clear=_lines(_write, [(r, r.mask) for r in run.known.of("sticky")], 4),
    )


def _memory_model(top: str, run: GoldenRun) -> str:
    """What answers the bursts of a core that reads memory."""
    beat = port_of(run.ports, "m_axi_r")
    data = beat.fields[0]
    return filled(
        "memory.v",
        top=top,
        bursts=len(run.words("m_axi_ar")),
        beats=len(run.words("m_axi_r")),
        latency=run.latency,
        burst_bits=port_of(run.ports, "m_axi_ar").width,
        beat_bits=beat.width,
        size=(data.bits // 8 - 1).bit_length(),
    )


def _declarations(members: dict[str, tuple[str, int]]) -> str:
    """Signals of the core; what it takes is a register of the testbench."""
    nets = (
        Net(name, bits, register=way == "in", init="0" if way == "in" else "")
        for name, (way, bits) in members.items()
    )
    return "\n".join(f"  {net.declaration()};" for net in nets)


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


def _readable(words: NDArray[np.uint32], bits: int) -> str:
    """Words as ``$readmemh`` takes them, the most significant digit first."""
    digits = -(-bits // 4)
    lines = ("".join(f"{part:08x}" for part in row[::-1])[-digits:] for row in words.tolist())
    return "\n".join(lines) + "\n"
