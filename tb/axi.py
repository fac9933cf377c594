"""Transport of a driver in a simulation: cocotbext-axi at the pins of a core with AXI names."""

import itertools
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import ClockCycles, SimTimeoutError, with_timeout
from numpy.typing import NDArray

from ..golden.contract.errors import UserError

PERIOD_NS = 10
OKAY = 0  # response of AXI
RESET_CYCLES = 4
MEMORY_BYTES = 1 << 20  # beyond, memory answers with errors


class AxiPins:
    """A core at whose pins cocotbext-axi plays host; methods are coroutines.

    Parameters
    ----------
    dut
        cocotb's handle of the top module.
    """

    def __init__(self, dut: Any):
        self.dut = dut
        axi = _cocotbext_axi()
        clocking = (dut.axi_aclk, dut.axi_aresetn, False)
        self.registers = axi.AxiLiteMaster(axi.AxiLiteBus.from_prefix(dut, "s_axi"), *clocking)
        self.source = axi.AxiStreamSource(axi.AxiStreamBus.from_prefix(dut, "s_axis"), *clocking)
        self.frame = axi.AxiStreamFrame
        self.sink = axi.AxiStreamSink(axi.AxiStreamBus.from_prefix(dut, "m_axis"), *clocking)
        self.memory: Any = None  # what the core reads rows from
        if hasattr(dut, "m_axi_arvalid"):
            bus = axi.AxiReadBus.from_prefix(dut, "m_axi")
            self.region = axi.MemoryRegion(MEMORY_BYTES)
            clock, reset, level = clocking
            self.memory = axi.AxiSlaveRead(bus, clock, reset, self.region, level)

    async def reset(self) -> None:
        """Start the clock and reset the core."""
        Clock(self.dut.axi_aclk, PERIOD_NS, "ns").start()
        self.dut.axi_aresetn.value = 0
        await ClockCycles(self.dut.axi_aclk, RESET_CYCLES)
        self.dut.axi_aresetn.value = 1
        await ClockCycles(self.dut.axi_aclk, 1)

    def stall(self, seed: int, share: float) -> None:
        """Let every channel pause at random, in this share of all cycles."""
        write, read = self.registers.write_if, self.registers.read_if
        memory = (self.memory.ar_channel, self.memory.r_channel) if self.memory else ()
        channels = (
            *memory,
            write.aw_channel,
            write.w_channel,
            write.b_channel,
            read.ar_channel,
            read.r_channel,
            self.source,
            self.sink,
        )
        for i, channel in enumerate(channels):
            channel.set_pause_generator(_pauses(np.random.default_rng([seed, i]), share))

    async def read(self, address: int) -> tuple[int, int]:
        """A register and the response."""
        answer = await self.registers.read(address, 4)
        return int.from_bytes(answer.data, "little"), int(answer.resp)

    async def write(self, address: int, value: int) -> int:
        """Write a register; the response."""
        answer = await self.registers.write(address, value.to_bytes(4, "little"))
        return int(answer.resp)

    async def put(self, content: NDArray[np.uint8], address: int) -> None:
        """Put bytes into memory."""
        await self.region.write(address, content.tobytes())

    async def exchange(
        self, words: NDArray[np.uint32], count: int, timeout: float
    ) -> tuple[NDArray[np.uint32], bool]:
        """Send words while receiving others; those that came, and whether they all did in time."""
        self.sink.assert_reset()  # forgets a frame that a soft reset cut short
        self.sink.clear()
        if len(words):
            await self.send(words)
        return await self.receive(words.shape[1], count, timeout)

    async def send(self, words: NDArray[np.uint32]) -> None:
        """Have words sent from now on."""
        await self.source.send(self.frame(words.astype("<u4").tobytes()))

    async def receive(
        self, width: int, count: int, timeout: float
    ) -> tuple[NDArray[np.uint32], bool]:
        """Words of so many times 32 bits that come, and whether they all did in time."""
        found = bytearray()
        receiver = cocotb.start_soon(self._receive(found, 4 * width * count))
        try:
            await with_timeout(receiver, timeout, "sec")
        except SimTimeoutError:
            receiver.cancel()
            self.source.clear()
        whole = len(found) == 4 * width * count
        return np.frombuffer(bytes(found), "<u4").reshape(-1, width), whole

    async def _receive(self, found: bytearray, size: int) -> None:
        while len(found) < size:
            frame = await self.sink.recv()
            found += bytes(frame.tdata)


class AxiTransport:
    """The same for a driver, which waits: run it with ``await cocotb.task.bridge(function)()``.

    Parameters
    ----------
    pins
        The core.
    error
        ``error(what, address)``: what to raise where an access is answered with an error.
    time_out
        ``time_out(received)``: what to raise where words do not come.
    """

    def __init__(self, pins: AxiPins, error: Any, time_out: Any):
        self.pins, self.error, self.time_out = pins, error, time_out
        self.address = 0

    def read(self, address: int) -> int:
        """A register."""
        value, response = resume(self.pins.read)(address)
        if response != OKAY:
            raise self.error("read", address)
        return int(value)

    def write(self, address: int, value: int) -> None:
        """Write a register."""
        if resume(self.pins.write)(address, value) != OKAY:
            raise self.error("write", address)

    def exchange(self, words: NDArray[np.uint32], count: int, timeout: float) -> NDArray[np.uint32]:
        """Send words while receiving others; ``timeout`` is simulated time."""
        found, whole = resume(self.pins.exchange)(words, count, timeout)
        if not whole:
            raise self.time_out(len(found))
        return np.asarray(found, np.uint32)

    def put(self, content: NDArray[np.uint8]) -> int:
        """Put bytes into memory, at ``address``."""
        resume(self.pins.put)(content, self.address)
        return self.address


def _cocotbext_axi() -> Any:
    """The library, which a plain installation does not have."""
    try:
        return import_module("cocotbext.axi")
    except ImportError:
        raise UserError(
            "AXI in a simulation needs cocotbext-axi: pip install cocotbext-axi."
        ) from None


def _pauses(rng: np.random.Generator, share: float) -> Iterator[bool]:
    """Whether to pause in each cycle."""
    pattern = rng.random(1021) < share
    return itertools.cycle(bool(pause) for pause in pattern)
