"""The core that benches run, as the environment describes it, and its driver behind AXI."""

import json
import os

from cocotb.task import bridge
from nibbleforge.golden.units import unit
from nibbleforge.sim.soc.driver import Driver
from nibbleforge.sim.soc.transport import TimeOutError, refused
from nibbleforge.tb.axi import AxiPins, AxiTransport

JOB = json.loads(os.environ["NIBBLEFORGE_AXI"])
OWNER = unit(JOB["unit"])
CONFIG = OWNER.config(**JOB["config"])
DESIGN = next(design for design in OWNER.designs(CONFIG) if design.name == JOB["design"])
UNIT = DESIGN.inner
PORTS = UNIT.ports(CONFIG.unit)
LONG = 1e-3  # simulated seconds


async def started(dut):
    """Pins of the core after a reset, and a driver of it."""
    pins = AxiPins(dut)
    await pins.reset()
    transport = AxiTransport(pins, refused, TimeOutError)
    return pins, await bridge(Driver)(transport, DESIGN, CONFIG)


def bits(values):
    """Floating-point numbers as their bit patterns; others as they are."""
    return values.view(f"u{values.itemsize}") if values.dtype.kind == "f" else values
