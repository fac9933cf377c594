"""Netlists of ECP5 cells that simulate: what Yosys makes of a design, and models of its cells."""

import re
from importlib.resources import files
from pathlib import Path

from ..silicon.synthesis import YosysError, run_yosys
from ..tools.workers import Workers
from .synthesis import ECP5, synthesise

CELLS = Path(__file__).with_name("cells.v")
"""Models of the cells that Yosys has none of."""
_MODELS = ("common_sim.vh", "ccu2c_sim.vh")  # of Yosys
_LINT = "/* verilator lint_off INITIALDLY */"  # how Yosys' models set their initial contents
_UNUSED = re.compile(r"^\s*specify$.*?^\s*endspecify$|^`include [^\n]*$", re.MULTILINE | re.DOTALL)


def simulated_netlist(verilog: str, top: str, workers: Workers, folder: Path) -> str:
    """Verilog of a design's ECP5 netlist, with models of all its cells.

    Parameters
    ----------
    verilog, top
        The design and the name of its top module.
    workers, folder
        Where to run Yosys, and an existing folder for the files.

    Raises
    ------
    ToolError
        Yosys failed, or its netlist is not whole.
    """
    synthesise(verilog, top, ECP5, workers, folder)
    commands = ("read_json netlist.json", "write_verilog -noattr netlist.v")
    run_yosys(commands, workers, folder)
    netlist = (folder / "netlist.v").read_text()
    if not netlist.endswith("endmodule\n"):
        raise YosysError("netlist.v is not whole")
    share = files("pyosys") / "share" / "lattice"
    models = [_UNUSED.sub("", (share / name).read_text()) for name in _MODELS]
    return "\n".join([netlist, _LINT, *models, CELLS.read_text()])
