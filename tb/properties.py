"""What properties of any unit are made of, for :mod:`nibbleforge.sim.verify.formal`."""

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Mux, Signal, Value
from amaranth.hdl._ast import AnySeq  # not exported by amaranth.hdl
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..hw.lib.base import Part
from ..hw.lib.queues import Queue


class HandshakeProperties(Elaboratable):
    """A component with free inputs: what its streams offer stays, unchanged, until it is accepted.

    Sources may withdraw what they offer, and a reset may come at any time.

    Parameters
    ----------
    unit
        A component; every stream that it gives is looked at.
    """

    def __init__(self, unit: wiring.Component):
        self.unit = unit

    def elaborate(self, platform: object) -> Module:
        m = Module()
        set_free(m, self.unit)
        for name, member in self.unit.signature.members.items():
            if (
                member.flow == Out
                and member.is_signature
                and isinstance(member.signature, stream.Signature)
            ):
                waits_unchanged(m, name, getattr(self.unit, name))
        return m


class QueueProperties(Elaboratable):
    """A queue beside its specification: what is pushed becomes the head in order, once, and waits.

    One entry is chosen freely when it is pushed; what holds for it holds for all. Assumed is what
    the queue leaves to its surroundings: a pop needs an entry, a push needs room after the pop.

    Parameters
    ----------
    unit
        A component with the ports of :class:`nibbleforge.hw.lib.queues.Queue`.
    """

    def __init__(self, unit: Queue):
        self.unit = unit

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit, depth = self.unit, self.unit.config.depth
        set_free(m, unit)
        count = Signal(range(depth + 2))
        m.d.sync += count.eq(count + unit.push - unit.pop)
        m.d.comb += [
            Assume(~unit.pop | (count != 0), "a pop needs an entry"),
            Assume(count + unit.push - unit.pop <= depth, "a push needs room"),
        ]
        prove(m, "there is a head while there are entries", unit.valid == (count != 0))
        room = (count < depth) | ((count == depth) & unit.pop)
        prove(m, "there is room for as many entries as declared", unit.room == room)

        waits, head = Signal(), Signal.like(unit.head)
        m.d.sync += [waits.eq(unit.valid & ~unit.pop), head.eq(unit.head)]
        prove(m, "the head stays", ~waits | unit.valid)
        prove(m, "the head stays the same", ~waits | (unit.head == head))
        reach(m, "a head waits", waits & unit.pop)
        reach(m, "a full queue takes an entry", (count == depth) & unit.push)

        chosen, was, place = Signal(), Signal(), Signal.like(count)
        entry = Signal.like(unit.entry)
        ahead = count + 1 - unit.pop
        m.d.comb += chosen.eq(AnySeq(1) & ~was & unit.push)
        m.d.sync += [
            was.eq(was | chosen),
            place.eq(Mux(chosen, ahead, place - (unit.pop & (place != 0)))),
        ]
        with m.If(chosen):
            m.d.sync += entry.eq(unit.entry)
        prove(m, "the head is the entry whose turn it is", (place != 1) | (unit.head == entry))
        reach(m, "the chosen entry leaves", (place == 1) & unit.pop)
        return m


def set_free(m: Module, unit: wiring.Component) -> None:
    """Place the unit; its inputs may do anything."""
    m.submodules.unit = unit
    for _, member, port in unit.signature.flatten(unit):
        if member.flow == In:
            port = Value.cast(port)
            m.d.comb += port.eq(AnySeq(len(port)))


def passes(port: wiring.PureInterface) -> Value:
    """A beat passes the stream in this cycle."""
    return port.valid & port.ready


def waits_unchanged(m: Module, name: str, port: wiring.PureInterface) -> None:
    """What is offered stays, unchanged, until it is accepted."""
    payload = Value.cast(port.payload)
    waits = Signal(name=f"{name}_waits")
    offered = Signal(len(payload), name=f"{name}_offered")
    m.d.sync += [waits.eq(port.valid & ~port.ready), offered.eq(payload)]
    prove(m, f"{name} stays valid", ~waits | port.valid)
    prove(m, f"{name} stays the same", ~waits | (payload == offered))
    reach(m, f"{name} waits", waits & passes(port))


def prove(m: Module, name: str, condition: Value) -> None:
    """The condition holds in every cycle."""
    m.d.comb += Assert(condition, name)


def reach(m: Module, name: str, condition: Value) -> None:
    """The condition can come true."""
    m.d.comb += Cover(condition, name)


class Faulty(wiring.Component):
    """A unit with something wrong between it and its ports: proofs about it must fail.

    Parameters
    ----------
    unit
        The unit.
    fault
        ``fault(m, outer, inner)`` drives anew what it breaks of the ports of ``outer`` and, inside,
        of the unit.
    """

    def __init__(self, unit: Part, fault: Callable[[Module, Any, Any], None]):
        self.unit = unit
        self.config = unit.config
        self.fault = fault
        super().__init__(unit.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = self.unit
        ports = zip(
            self.signature.flatten(self), self.unit.signature.flatten(self.unit), strict=True
        )
        for (_, member, outer), (_, _, inner) in ports:
            target, source = (inner, outer) if member.flow == In else (outer, inner)
            m.d.comb += Value.cast(target).eq(Value.cast(source))
        self.fault(m, self, self.unit)
        return m
