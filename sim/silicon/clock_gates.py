"""Clock gates: registers that share an enable get a clock that stands still, not multiplexers."""

from .liberty import Cell, write_library

LEAST = 3
"""Fewest flip-flops behind a clock gate: fewer cost less with a multiplexer each."""

MODEL = "nibbleforge_clock_gate"
"""Name of the modelled cell, for libraries that have none."""


def gate_clocks(cell: Cell) -> tuple[str, ...]:
    """Yosys commands that put a clock gate before registers with a common enable.

    A reset that works without the enable becomes part of it.
    """
    pins = cell.clock_gate
    if pins is None:
        raise ValueError(f"{cell.name} is no clock gate")
    ties = "".join(f" -tie_lo {pin}" for pin in pins.tied)
    return (
        "dfflegalize -cell $_SDFFCE_PP?P_ 01 t:$_SDFFE_P???_",
        "dfflegalize -cell $_DFFE_P?_ 01 t:$_SDFFCE_P???_",
        "opt_merge",
        "opt_clean",  # enables that are the same now are one net
        f"clockgate -pos {cell.name} {pins.enable}:{pins.clock}:{pins.output}{ties} "
        f"-min_net_size {LEAST}",
    )


def model(area: float) -> str:
    """Liberty library of a clock gate of an area, without delays."""
    delays = "".join(f'{name} (scalar) {{ values ("0"); }} ' for name in _DELAYS)
    setup = "".join(f'{name} (scalar) {{ values ("0"); }} ' for name in _CONSTRAINTS)
    cell = f""" cell({MODEL}) {{
  area : {area};
  clock_gating_integrated_cell : "latch_posedge";
  pin(E) {{
   direction : input; capacitance : 0; clock_gate_enable_pin : true;
   timing() {{ related_pin : "CK"; timing_type : setup_rising; {setup}}}
  }}
  pin(CK) {{ direction : input; capacitance : 0; clock : true; clock_gate_clock_pin : true; }}
  pin(G) {{
   direction : output; function : "CK"; clock_gate_out_pin : true;
   timing() {{ related_pin : "CK"; timing_sense : positive_unate; {delays}}}
  }}
 }}
"""
    return write_library("modelled", cell)


_DELAYS = ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
_CONSTRAINTS = ("rise_constraint", "fall_constraint")
