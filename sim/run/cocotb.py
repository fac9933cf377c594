"""cocotb harness: one simulation process per job."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...tb.job import JOB, RESULT, Job
from ..tools.cache import Cache
from ..tools.workers import Workers, failure
from . import verilator
from .emitted import emitted
from .native import wide_arguments

MODULE = "nibbleforge.tb.regression"

_PLAIN = {"COCOTB_REWRITE_ASSERTION_FILES": ""}
"""By default pytest compiles every imported module anew: more than a second of each process."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of one cocotb test.

    Attributes
    ----------
    test
        Name of the test.
    message
        Why it failed; empty if it passed.
    seconds
        Wall time.
    """

    test: str
    message: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the test passed."""
        return not self.message


@dataclass(frozen=True)
class Outcome:
    """Outcome of one job.

    Attributes
    ----------
    verdicts
        One per test.
    notes
        Name, seed, totals, cycles and seconds of every run.
    log
        What the simulator printed.
    """

    verdicts: tuple[Verdict, ...]
    notes: tuple[dict[str, Any], ...]
    log: str

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return bool(self.verdicts) and all(verdict.passed for verdict in self.verdicts)


def build(
    design: Design, config: Config, *, waves: bool = False, cache: Cache | None = None
) -> Path:
    """Build the simulation of a design for cocotb, or find it in the cache."""
    generated = emitted(design, config)
    with tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        source = Path(folder, f"{generated.name}.v")
        source.write_text(generated.verilog)
        return verilator.build_cocotb(
            [source],
            generated.name,
            waves=waves,
            verilator_args=wide_arguments(design),
            cache=cache,
        )


def run(
    executable: Path, job: Job, workers: Workers, *, tests: str = "", waves: Path | None = None
) -> Outcome:
    """Run a job.

    Parameters
    ----------
    executable
        From :func:`build`.
    job
        What to run.
    workers
        Pool that the process belongs to.
    tests
        Regular expression of the tests to run; empty: all.
    waves
        File for the waveform, if the executable was built for it.

    Raises
    ------
    ToolError
        The simulation ended before its time, or a test failed for another reason than a
        difference from golden.
    """
    with tempfile.TemporaryDirectory(prefix="nibbleforge-") as name:
        folder = Path(name)
        settings, notes, report = folder / "job.json", folder / "notes", folder / "results.xml"
        settings.write_text(json.dumps(asdict(job)))
        notes.touch()
        extra = {JOB: str(settings), RESULT: str(notes), "COCOTB_TEST_FILTER": tests, **_PLAIN}
        environment = verilator.cocotb_environment(MODULE, job.design, report, extra)
        command = [
            str(executable),
            *(["--trace", "--trace-file", str(waves.absolute())] if waves else []),
        ]
        log = workers.run(command, environment, cwd=folder, check=False)
        verdicts = _verdicts(report, log)
        found = tuple(json.loads(line) for line in notes.read_text().splitlines())
        return Outcome(verdicts, found, log)


def _verdicts(report: Path, log: str) -> tuple[Verdict, ...]:
    """Verdicts of cocotb's report."""
    try:
        cases = list(ElementTree.parse(report).iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        raise failure("the simulation ended without a whole report", log) from error
    return tuple(map(_verdict, cases))


def _verdict(case: ElementTree.Element) -> Verdict:
    """Verdict of a test; only a difference from golden, which is an assertion, is one."""
    name, seconds = case.get("name", ""), float(case.get("time", 0))
    found = next((child for child in case if child.tag in ("failure", "error")), None)
    if found is None:
        return Verdict(name, "", seconds)
    message = found.get("message", "")
    if found.get("type") != "AssertionError":
        what = f"the test {name} ended with {found.get('type', 'an error')}"
        raise failure(what, f"{message}\n{found.text or ''}")
    told, _, _ = message.partition("\nassert ")  # pytest repeats the condition
    return Verdict(name, told or "failed", seconds)
