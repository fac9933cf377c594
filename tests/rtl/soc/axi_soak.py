"""Thousands of tiles through a core with AXI names. The simulator loads this test."""

import json
from dataclasses import replace

import cocotb
import numpy as np
import pytest
from axi_bench import CONFIG, DESIGN, JOB, UNIT, bits, expected, operands, started
from cocotb.task import bridge
from cocotb.triggers import ClockCycles
from nibbleforge.golden.soc.blocks import LayerBlocks
from nibbleforge.golden.soc.memory import fetching
from nibbleforge.golden.soc.unit import CoreRun
from nibbleforge.sim.soc.driver import CoreError, Driver

SHARES = (0.0, 0.6, 0.1, 0.9, 0.3)
"""Of all cycles, in how many every channel pauses: layer after layer another share."""
MOST_BLOCKS = 12  # of tokens and of outputs in a layer
LONG = 1e-2  # simulated seconds: the longest layers, paused most of the time
FETCHES = fetching(CONFIG, UNIT.ports(CONFIG.unit)) is not None
GIVEN_UP = 3  # before every third layer one is given up


class Soak:
    """A core, its driver, and what was done with them."""

    def __init__(self, dut, pins, driver):
        self.dut, self.pins, self.driver = dut, pins, driver
        self.rng = np.random.default_rng(JOB["seed"])
        self.free = True  # nothing pauses
        timed = () if FETCHES else ("timed",)  # golden knows no latency of this memory
        self.done = dict.fromkeys(("tiles", "layers", *timed, "soft_resets", "resets"), 0)

    def layer(self):
        """A layer larger than the buffers: rows of a small one, each any number of times."""
        small = operands(int(self.rng.integers(1 << 32)))
        tiling = small.tiling(CONFIG.unit).results
        tokens, outputs = (
            self.rng.integers(rows, size=self.rng.integers(1, MOST_BLOCKS * block + 1))
            for rows, block in ((tiling.tokens, tiling.rows), (tiling.outputs, tiling.columns))
        )
        by_output = getattr(small, "BY_OUTPUT", ())
        sides = ((getattr(small, "BY_TOKEN", ("x",)), tokens), (by_output, outputs))
        arrays = {
            name: (getattr(small, name, None), rows) for names, rows in sides for name in names
        }
        grown = {
            name: array[rows]
            for name, (array, rows) in arrays.items()
            if array is not None and array.size  # some need not be there
        }
        return replace(small, **grown)

    def stall(self):
        """Let every channel pause in another share of cycles."""
        share = SHARES[self.done["layers"] % len(SHARES)]
        self.free = share == 0.0 and not FETCHES
        self.pins.stall(int(self.rng.integers(1 << 32)), share)

    async def give_up(self):
        """Begin a layer and reset the core in its midst, by software or by its wire."""
        layer = self.layer()
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
            await bridge(self.driver.run)(layer)  # gives the layer up in the end
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
        """Run a layer: results and work as golden has them and, where nothing pauses, cycles."""
        layer, stays = self.layer(), bool(self.rng.integers(2))
        exchange = self.pins.exchange
        if self.free:  # words wait when the layer begins: a host need not be quick
            await self.pins.send(
                LayerBlocks.of(UNIT, CONFIG, layer, outputs_stay=stays).stream(CONFIG)
            )
            self.pins.exchange = lambda words, *rest: self.pins.receive(words.shape[1], *rest)
        result = await bridge(self.driver.run)(layer, outputs_stay=stays, timeout=LONG)
        self.pins.exchange = exchange
        assert np.array_equal(bits(result.y), expected(layer)), self.done
        golden = DESIGN.schedule(CONFIG, CoreRun(layer, stays)).counts().events
        for event in self.driver.registers.events:
            if self.free or event.kind == "work":
                assert result.events[event.name] == golden[event.name], (event.name, self.done)
        self.done["tiles"] += len(layer.tiling(CONFIG.unit).results)
        self.done["layers"] += 1
        if self.free:
            self.done["timed"] += 1


@cocotb.test()
async def many_tiles(dut):
    """Layer after layer, channels pausing at random, some layers given up in their midst."""
    pins, transport = await started(dut)
    soak = Soak(dut, pins, await bridge(Driver)(transport, DESIGN, CONFIG))
    while soak.done["tiles"] < JOB["tiles"] or not all(soak.done.values()):
        soak.stall()
        if soak.done["layers"] % GIVEN_UP == GIVEN_UP - 1:
            await soak.give_up()
        await soak.check()
    print(json.dumps(soak.done))
