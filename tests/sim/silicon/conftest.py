"""The flow of areas on small designs, and small libraries."""

from pathlib import Path

import pytest
from nibbleforge.sim.silicon import synthesis
from nibbleforge.sim.silicon.area import where_smaller
from nibbleforge.sim.silicon.library import read_library
from nibbleforge.sim.silicon.synthesis import Target, library_map, synthesise
from nibbleforge.sim.silicon.timing import critical_path
from nibbleforge.sim.tools.workers import Workers

TINY = Path(__file__).with_name("tiny.lib")


@pytest.fixture
def read(tmp_path):
    """``read(path, ...)``: a library of some files."""

    def library(*paths):
        return read_library(paths, tmp_path)

    return library


@pytest.fixture
def tiny(read):
    """The tiny library."""
    return read(TINY)


@pytest.fixture
def flow(tmp_path, tiny):
    """The steps of the flow on a Verilog module ``top``."""
    with Workers(1, tmp_path) as workers:

        class Flow:
            def gates(self, verilog, memories="table"):
                return synthesise(verilog, "top", memories, workers, tmp_path)

            def cells(self, verilog, library=tiny, seed=0, **taken):
                gates = self.gates(verilog)
                target = Target(library, **taken)
                return gates, library_map(gates, target, seed, workers, tmp_path)

            def where_smaller(self, verilog, target):
                return where_smaller(self.gates(verilog), target, workers, tmp_path)

            def path(self, verilog, access_ns=0.0, library=tiny, **taken):
                gates, mapped = self.cells(verilog, library, **taken)
                memories = {memory.box: (memory, access_ns) for memory in gates.memories}
                return critical_path(mapped.netlist, library, memories, workers, tmp_path)

            def yosys(self, *commands):
                synthesis.run_yosys(commands, workers, tmp_path)

        yield Flow()


@pytest.fixture
def changed(tmp_path):
    """``changed(old, new)``: the tiny library with something replaced."""

    def write(old, new):
        text = TINY.read_text()
        assert old in text
        path = tmp_path / "changed library.lib"  # a space must not matter
        path.write_text(text.replace(old, new))
        return path

    return write


@pytest.fixture
def extended(changed):
    """``extended(cells)``: the tiny library with more cells."""
    return lambda cells: changed("  cell (INV)", f"{cells}\n  cell (INV)")
