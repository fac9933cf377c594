"""Thousands of tiles through cores behind AXI: runs the tests and reads what they counted."""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ...golden.contract.errors import UserError
from ...golden.units import unit
from ..tools.workers import Workers

ROOT = Path(__file__).parents[2]
TESTS = Path("tests", "rtl", "soc", "test_axi.py")
TILES = 10_000


@dataclass(frozen=True)
class Soaked:
    """What one core has been through; all of it as golden has it.

    Attributes
    ----------
    design
        Of the unit inside.
    tiles, runs
        That went through it.
    given_up
        Runs that a reset ended in their midst.
    """

    design: str
    tiles: int
    runs: int
    given_up: int


def soaked(name: str, workers: Workers) -> Iterator[Soaked]:
    """Run the soak of the cores around a unit.

    Raises
    ------
    UserError
        There is no clone of the repository, or the core and golden differ.
    """
    if not (ROOT / TESTS).exists():
        raise UserError(f"the soak needs a clone of the repository: there is no {TESTS} here.")
    chosen = f"many_tiles and {TILES}-{unit(name).name}-"
    with tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        report = Path(folder, "report.xml")
        options = ["-q", "-n", "0", "-m", "slow", "-k", chosen, f"--junitxml={report}"]
        workers.run([sys.executable, "-m", "pytest", *options, str(TESTS)], cwd=ROOT)
        for noted in ElementTree.parse(report).iter("property"):
            done = json.loads(noted.attrib["value"])
            given_up = done["soft_resets"] + done["resets"]
            yield Soaked(noted.attrib["name"], done["tiles"], done["runs"], given_up)
