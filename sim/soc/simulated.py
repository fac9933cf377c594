"""Transport of a driver to the Verilog of a core in the native harness: no board, no cocotb."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.design import Design
from ...golden.contract.errors import UserError
from ...golden.contract.schedule import Answers, Beats, Traffic
from ...golden.soc.config import CoreConfig
from ...golden.soc.memory import PAGE
from ...golden.soc.registers import RegisterMap
from ...golden.soc.unit import SETTLE, TURNS, all_ports, ports, registers
from ..run.native import Memory, Model
from .transport import CoreError, TimeOutError, refused

_PATIENCE = 20_000  # cycles after which a core that gives nothing will not give anything


@dataclass
class _Past:
    """What a core has been through since its reset.

    Attributes
    ----------
    writes
        Address, value and how many words had left by then.
    sent
        Words of the stream in, and how many writes had been answered by then.
    received
        Words of the stream out.
    rows
        Bytes put into memory, each from a page on.
    """

    width: int
    writes: list[tuple[int, int, int]] = field(default_factory=list)
    sent: list[tuple[NDArray[np.uint32], int]] = field(default_factory=list)
    received: int = 0
    rows: list[NDArray[np.uint8]] = field(default_factory=list)

    def words(self) -> NDArray[np.uint32]:
        """Everything sent so far."""
        return np.concatenate([np.zeros((0, self.width), np.uint32), *(w for w, _ in self.sent)])

    def answered(self) -> NDArray[np.int64]:
        """Writes that were answered before each of those words."""
        return np.repeat([n for _, n in self.sent], [len(w) for w, _ in self.sent]).astype(np.int64)


class SimulatedTransport:
    """A simulated core. Every exchange runs everything since the reset once more.

    That keeps the simulation free of Python: a layer runs at the speed of the native harness, and a
    handful of layers in a row is no burden. What registers read as is taken down at the end of each
    run, after a snapshot. A soft reset begins with a fresh core that has the same settings.

    Parameters
    ----------
    design, config
        The core.
    latency
        Cycles from a burst to its first beat, where the core reads a memory.
    """

    def __init__(self, design: Design, config: CoreConfig, latency: int = 20):
        if design.inner is None:
            raise UserError(f"{design.name} is no core.")
        self.config, self.latency = config, latency
        self.channels = all_ports(design.inner, config)[len(ports(config)) :]
        self.map: RegisterMap = registers(design.inner, config)
        self.model = Model(design, config, optimise="quick")
        self.past = _Past(config.bus_width // 32)
        self.values: dict[int, int] = {}
        self.fresh = False

    def read(self, address: int) -> int:
        """A register, as it was after the latest exchange or write."""
        if not self.fresh:
            self._run(len(self.past.writes) and self.past.received)
        if address not in self.values:
            raise refused("read", address)
        return self.values[address]

    def write(self, address: int, value: int) -> None:
        """Note a write for the next run."""
        register = next((r for r in self.map.registers if r.offset == address), None)
        if register is None or not register.written:
            raise refused("write", address)
        control = self.map["control"]
        if register is control and value == 1 << control.bit("snapshot"):
            return  # every run ends with one
        if register is control and value == 1 << control.bit("soft_reset"):
            self._forget()
            return
        if register is self.map["drain"]:
            return  # nothing is under way between runs
        self.past.writes.append((address, value, self.past.received))
        self.fresh = False

    def _forget(self) -> None:
        """Go on with a fresh core that has the same settings."""
        kept = {register.offset for register in self.map.of("setting", "mask")}
        writes = [(address, value, 0) for address, value, _ in self.past.writes if address in kept]
        self.past = _Past(self.past.width, writes, rows=self.past.rows)
        self.fresh = False

    def exchange(self, words: NDArray[np.uint32], count: int, timeout: float) -> NDArray[np.uint32]:
        """Send words while receiving others; ``timeout`` is not looked at: silence is enough."""
        self.past.sent.append((words, len(self.past.writes)))
        before = self.past.received
        found = self._run(before + count)
        self.past.received = len(found)
        if len(found) < before + count:
            raise TimeOutError(len(found) - before)
        return found[before:]

    def put(self, content: NDArray[np.uint8]) -> int:
        """Put bytes into memory; earlier ones stay for the layers that are run once more."""
        if not self.channels:
            raise CoreError("the core reads no memory.")
        address = sum(map(len, self.past.rows))
        self.past.rows.append(np.pad(content, (0, -len(content) % PAGE)))
        return address

    def _run(self, count: int) -> NDArray[np.uint32]:
        """Run everything since the reset; so many words leave. Returns those that did."""
        for waits in (True, False):
            traffic = self._traffic(count, waits)
            seen = self.model.run(traffic, idle_limit=_PATIENCE, memory=self._memory()).seen
            answers = ports(self.config)[4].unpack(seen.words["s_axi_r"])["data"]
            if len(answers) == len(self.map.registers):
                break
        self.values = {
            register.offset: int(value)
            for register, value in zip(self.map.registers, answers, strict=True)
        }
        self.fresh = True
        data = ports(self.config)[6].unpack(seen.words["m_axis"])["data"]
        return data.reshape(-1, self.past.width).astype(np.uint32)

    def _memory(self) -> Memory | None:
        """What the core reads, if anything."""
        if not self.channels:
            return None
        content = np.concatenate([np.zeros(0, np.uint8), *self.past.rows])
        bursts, answers = self.channels
        return Memory(bursts, answers, content, 0, self.latency)

    def _traffic(self, count: int, waits: bool) -> Traffic:
        """Beats of a run; without ``waits`` registers are read after a while, words or not."""
        aw, w, b, ar, r, s_axis, m_axis = ports(self.config)
        control = self.map["control"]
        snapshot = (control.offset, 1 << control.bit("snapshot"), count if waits else 0)
        writes = [*self.past.writes, snapshot]
        addresses, values, needs = (np.array(column) for column in zip(*writes, strict=True))
        needs = needs if waits else np.minimum(needs, self.past.received)
        reads = np.array([register.offset for register in self.map.registers])
        settled = 2 * TURNS * len(self.map.events) + SETTLE
        latency = settled if waits else _PATIENCE // 2
        after = Answers("m_axis", needs, np.full(max(count, 1), SETTLE))
        written = Answers(
            "s_axi_b", np.full(len(reads), len(writes)), np.full(len(writes), latency)
        )
        sent = Answers("s_axi_b", self.past.answered(), np.ones(len(writes), np.int64))
        bursts = (port for port in self.channels if port.direction == "out")
        return {
            **{port.name: Beats(np.zeros((0, port.words), np.uint32)) for port in bursts},
            "s_axi_aw": Beats(aw.pack(addr=addresses), answers=after),
            "s_axi_w": Beats(w.pack(data=values, strb=np.full(len(values), 15)), answers=after),
            "s_axi_b": Beats(b.pack(resp=np.zeros(len(writes), np.uint8))),
            "s_axi_ar": Beats(ar.pack(addr=reads), answers=written),
            "s_axi_r": Beats(
                r.pack(data=np.zeros(len(reads), np.int64), resp=np.zeros(len(reads), np.uint8))
            ),
            "s_axis": Beats(s_axis.pack(data=self.past.words()), answers=sent),
            "m_axis": Beats(
                m_axis.pack(data=np.zeros((count, self.past.width), np.int64), last=np.zeros(count))
            ),
        }
