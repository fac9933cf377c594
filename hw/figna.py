"""FIGNA-like bit-parallel array: the baseline ``figna``."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..golden.figna import ARRAY, FignaConfig
from .anda.post import GroupRegisters, PostSequence, place_post, row_ports
from .lib.adders import binary_tree
from .lib.base import Part, Unit
from .lib.elements.element import ElementConfig, control_layout
from .lib.elements.rows import RowElements
from .lib.emission import place
from .lib.floating import FP32_BITS
from .lib.streams import registered


def elements(config: FignaConfig) -> RowElements:
    """The elements of a row."""
    element = ElementConfig(
        operand_bits=config.operand_bits,
        lanes=config.lanes,
        result_bits=config.accumulator_bits,
        pulls=False,
    )
    return RowElements(element, config.columns, config.tree)


class MantissaSum(Part[FignaConfig]):
    """The same where all weights are 1: a group's signed sum of mantissas, once a row."""

    def __init__(self, config: FignaConfig):
        super().__init__(
            config,
            {
                "x": In(config.lanes * config.operand_bits),
                "control": In(control_layout),
                "value": Out(signed(config.ones_bits)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        running = Signal(signed(config.ones_bits), reset_less=True)
        total = Signal.like(running)
        words = [self.x.word_select(i, config.operand_bits) for i in range(config.lanes)]
        terms = binary_tree([word.as_signed() for word in words])
        m.d.comb += total.eq(Mux(self.control.first, 0, running) + terms)
        with m.If(self.control.enable & ~self.control.load):
            m.d.sync += running.eq(total)
        with m.If(self.control.load):
            m.d.sync += self.value.eq(total)
        return m


class FignaRow(Part[FignaConfig]):
    """C elements that share a token's mantissas, and their post-processors."""

    def __init__(self, config: FignaConfig):
        self.elements = elements(config)
        super().__init__(
            config,
            {
                "x": In(config.lanes * config.operand_bits),
                "w": In(self.elements.weights),
                "control": In(control_layout),
                **row_ports(config),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        values = self.elements.place(m, platform, self, self.x)
        ones = None
        if config.asymmetric:
            sums = MantissaSum(config)
            place(m, platform, "ones", sums, x=self.x, control=self.control)
            ones = sums.value
        place_post(m, platform, self, values, ones)
        return m


class FignaArray(Unit[FignaConfig]):
    """R x C bit-parallel array: ``y = x @ w.T`` for a tile of R tokens and C outputs.

    Activations come in groups of G: ``x`` brings the signed mantissas of L consecutive elements of
    R tokens a beat, ``last`` on the group's final one, and ``w`` those elements' weights of C
    columns; with a group's first mantissas ``exponent`` brings its exponents, ``last`` on the
    tile's final group, and where that says ``fresh``, ``scale`` the C scales that hold from then
    on. ``y`` gives R rows of C results a tile, row 0 first.

    * Equation: per group ``acc = sum of x_i * w_i``, ``sum = sum + fl(acc) * 2^(E - 15 - (M - 1)) *
      d``; with minima, ``acc + 8 * acc_1`` for ``acc``, then ``sum = sum + fl(acc_1) * 2^(...) *
      minimum``; every operation rounded to FP32.
    * Throughput: a group every ``max(G / L, passes * max(fp_share, add_latency))`` cycles whatever
      M; ``passes`` is 2 with minima, else 1.
    * Latency: a group's sum enters the post-processors in the cycle after its final step, or up to
      ``fp_share - 1`` later; ``convert_latency + multiply_latency + add_latency`` cycles on it is
      added.
    * Schedule: for group j of the run, ``first[j] = final[j-1] + 1`` (1 for the first) its first
      step, ``final[j] = max(first[j] + G / L - 1, taken[j-1])`` its last one. Its pass enters from
      ``start = max(final[j] + 1, start of the pass before + (fp_share if the tile is new, else
      max(fp_share, add_latency)))`` on, one of ``fp_share`` processors a cycle; a tile's final pass
      not before the rows of the tile before have left; ``taken[j]`` is the last cycle of its final
      pass. Row i of a tile
      leaves in ``taken + latency + 1 + i``. A beat is taken when the one before is worked off, the
      run's first in cycle 0.

    Stalls while mantissas (with what they need) or weights are missing, while post-processors have
    not taken the group before, and at a tile's end while the tile before drains.

    Parameters
    ----------
    config
        See :class:`nibbleforge.golden.figna.FignaConfig`.
    """

    def __init__(self, config: FignaConfig):
        super().__init__(config, ARRAY)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        group = GroupRegisters(config)
        control = Signal(control_layout)
        x = registered(m, platform, "x", self._whole(m, group))
        w = registered(m, platform, "w", self.w)
        m.d.comb += [x.ready.eq(control.enable), w.ready.eq(control.enable)]
        post = PostSequence(m, platform, self, group, control.load)
        self._step(m, x, w, control, group.ends_tile, post.busy)
        factors = post.factors(m, platform)
        weights = elements(config).decode(m, platform, w.payload.value.as_value())
        mantissas = x.payload.value.as_value()
        below: Value = Const(0, config.columns * FP32_BITS)
        for r in reversed(range(config.rows)):
            row = FignaRow(config)
            words = mantissas.word_select(r, config.lanes * config.operand_bits)
            place(m, platform, f"row_{r}", row, x=words, w=weights, control=control)
            below = post.serve(m, row, r, config.mantissa - 1, factors, below)
        post.hand_over(m, self, below)
        return m

    def _whole(self, m: Module, group: GroupRegisters) -> stream.Interface:
        """Mantissas, a group's first ones when what comes with them is there; take that."""
        begins = Signal(init=1)  # the next beat is a group's first
        whole = stream.Signature(self.x.payload.shape()).create()
        there = ~begins | group.there(self)
        m.d.comb += [
            whole.payload.eq(self.x.payload),
            whole.valid.eq(self.x.valid & there),
            self.x.ready.eq(whole.ready & there),
        ]
        taken = whole.valid & whole.ready
        group.take(m, self, taken & begins)
        with m.If(taken):
            m.d.sync += begins.eq(self.x.payload.last)
        return whole

    def _step(
        self,
        m: Module,
        x: stream.Interface,
        w: stream.Interface,
        control: data.View,
        ends_tile: Value,
        busy: Value,
    ) -> None:
        """Multiply when both operands are there and, for a group's last ones, room for the sums."""
        ready = Signal(name="operands_valid")
        held = Signal(name="sums_held")
        last = x.payload.last
        first = Signal(init=1)
        open_tile = Signal()
        m.d.comb += [
            ready.eq(x.valid & w.valid),
            held.eq(ready & last & busy),
            control.enable.eq(ready & ~held),
            control.first.eq(first),
            control.load.eq(control.enable & last),
        ]
        with m.If(control.enable):
            m.d.sync += [first.eq(last), open_tile.eq(~(last & ends_tile))]
        m.d.comb += [
            self.events.macs.eq(Mux(control.enable, self.config.macs_per_step, 0)),
            self.events.groups.eq(control.load),
            self.events.x_beats.eq(self.x.valid & self.x.ready),
            self.events.w_beats.eq(self.w.valid & self.w.ready),
            self.events.stall_operands.eq(open_tile & ~ready),
            self.events.stall_post.eq(held),
        ]
