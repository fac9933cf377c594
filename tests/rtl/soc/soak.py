"""Run after run through a core behind AXI: what soaks of layers and of streams share."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cocotb.task import bridge
from cocotb.triggers import ClockCycles
from job import CONFIG, JOB, PORTS, started
from nibbleforge.golden.contract.schedule import Schedule
from nibbleforge.golden.soc.memory import fetching
from nibbleforge.sim.soc.driver import CoreError

SHARES = (0.0, 0.6, 0.1, 0.9, 0.3)
"""Of all cycles, in how many every channel pauses: run after run another share."""
PATIENCE = 1e-2  # simulated seconds: the longest runs, paused most of the time
FETCHES = fetching(CONFIG, PORTS) is not None
GIVEN_UP = 3  # before every third run one is given up


@dataclass
class Run:
    """What a core is to do.

    Attributes
    ----------
    call
        Has the driver do it.
    compare
        Checks the results.
    words
        What it sends.
    schedule
        What golden says of it.
    tiles
        Of layers; of streams the pieces after which the unit is as after a reset.
    """

    call: Callable[[], Awaitable[Any]]
    compare: Callable[[Any], None]
    words: np.ndarray
    schedule: Schedule
    tiles: int


class Soak:
    """A core, its driver, and what was done with them."""

    def __init__(self, dut, pins, driver, draw):
        self.dut, self.pins, self.driver, self.draw = dut, pins, driver, draw
        self.rng = np.random.default_rng(JOB["seed"])
        self.free = True  # nothing pauses
        timed = () if FETCHES else ("timed",)  # golden knows no latency of this memory
        self.done = dict.fromkeys(("tiles", "passes", "runs", *timed, "soft_resets", "resets"), 0)

    def stall(self):
        """Let every channel pause in another share of cycles."""
        share = SHARES[self.done["runs"] % len(SHARES)]
        self.free = share == 0.0 and not FETCHES
        self.pins.stall(int(self.rng.integers(1 << 32)), share)

    async def give_up(self):
        """Begin a run and reset the core in its midst, by software or by its wire."""
        run = self.draw(self.driver, self.rng)
        soft = self.done["soft_resets"] == self.done["resets"]
        exchange = self.pins.exchange

        async def begin(words, count, timeout):
            await self.pins.send(words[: self.rng.integers(1, len(words))])
            await ClockCycles(self.dut.axi_aclk, int(self.rng.integers(1, 2 * len(words))))
            if not soft:
                self.dut.axi_aresetn.value = 0
                await ClockCycles(self.dut.axi_aclk, int(self.rng.integers(1, 4)))
                self.dut.axi_aresetn.value = 1
                await ClockCycles(self.dut.axi_aclk, 1)
            return words[:0], False

        self.pins.exchange = begin
        with pytest.raises(CoreError, match="the core gave 0 of "):
            await run.call()  # gives the run up in the end
        self.pins.exchange = exchange
        drain = self.driver.registers["drain"].offset
        await self.pins.write(drain, 1)
        while not self.pins.source.idle():
            await ClockCycles(self.dut.axi_aclk, 1)
        await bridge(self.driver.reset)()
        self.pins.sink.assert_reset(True)  # it may have a part of a packet
        self.pins.sink.assert_reset(False)
        self.done["soft_resets" if soft else "resets"] += 1

    async def check(self):
        """Do a run: results and work as golden has them and, where nothing pauses, cycles."""
        run = self.draw(self.driver, self.rng)
        exchange = self.pins.exchange
        if self.free:  # words wait when the run begins: a host need not be quick
            await self.pins.send(run.words)
            self.pins.exchange = lambda words, *rest: self.pins.receive(words.shape[1], *rest)
        result = await run.call()
        self.pins.exchange = exchange
        run.compare(result)
        golden = run.schedule.counts().events
        for event in self.driver.registers.events:
            if self.free or event.kind == "work":
                assert result.events[event.name] == golden[event.name], (event.name, self.done)
        self.done["tiles"] += run.tiles
        self.done["passes"] += result.events["core_passes"]
        self.done["runs"] += 1
        if self.free:
            self.done["timed"] += 1


async def many_tiles(dut, draw):
    """Run after run, channels pausing at random, some runs given up in their midst.

    ``draw(driver, rng)`` makes a :class:`Run`.
    """
    soak = Soak(dut, *await started(dut), draw)
    while soak.done["tiles"] < JOB["tiles"] or not all(soak.done.values()):
        soak.stall()
        if soak.done["runs"] % GIVEN_UP == GIVEN_UP - 1:
            await soak.give_up()
        await soak.check()
    print(json.dumps(soak.done))
