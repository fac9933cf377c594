"""A core on a board whose only connection is a serial line."""

from collections.abc import Sequence

from ...golden.contract.design import Design
from ...golden.soc.config import ShellConfig
from ...golden.soc.memory import fetching
from ...golden.soc.serial import MEMORY_WORDS
from ..lib.base import Part
from ..lib.emission import to_verilog
from ..lib.verilog_module import Instance, Net, lines_of
from .axi import CLOCK, RESET, WORD, signals
from .bridge import UartBridge, UartBridgeConfig
from .pll import Pll
from .ram import RowMemory, RowMemoryConfig
from .uart import UartConfig

_RESET_BITS = 4  # of the cycles of reset after configuration


def board_verilog(
    core: str,
    design: Design,
    config: ShellConfig,
    line: UartConfig,
    memory_words: int = MEMORY_WORDS,
    pll: Pll | None = None,
    high: Sequence[str] = (),
) -> tuple[str, str]:
    """Verilog of a top module ``CORE_board`` with clock, ``rx`` and ``tx``, and of what it joins.

    The top module is short and plain, as it is what changes from board to board: a reset of some
    cycles after configuration, the bridge, the core, a memory if the core reads rows, and a PLL
    if the clock is not the board's own.

    Parameters
    ----------
    core
        Name of the core's module, which is not among these.
    design, config
        The core.
    line
        The serial line, and the frequency of the clock.
    memory_words
        Words of 32 bits of the memory, if there is one.
    pll
        What makes that clock of the board's; None: it is the board's.
    high
        Outputs that stay high.

    Returns
    -------
    Name of the top module, and the Verilog.
    """
    assert design.inner is not None
    members = signals(config, design.inner)
    fetched = fetching(config, design.inner.ports(config.unit))
    memory = None
    if fetched:
        fetcher, rows = fetched
        memory = RowMemory(
            RowMemoryConfig(
                words=memory_words, data_bits=rows.data_bits, address_bits=fetcher.address_bits
            )
        )
    bridge = UartBridge(
        UartBridgeConfig(
            line=line, bus_width=config.bus_width, memory_words=memory_words if memory else 0
        )
    )
    beside: dict[str, Part] = {"bridge": bridge} | ({"memory": memory} if memory else {})
    wires = {name: bits for name, (_, bits) in members.items() if _has(beside, name)}
    if memory:
        wires |= {"memory_write": 1, "memory_word": WORD, "memory_data": WORD}
    clock = "clock" if pll else "clk"
    fixed = {CLOCK: clock, RESET: "~reset", "s_axi_wstrb": f"{WORD // 8}'hf"}
    core_pins = {
        name: name if name in wires else fixed.get(name, f"{bits}'d0") if way == "in" else ""
        for name, (way, bits) in members.items()
    }
    top = f"{core}_board"
    lines = [
        f"// {core} behind a serial line of {line.baud:,} bits a second; "
        f"{clock} has {line.clock:,} Hz.",
        f"module {top} (",
        "  input clk,",
        "  input rx,",
        f"  output {', '.join(('tx', *high))}",
        ");",
        *(f"  assign {name} = 1'b1;" for name in high),
        *_clock_and_reset(pll, clock),
        "",
        *(f"  {Net(name, bits).declaration()};" for name, bits in wires.items()),
    ]
    for name, part in beside.items():
        pins = [pin for pin in ("rx", "tx", *wires) if hasattr(part, pin)]
        own = {"clk": clock, "rst": "reset"} | {pin: pin for pin in pins}
        lines += lines_of(Instance(f"{core}_{name}", name, own))
    lines += [*lines_of(Instance(core, "core", core_pins)), "endmodule"]
    modules = [to_verilog(part, f"{core}_{name}")[0] for name, part in beside.items()]
    return top, "\n".join([*lines, "", *modules])


def _clock_and_reset(pll: Pll | None, clock: str) -> list[str]:
    """Lines that declare ``reset``, and the clock where it is not the board's."""
    counter = [
        f"  reg [{_RESET_BITS - 1}:0] cycle = 0;  // counts those of the reset",
        "  wire reset = ~&cycle;",
    ]
    if pll is None:
        return [*counter, f"  always @(posedge {clock}) if (reset) cycle <= cycle + 1'd1;"]
    return [
        f"  wire {clock}, locked;",
        *pll.verilog("clk", clock, "locked"),
        *counter,
        f"  always @(posedge {clock} or negedge locked)",
        "    if (!locked) cycle <= 0;",
        "    else if (reset) cycle <= cycle + 1'd1;",
    ]


def _has(parts: dict[str, Part], name: str) -> bool:
    return any(hasattr(part, name) for part in parts.values())
