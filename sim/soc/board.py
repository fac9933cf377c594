"""A board in simulation: the top module from its serial pins, at a pseudo-terminal."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ...golden.contract.design import Design
from ...golden.contract.errors import ToolError
from ...golden.soc.config import ShellConfig
from ...golden.soc.serial import MEMORY_WORDS
from ...hw.soc.board import board_verilog
from ...hw.soc.generate import generate_core
from ...hw.soc.uart import UartConfig
from ..run import verilator

_MAIN = Path(__file__).parents[1] / "cxx" / "serial.cpp"
_ARGUMENTS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert")


class SimulatedBoard:
    """A core behind its serial bridge under Verilator.

    Parameters
    ----------
    design, config
        The core.
    line
        The serial line.
    optimise
        ``fast`` for whole layers, ``quick`` for short exchanges.
    memory_words
        Words of 32 bits of the memory with rows, if the core reads any.
    """

    def __init__(
        self,
        design: Design,
        config: ShellConfig,
        line: UartConfig,
        optimise: verilator.Optimise = "fast",
        memory_words: int = MEMORY_WORDS,
    ):
        assert design.inner is not None
        self.line = line
        core = generate_core(design, config, design.inner.name)
        top, board = board_verilog(core.name, design, config, line, memory_words)
        with tempfile.TemporaryDirectory(prefix="nibbleforge-") as name:
            folder = Path(name)
            sources = [folder / f"{core.name}.v", folder / f"{top}.v"]
            sources[0].write_text(core.verilog)
            sources[1].write_text(board)
            self.executable = verilator.build(
                sources, top, _MAIN, verilator_args=_ARGUMENTS, optimise=optimise
            )
        self.cycles = 0
        """Cycles of the latest run, once it has ended."""

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """The name of the terminal, as of a serial port, while the board runs."""
        command = [str(self.executable), str(self.line.clock), str(self.line.baud)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                name = process.stdout.readline().strip()
                if not name:
                    raise ToolError("the simulated board did not start.")
                yield name
                process.stdin.close()
                self.cycles = int(process.stdout.readline() or 0)
            finally:
                process.kill()
