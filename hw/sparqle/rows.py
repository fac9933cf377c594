"""Row group of the hybrid array: g rows that share weight banks and one list of indices."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...golden.contract.layer import WEIGHT_BITS
from ...golden.sparqle.config import SparqleConfig, bitmap_port, lsb_port, values_port
from ..lib.base import Part, payload_layout
from ..lib.elements.element import control_layout
from ..lib.emission import place
from ..lib.networks import count_set
from .decoder import ListDecoder, index_bits
from .pe import HybridRow, result_bits


def bank_bits(config: SparqleConfig) -> int:
    """Bits of a bank's number."""
    return (config.weight_banks - 1).bit_length()


def write_layout(config: SparqleConfig) -> data.StructLayout:
    """A weight bank entry that is written into all copies of the banks."""
    return data.StructLayout(
        {
            "enable": 1,
            "position": index_bits(config),
            "bank": bank_bits(config),
            "value": config.columns * WEIGHT_BITS,
        }
    )


def bank_layout(config: SparqleConfig) -> data.StructLayout:
    """Whether the tile ends in a bank, and the position of the bank's final entry so far."""
    return data.StructLayout({"tile_last": 1, "end": index_bits(config)})


def strobes_layout(config: SparqleConfig) -> data.StructLayout:
    """What a row group did in a cycle."""
    rows = config.sharing.bit_length()
    return data.StructLayout(
        {
            "low": 1,
            "high": 1,
            "used": rows,
            "words": rows,
            "beats": rows,
            "stall_weights": 1,
            "stall_lsb": 1,
            "stall_list": 1,
            "stall_rows": 1,
        }
    )


