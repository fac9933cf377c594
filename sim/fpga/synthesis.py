"""Synthesis to the cells of an FPGA, by Yosys in a process of its own."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..silicon.synthesis import YosysError, run_yosys
from ..tools.workers import Workers

NETLIST = "netlist.json"

QUICK_ABC = "scratchpad -set abc9.script +&scorr;&sweep;&dc2;&dch,-f,-r;&ps;&if,{W},{D},{R},-v"
"""Has ABC do its usual script but ``&mfs``, which hardly ends on wide datapaths."""


@dataclass(frozen=True)
class Family:
    """A family of FPGAs.

    Attributes
    ----------
    name
        As the command line has it.
    command
        Yosys' synthesis, up to the top module.
    memories
        Kinds of cells that are memories, and what they are.
    """

    name: str
    command: str
    memories: dict[str, str]


ECP5 = Family(
    "ecp5",
    "synth_ecp5 -top",
    {"DP16KD": "block RAM of 18 Kbit", "TRELLIS_DPR16X4": "LUT RAM of 16 x 4"},
)
XILINX = Family(
    "xilinx",
    "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top",
    {
        "RAMB18E1": "block RAM of 18 Kbit",
        "RAMB36E1": "block RAM of 36 Kbit",
        "RAM16X1D": "LUT RAM of 16 x 1",
        "RAM32M": "LUT RAM of 32 x 8",
        "RAM32X1D": "LUT RAM of 32 x 1",
        "RAM64M": "LUT RAM of 64 x 4",
        "RAM64X1D": "LUT RAM of 64 x 1",
        "RAM128X1D": "LUT RAM of 128 x 1",
        "SRL16E": "shift register of 16",
        "SRLC32E": "shift register of 32",
    },
)


def synthesise(
    verilog: str, top: str, family: Family, workers: Workers, folder: Path
) -> dict[str, int]:
    """Synthesise Verilog; the netlist is :data:`NETLIST` in the folder.

    Parameters
    ----------
    verilog, top, family
        The design, the name of its top module, and what to map it to.
    workers, folder
        Where to run Yosys, and an existing folder for the files.

    Returns
    -------
    Kind of cell to how many there are, most first.

    Raises
    ------
    ToolError
        Yosys failed, or its netlist is not whole.
    """
    (folder / "design.v").write_text(verilog)
    commands = (
        "read_verilog design.v",
        QUICK_ABC,
        f"{family.command} {top}",
        f"write_json {NETLIST}",
    )
    run_yosys(commands, workers, folder)
    try:
        cells = json.loads((folder / NETLIST).read_text())["modules"][top]["cells"].values()
    except (ValueError, KeyError) as error:
        raise YosysError(f"{NETLIST} is not whole ({error})") from error
    kinds = Counter(cell["type"] for cell in cells if not cell["type"].startswith("$"))
    return dict(kinds.most_common())
