"""Queues of entries between parts that do not wait for each other."""

from typing import Literal

from amaranth.hdl import Assert, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from .base import Part
from .emission import place
from .memories import memory_of

FORMAL = "formal"
"""The platform of proofs: users of queues then state that they never push without room."""


class QueueConfig(Config):
    """Parameters of a queue."""

    width: int = Parameter(ge=1)
    """Bits of an entry."""
    depth: int = Parameter(ge=1)
    """Most entries."""
    storage: Literal["memory", "registers"] = "memory"
    """A memory that is read a cycle ahead, or registers that shift, for a few entries."""


class Queue(Part[QueueConfig]):
    """Entries in order. Whoever pushes sees to it that there is room.

    An entry pushed in cycle c can be the head from c + 1 on. There is ``room`` in a full queue,
    too, in the cycle in which an entry leaves.
    """

    def __init__(self, config: QueueConfig):
        super().__init__(
            config,
            {
                "push": In(1),
                "entry": In(config.width),
                "room": Out(1),
                "pop": In(1),
                "valid": Out(1),
                "head": Out(config.width),
            },
        )

    @property
    def title(self) -> str:
        """With width and depth."""
        return f"queue_w{self.config.width}_d{self.config.depth}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(range(self.config.depth + 1))
        m.d.sync += count.eq(count + self.push - self.pop)
        m.d.comb += [
            self.valid.eq(count != 0),
            self.room.eq((count != self.config.depth) | self.pop),
        ]
        if self.config.storage == "memory":
            self._store(m)
        else:
            self._shift(m, count)
        return m

    def _store(self, m: Module) -> None:
        """Entries in a memory, whose clocked port reads the next head."""
        memory = memory_of(m, "entries", self.config.width, self.config.depth)
        write = memory.write_port()
        read = memory.read_port()
        read_pointer = Signal(range(memory.depth))
        write_pointer = Signal(range(memory.depth))
        bypass = Signal()  # the head was written as it was read
        written = Signal.like(self.entry, reset_less=True)
        m.d.comb += [
            write.en.eq(self.push),
            write.addr.eq(write_pointer),
            write.data.eq(self.entry),
            read.en.eq(1),
            read.addr.eq(Mux(self.pop, _after(read_pointer, memory.depth), read_pointer)),
            self.head.eq(Mux(bypass, written, read.data)),
        ]
        m.d.sync += bypass.eq(self.push & (read.addr == write_pointer))
        m.d.sync += read_pointer.eq(read.addr)
        with m.If(self.push):
            m.d.sync += written.eq(self.entry)
            m.d.sync += write_pointer.eq(_after(write_pointer, memory.depth))

    def _shift(self, m: Module, count: Signal) -> None:
        """Entries in registers, the head in register 0; the others move up as it leaves."""
        depth = self.config.depth
        slots = [Signal.like(self.entry, name=f"slot_{i}", reset_less=True) for i in range(depth)]
        m.d.comb += self.head.eq(slots[0])
        for i, slot in enumerate(slots):
            with m.If(self.push & (count - self.pop == i)):
                m.d.sync += slot.eq(self.entry)
            if i + 1 < depth:
                with m.Elif(self.pop):
                    m.d.sync += slot.eq(slots[i + 1])


def _after(pointer: Signal, depth: int) -> Value:
    """The next place of a ring."""
    return Mux(pointer == depth - 1, 0, (pointer + 1)[: len(pointer)])


class Records:
    """A queue of records in its place in a module: its ports, entries as the layout has them."""

    def __init__(
        self,
        m: Module,
        platform: object,
        name: str,
        layout: data.StructLayout,
        depth: int,
        storage: Literal["memory", "registers"] = "memory",
    ):
        queue = Queue(QueueConfig(width=layout.size, depth=depth, storage=storage))
        place_queue(m, platform, name, queue)
        self.push, self.room = queue.push, queue.room
        self.pop, self.valid = queue.pop, queue.valid
        self.entry = data.View(layout, queue.entry)
        self.head = Signal(layout, name=f"{name}_first")
        m.d.comb += self.head.eq(queue.head)


def place_queue(m: Module, platform: object, name: str, queue: Queue) -> None:
    """Put a queue into ``m``; where proofs are made, state what it leaves to its users."""
    place(m, platform, name, queue)
    if platform == FORMAL:
        m.d.comb += [
            Assert(~queue.push | queue.room, f"{name} has room for what is pushed"),
            Assert(~queue.pop | queue.valid, f"{name} has what is popped"),
        ]
