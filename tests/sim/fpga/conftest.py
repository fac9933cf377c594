"""Benches that say in every cycle whether something is wrong."""

import subprocess
from collections.abc import Callable

import pytest
from nibbleforge.sim.run import verilator

MAIN = """
#include <cstdio>
#include "Vtop.h"
int main() {
    VerilatedContext context;
    Vtop top{&context};
    unsigned wrong = 0;
    for (int cycle = 0; cycle < %d; ++cycle) {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        wrong += top.wrong;
    }
    std::printf("%%u\\n", wrong);
}
"""


@pytest.fixture
def wrong_vectors(tmp_path) -> Callable[[str, int], int]:
    """``wrong_vectors(verilog, cycles)``: cycles in which ``wrong`` of the module bench is set.

    The bench has an input ``clk``. A cell that ends the simulation ends the test.
    """

    def runner(verilog: str, cycles: int) -> int:
        bench, main = tmp_path / "bench.v", tmp_path / "main.cpp"
        bench.write_text(verilog)
        main.write_text(MAIN % cycles)
        program = verilator.build([bench], "bench", main, optimise="quick")
        done = subprocess.run([program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        return int(done.stdout)

    return runner