class RowGroup(Part[SparqleConfig]):
    """g rows, their copy of the weight banks, their decoder and their sequencer.

    A step reads one entry of the weight banks, which is registered and then multiplied: three
    stages. ``ended`` is 1 from the cycle of the tile's final step until ``commit``, and ``error``
    tells until then whether a bitmap of the group did not fit the tile.
    """

    def __init__(self, config: SparqleConfig):
        def flow(port: object) -> stream.Signature:
            return stream.Signature(payload_layout(port(config, 0)))  # type: ignore[operator]

        rows = range(config.sharing)
        super().__init__(
            config,
            {
                "lsb": In(flow(lsb_port)),
                **{f"bitmap_{row}": In(flow(bitmap_port)) for row in rows},
                **{f"values_{row}": In(flow(values_port)) for row in rows},
                "write": In(write_layout(config)),
                "banks": In(data.ArrayLayout(bank_layout(config), config.weight_banks)),
                "opened": In(1),
                "room": Out(1),
                "commit": In(1),
                "ended": Out(1),
                "error": Out(1),
                "load": In(1),
                "pull": In(config.sharing),
                "below": In(result_bits(config)),
                "result": Out(result_bits(config)),
                "strobes": Out(strobes_layout(config)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        decoder = self._place_decoder(m, platform)
        step = _Step(self.config)
        self._sequence(m, decoder.entries, step)
        weights = self._read_banks(m, step)
        self._place_rows(m, platform, step, weights)
        m.d.comb += [
            self.strobes.low.eq(step.low),
            self.strobes.high.eq(step.high),
            self.strobes.used.eq(Mux(step.high, count_set(step.used), 0)),
            self.strobes.words.eq(decoder.words),
            self.strobes.beats.eq(decoder.beats),
        ]
        return m

    def _place_decoder(self, m: Module, platform: object) -> ListDecoder:
        decoder = ListDecoder(self.config)
        place(m, platform, "decoder", decoder)
        for row in range(self.config.sharing):
            for name in (f"bitmap_{row}", f"values_{row}"):
                wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(decoder, name))
        return decoder

    def _sequence(self, m: Module, entries: stream.Interface, step: "_Step") -> None:
        """Low halves of a chunk, then its list, then the next chunk; wait at the tile's end."""
        at_start = Signal(init=1)
        high = Signal()
        done = Signal()
        dropping = Signal()
        position = Signal(index_bits(self.config))
        bank = Signal(bank_bits(self.config))
        ahead = Signal(range(self.config.weight_banks * self.config.chunk + 1))
        held = Signal(range(self.config.weight_banks + 1))
        current = Signal(bank_layout(self.config))
        with m.Switch(bank):
            for number in range(self.config.weight_banks):
                with m.Case(number):
                    m.d.comb += current.eq(self.banks[number])
        list_end = _ListEnd(self.config)

        head = entries.payload
        ends_chunk = Signal()
        empty = Signal()
        may_low = Signal()
        listed = Signal()
        finished = Signal()
        ends_tile = Signal()
        m.d.comb += [
            ends_chunk.eq(position.all() | (current.tile_last & (position == current.end))),
            empty.eq(list_end.passed | (head.used == 0)),
            listed.eq(~ends_chunk | list_end.passed | entries.valid),
            may_low.eq(~high & ~done & ~dropping & (ahead != 0)),
            self.lsb.ready.eq(may_low & listed),
            step.low.eq(self.lsb.ready & self.lsb.valid),
            step.high.eq(high & entries.valid),
            step.first.eq(at_start),
            step.bank.eq(bank),
            step.position.eq(Mux(high, head.index, position)),
            step.halves.eq(Mux(high, head.value, self.lsb.payload.value)),
            step.used.eq(Mux(current.tile_last & (head.index > current.end), 0, head.used)),
            entries.ready.eq(high | dropping | (step.low & ends_chunk & empty & ~list_end.passed)),
            finished.eq((step.low & ends_chunk & empty) | (step.high & head.chunk_last)),
            ends_tile.eq(finished & current.tile_last),
        ]
        popped = entries.valid & entries.ready
        overruns = list_end.follow(m, finished, current, popped, head)
        with m.If(step.low):
            m.d.sync += [at_start.eq(0), position.eq(position + 1)]
            m.d.sync += high.eq(ends_chunk & ~empty)
        with m.If(finished):
            m.d.sync += [
                high.eq(0),
                position.eq(0),
                bank.eq(Mux(bank == self.config.weight_banks - 1, 0, bank + 1)),
                done.eq(ends_tile & ~overruns),
                dropping.eq(overruns),
            ]
        with m.If(dropping & popped & head.tile_last):
            m.d.sync += [dropping.eq(0), done.eq(1)]
        with m.If(self.commit):
            m.d.sync += [done.eq(0), at_start.eq(1)]
            list_end.restart(m)
        with m.If(self.write.enable != step.low):
            m.d.sync += ahead.eq(ahead + self.write.enable - step.low)
        with m.If(self.opened != finished):
            m.d.sync += held.eq(held + self.opened - finished)
        m.d.comb += [
            self.room.eq(held != self.config.weight_banks),
            self.ended.eq(done | (ends_tile & ~overruns)),
            self.error.eq(list_end.error),
            self.strobes.stall_weights.eq(~high & ~done & ~dropping & ~at_start & (ahead == 0)),
            self.strobes.stall_lsb.eq(self.lsb.ready & ~self.lsb.valid),
            self.strobes.stall_list.eq(((may_low & ~listed) | high) & ~entries.valid),
            self.strobes.stall_rows.eq(done),
        ]

    def _read_banks(self, m: Module, step: "_Step") -> Value:
        """The weight banks, one memory; what is read arrives in the next cycle."""
        depth = self.config.weight_banks * self.config.chunk
        memory = Memory(shape=self.config.columns * WEIGHT_BITS, depth=depth, init=[])
        m.submodules.weights = memory
        write = memory.write_port()
        read = memory.read_port()
        m.d.comb += [
            write.en.eq(self.write.enable),
            write.addr.eq(Cat(self.write.position, self.write.bank)),
            write.data.eq(self.write.value),
            read.en.eq(step.low | step.high),
            read.addr.eq(Cat(step.position, step.bank)),
        ]
        return read.data

    def _place_rows(self, m: Module, platform: object, step: "_Step", weights: Value) -> None:
        """Two stages of registers, then the rows; results move up towards row 0."""
        read, used = _Stage(self.config, "read"), _Stage(self.config, "used")
        read.follow(m, step.low, step.high, step.first, step.used, step.halves)
        used.follow(m, read.low, read.high, read.first, read.used, self._isolated(m, read))
        weights_used = Signal.like(weights, reset_less=True)
        with m.If(read.low | read.high):
            m.d.sync += weights_used.eq(weights)
        below: Value = self.below
        for i in reversed(range(self.config.sharing)):
            control = Signal(control_layout, name=f"control_{i}")
            m.d.comb += [
                control.enable.eq(used.low | (used.high & used.used[i])),
                control.first.eq(used.first),
                control.high.eq(used.high),
                control.load.eq(self.load),
                control.pull.eq(self.pull[i]),
            ]
            row = HybridRow(self.config)
            place(
                m,
                platform,
                f"row_{i}",
                row,
                half=used.halves[i],
                w=weights_used,
                control=control,
                below=below,
            )
            below = row.result
        m.d.comb += self.result.eq(below)

    def _isolated(self, m: Module, read: "_Stage") -> data.View:
        """Halves of the rows that multiply, and 0 for those whose multipliers need not switch."""
        if self.config.sharing == 1:  # the list has no entries but the row's own
            return read.halves
        halves = Signal.like(read.halves, name="isolated_halves")
        for i in range(self.config.sharing):
            multiplies = read.low | read.used[i]
            m.d.comb += halves[i].eq(Mux(multiplies, read.halves[i], 0))
        return halves


class _Step:
    """What a row group does in a cycle."""

    def __init__(self, config: SparqleConfig):
        self.low = Signal(name="step_low")
        self.high = Signal(name="step_high")
        self.first = Signal(name="step_first")
        self.bank = Signal(bank_bits(config), name="step_bank")
        self.position = Signal(index_bits(config), name="step_position")
        self.used = Signal(config.sharing, name="step_used")
        self.halves = Signal(data.ArrayLayout(config.k, config.sharing), name="step_halves")


class _Stage:
    """Registers of a step on its way to the rows."""

    def __init__(self, config: SparqleConfig, name: str):
        self.low = Signal(name=f"{name}_low")
        self.high = Signal(name=f"{name}_high")
        self.first = Signal(name=f"{name}_first", reset_less=True)
        self.used = Signal(config.sharing, name=f"{name}_used", reset_less=True)
        layout = data.ArrayLayout(config.k, config.sharing)
        self.halves = Signal(layout, name=f"{name}_halves", reset_less=True)

    def follow(
        self, m: Module, low: Signal, high: Signal, first: Signal, used: Signal, halves: data.View
    ) -> None:
        """Take over what is given, one cycle later."""
        m.d.sync += [self.low.eq(low), self.high.eq(high)]
        with m.If(low | high):
            m.d.sync += [self.first.eq(first), self.used.eq(used), self.halves.eq(halves)]


class _ListEnd:
    """Follows where the list of a tile ends: it must be where the tile ends.

    A list that ends early leaves nothing for the chunks that follow; one that ends late is dropped
    to its end. Either is an error of the tile, as are rows whose bitmaps end apart.
    """

    def __init__(self, config: SparqleConfig):
        self.config = config
        self.passed = Signal()  # the list has ended, the tile has not
        self.flagged = Signal()  # in an earlier cycle of the tile
        self.error = Signal()
        self.spare = Signal(range(max(2, config.group // config.chunk)))

    def follow(
        self, m: Module, finished: Signal, bank: data.View, popped: Value, head: data.View
    ) -> Value:
        """Compare at the end of each chunk; returns whether the tile ends before its list."""
        config = self.config
        ends_now = Signal()
        ended = Signal(name="list_ended")
        apart = Signal()
        mismatch = Signal()
        m.d.comb += ends_now.eq(popped & head.tile_last)
        m.d.comb += apart.eq(popped & head.apart)
        m.d.comb += ended.eq(self.passed | ends_now)
        if config.chunk > config.group:
            words = bank.end[(config.group - 1).bit_length() :]
            m.d.comb += mismatch.eq(Mux(bank.tile_last, ended & (head.extent != words), ended))
        elif config.chunk == config.group:
            m.d.comb += mismatch.eq(ended & ~bank.tile_last)
        else:
            spare = Mux(self.passed, self.spare, head.extent)
            m.d.comb += mismatch.eq(ended & ~bank.tile_last & (spare == 0))
            with m.If(finished):
                m.d.sync += self.spare.eq(spare - 1)
        overruns = Signal()
        m.d.comb += overruns.eq(finished & bank.tile_last & ~ended)
        m.d.comb += self.error.eq(self.flagged | apart | (finished & (mismatch | overruns)))
        with m.If(finished):
            m.d.sync += self.passed.eq(ended)
        m.d.sync += self.flagged.eq(self.error)
        return overruns

    def restart(self, m: Module) -> None:
        """A new tile begins."""
        m.d.sync += [self.passed.eq(0), self.flagged.eq(0)]
