"""Transport of a driver on a PYNQ board: registers by MMIO, streams by an AXI DMA.

``PynqTransport.of(overlay, core="core_0", dma="axi_dma_0")`` finds both in a loaded overlay.
"""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.errors import UserError
from .transport import CoreError, TimeOutError

POLL_SECONDS = 1e-4


class PynqTransport:
    """A core on the programmable logic of a PYNQ board.

    Words are sent in transfers as long as the DMA takes them; results of a layer are one transfer,
    which ends with the core's TLAST.

    Parameters
    ----------
    registers
        With ``read(offset)`` and ``write(offset, value)``, as the IP's driver or ``pynq.MMIO``.
    dma
        With ``sendchannel`` and ``recvchannel``, as ``pynq.lib.dma.DMA``.
    allocate
        ``allocate(shape=, dtype=)``, as ``pynq.allocate``.
    """

    def __init__(self, registers: Any, dma: Any, allocate: Callable[..., Any]):
        self.registers, self.dma, self.allocate = registers, dma, allocate
        self.rows: Any = None  # buffer that the core reads

    @classmethod
    def of(cls, overlay: Any, core: str = "core_0", dma: str = "axi_dma_0") -> Self:
        """The core and the DMA of an overlay, by the names they have in it."""
        try:
            allocate = import_module("pynq").allocate
        except ImportError:
            raise UserError("pynq is not installed: this runs on a PYNQ board.") from None
        for name in (core, dma):
            if not hasattr(overlay, name):
                raise UserError(f"the overlay has no {name!r}.")
        return cls(getattr(overlay, core), getattr(overlay, dma), allocate)

    def read(self, address: int) -> int:
        """A register."""
        return int(self.registers.read(address))

    def write(self, address: int, value: int) -> None:
        """Write a register."""
        self.registers.write(address, value)

    def exchange(self, words: NDArray[np.uint32], count: int, timeout: float) -> NDArray[np.uint32]:
        """Send words while receiving others, as :class:`.transport.Transport` says."""
        end = time.monotonic() + timeout
        width = words.shape[1]
        most = int(getattr(self.dma, "buffer_max_size", 1 << 26)) // 4
        if count * width > most:
            raise CoreError(
                f"the DMA takes {4 * most} bytes a transfer and the layer gives "
                f"{4 * count * width}: run fewer tokens or outputs at once."
            )
        results = self.allocate(shape=(count * width,), dtype=np.uint32)
        try:
            self.dma.recvchannel.transfer(results)
            for first in range(0, words.size, most):
                self._send(words.ravel()[first : first + most], end)
            self._wait(self.dma.recvchannel, end)
            results.invalidate()
            return np.array(results, np.uint32).reshape(count, width)
        finally:
            results.freebuffer()

    def put(self, content: NDArray[np.uint8]) -> int:
        """Put bytes where the core reads rows, as :class:`.transport.Transport` says."""
        if self.rows is not None:
            self.rows.freebuffer()
        self.rows = self.allocate(shape=content.shape, dtype=np.uint8)
        self.rows[:] = content
        self.rows.flush()
        return int(self.rows.device_address)

    def _send(self, words: NDArray[np.uint32], end: float) -> None:
        """One transfer to the core."""
        buffer = self.allocate(shape=words.shape, dtype=np.uint32)
        try:
            buffer[:] = words
            buffer.flush()
            self.dma.sendchannel.transfer(buffer)
            self._wait(self.dma.sendchannel, end)
        finally:
            buffer.freebuffer()

    def _wait(self, channel: Any, end: float) -> None:
        """Wait for a transfer; one that does not end in time is stopped, and so is the other."""
        while not channel.idle:
            if channel.error:
                raise CoreError("the DMA reports an error: reset it and the core.")
            if time.monotonic() > end:
                for one in (self.dma.sendchannel, self.dma.recvchannel):
                    one.stop()
                    one.start()
                raise TimeOutError(0)
            time.sleep(POLL_SECONDS)
