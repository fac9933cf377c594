"""Registers of a core behind an AXI4-Lite slave, from golden's list."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ...golden.contract.design import Design
from ...golden.soc.config import ShellConfig
from ...golden.soc.registers import BYTES, COMMANDS, INTERRUPTS, Register
from ...golden.soc.unit import ports, registers
from ..lib.base import Part, payload_layout

OKAY, SLAVE_ERROR = 0, 2
CHANNELS = ("s_axi_aw", "s_axi_w", "s_axi_b", "s_axi_ar", "s_axi_r")
_SEEN = ("counting", "busy", "done")
_OWN = ("refused", "no_shape")


class RegisterFile(Part[ShellConfig]):
    """AXI4-Lite slave with the registers of a core.

    * A write is taken when address and data are there and answered in the next cycle; one a cycle.
      It must have all bytes. A write that no register takes is answered with an error and changes
      nothing; so is one to a setting, or a start, while the core is busy, which is noted as well.
    * A read is answered two cycles after it was taken, one in three cycles.

    ``start`` and ``soft_reset`` come in the cycle in which the write is taken. ``busy`` lasts from
    the cycle after ``start`` to ``finished``, that cycle included.
    """

    def __init__(self, config: ShellConfig, design: Design):
        self.map = registers(design, config)
        self.states = tuple(bits.name for bits in self.map["status"].fields)
        self.errors = tuple(bits.name for bits in self.map["errors"].fields)
        flow = {"in": In, "out": Out}
        channels = {
            port.name: flow[port.direction](stream.Signature(payload_layout(port)))
            for port in ports(config)
            if port.name in CHANNELS
        }
        settings = {register.name: Out(register.width) for register in self.map.of("setting")}
        states = {name: In(1) for name in self.states if name not in _SEEN}
        errors = {f"error_{name}": In(1) for name in self.errors if name not in _OWN}
        super().__init__(
            config,
            {
                **channels,
                **settings,
                **states,
                **errors,
                "counting": In(1),
                "finished": In(1),
                "counter_address": Out(range(max(2, 2 * len(self.map.events)))),
                "counter_data": In(BYTES * 8),
                "start": Out(1),
                "soft_reset": Out(1),
                "snapshot": Out(1),
                "busy": Out(1),
                "drain": Out(1),
                "irq": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._done = Signal()
        self._shapeless = Signal()
        self._kept = {r.name: Signal(r.width, name=r.name) for r in self.map.of("mask", "sticky")}
        refused = self._writes(m)
        self._states(m, refused)
        self._reads(m)
        return m

    # --- writes -------------------------------------------------------------------------------

    def _writes(self, m: Module) -> Value:
        """Take writes; whether one is refused because the core is busy."""
        aw, w, b = self.s_axi_aw, self.s_axi_w, self.s_axi_b
        take = Signal()
        known = Signal()
        locked = Signal()
        write = Signal()
        m.d.comb += [
            take.eq(aw.valid & w.valid & (~b.valid | b.ready)),
            aw.ready.eq(take),
            w.ready.eq(take),
        ]
        index, near = self._index(aw.payload.addr)
        m.d.comb += write.eq(take & w.payload.strb.all() & near)
        with m.Switch(index):
            for register in self.map.registers:
                if register.written:
                    with m.Case(register.offset // BYTES):
                        m.d.comb += known.eq(near & w.payload.strb.all())
                        self._write(m, register, write, w.payload.data, locked)
        with m.If(take):
            m.d.sync += [
                b.valid.eq(1),
                b.payload.resp.eq(_response(known & ~locked)),
            ]
        with m.Elif(b.ready):
            m.d.sync += b.valid.eq(0)
        return write & locked

    def _index(self, address: Value) -> tuple[Value, Value]:
        """Which of the registers before the counters an address means, if it means one of them."""
        bits = (self.map.of("counter")[0].offset // BYTES - 1).bit_length()
        last = max(r.offset for r in self.map.registers if r.access != "counter") // BYTES
        used = min(bits, last.bit_length())
        return address[2 : 2 + used], (address[:2] == 0) & ~address[2 + used :].any()

    def _write(
        self, m: Module, register: Register, write: Value, data: Value, locked: Signal
    ) -> None:
        """What a write to a register does."""
        bits = data[: register.width]
        if register.access == "setting":
            with m.If(write):
                m.d.comb += locked.eq(self.busy)
            with m.If(write & ~self.busy):
                m.d.sync += getattr(self, register.name).eq(bits)
        elif register.access == "command":
            start, soft_reset, snapshot = (bits[i] for i in range(len(COMMANDS)))
            with m.If(write & start):
                m.d.comb += locked.eq(self.busy)
            m.d.comb += [
                self.start.eq(write & start & ~self.busy & self._has_shape()),
                self.soft_reset.eq(write & soft_reset),
                self.snapshot.eq(write & snapshot),
                self._shapeless.eq(write & start & ~self.busy & ~self._has_shape()),
            ]
        elif register.access == "mask":
            with m.If(write):
                m.d.sync += self._kept[register.name].eq(bits)
        else:
            with m.If(write):
                m.d.sync += self._kept[register.name].eq(self._kept[register.name] & ~bits)

    def _has_shape(self) -> Value:
        return Cat(getattr(self, side).any() for side in self.map.sides).all()

    # --- states -------------------------------------------------------------------------------

    def _states(self, m: Module, refused: Value) -> None:
        """What lasts longer than a write."""
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), self._done.eq(0)]
        with m.Elif(self.soft_reset):
            m.d.sync += self.busy.eq(0)
        with m.Elif(self.finished):
            m.d.sync += [self.busy.eq(0), self._done.eq(1)]
        noted = {"refused": refused, "no_shape": self._shapeless}
        errors = Cat(noted[n] if n in noted else getattr(self, f"error_{n}") for n in self.errors)
        events = Cat(self.finished, errors.any())
        assert len(events) == len(INTERRUPTS)
        for name, seen in (("errors", errors), ("irq_pending", events)):
            for i in range(len(seen)):
                with m.If(seen[i]):
                    m.d.sync += self._kept[name][i].eq(1)
        m.d.comb += [
            self.irq.eq((self._kept["irq_pending"] & self._kept["irq_enable"]).any()),
            self.drain.eq(self._kept["drain"]),
        ]

    # --- reads --------------------------------------------------------------------------------

    def _reads(self, m: Module) -> None:
        """Answer reads: the address waits a cycle for the counters' memory."""
        ar, r = self.s_axi_ar, self.s_axi_r
        counters = self.map.of("counter")
        address = Signal(len(ar.payload.addr))
        fetch = Signal()
        first = counters[0].offset // BYTES
        m.d.comb += self.counter_address.eq(ar.payload.addr[2:])
        m.d.comb += ar.ready.eq(~fetch & ~r.valid)
        with m.If(ar.ready):
            m.d.sync += [address.eq(ar.payload.addr), fetch.eq(ar.valid)]
        with m.If(fetch):
            m.d.sync += [
                fetch.eq(0),
                r.valid.eq(1),
                r.payload.data.eq(0),
                r.payload.resp.eq(SLAVE_ERROR),
            ]
            index, near = self._index(address)
            with m.If(near), m.Switch(index):
                for register in self.map.registers:
                    if register.access != "counter":
                        with m.Case(register.offset // BYTES):
                            m.d.sync += [
                                r.payload.data.eq(self._value(register)),
                                r.payload.resp.eq(OKAY),
                            ]
            place = address[2:] - first
            with m.If((address[2:] >= first) & (place < len(counters)) & (address[:2] == 0)):
                m.d.sync += [r.payload.data.eq(self.counter_data), r.payload.resp.eq(OKAY)]
        with m.Elif(r.ready):
            m.d.sync += r.valid.eq(0)

    def _value(self, register: Register) -> Any:
        """What a register reads as."""
        if register.access == "constant":
            return register.value
        if register.access == "setting":
            return getattr(self, register.name)
        if register.access == "command":
            return 0
        if register.access == "status":
            states = {"busy": self.busy, "done": self._done}
            return Cat(*(states.get(name, getattr(self, name, 0)) for name in self.states))
        return self._kept[register.name]


def _response(good: Value) -> Value:
    """Response of a write."""
    return Cat(0, ~good)
