"""Systolic array on N:M-sparse INT4 weights."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from ...golden.nm.config import ACTIVATION_BITS, NMConfig
from ...golden.nm.unit import ARRAY, GROUPED
from ..grouped import GroupedArray
from ..lib.base import Unit
from ..lib.delays import delayed, delays
from ..lib.emission import place
from .cell import NMCell, slot_layout
from .unpack import UnpackConfig, Unpacker, UnpackSequence, unpack_layout


class NMArray(Unit[NMConfig]):
    """R x C systolic array on N:M-sparse weights: ``y = x @ w.T`` for R tokens and C outputs.

    Weights come packed as they are stored: ``w`` brings a byte of each of C packed rows a beat, and
    with the first one ``n``, any of 1..``m``. ``x`` brings the blocks of ``m`` activations of R
    tokens, one block a beat, ``last`` on the final one of a weight group, ``end`` on the final one
    of the packed rows, after which the rest of their byte is dropped. With L lanes a beat has L
    blocks; the blocks of a weight group go to the lanes in turn, those that are missing in its
    final beat being 0, and each lane has a packed row of its own. ``y`` gives the sums of a weight
    group, ``dequant_rows`` rows of C a beat, row 0 first, all of them with ``error`` if a block of
    the group, or the ``n`` of its packed rows, was no legal one.

    A block is unpacked to ``n`` slots, a value and its index in each; those of all lanes together
    are called a slot, too. Slots flow south from the northern edge and blocks of activations east
    from the western one, a register every ``span`` elements; an element selects an activation a
    lane by the slot's index, multiplies, adds up. Token R - 1 is in the northernmost row, token 0
    in the southernmost. Sums go to result registers and leave through the southern edge while the
    next group accumulates.

    * Throughput: ``n`` cycles a beat of blocks; weight groups follow each other without a bubble as
      long as they have at least ``R / dequant_rows`` slots.
    * Latency: a slot issued in cycle t is multiplied in cell (i, j) of ``span`` x ``span`` elements
      in cycle t + 1 + i + j.
    * Schedule: the ``bits`` of beat b, so many for each lane, are pulled, a byte a cycle, from
      ``taken[b-1]`` on (0 for the first), a beat of ``w`` being taken where what is left of the
      byte before does not suffice. ``taken[b] = max(taken[b-1] + ceil(bits/8), issue of the slot
      before)`` takes the activations; its slots issue from ``taken[b] + 1`` on, one a cycle, but
      the final one of a weight group not before ``R / dequant_rows`` cycles after that of the group
      before. A group whose final slot issues in cycle f leaves from ``f + (R + C) / span`` on, a
      beat a cycle.

    Stalls while bits or activations are missing, at a group's end while the sums before have not
    left the result registers, and while the consumer is not ready: then the array stands still.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.nm.config.NMConfig`.
    """

    def __init__(self, config: NMConfig):
        super().__init__(config, ARRAY)
        self.unpack = UnpackConfig(m=config.m)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        move = Signal()
        control = Signal(unpack_layout(self.unpack))
        slot = Signal(slot_layout)
        illegal = Signal()
        blocks = config.rows * config.lanes
        activations = Signal(blocks * config.m * ACTIVATION_BITS, reset_less=True)
        self._issue(m, move, control, slot, illegal, activations)
        values, indices, errors = self._unpack(m, platform, control)
        error = self._group_error(m, slot, illegal | errors.any())
        edges = _Edges(m, config, move, slot, activations, values, indices)
        shifts, leaves = self._drain(m, move, slot, error)
        souths = self._cells(m, platform, move, edges, shifts)
        self._results(m, move, leaves, souths)
        return m

    def _issue(
        self,
        m: Module,
        move: Signal,
        control: data.View,
        slot: data.View,
        illegal: Signal,
        activations: Signal,
    ) -> None:
        """Blocks of weights and activations that belong together, slot after slot."""
        config, x = self.config, self.x
        sequence = UnpackSequence(self.unpack)
        sequence.elaborate(m, self.w, control)
        busy = Signal()
        ends = Signal()
        begins = Signal(init=1)
        count = Signal(range(config.m))
        slots = Signal.like(sequence.slots)
        sparse = Signal()
        bitmap = Signal()
        waits = Signal(range(config.drain))  # cycles until result registers are free
        following = Signal.like(slots, init=0)
        final = Signal(name="final_slot")
        held = Signal()
        finishing = Signal()
        m.d.comb += [
            following.eq(count + 1),
            final.eq(following == slots),
            held.eq(final & ends & (waits != 0)),
            slot.step.eq(busy & move & ~held),
            slot.fresh.eq(slot.step & (count == 0)),
            slot.first.eq(begins),
            slot.last.eq(final & ends),
            finishing.eq(slot.step & final),
            x.ready.eq(sequence.full & (~busy | finishing)),
            sequence.load.eq(x.valid & x.ready),
            sequence.end.eq(x.payload.end),
            control.load.eq(sequence.load),
            control.step.eq(slot.step),
            control.slot.eq(count),
            control.final.eq(final),
            control.sparse.eq(sparse),
            control.bitmap.eq(bitmap),
        ]
        with m.If(sequence.load):
            m.d.sync += [
                busy.eq(1),
                activations.eq(x.payload.value.as_value()),
                ends.eq(x.payload.last),
                slots.eq(sequence.slots),
                sparse.eq(sequence.sparse()),
                bitmap.eq(sequence.bitmap()),
                illegal.eq(sequence.error),
            ]
        with m.Elif(finishing):
            m.d.sync += busy.eq(0)
        with m.If(slot.step):
            m.d.sync += [count.eq(Mux(final, 0, following)), begins.eq(slot.last)]
        with m.If(slot.step & slot.last):
            m.d.sync += waits.eq(config.drain - 1)
        with m.Elif(move & (waits != 0)):
            m.d.sync += waits.eq(waits - 1)
        m.d.comb += [
            self.events.macs.eq(Mux(slot.step, config.macs_per_step, 0)),
            self.events.x_beats.eq(sequence.load),
            self.events.w_beats.eq(control.beat),
            self.events.tiles.eq(slot.step & slot.last),
            self.events.stall_operands.eq(move & ~begins & ~busy),
            self.events.stall_drain.eq(move & busy & held),
            self.events.stall_out.eq(~move),
        ]

    def _unpack(
        self, m: Module, platform: object, control: data.View
    ) -> tuple[list[Value], list[Value], Value]:
        """Values and indices of every column's slots, and whether one shows an illegal block."""
        config = self.config
        unpackers = [Unpacker(self.unpack) for _ in range(config.columns * config.lanes)]
        for i, unpacker in enumerate(unpackers):
            bits = self.w.payload.bits[i]
            place(m, platform, f"unpacker_{i}", unpacker, control=control, bits=bits)
        wrong = Signal(len(unpackers), name="unpacker_errors")
        m.d.comb += wrong.eq(Cat(unpacker.error for unpacker in unpackers))
        lanes = config.lanes
        columns = [unpackers[c * lanes : (c + 1) * lanes] for c in range(config.columns)]
        values = [Cat(unpacker.value for unpacker in column) for column in columns]
        indices = [Cat(unpacker.index for unpacker in column) for column in columns]
        return values, indices, wrong

    def _group_error(self, m: Module, slot: data.View, wrong: Value) -> Signal:
        """With the final slot of a weight group: whether any of its slots was wrong."""
        earlier = Signal()
        error = Signal()
        m.d.comb += error.eq(earlier | wrong)
        with m.If(slot.step):
            m.d.sync += earlier.eq(error & ~slot.last)
        return error

    def _cells(
        self,
        m: Module,
        platform: object,
        move: Signal,
        edges: "_Edges",
        shifts: Value,
    ) -> list[Value]:
        """The grid of cells; the sums that each column of them has at the south."""
        config = self.config
        north, west = config.stages
        eastward = list(edges.west)
        souths = []
        for j in range(west):
            values, indices, control = edges.north[j]
            sums: Value = Const(0, config.dequant_rows * config.span * config.accumulator_bits)
            for i in range(north):
                cell = NMCell(config)
                place(
                    m,
                    platform,
                    f"cell_{i}_{j}",
                    cell,
                    move=move,
                    x=eastward[i],
                    value=values,
                    index=indices,
                    control=control,
                    shift=shifts[i],
                    above=sums,
                )
                eastward[i] = cell.x_east
                values, indices = cell.value_south, cell.index_south
                control, sums = cell.control_south, cell.below
            souths.append(sums)
            shifts = delayed(m, shifts, 1, f"shifts_{j}", move)
        return souths

    def _drain(
        self, m: Module, move: Signal, slot: data.View, error: Signal
    ) -> tuple[Signal, data.View]:
        """When rows of cells of the first column shift; what leaves it.

        A row of cells shifts only until what it has is from above: then it may get new results.
        """
        config = self.config
        north, _ = config.stages
        done = Signal(_done_layout)
        m.d.comb += [done.valid.eq(slot.step & slot.last), done.error.eq(error)]
        done = delayed(m, done, north, "done", move)
        remaining = Signal(range(config.drain + 1))
        with m.If(move):
            m.d.sync += remaining.eq(
                Mux(done.valid, config.drain, Mux(remaining == 0, 0, remaining - 1))
            )
        group_error = Signal()
        with m.If(move & done.valid):
            m.d.sync += group_error.eq(done.error)
        shifts = Signal(north)
        leaves = Signal(_leaves_layout)
        each = config.drain // north
        m.d.comb += [
            *(shifts[i].eq(remaining > config.drain - (i + 1) * each) for i in range(north)),
            leaves.valid.eq(remaining != 0),
            leaves.last.eq(remaining == 1),
            leaves.error.eq(group_error),
        ]
        return shifts, leaves

    def _results(self, m: Module, move: Signal, leaves: data.View, souths: list[Value]) -> None:
        """Sums of all columns, western ones as late as the eastern ones."""
        config, y = self.config, self.y
        _, west = config.stages
        rows: list[list[Value]] = [[] for _ in range(config.dequant_rows)]
        stages = delays(m, leaves, west - 1, "leaves", move)
        for j, south in enumerate(souths):
            moves = Cat(stage.valid & move for stage in stages[j : west - 1])
            late = delayed(m, south, west - 1 - j, f"sums_{j}", moves, reset_less=True)
            for d, row in enumerate(reversed(rows)):  # token 0 is southernmost
                row.append(late.word_select(d, config.span * config.accumulator_bits))
        leaves = stages[-1]
        m.d.comb += [
            y.payload.value.as_value().eq(Cat(*(Cat(*row) for row in rows))),
            y.valid.eq(leaves.valid),
            y.payload.last.eq(leaves.last),
            y.payload.error.eq(leaves.error),
            move.eq(~y.valid | y.ready),
            self.events.y_beats.eq(y.valid & y.ready),
        ]


class NMGrouped(GroupedArray[NMConfig]):
    """The N:M array joined to the dequantizer: :class:`~nibbleforge.hw.grouped.GroupedArray`."""

    def __init__(self, config: NMConfig):
        super().__init__(config, GROUPED, NMArray)


_done_layout = data.StructLayout({"valid": 1, "error": 1})
_leaves_layout = data.StructLayout({"valid": 1, "last": 1, "error": 1})


class _Edges:
    """What enters the grid: each stage a cycle later than the one before it.

    Blocks wait in their registers for the next one, values and indices for the next slot.
    """

    def __init__(
        self,
        m: Module,
        config: NMConfig,
        move: Signal,
        slot: data.View,
        activations: Signal,
        values: list[Value],
        indices: list[Value],
    ):
        north, west = config.stages
        blocks = [
            activations.word_select(row, config.lanes * config.m * ACTIVATION_BITS)
            for row in reversed(range(config.rows))
        ]
        span = config.span
        slots = delays(m, slot, max(north, west) - 1, "slot", move)

        def edge(parts: list[Value], stage: int, name: str, given: str) -> Value:
            chosen = Cat(parts[stage * span : (stage + 1) * span])
            takes = Cat(late[given] & move for late in slots[:stage])
            return delayed(m, chosen, stage, f"{name}_{stage}", takes, reset_less=True)

        self.west = [edge(blocks, i, "blocks", "fresh") for i in range(north)]
        self.north = [
            (edge(values, j, "values", "step"), edge(indices, j, "indices", "step"), slots[j])
            for j in range(west)
        ]
