"""What properties of any unit are made of, for :mod:`nibbleforge.sim.formal`."""

from amaranth.hdl import Assert, Cover, Elaboratable, Module, Signal, Value
from amaranth.hdl._ast import AnySeq  # not exported by amaranth.hdl
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


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
            if member.flow == Out and member.is_signature and isinstance(
                member.signature, stream.Signature
            ):
                waits_unchanged(m, name, getattr(self.unit, name))
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
