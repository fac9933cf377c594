"""The cocotb harness of all units: plays traffic into a design cycle by cycle and records it."""

import random
from collections.abc import Awaitable, Callable
from typing import Any, Self

import numpy as np
from cocotb.triggers import Timer

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.schedule import Traffic
from .scoreboard import Observation
from .stalls import Gates
from .streams import EventMonitor, StreamDriver, StreamMonitor

TAIL = 64  # cycles a run goes on after the final expected beat, to catch surplus ones
IDLE_LIMIT = 5_000  # cycles without any handshake after which a run is given up
RESET_CYCLES = 2


class Harness:
    """A design under test with a driver or monitor on every port.

    Parameters
    ----------
    dut
        cocotb's handle of the top module.
    design, config
        What it is.
    """

    def __init__(self, dut: Any, design: Design, config: Config):
        self.dut = dut
        ports = design.ports(config)
        self.drivers = [StreamDriver(dut, port) for port in ports if port.direction == "in"]
        self.monitors = [StreamMonitor(dut, port) for port in ports if port.direction == "out"]
        self.events = EventMonitor(dut, design.events(config))
        self.garbage: random.Random | None = None
        self.earlier: dict[str, int] = {}
        self.now = 0

    async def play(
        self,
        traffic: Traffic,
        gates: Gates | None = None,
        *,
        garbage: random.Random | None = None,
        reset_after: int = 0,
        reset: Callable[[Self], Awaitable[None]] | None = None,
    ) -> Observation:
        """Reset, send the input beats of ``traffic``, record everything.

        ``earlier`` then has the totals of events between the reset and what was recorded.

        Parameters
        ----------
        traffic
            Beats of every port; of outputs only their number is used.
        gates
            Stall patterns by port.
        garbage
            Source of random payload wherever valid is 0.
        reset_after
            Reset in this cycle and start again from the first beat.
        reset
            What to do then instead of a reset.
        """
        self.garbage = garbage
        self.earlier = {}
        await self._restart(traffic, gates or {})
        quiet = after = 0
        while after <= TAIL and quiet <= IDLE_LIMIT:
            moved = await self.cycle()
            if reset_after and self.now == reset_after:
                if reset is None:
                    await self._restart(traffic, gates or {})
                else:
                    await reset(self)
                    self.earlier = self.events.totals()
                    self._forget(traffic, gates or {})
                reset_after = quiet = after = 0
                continue
            quiet = 0 if moved else quiet + 1
            after = after + 1 if self._finished(traffic) else 0
        return self._observation()

    def _forget(self, traffic: Traffic, gates: Gates) -> None:
        """Begin anew with the first beats; forget what was seen."""
        monitors = {monitor.port.name: monitor for monitor in self.monitors}
        for driver in self.drivers:
            driver.load(traffic[driver.port.name], monitors)
        for channel in (*self.drivers, *self.monitors):
            channel.restart(gates.get(channel.port.name))
        self.events.restart()
        self.now = 0

    async def _restart(self, traffic: Traffic, gates: Gates) -> None:
        """Reset the design, too."""
        self._forget(traffic, gates)
        for monitor in self.monitors:
            monitor.ready.value = 0
        self.dut.rst.value = 1
        for _ in range(RESET_CYCLES):
            await self._clock()
        self.dut.rst.value = 0

    async def _clock(self) -> None:
        self.dut.clk.value = 0
        await Timer(1, "step")
        self.dut.clk.value = 1
        await Timer(1, "step")

    async def cycle(self) -> bool:
        """One clock cycle; returns whether any beat moved."""
        self.dut.clk.value = 0
        for driver in self.drivers:
            driver.drive(self.now, self.garbage)
        for monitor in self.monitors:
            monitor.drive()
        await Timer(1, "step")
        moved = [channel.sample(self.now) for channel in (*self.drivers, *self.monitors)]
        self.events.sample(self.now)
        self.dut.clk.value = 1
        await Timer(1, "step")
        self.now += 1
        return any(moved)

    def _finished(self, traffic: Traffic) -> bool:
        sent = all(driver.finished for driver in self.drivers)
        return sent and all(len(m.beats) >= len(traffic[m.port.name]) for m in self.monitors)

    def _observation(self) -> Observation:
        pulses = self.events.pulses()
        cycles = {
            c.port.name: np.array(c.accepted, np.int64) for c in (*self.drivers, *self.monitors)
        }
        every = np.concatenate(list(cycles.values()))
        return Observation(
            words={monitor.port.name: monitor.words() for monitor in self.monitors},
            totals=self.events.totals(),
            span=int(every.max() - every.min() + 1) if every.size else 0,
            cycles=cycles,
            pulses=pulses,
            violations=tuple(text for monitor in self.monitors for text in monitor.violations),
        )
