"""Registers of a core behind an AXI4-Lite slave, from golden's list."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.memory import ReadPort
from amaranth.lib.wiring import In, Out

from ...golden.contract.design import Design
from ...golden.soc.config import ShellConfig
from ...golden.soc.registers import BYTES, COMMANDS, COUNTERS, INTERRUPTS, Access, Register
from ...golden.soc.unit import ports, registers
from ..lib.base import Part, payload_layout
from ..lib.memories import address_bits, buffer_of

OKAY, SLAVE_ERROR = 0, 2
CHANNELS = ("s_axi_aw", "s_axi_w", "s_axi_b", "s_axi_ar", "s_axi_r")
_SEEN = ("counting", "busy", "done")
_OWN = ("refused", "no_shape")
_WRITTEN: tuple[Access, ...] = ("setting", "command", "mask", "sticky")
_HALF = COUNTERS.bit_length() - 1
"""Bit of an address that tells counters from other registers."""


class RegisterFile(Part[ShellConfig]):
    """AXI4-Lite slave with the registers of a core.

    * A write is taken when address and data are there and answered in the next cycle; one a cycle.
      It must have all bytes. A write that no register takes is answered with an error and changes
      nothing; so is one to a setting, or a start, while the core is busy, which is noted as well.
    * A read is answered two cycles after it was taken, one in three cycles; that of a setting is
      not taken in the cycle in which it is written. Constants, settings and counters are words of a
      block RAM: constants its initial contents, settings written beside their flip-flops, counters
      at a snapshot. ``sets``: a setting is written in this cycle, and no counter.

    ``start`` and ``soft_reset`` come in the cycle in which the write is taken. ``busy`` lasts from
    the cycle after ``start`` to ``finished``, that cycle included.
    """

    def __init__(self, config: ShellConfig, design: Design):
        self.map = registers(design, config)
        self.states = tuple(bits.name for bits in self.map["status"].fields)
        self.errors = tuple(bits.name for bits in self.map["errors"].fields)
        counters = self.map.of("counter")
        last = max(r.offset for r in self.map.registers if r not in counters) // BYTES
        self.index_bits = address_bits(max(last + 1, len(counters)))
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
                "counter_write": In(1),
                "counter_address": In(range(len(counters))),
                "counter_data": In(BYTES * 8),
                "sets": Out(1),
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
        self._done = Signal(name="done")
        self._kept = {r.name: Signal(r.width, name=r.name) for r in self.map.of("mask", "sticky")}
        self._is_set = {r.name: Signal(name=f"{r.name}_is_set") for r in self.map.of("setting")}
        self._aw_index, near = self._index(m, "aw", self.s_axi_aw.payload.addr)
        refused, shapeless = self._writes(m, near)
        self._states(m, refused, shapeless)
        self._reads(m)
        return m

    def _index(self, m: Module, channel: str, address: Value) -> tuple[Signal, Signal]:
        """Which word of its half an address means, and whether it means a word so far down."""
        end = 2 + self.index_bits
        index = Signal(self.index_bits, name=f"{channel}_index")
        near = Signal(name=f"{channel}_in_range")
        m.d.comb += [
            index.eq(address[2:end]),
            near.eq((address[:2] == 0) & ~address[end:_HALF].any()),
        ]
        return index, near

    def _decoded(self, m: Module, channel: str, index: Value, *access: Access) -> dict[str, Signal]:
        """Which register of these kinds a word is, by name."""
        found = {}
        for register in self.map.of(*access):
            found[register.name] = Signal(name=f"{channel}_is_{register.name}")
            m.d.comb += found[register.name].eq(index == register.offset // BYTES)
        return found

    # --- writes -------------------------------------------------------------------------------

    def _writes(self, m: Module, near: Signal) -> tuple[Signal, Signal]:
        """Take writes; whether one is refused because the core is busy, or starts no shape."""
        aw, w, b = self.s_axi_aw, self.s_axi_w, self.s_axi_b
        take = Signal()
        possible = Signal()
        locked = Signal()
        refused = Signal()
        chosen = self._decoded(m, "aw", self._aw_index, *_WRITTEN)
        aw_is_known = Signal()
        self._aw_is_setting = aw_is_setting = Signal(name="aw_is_setting")
        settings = Cat(chosen[register.name] for register in self.map.of("setting"))
        starts = chosen["control"] & w.payload.data[0]
        accepted = Signal()
        m.d.comb += [
            take.eq(aw.valid & w.valid & (~b.valid | b.ready)),
            aw.ready.eq(take),
            w.ready.eq(take),
            possible.eq(near & ~aw.payload.addr[_HALF] & w.payload.strb.all()),
            aw_is_known.eq(Cat(*chosen.values()).any()),
            aw_is_setting.eq(settings.any()),
            locked.eq((aw_is_setting | starts) & self.busy),
            accepted.eq(take & possible),
            refused.eq(accepted & locked),
        ]
        with m.If(take):
            good = possible & aw_is_known & ~locked
            m.d.sync += [b.valid.eq(1), b.payload.resp.eq(_response(good))]
        with m.Elif(b.ready):
            m.d.sync += b.valid.eq(0)

        written = {}
        for register in self.map.of(*_WRITTEN):
            written[register.name] = Signal(name=f"writes_{register.name}")
            m.d.comb += written[register.name].eq(accepted & chosen[register.name])
        for register in self.map.of("setting", "mask", "sticky"):
            self._write(m, register, written[register.name], w.payload.data[: register.width])
        m.d.comb += self.sets.eq(accepted & aw_is_setting & ~self.busy)
        return refused, self._command(m, written["control"], w.payload.data)

    def _write(self, m: Module, register: Register, written: Signal, data: Value) -> None:
        """What a write to a register that keeps something does."""
        if register.access == "setting":
            sets = Signal(name=f"sets_{register.name}")
            m.d.comb += sets.eq(written & ~self.busy)
            with m.If(sets):
                m.d.sync += [
                    getattr(self, register.name).eq(data),
                    self._is_set[register.name].eq(1),
                ]
        else:
            kept = self._kept[register.name]
            with m.If(written):
                m.d.sync += kept.eq(data if register.access == "mask" else kept & ~data)

    def _command(self, m: Module, control: Signal, data: Value) -> Signal:
        """What writing 1 to a command does; whether it is a start without a shape."""
        has_shape = Signal()
        shapeless = Signal()
        asked = Signal(name="start_asked")
        start, soft_reset, snapshot = (control & data[i] for i in range(len(COMMANDS)))
        m.d.comb += [
            has_shape.eq(Cat(getattr(self, side).any() for side in self.map.sides).all()),
            asked.eq(start & ~self.busy),
            self.start.eq(asked & has_shape),
            self.soft_reset.eq(soft_reset),
            self.snapshot.eq(snapshot),
            shapeless.eq(asked & ~has_shape),
        ]
        return shapeless

    # --- states -------------------------------------------------------------------------------

    def _states(self, m: Module, refused: Value, shapeless: Value) -> None:
        """What lasts longer than a write."""
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), self._done.eq(0)]
        with m.Elif(self.soft_reset):
            m.d.sync += self.busy.eq(0)
        with m.Elif(self.finished):
            m.d.sync += [self.busy.eq(0), self._done.eq(1)]
        noted = {"refused": refused, "no_shape": shapeless}
        notes = Signal()
        errors = Cat(noted[n] if n in noted else getattr(self, f"error_{n}") for n in self.errors)
        m.d.comb += notes.eq(errors.any())
        events = Cat(self.finished, notes)
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
        """Answer reads: in the first cycle all but what is asked for becomes 0, then all is joined.

        Constants, settings and counters are words of one memory; where other registers are, words
        are 0, and so are settings that were not written since a reset.
        """
        ar, r = self.s_axi_ar, self.s_axi_r
        fetch = Signal()
        known = Signal()
        found = Signal()
        index, near = self._index(m, "ar", ar.payload.addr)
        is_counter = Signal(name="ar_is_counter")
        is_known = Signal(name="ar_is_known")
        in_registers = Signal(name="ar_in_registers")
        is_written = Signal(name="ar_is_written")
        chosen = self._decoded(m, "ar", index, "constant", "status", *_WRITTEN)
        inside = Mux(is_counter, index < len(self.map.of("counter")), is_known)
        memory = self._words(m)
        unset = Signal()
        m.d.comb += [
            is_counter.eq(ar.payload.addr[_HALF]),
            is_known.eq(Cat(*chosen.values()).any()),
            in_registers.eq(near & ~is_counter),
            is_written.eq(self.sets & ~is_counter & (index == self._aw_index)),
            unset.eq(
                Cat(
                    chosen[register.name] & ~self._is_set[register.name]
                    for register in self.map.of("setting")
                ).any()
            ),
        ]
        word = Signal(BYTES * 8, reset_less=True)
        m.d.comb += [
            ar.ready.eq(~fetch & ~r.valid & ~is_written),
            found.eq(near & inside),
            memory.addr.eq(Cat(index, is_counter)),
        ]
        m.d.sync += [
            fetch.eq(ar.valid & ar.ready),
            known.eq(found),
            word.eq(Mux(found & (is_counter | ~unset), memory.data, 0)),
        ]
        data = word
        for register in self.map.of("status", "sticky", "mask"):
            value = Signal(register.width, name=f"read_{register.name}", reset_less=True)
            here = in_registers & chosen[register.name]
            m.d.sync += value.eq(Mux(here, self._value(register), 0))
            data = data | value
        with m.If(fetch):
            m.d.sync += [
                r.valid.eq(1),
                r.payload.data.eq(data),
                r.payload.resp.eq(_response(known)),
            ]
        with m.Elif(r.ready):
            m.d.sync += r.valid.eq(0)

    def _words(self, m: Module) -> ReadPort:
        """The memory: constants, its initial contents, and settings, below counters."""
        constants = {r.offset // BYTES: r.value for r in self.map.of("constant")}
        half = 1 << self.index_bits
        init = [constants.get(i, 0) for i in range(half)]
        words = buffer_of(m, "words", BYTES * 8, 2 * half, init)
        write = words.write_port()
        index = self._aw_index
        setting = Signal(BYTES * 8)
        m.d.comb += [
            setting.eq(self.s_axi_w.payload.data & self._having(m, index)),
            write.en.eq(self.counter_write | self.sets),
            write.addr.eq(Mux(self.sets, index, half | self.counter_address)),
            write.data.eq(Mux(self.sets, setting, self.counter_data)),
        ]
        read = words.read_port(domain="comb")
        return read  # noqa: RET504 (its name is that of its wires)

    def _having(self, m: Module, index: Value) -> Value:
        """Bits that a setting has."""
        settings = self.map.of("setting")
        least, *others = sorted({register.width for register in settings})
        wide = {least: self._aw_is_setting}
        for width in others:
            wide[width] = Signal(name=f"aw_has_{width}_bits")
            of_width = (index == r.offset // BYTES for r in settings if r.width >= width)
            m.d.comb += wide[width].eq(Cat(of_width).any())
        return Cat(
            wide[min(width for width in wide if width > bit)] if bit < max(wide) else Const(0)
            for bit in range(BYTES * 8)
        )

    def _value(self, register: Register) -> Value:
        """What a register that changes reads as."""
        if register.access == "status":
            states = {"busy": self.busy, "done": self._done}
            return Cat(*(states.get(name, getattr(self, name, 0)) for name in self.states))
        return self._kept[register.name]


def _response(good: Value) -> Value:
    """Response of a write."""
    return Cat(0, ~good)
