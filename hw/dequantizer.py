"""Dequantizer: integer sums of weight groups to FP32, scaled and added up over a tile."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..golden.arithmetic.floating import FloatAddConfig, FloatMultiplyConfig, IntToFloatConfig
from ..golden.dequantizer import DEQUANTIZER, OFFSET, RESULT_BITS, SCALE_BITS, DequantizerConfig
from .lib.base import Part, Unit
from .lib.delays import delayed, stages_in_use
from .lib.emission import place
from .lib.floating import FloatAdd, FloatMultiply, Fp16ToFp32, IntToFloat


class DequantizerColumn(Part[DequantizerConfig]):
    """``result = total + value * scale``, the value converted to FP32, every operation rounded.

    With ``load`` the scale of this and the following values is taken. ``total`` belongs to the
    value of ``convert_latency + multiply_latency`` cycles ago. A stage holds without its bit of
    ``enable``.
    """

    def __init__(self, config: DequantizerConfig):
        super().__init__(
            config,
            {
                "enable": In(config.latency),
                "load": In(1),
                "value": In(signed(config.value_bits)),
                "scale": In(SCALE_BITS),
                "total": In(RESULT_BITS),
                "result": Out(RESULT_BITS),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        convert = IntToFloat(
            IntToFloatConfig(bits=config.value_bits, stages=config.convert_latency)
        )
        widen = Fp16ToFp32()
        multiply = FloatMultiply(
            FloatMultiplyConfig(significand=11, bounded=True, stages=config.multiply_latency)
        )
        add = FloatAdd(FloatAddConfig(bounded=True, stages=config.add_latency))
        place(m, platform, "convert", convert)
        place(m, platform, "widen", widen)
        place(m, platform, "multiply", multiply)
        place(m, platform, "add", add)

        factor = Signal(RESULT_BITS, reset_less=True)
        with m.If(self.enable[0] & self.load):
            m.d.sync += factor.eq(widen.result)
        for stage in range(1, config.convert_latency):  # as late as the converted value
            late = Signal.like(factor, name=f"factor_{stage}")
            with m.If(self.enable[stage]):
                m.d.sync += late.eq(factor)
            factor = late
        m.d.comb += [
            Cat(convert.enable, multiply.enable, add.enable).eq(self.enable),
            convert.value.eq(self.value),
            widen.value.eq(self.scale),
            multiply.a.eq(convert.result),
            multiply.b.eq(factor),
            add.a.eq(self.total),
            add.b.eq(multiply.result),
            self.result.eq(add.result),
        ]
        return m


class Dequantizer(Unit[DequantizerConfig]):
    """Scale integer sums of weight groups and add them up in FP32.

    ``x`` brings R rows of C sums a weight group, ``rows_per_beat`` rows a beat, in
    ``beats`` = R / ``rows_per_beat``, row 0 first, ``last`` on the group's final one; ``scale``
    brings the group's C scales, ``last`` on the tile's final group; ``y`` gives the results of a
    tile, as many beats as of ``x``. With asymmetric weights (``rows_per_beat = 1``) ``x`` also
    brings each row's sum of activations, ``scale`` the C minima, and a group goes through the
    columns twice: R rows times the scales, then R sums of activations times the minima.

    With ``errors``, ``x`` also brings ``error``, the same with all beats of a weight group, and
    ``y`` gives it with all beats of a tile of which any group had it set.

    * Throughput: ``rows_per_beat`` rows of products a cycle. Running sums are a loop through the
      adder, so a pass over the beats starts ``max(beats, add_latency)`` cycles after the one
      before; the first pass of a tile starts from +0 and follows at once, ``beats`` cycles after
      the one before.
    * Latency: a beat of the tile's final pass that starts in cycle t leaves in cycle
      ``t + convert_latency + multiply_latency + add_latency``.
    * Schedule: pass j starts in ``start[j] = start[j-1] + (beats if it is the first of a tile else
      max(beats, add_latency))``, ``start[0] = 0``, and its beat i in ``start[j] + i``. The group's
      beats are taken in its first pass, its scales with beat 0; results leave in the final pass
      plus latency.

    Stalls while sums or scales are missing, for the loop as above, and while the consumer is not
    ready: then nothing moves.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.dequantizer.DequantizerConfig`.
    """

    def __init__(self, config: DequantizerConfig):
        super().__init__(config, DEQUANTIZER)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        enable = Signal()
        load = Signal()
        start = Signal(_row_layout(config))
        self._sequence(m, enable, start)
        added = delayed(m, start, config.convert_latency + config.multiply_latency, "added", enable)
        done = delayed(m, added, config.add_latency, "done", enable)
        in_use = stages_in_use(m, start.valid, config.latency, "in_use", enable)
        results = Signal(config.lanes * RESULT_BITS)
        totals = self._totals(m, enable, added, done, results)
        m.d.comb += [
            load.eq(start.valid & (start.row == 0)),
            self.y.valid.eq(done.valid & done.final),
            self.y.payload.value.as_value().eq(results),
            self.y.payload.last.eq(done.last),
            *([self.y.payload.error.eq(done.error)] if config.errors else []),
            enable.eq(~self.y.valid | self.y.ready),
        ]
        operands = self._operands(m, start)
        for c, (value, scale) in enumerate(operands):
            column = DequantizerColumn(config)
            place(m, platform, f"column_{c}", column)
            m.d.comb += [
                column.enable.eq(in_use),
                column.load.eq(load),
                column.value.eq(value),
                column.scale.eq(scale),
                column.total.eq(totals.word_select(c, RESULT_BITS)),
                results.word_select(c, RESULT_BITS).eq(column.result),
            ]
        return m

    def _sequence(self, m: Module, enable: Signal, start: data.View) -> None:
        """Which row starts in this cycle: rows, passes, groups, tiles, waits of the loop."""
        config = self.config
        row = Signal.like(start.row)
        minima = Signal()
        begins = Signal()  # a weight group
        ready = Signal()
        from_zero = Signal(init=1)
        final = Signal(name="final_group")  # weight group of a tile
        held_final = Signal()
        waits = Signal()
        go = enable & ~waits
        last_pass = minima if config.asymmetric else 1
        m.d.comb += [
            begins.eq((row == 0) & ~minima),
            ready.eq(minima | (self.x.valid & (~begins | self.scale.valid))),
            final.eq(Mux(begins, self.scale.payload.last, held_final)),
            self.x.ready.eq(go & ~minima & (~begins | self.scale.valid)),
            self.scale.ready.eq(go & begins & self.x.valid),
            start.valid.eq(go & ready),
            start.row.eq(row),
            start.minima.eq(minima),
            start.from_zero.eq(from_zero),
            start.final.eq(final & last_pass),
            start.last.eq(Mux(minima, row == config.beats - 1, self.x.payload.last)),
        ]
        if config.errors:
            self._follow_errors(m, start)
        with m.If(start.valid):
            m.d.sync += row.eq(Mux(start.last, 0, row + 1))
            m.d.sync += held_final.eq(final)
            with m.If(start.last):
                m.d.sync += from_zero.eq(start.final)
                if config.asymmetric:
                    m.d.sync += minima.eq(~minima)
        self._wait(m, enable, start, waits)
        m.d.comb += [
            self.events.groups.eq(self.scale.valid & self.scale.ready),
            self.events.rows.eq(self.x.valid & self.x.ready),
            self.events.products.eq(Mux(start.valid, config.lanes, 0)),
            self.events.results.eq(self.y.valid & self.y.ready),
            self.events.stall_operands.eq(go & ~ready & ~(begins & from_zero)),
            self.events.stall_loop.eq(enable & waits),
            self.events.stall_out.eq(~enable),
        ]

    def _follow_errors(self, m: Module, start: data.View) -> None:
        """Errors of the weight groups of a tile so far."""
        earlier = Signal()
        m.d.comb += start.error.eq(
            (earlier & ~start.from_zero) | (self.x.payload.error & ~start.minima)
        )
        with m.If(start.valid & start.last):
            m.d.sync += earlier.eq(start.error)

    def _wait(self, m: Module, enable: Signal, start: data.View, waits: Signal) -> None:
        """After a pass whose sums the next one needs: until the first of them is there."""
        cycles = self.config.period - self.config.beats
        if cycles:
            remaining = Signal(range(cycles + 1))
            m.d.comb += waits.eq(remaining != 0)
            with m.If(start.valid & start.last & ~start.final):
                m.d.sync += remaining.eq(cycles)
            with m.Elif(enable & waits):
                m.d.sync += remaining.eq(remaining - 1)

    def _operands(self, m: Module, start: data.View) -> list[tuple[Value, Value]]:
        """Integer and FP16 factor of each lane for the rows that start."""
        config = self.config
        x, scale = self.x.payload, self.scale.payload
        if not config.asymmetric:
            return [(x.value[i], scale.d[i % config.columns]) for i in range(config.lanes)]
        with_sums = start.valid & ~start.minima
        minimum = Signal.like(scale.minimum, reset_less=True)
        with m.If(with_sums & (start.row == 0)):
            m.d.sync += minimum.eq(scale.minimum)
        kept = _RowFile(m, "ones", config.ones_bits, config.beats)
        kept.write(with_sums, start.row, x.ones)
        ones = kept.read(start.row).as_signed()
        operands = []
        for c in range(config.columns):
            value = Signal(signed(config.value_bits), name=f"value_{c}")
            m.d.comb += value.eq(Mux(start.minima, ones, x.value[c] + OFFSET * x.ones))
            operands.append((value, Mux(start.minima, minimum[c], scale.d[c])))
        return operands

    def _totals(
        self, m: Module, enable: Signal, added: data.View, done: data.View, results: Signal
    ) -> Value:
        """Running sums of the row that enters the adders; keeps the results of unfinished tiles."""
        config = self.config
        kept = _RowFile(m, "sums", len(results), config.beats)
        kept.write(enable & done.valid & ~done.final, done.row, results)
        totals = kept.read(added.row)
        if config.beats <= config.add_latency:  # a sum may be needed as soon as it is there
            totals = Mux(done.valid & (done.row == added.row), results, totals)
        return Mux(added.from_zero, 0, totals)


def _row_layout(config: DequantizerConfig) -> data.StructLayout:
    """What goes along with a row of products.

    ``minima``: the pass of the minima; ``from_zero``: sums start from +0; ``final``: sums are
    results; ``last``: final row of the pass; ``error``: of the tile so far.
    """
    row = max(1, (config.beats - 1).bit_length())
    flags = dict.fromkeys(("valid", "minima", "from_zero", "final", "last"), 1)
    return data.StructLayout({"row": row, **flags, "error": int(config.errors)})


class _RowFile:
    """One word a row, written at the end of a cycle: a memory, or a register for a single row."""

    def __init__(self, m: Module, name: str, bits: int, rows: int):
        self.m = m
        self.word = Signal(bits, name=name, reset_less=True) if rows == 1 else None
        if rows > 1:
            self.memory = Memory(shape=bits, depth=rows, init=[])
            m.submodules[name] = self.memory

    def write(self, enable: Value, row: Value, word: Value) -> None:
        """Connect the write port."""
        if self.word is not None:
            with self.m.If(enable):
                self.m.d.sync += self.word.eq(word)
            return
        write = self.memory.write_port()
        self.m.d.comb += [write.en.eq(enable), write.addr.eq(row), write.data.eq(word)]

    def read(self, row: Value) -> Value:
        """Connect a read port; its word."""
        if self.word is not None:
            return self.word
        read = self.memory.read_port(domain="comb")
        self.m.d.comb += read.addr.eq(row)
        return read.data
