"""A core on a board whose only connection is a serial line."""

from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.soc.config import ShellConfig
from ...golden.soc.memory import Rows
from ..lib.emission import to_verilog
from .axi import CLOCK, RESET, WORD, signals
from .bridge import UartBridge, UartBridgeConfig
from .uart import UartConfig

_RESET_BITS = 4  # of the cycles of reset after configuration


def board_verilog(
    core: str, design: Design, config: ShellConfig, line: UartConfig
) -> tuple[str, str]:
    """Verilog of a top module ``CORE_board`` with clock, ``rx`` and ``tx``, and of the bridge.

    The top module is short and plain, as it is what changes from board to board: a reset of some
    cycles after configuration, the bridge and the core.

    Parameters
    ----------
    core
        Name of the core's module, which is not among these.
    design, config
        The core.
    line
        The serial line, and the frequency of the clock.

    Returns
    -------
    Name of the top module, and the Verilog.

    Raises
    ------
    UserError
        The unit reads rows from memory.
    """
    assert design.inner is not None
    if Rows.of(design.inner.ports(config.unit)):
        raise UserError(
            f"{design.inner.name} reads rows from memory, and a board with a serial line alone has "
            "none."
        )
    members = signals(config, design.inner)
    bridge = UartBridge(UartBridgeConfig(line=line, bus_width=config.bus_width))
    verilog, _ = to_verilog(bridge, f"{core}_bridge")
    own = {"clk": "clk", "rst": "reset"}
    fixed = {CLOCK: "clk", RESET: "~reset", "s_axi_wstrb": f"{WORD // 8}'hf"}
    joined = [name for name in members if hasattr(bridge, name)]
    core_pins = {
        name: name if name in joined else fixed.get(name, f"{bits}'d0") if way == "in" else ""
        for name, (way, bits) in members.items()
    }
    bridge_pins = own | {name: name for name in ("rx", "tx", *joined)}
    top = f"{core}_board"
    lines = [
        f"// {core} behind a serial line of {line.baud:,} bits a second, clk of {line.clock:,} Hz.",
        f"module {top} (",
        "  input clk,",
        "  input rx,",
        "  output tx",
        ");",
        f"  reg [{_RESET_BITS - 1}:0] cycle = 0;  // counts those of the reset",
        "  wire reset = ~&cycle;",
        "  always @(posedge clk) if (reset) cycle <= cycle + 1'd1;",
        "",
        *(f"  wire {_extent(members[name][1])}{name};" for name in joined),
        *_instance(f"{core}_bridge", "bridge", bridge_pins),
        *_instance(core, "core", core_pins),
        "endmodule",
    ]
    return top, "\n".join([*lines, "", verilog])


def _extent(bits: int) -> str:
    return f"[{bits - 1}:0] " if bits > 1 else ""


def _instance(module: str, name: str, pins: dict[str, str]) -> list[str]:
    connected = ",\n".join(f"    .{pin}({net})" for pin, net in pins.items())
    return [f"  {module} {name} (", connected, "  );"]
