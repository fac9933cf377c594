"""Place and route for ECP5s, by nextpnr in processes of their own."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path as File

from ...golden.contract.errors import ToolError, UserError
from ..tools import toolchain
from ..tools.workers import Workers, failure
from .paths import Path, read_path
from .synthesis import NETLIST

DEVICES = {"12k": "LFE5U-12F", "25k": "LFE5U-25F", "45k": "LFE5U-45F", "85k": "LFE5U-85F"}
"""Devices by nextpnr's option."""

_ROUNDING = 1e-3  # nextpnr counts whole picoseconds
_MEMORY = re.compile(
    r'"([^"]+)": \{\s+"hide_name": \d+,\s+"type": "(DP16KD|TRELLIS_DPR16X4)"'
)  # a cell in a netlist of Yosys
_USED = re.compile(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%$", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """What to place a design on.

    Attributes
    ----------
    device
        Key of :data:`DEVICES`.
    megahertz
        Clock that nextpnr works towards.
    package
        The device's package.
    speed
        Its speed grade.
    """

    device: str
    megahertz: float
    package: str = "CABGA381"
    speed: str = "6"

    @property
    def name(self) -> str:
        """Name of the device and its speed grade."""
        return f"{DEVICES[self.device]}-{self.speed}"


@dataclass(frozen=True)
class Placed:
    """A design placed and routed with one seed.

    Attributes
    ----------
    seed
        Of the placer.
    megahertz
        Fastest clock.
    path
        What limits it.
    used
        Kind of resource to how many are used, and how many there are.
    """

    seed: int
    megahertz: float
    path: Path
    used: dict[str, tuple[int, int]]

    def meets(self, target: Target) -> bool:
        """Whether it is as fast as nextpnr worked towards."""
        return self.megahertz >= target.megahertz


class TooLargeError(UserError):
    """A design has more of something than a device.

    Attributes
    ----------
    resource, used, available
        What there is too little of, how much the design has, and how much the device.
    """

    def __init__(self, target: Target, resource: str, used: int, available: int):
        self.resource, self.used, self.available = resource, used, available
        super().__init__(
            f"it does not fit an {DEVICES[target.device]}: it has {used:,} {resource} of "
            f"{available:,}, {used / available - 1:.0%} too many."
        )


def place(
    target: Target, seed: int, workers: Workers, folder: File, *more: str, name: str = ""
) -> Placed:
    """Place and route the netlist in a folder.

    YoWASP's tools see no absolute paths everywhere, so all files are relative to the folder.

    Parameters
    ----------
    target, seed
        What to place it on, and with which seed.
    workers, folder
        Where to run nextpnr, and the folder with :data:`.synthesis.NETLIST`.
    more
        Further arguments.
    name
        Stem of the files of this run; by default after the seed.

    Raises
    ------
    TooLargeError
        The device has too little of something.
    UserError
        nextpnr is not installed.
    ToolError
        nextpnr failed, or its report is not whole.
    """
    nextpnr = toolchain.require("nextpnr-ecp5")
    report = f"{name or f'seed_{seed}'}.json"
    command = [
        *nextpnr.command,
        f"--{target.device}",
        *("--speed", target.speed),
        *("--package", target.package),
        *("--json", NETLIST),
        *("--freq", str(target.megahertz)),
        *("--seed", str(seed)),
        *("--report", report),
        "--timing-allow-fail",
        *more,
    ]
    output = workers.run(command, nextpnr.environment, cwd=folder, check=False)
    for resource, used, available in _USED.findall(output):
        if int(used) > int(available):
            raise TooLargeError(target, resource, int(used), int(available))
    if not output.rstrip().endswith("Program finished normally."):
        raise failure("nextpnr failed", output)
    return _read(folder, report, target, seed)


def _read(folder: File, report: str, target: Target, seed: int) -> Placed:
    """What nextpnr reports; of several clocks the slowest one relative to its target."""
    try:
        content = json.loads((folder / report).read_text())
        memories = dict(_MEMORY.findall((folder / NETLIST).read_text()))
        clocks = content["fmax"]
        clock = min(clocks, key=lambda name: clocks[name]["achieved"] / clocks[name]["constraint"])
        asked = clocks[clock]["constraint"]
        if not math.isclose(asked, target.megahertz, rel_tol=_ROUNDING):
            raise ValueError(f"it is for a clock of {asked} MHz, not of {target.megahertz}")
        (path,) = (
            found["path"]
            for found in content["critical_paths"]
            if found["from"] == found["to"] == f"posedge {clock}"
        )
        used = {
            name: (found["used"], found["available"])
            for name, found in content["utilization"].items()
            if found["used"]
        }
        return Placed(seed, float(clocks[clock]["achieved"]), read_path(path, memories), used)
    except (OSError, ValueError, KeyError) as error:
        raise ToolError(f"nextpnr's report is not whole ({error}).") from error
