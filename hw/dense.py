"""Dense output-stationary array: the baselines ``dense`` and ``dense2k``."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..golden.dense import DenseConfig, design
from .grouped import GroupedArray
from .lib.base import Part, Unit
from .lib.elements.element import ElementConfig, control_layout
from .lib.elements.rows import RowElements
from .lib.emission import place
from .lib.streams import RowDrain, RowDrainConfig, registered


def elements(config: DenseConfig) -> RowElements:
    """The elements of a row."""
    element = ElementConfig(
        operand_bits=config.operand_bits,
        weight_bits=config.weight_bits,
        lanes=config.lanes,
        result_bits=config.accumulator_bits,
        shift=config.k if config.passes == 2 else 0,
    )
    return RowElements(element, config.columns, config.tree)


class DenseRow(Part[DenseConfig]):
    """C processing elements that share a token's activations."""

    def __init__(self, config: DenseConfig):
        self.elements = elements(config)
        super().__init__(
            config,
            {
                "x": In(config.lanes * config.bits_per_activation),
                "w": In(self.elements.weights),
                "control": In(control_layout),
                "below": In(config.columns * config.accumulator_bits),
                "result": Out(config.columns * config.accumulator_bits),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.config.operand_bits
        operands = Signal(signed(self.config.lanes * bits))
        for lane in range(self.config.lanes):
            m.d.comb += operands.word_select(lane, bits).eq(self._operand(m, lane))
        m.d.comb += self.result.eq(self.elements.place(m, platform, self, operands))
        return m

    def _operand(self, m: Module, lane: int) -> Value:
        """The whole activation of a lane, or its half of this pass."""
        activation = self.x.word_select(lane, self.config.bits_per_activation)
        k = self.config.k
        if self.config.passes == 1:
            return activation.as_signed()
        low, high = activation[:k], activation[k:]
        if self.config.recode == "twos":
            return Mux(self.control.high, high.as_signed(), low)
        rounded = Signal(k, name=f"rounded_{lane}")
        m.d.comb += rounded.eq(high + low[-1])
        return Mux(self.control.high, rounded, low).as_signed()


class DenseArray(Unit[DenseConfig]):
    """R x C output-stationary array: ``y = x @ w.T`` for a tile of R tokens and C outputs.

    ``x`` brings the R activations of each of L input features a beat, ``last`` on the tile's final
    one, where lanes that are left are 0; ``w`` brings the C weights of the same features; ``y``
    gives R rows of C sums, row 0 first. With two passes the array first multiplies the low halves
    of a beat, then the high halves.

    * Throughput: ``passes`` cycles a beat; tiles follow each other without a bubble as long as
      their ``beats = ceil(K / L)`` take ``passes * beats >= R`` cycles, since sums drain while the
      next tile accumulates.
    * Latency: a beat taken in cycle t is multiplied from t + 1 on; the tile's first row leaves in
      the cycle after its final step.
    * Schedule: final step of tile i ``end[i] = end[i-1] + max(passes * beats[i], R)``,
      ``end[0] = passes * beats[0]``; its row j leaves in ``end[i] + 1 + j``; its beat j is taken in
      ``end[i-1] + passes * j`` (0 before tile 0), so that a run takes ``R + 1`` cycles more than
      the ``end`` of its final tile.

    Stalls while an operand is missing, and at a tile's end while the tile before still drains.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.dense.DenseConfig`.
    """

    def __init__(self, config: DenseConfig):
        super().__init__(config, design(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        x = registered(m, platform, "x", self.x)
        w = registered(m, platform, "w", self.w)
        drain = RowDrain(RowDrainConfig(rows=config.rows))
        place(m, platform, "drain", drain)
        control = Signal(control_layout)
        self._sequence(m, x, w, control, drain)

        weights = elements(config).decode(m, platform, w.payload.value.as_value())
        lanes = config.lanes
        below = Const(0, config.columns * config.accumulator_bits)
        parts = [(name, control[name]) for name, _ in control_layout]
        for r in reversed(range(config.rows)):
            own = [drain.moves[r] if name == "pull" else bit for name, bit in parts]
            row = DenseRow(config)
            place(
                m,
                platform,
                f"row_{r}",
                row,
                x=x.payload.value.as_value().word_select(r, lanes * config.bits_per_activation),
                w=weights,
                control=Cat(own),
                below=below,
            )
            below = row.result
        m.d.comb += self.y.payload.value.as_value().eq(below)
        return m

    def _sequence(
        self,
        m: Module,
        x: stream.Interface,
        w: stream.Interface,
        control: data.View,
        drain: RowDrain,
    ) -> None:
        """Passes over an operand beat, ends of tiles, draining of results."""
        config = self.config
        valid = Signal(name="operands_valid")
        first = Signal(init=1)
        high = Signal()
        ends_tile = Signal()
        step = Signal()
        done = Signal()
        m.d.comb += [
            ends_tile.eq(x.payload.last & (high if config.passes == 2 else 1)),
            valid.eq(x.valid & w.valid),
            step.eq(valid & ~(ends_tile & drain.busy)),
            done.eq(step & (high if config.passes == 2 else 1)),
            x.ready.eq(done),
            w.ready.eq(done),
            control.enable.eq(step),
            control.first.eq(first),
            control.high.eq(high),
            control.load.eq(step & ends_tile),
            drain.load.eq(control.load),
            drain.pull.eq(self.y.valid & self.y.ready),
            self.y.valid.eq(drain.valid),
            self.y.payload.last.eq(drain.last),
        ]
        with m.If(step):
            m.d.sync += first.eq(ends_tile)
            if config.passes == 2:
                m.d.sync += high.eq(~high)
        m.d.comb += [
            self.events.macs.eq(Mux(step, config.macs_per_step, 0)),
            self.events.x_beats.eq(self.x.valid & self.x.ready),
            self.events.w_beats.eq(self.w.valid & self.w.ready),
            self.events.y_beats.eq(drain.pull),
            self.events.tiles.eq(control.load),
            self.events.stall_operands.eq(~first & ~valid),
            self.events.stall_drain.eq(valid & ends_tile & drain.busy),
        ]


class DenseGrouped(GroupedArray[DenseConfig]):
    """The dense array joined to the dequantizer: :class:`~nibbleforge.hw.grouped.GroupedArray`."""

    def __init__(self, config: DenseConfig):
        super().__init__(config, design(config), DenseArray)
