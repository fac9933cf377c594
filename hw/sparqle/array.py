"""SPARQLe: the hybrid-precision array."""

from functools import reduce
from operator import add

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring

from ...golden.sparqle.config import SparqleConfig
from ...golden.sparqle.unit import ARRAY, GROUPED
from ..grouped import GroupedArray
from ..lib.base import Unit
from ..lib.emission import place
from ..lib.networks import count_set
from ..lib.streams import RowDrain, RowDrainConfig, payload_registers
from .decoder import index_bits
from .rows import RowGroup, bank_bits, bank_layout, write_layout


class SparqleArray(Unit[SparqleConfig]):
    """R x C array that multiplies all low halves of activations, and high halves that are not 0.

    ``y = x @ w.T`` for a tile of R tokens and C outputs, ``x = 2^k * high + low``, on k-bit
    multipliers, output-stationary. ``w`` brings the C weights of one input feature a beat, ``last``
    on the tile's final one; ``lsb_p`` the low halves of row group p for that feature; ``bitmap_i``
    and ``values_i`` bring row i's high halves as :class:`nibbleforge.hw.bitmap.BitmapDecoder` takes
    them; ``y`` gives R rows of C sums, row 0 first.

    Input features come in chunks of ``chunk``. The weights of a chunk are written into one of
    ``weight_banks`` banks, of which each row group, of ``sharing`` rows, has a copy. A row group
    works off the low halves of a chunk, then the high halves at the set bits of the OR of its
    bitmaps, which decoding has put into a queue meanwhile; rows whose own bit is clear are gated.
    Row groups do not wait for each other but for free banks and at the tile's end.

    * Throughput: a chunk takes a row group ``length + popcount`` cycles.
    * Schedule: with ``finish`` the cycle of a row group's final step of a chunk, a chunk's first
      beat of weights is taken in ``open = max(final beat of the chunk before, latest finish of the
      chunk that was in its bank) + 1``; the row group starts in ``max(finish of the chunk before +
      1, open + 2)``. Tile i ends in ``end[i] = max(latest finish of its last chunk, end[i-1] + R +
      3)``, its row j leaves in ``end[i] + 4 + j``, the next tile starts in ``end[i] + 1`` or later;
      its weights and high halves may be taken before. A run takes ``R + 4`` cycles more than the
      ``end`` of its final tile.
    * Decoding: two mask buffers of max(group, chunk) bits a row take turns; one takes a word a
      cycle when the other's last entry before it is in the queue. Entries enter the queue from the
      cycle after a buffer's final word on, one a cycle, a full queue in the cycle in which one
      leaves.

    Stalls while weights, low halves or high halves are missing, and while the tile before still
    drains. A bitmap whose words are more or fewer than its tile's is an error: the tile ends
    nevertheless, missing high halves counting as 0 and surplus ones dropped; as it ends, ``errors``
    counts its row groups with such a bitmap, and all of its rows of ``y`` have ``error`` set.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.sparqle.config.SparqleConfig`.
    """

    def __init__(self, config: SparqleConfig):
        super().__init__(config, ARRAY)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        groups = [RowGroup(self.config) for _ in range(self.config.row_groups)]
        self._write_weights(m, groups)
        commit = Signal()
        load = Signal()
        pulls = Signal(self.config.rows)
        self._end_tiles(m, platform, groups, commit, load, pulls)

        below: Value = Const(0, len(groups[0].below))
        for p, group in reversed(list(enumerate(groups))):
            place(m, platform, f"rows_{p}", group)
            self._feed(m, p, group)
            m.d.comb += [
                group.commit.eq(commit),
                group.load.eq(load),
                group.pull.eq(pulls.word_select(p, self.config.sharing)),
                group.below.eq(below),
            ]
            below = group.result
        self._give_results(m, groups, commit, below)
        self._count(m, groups)
        return m

    def _write_weights(self, m: Module, groups: list[RowGroup]) -> None:
        """Register a beat of weights, then write it into every copy of its bank."""
        config = self.config
        position = Signal(index_bits(config))
        bank = Signal(bank_bits(config))
        accepted = Signal()
        opens = Signal()
        ends_chunk = Signal()
        m.d.comb += [
            opens.eq(position == 0),
            self.w.ready.eq(~opens | Cat(group.room for group in groups).all()),
            accepted.eq(self.w.valid & self.w.ready),
            ends_chunk.eq(position.all() | self.w.payload.last),
        ]
        written = Signal(write_layout(config), name="write")
        write = payload_registers(m, written, "write")
        last = Signal()
        m.d.sync += write.enable.eq(accepted)
        with m.If(accepted):
            m.d.sync += [
                write.position.eq(position),
                write.bank.eq(bank),
                write.value.eq(self.w.payload.value.as_value()),
                last.eq(self.w.payload.last),
                position.eq(Mux(ends_chunk, 0, position + 1)),
            ]
            with m.If(ends_chunk):
                m.d.sync += bank.eq(Mux(bank == config.weight_banks - 1, 0, bank + 1))
        banks = [Signal(bank_layout(config), name=f"bank_{i}") for i in range(config.weight_banks)]
        for i, extent in enumerate(banks):
            registers = payload_registers(m, extent, f"bank_{i}")
            with m.If(write.enable & (write.bank == i)):
                m.d.sync += [registers.tile_last.eq(last), registers.end.eq(write.position)]
        for group in groups:
            m.d.comb += [
                group.write.eq(written),
                group.banks.as_value().eq(Cat(banks)),
                group.opened.eq(accepted & opens),
            ]

    def _end_tiles(
        self,
        m: Module,
        platform: object,
        groups: list[RowGroup],
        commit: Signal,
        load: Signal,
        pulls: Signal,
    ) -> None:
        """End a tile when all its rows have, load its results when the last product is in."""
        drain = RowDrain(RowDrainConfig(rows=self.config.rows))
        place(m, platform, "drain", drain)
        pending = Signal(3)
        busy = Signal()
        ended = Signal()
        m.d.comb += [
            ended.eq(Cat(group.ended for group in groups).all()),
            busy.eq(drain.busy | pending.any()),
            commit.eq(ended & ~busy),
            load.eq(pending[-1]),
            pulls.eq(drain.moves),
            drain.load.eq(load),
            drain.pull.eq(self.y.valid & self.y.ready),
            self.y.valid.eq(drain.valid),
            self.y.payload.last.eq(drain.last),
            self.events.y_beats.eq(drain.pull),
            self.events.tiles.eq(commit),
            self.events.stall_drain.eq(ended & busy),
        ]
        m.d.sync += pending.eq(Cat(commit, pending[:-1]))

    def _feed(self, m: Module, p: int, group: RowGroup) -> None:
        """Connect the streams of a row group."""
        names = {f"lsb_{p}": "lsb"}
        for i in range(self.config.sharing):
            row = p * self.config.sharing + i
            names |= {f"bitmap_{row}": f"bitmap_{i}", f"values_{row}": f"values_{i}"}
        for outer_name, inner_name in names.items():
            outer, inner = getattr(self, outer_name), getattr(group, inner_name)
            wiring.connect(m, wiring.flipped(outer), inner)

    def _give_results(self, m: Module, groups: list[RowGroup], commit: Signal, row: Value) -> None:
        """Row 0 of what has been loaded, and whether a bitmap of its tile was wrong.

        When a tile is committed, the final row of the one before leaves at the latest.
        """
        config = self.config
        errors = Cat(group.error for group in groups)
        with m.If(commit):
            m.d.sync += self.y.payload.error.eq(errors.any())
        columns = config.columns * config.accumulator_bits
        m.d.comb += [
            self.y.payload.value.as_value().eq(row[:columns]),
            self.events.errors.eq(Mux(commit, count_set(errors), 0)),
        ]
        if config.asymmetric:
            m.d.comb += self.y.payload.ones.eq(row[columns:])

    def _count(self, m: Module, groups: list[RowGroup]) -> None:
        """Sum up what the row groups did."""
        config, events = self.config, self.events
        strobes = [group.strobes for group in groups]

        def total(name: str) -> Value:
            return reduce(add, (getattr(strobe, name) for strobe in strobes))

        low = Signal(range(len(groups) + 1))
        high = Signal(range(len(groups) + 1))
        used = Signal(range(config.rows + 1))
        gated = Signal(range(config.rows + 1))
        m.d.comb += [
            low.eq(total("low")),
            high.eq(total("high")),
            used.eq(total("used")),
            events.lsb_macs.eq(low * config.sharing * config.columns),
            events.msb_macs.eq(used * config.columns),
            gated.eq(high * config.sharing - used),
            events.gated_macs.eq(gated * config.columns),
            events.bank_reads.eq(low + high),
            events.w_beats.eq(self.w.valid & self.w.ready),
            events.lsb_beats.eq(low),
            events.bitmap_words.eq(total("words")),
            events.value_beats.eq(total("beats")),
            events.stall_weights.eq(total("stall_weights")),
            events.stall_lsb.eq(total("stall_lsb")),
            events.stall_list.eq(total("stall_list")),
            events.stall_rows.eq(total("stall_rows")),
        ]


class SparqleGrouped(GroupedArray[SparqleConfig]):
    """The hybrid array joined to the dequantizer: :class:`~nibbleforge.hw.grouped.GroupedArray`."""

    def __init__(self, config: SparqleConfig):
        super().__init__(config, GROUPED, SparqleArray)
