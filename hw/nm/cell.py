"""Cells of the N:M array: processing elements between pipeline registers."""

from amaranth.hdl import Array, Cat, Module, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...golden.contract.layer import WEIGHT_BITS
from ...golden.nm.config import ACTIVATION_BITS, NMConfig
from ..lib.base import Part
from ..lib.elements import ElementConfig, MultiplyAccumulate
from ..lib.emission import place

slot_layout = data.StructLayout({"step": 1, "first": 1, "last": 1})
"""What goes along with a slot: there is one; it is the first, the last of its weight group."""


class NMElement(Part[NMConfig]):
    """Processing element: an ``m``:1 selector before a multiplier with accumulator and result.

    With a slot, ``sum = (first ? 0 : accumulator) + x[index] * value`` goes to the accumulator,
    with the last one also to the result. With ``shift`` the result takes the one above. Without
    ``move`` everything holds.
    """

    def __init__(self, config: NMConfig):
        result = signed(config.accumulator_bits)
        super().__init__(
            config,
            {
                "move": In(1),
                "x": In(config.m * ACTIVATION_BITS),
                "value": In(signed(WEIGHT_BITS)),
                "index": In(range(config.m)),
                "control": In(slot_layout),
                "shift": In(1),
                "above": In(result),
                "result": Out(result),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control = self.control
        words = Array(self.x.word_select(i, ACTIVATION_BITS) for i in range(self.config.m))
        chosen = Value.cast(words[self.index]).as_signed()
        element = MultiplyAccumulate(
            ElementConfig(operand_bits=ACTIVATION_BITS, result_bits=self.config.accumulator_bits)
        )
        place(m, platform, "element", element, w=self.value, below=self.above)
        m.d.comb += [
            element.x.eq(chosen),
            element.control.enable.eq(self.move & control.step),
            element.control.first.eq(control.first),
            element.control.load.eq(self.move & control.step & control.last),
            element.control.pull.eq(self.move & self.shift),
            self.result.eq(element.result),
        ]
        return m


class NMCell(Part[NMConfig]):
    """``span`` x ``span`` processing elements between pipeline registers.

    Blocks of activations come from the west, slots and what goes along with them from the north;
    both go on a cycle later. Results move south, ``dequant_rows`` rows a ``shift``.
    """

    def __init__(self, config: NMConfig):
        span = config.span
        activations = span * config.m * ACTIVATION_BITS
        index_bits = config.m.bit_length() - 1
        sums = config.dequant_rows * span * config.accumulator_bits
        super().__init__(
            config,
            {
                "move": In(1),
                "x": In(activations),
                "x_east": Out(activations),
                "value": In(span * WEIGHT_BITS),
                "value_south": Out(span * WEIGHT_BITS),
                "index": In(span * index_bits),
                "index_south": Out(span * index_bits),
                "control": In(slot_layout),
                "control_south": Out(slot_layout),
                "shift": In(1),
                "above": In(sums),
                "below": Out(sums),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        with m.If(self.move):
            m.d.sync += [
                self.x_east.eq(self.x),
                self.value_south.eq(self.value),
                self.index_south.eq(self.index),
                self.control_south.eq(self.control),
            ]
        above: list[Value] = [
            self.above.word_select(i, config.accumulator_bits)
            for i in range(config.dequant_rows * config.span)
        ]
        for row in range(config.span):
            results = [
                self._element(m, platform, row, column, above[column])
                for column in range(config.span)
            ]
            above = [*above[config.span :], *results]
        m.d.comb += self.below.eq(Cat(above))
        return m

    def _element(self, m: Module, platform: object, row: int, column: int, above: Value) -> Value:
        """Place an element; its result."""
        config = self.config
        index_bits = config.m.bit_length() - 1
        element = NMElement(config)
        place(
            m,
            platform,
            f"element_{row}_{column}",
            element,
            move=self.move,
            x=self.x_east.word_select(row, config.m * ACTIVATION_BITS),
            value=self.value_south.word_select(column, WEIGHT_BITS),
            index=self.index_south.word_select(column, index_bits),
            control=self.control_south,
            shift=self.shift,
            above=above,
        )
        return element.result
