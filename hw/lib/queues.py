"""Queues of entries between parts that do not wait for each other."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from .base import Part
from .emission import place
from .memories import memory_of


class QueueConfig(Config):
    """Parameters of a queue."""

    width: int = Parameter(ge=1)
    """Bits of an entry."""
    depth: int = Parameter(ge=1)
    """Most entries."""


class Queue(Part[QueueConfig]):
    """Entries in order. Whoever pushes knows that there is room.

    An entry pushed in cycle c can be the head from c + 1 on. The memory is read a cycle ahead, by
    a clocked port.
    """

    def __init__(self, config: QueueConfig):
        super().__init__(
            config,
            {
                "push": In(1),
                "entry": In(config.width),
                "pop": In(1),
                "there": Out(1),
                "head": Out(config.width),
            },
        )

    @property
    def title(self) -> str:
        """With width and depth."""
        return f"queue_w{self.config.width}_d{self.config.depth}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory = memory_of(m, "entries", self.config.width, self.config.depth)
        depth = memory.depth
        write = memory.write_port()
        read = memory.read_port(transparent_for=(write,))
        first = Signal(range(depth))
        behind = Signal(range(depth))
        count = Signal(range(depth + 1))
        m.d.comb += [
            write.en.eq(self.push),
            write.addr.eq(behind),
            write.data.eq(self.entry),
            read.en.eq(1),
            read.addr.eq(Mux(self.pop, _after(first, depth), first)),
            self.head.eq(read.data),
            self.there.eq(count != 0),
        ]
        m.d.sync += [first.eq(read.addr), count.eq(count + self.push - self.pop)]
        with m.If(self.push):
            m.d.sync += behind.eq(_after(behind, depth))
        return m


def _after(place: Signal, depth: int) -> Value:
    """The next place of a ring."""
    return Mux(place == depth - 1, 0, place + 1)


class Records:
    """A queue of records in its place in a module: its ports, entries as the layout has them."""

    def __init__(
        self, m: Module, platform: object, name: str, layout: data.StructLayout, depth: int
    ):
        queue = Queue(QueueConfig(width=layout.size, depth=depth))
        place(m, platform, name, queue)
        self.push, self.pop, self.there = queue.push, queue.pop, queue.there
        self.entry, self.head = data.View(layout, queue.entry), data.View(layout, queue.head)
