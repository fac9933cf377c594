"""Flow ``vivado``: a core with scripts that make projects, an IP and a PYNQ overlay of it.

The scripts were run against a stand-in that knows every command and name, not in Vivado.
Sources: UG835 (Tcl commands), UG994 (attributes by which interfaces are inferred), UG903 (XDC).
"""

from ...golden.contract.design import Design
from ...golden.soc.config import ShellConfig
from ...golden.soc.memory import FetchingConfig
from ...golden.soc.registers import ADDRESS_BITS
from ...golden.version import VERSION
from ...hw.lib.verilog_module import Instance, Net, lines_of
from ...hw.soc.axi import CLOCK, RESET, signals
from ...hw.soc.generate import GeneratedCore
from .folder import Added, Flow
from .text import filled

SCRIPTS = {
    "synth": "the core alone, out of context, placed and routed, with reports",
    "project": "a project",
    "package": "an IP for block designs",
    "pynq": "a block design with a Zynq and a DMA; bitstream and `.hwh` for PYNQ",
}
"""Scripts that users start, and what they make."""

PART = "xc7z020clg400-1"
"""A part as an example."""


def add(core: GeneratedCore, design: Design, config: ShellConfig) -> Added:
    """A top module with attributes, constraints, and scripts."""
    top = core.name
    ip = f"{top}_ip"
    interfaces = [name for name in core.manifest["interfaces"] if name != "irq"]
    values = {
        "top": top,
        "ip": ip,
        "version": VERSION,
        "ip_version": VERSION.rpartition(".")[0],
        "summary": core.manifest["summary"],
        "interfaces": " ".join(interfaces),
        "bus_width": config.bus_width,
        "register_bytes": 1 << ADDRESS_BITS,
    }
    scripts = {
        f"{top}_{name}.tcl": filled(f"tcl/{name}.tcl", **values) for name in ("common", *SCRIPTS)
    }
    return Added(
        {
            f"{ip}.v": _wrapper(core, design, config, interfaces),
            f"{top}.xdc": filled("tcl/clock.xdc", **values),
            **scripts,
        },
        (
            *(f"* `{top}_{name}.tcl` makes {made}." for name, made in SCRIPTS.items()),
            f"* `{top}.xdc`: the clock, 100 MHz; `{ip}.v`: the core with attributes for Vivado. "
            "Not run in Vivado.",
        ),
        tuple(
            f"vivado -mode batch -source {top}_{name}.tcl -tclargs {PART}"
            for name in ("synth", "pynq")
        ),
    )


FLOW = Flow("vivado", add)


# --- top module -------------------------------------------------------------------------------


def _wrapper(
    core: GeneratedCore, design: Design, config: ShellConfig, interfaces: list[str]
) -> str:
    """The core with attributes that say what interface every port belongs to."""
    assert design.inner is not None
    members = signals(config, design.inner)
    parameters = _parameters(config, interfaces)
    ports, seen = [], set()
    for name, (way, bits) in members.items():
        interface, info = _belongs(name, interfaces)
        attributes = [f'X_INTERFACE_INFO = "{info}"']
        if interface not in seen:
            text = f"XIL_INTERFACENAME {interface}, {parameters[interface]}"
            attributes.append(f'X_INTERFACE_PARAMETER = "{text}"')
        seen.add(interface)
        lines = "\n".join(f"  (* {attribute} *)" for attribute in attributes)
        ports.append(f"{lines}\n  {way}put {Net(name, bits).declaration()}")
    inside = "\n".join(lines_of(Instance(core.name, "core", {name: name for name in members})))
    listed = ",\n".join(ports)
    return (
        f"// {core.name} with the attributes from which Vivado infers its interfaces.\n"
        f"// Made by nibbleforge {VERSION}; this file belongs to whoever generated it.\n\n"
        f"module {core.name}_ip (\n{listed}\n);\n\n"
        f"{inside}\n\nendmodule\n"
    )


def _belongs(name: str, interfaces: list[str]) -> tuple[str, str]:
    """Interface of a port, and its attribute: bus, interface, name of the signal there."""
    single = {CLOCK: ("clock", "CLK"), RESET: ("reset", "RST"), "irq": ("interrupt", "INTERRUPT")}
    if name in single:
        kind, signal = single[name]
        return name, f"xilinx.com:signal:{kind}:1.0 {name} {signal}"
    interface = next(found for found in interfaces if name.startswith(f"{found}_"))
    bus = "axis" if interface.endswith("axis") else "aximm"
    signal = name.removeprefix(f"{interface}_").upper()
    return interface, f"xilinx.com:interface:{bus}:1.0 {interface} {signal}"


def _parameters(config: ShellConfig, interfaces: list[str]) -> dict[str, str]:
    """What else Vivado is to know of each interface."""
    stream = f"TDATA_NUM_BYTES {config.bus_width // 8}, HAS_TREADY 1, HAS_TLAST"
    found = {
        CLOCK: f"ASSOCIATED_BUSIF {':'.join(interfaces)}, ASSOCIATED_RESET {RESET}",
        RESET: "POLARITY ACTIVE_LOW",
        "irq": "SENSITIVITY LEVEL_HIGH",
        "s_axi": "PROTOCOL AXI4LITE",
        "s_axis": f"{stream} 0",
        "m_axis": f"{stream} 1",
    }
    if isinstance(config, FetchingConfig):
        found["m_axi"] = (
            "PROTOCOL AXI4, READ_WRITE_MODE READ_ONLY, SUPPORTS_NARROW_BURST 0, "
            f"MAX_BURST_LENGTH {config.burst}"
        )
    return found
