"""Bitstreams of cores: how long they take, what they hold, and at what clock they run."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...golden.contract.errors import UserError
from ...golden.units import UNITS, core_name, unit
from ..fpga.flows import flow
from ..fpga.folder import Built, export
from ..tools.progress import Progress

PRESET = "fpga"


@dataclass(frozen=True)
class Bitstream:
    """A core on a board.

    Attributes
    ----------
    design
        Name of the core's design.
    built
        What the flow made; None where there is none.
    seconds
        Wall time from the Verilog to the bitstream.
    reason
        Why there is none.
    """

    design: str
    built: Built | None
    seconds: float
    reason: str = ""


def bitstreams(names: tuple[str, ...], progress: Progress) -> Iterator[Bitstream]:
    """Make the bitstream of every design of these units, or of all, one after the other."""
    chosen = flow("ecp5")
    assert chosen.build is not None
    for name in names or UNITS:
        owner = unit(core_name(name))
        config = owner.presets[PRESET]
        for design in owner.designs(config):
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
                try:
                    exported = export(chosen, name, config, design=design.name)
                    exported.write(Path(folder))
                    built = chosen.build(exported, Path(folder), 1, progress)
                    yield Bitstream(design.name, built, time.monotonic() - begun)
                except UserError as error:
                    yield Bitstream(design.name, None, time.monotonic() - begun, str(error))
