"""Netlists of ECP5 cells that simulate: what Yosys makes of a design, and models of its cells."""

import re
from importlib.resources import files
from pathlib import Path

from ..silicon.synthesis import YosysError, run_yosys
from ..tools.workers import Workers
from .synthesis import ECP5, NETLIST, synthesise

CELLS = Path(__file__).with_name("cells.v")
"""Models of the cells that Yosys has none of."""

_MODELS = {  # of Yosys: file to the cells that synthesis leaves in a netlist
    "common_sim.vh": ("LUT2", "LUT4", "PFUMX", "L6MUX21", "TRELLIS_FF", "TRELLIS_DPR16X4"),
    "ccu2c_sim.vh": ("CCU2C",),
}
_LINT = "/* verilator lint_off INITIALDLY */"  # how Yosys' models set their initial contents
_TIMES = re.compile(r"^\s*specify$.*?^\s*endspecify$", re.MULTILINE | re.DOTALL)
_END = "endmodule\n"


def simulated_netlist(verilog: str, top: str, workers: Workers, folder: Path) -> str:
    """Verilog of a design's ECP5 netlist, with models of all its cells.

    The netlist has the names of the design's top module and of its ports.

    Parameters
    ----------
    verilog, top
        The design and the name of its top module.
    workers, folder
        Where to run Yosys, and an existing folder for the files.

    Raises
    ------
    ToolError
        Yosys failed, its netlist is not whole, or its package lacks the model of a cell.
    """
    synthesise(verilog, top, ECP5, workers, folder)
    written = folder / "netlist.v"
    run_yosys((f"read_json {NETLIST}", f"write_verilog -noattr {written.name}"), workers, folder)
    netlist = written.read_text()
    if not netlist.endswith(_END):
        raise YosysError(f"{written.name} is not whole")
    return "\n".join([netlist, _LINT, *_models(), CELLS.read_text()])


def _models() -> list[str]:
    """Modules of Yosys' package."""
    folder = files("pyosys") / "share" / "lattice"
    return [
        _module(name, (folder / file).read_text())
        for file, names in _MODELS.items()
        for name in names
    ]


def _module(name: str, text: str) -> str:
    """A module among others, without its times."""
    found = re.search(rf"^module {name}\b.*?^{_END}", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise YosysError(f"the package pyosys has no model of {name}")
    return _TIMES.sub("", found[0])
