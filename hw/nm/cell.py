"""Cells of the N:M array: processing elements between pipeline registers."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Module, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ...golden.contract.layer import WEIGHT_BITS
from ...golden.nm.config import ACTIVATION_BITS, NMConfig
from ..lib.adders import spread
from ..lib.base import Part
from ..lib.elements.choices import TreeConfig, WeightChoices
from ..lib.elements.element import ElementConfig, MultiplyAccumulate, control_layout, dot_bits
from ..lib.elements.tree import CarrySaveProducts
from ..lib.emission import place

slot_layout = data.StructLayout({"step": 1, "fresh": 1, "first": 1, "last": 1})
"""What goes along with a slot: there is one, it is a block's first one (``fresh``), the first, the
last of its weight group."""


def tree_of(config: NMConfig) -> TreeConfig:
    """The sums of a cell's row."""
    return TreeConfig(
        operand_bits=ACTIVATION_BITS,
        lanes=config.lanes,
        columns=config.span,
        tree="carry_save",
    )


class SelectedProducts(CarrySaveProducts[NMConfig]):
    """Sums of the products of what the slots of L lanes select, for each of ``span`` columns.

    ``selects`` has a vector for each place of a block, with a bit for each lane and column.
    """

    def __init__(self, config: NMConfig):
        slots = config.lanes * config.span
        ports = {
            "x": In(config.lanes * config.m * ACTIVATION_BITS),
            "selects": In(config.m * slots),
        }
        super().__init__(config, tree_of(config), ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, constant = self.digits(m, [self._chosen(m, i) for i in range(ACTIVATION_BITS)])
        self.add_up(m, bits, constant)
        return m

    def _chosen(self, m: Module, bit: int) -> Signal:
        """One bit of the activations that the slots select."""
        config = self.config
        chosen = Signal(config.lanes * config.span, name=f"x_{bit}")
        blocks = range(config.lanes)
        terms = []
        for index in range(config.m):
            places = [(lane * config.m + index) * ACTIVATION_BITS + bit for lane in blocks]
            vector = Cat(spread(self.x[i], config.span) for i in places)
            terms.append(vector & self.selects.word_select(index, len(chosen)))
        m.d.comb += chosen.eq(reduce(or_, terms))
        return chosen


class NMElement(Part[NMConfig]):
    """Processing element: an M:1 selector a lane, before multipliers, accumulator and result.

    With a slot, ``sum = (first ? 0 : accumulator) + sum of x[index] * value`` over all lanes.
    """

    def __init__(self, config: NMConfig):
        result = signed(config.accumulator_bits)
        super().__init__(
            config,
            {
                "x": In(config.lanes * config.m * ACTIVATION_BITS),
                "w": In(config.lanes * WEIGHT_BITS),
                "index": In(config.lanes * config.index_bits),
                "control": In(control_layout),
                "below": In(result),
                "result": Out(result),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        chosen = []
        for lane in range(config.lanes):
            block = self.x.word_select(lane, config.m * ACTIVATION_BITS)
            words = Array(block.word_select(i, ACTIVATION_BITS) for i in range(config.m))
            chosen.append(Value.cast(words[self.index.word_select(lane, config.index_bits)]))
        element = MultiplyAccumulate(
            ElementConfig(
                operand_bits=ACTIVATION_BITS,
                lanes=config.lanes,
                result_bits=config.accumulator_bits,
            )
        )
        place(m, platform, "element", element, control=self.control, below=self.below)
        m.d.comb += [
            element.x.eq(Cat(chosen)),
            element.w.eq(self.w),
            self.result.eq(element.result),
        ]
        return m


Elements = Sequence[Sequence[NMElement | MultiplyAccumulate]]
"""Those of a cell, row after row."""


class NMCell(Part[NMConfig]):
    """``span`` x ``span`` processing elements between pipeline registers.

    Blocks of activations come from the west, slots and what goes along with them from the north;
    both go on a cycle later. Results move south, ``dequant_rows`` rows a ``shift``. Without
    ``move`` all hold. Blocks hold but where a fresh one comes, values and indices but where there
    is a slot.
    """

    def __init__(self, config: NMConfig):
        span, lanes = config.span, config.lanes
        activations = span * lanes * config.m * ACTIVATION_BITS
        sums = config.dequant_rows * span * config.accumulator_bits
        super().__init__(
            config,
            {
                "move": In(1),
                "x": In(activations),
                "x_east": Out(activations),
                "value": In(span * lanes * WEIGHT_BITS),
                "value_south": Out(span * lanes * WEIGHT_BITS),
                "index": In(span * lanes * config.index_bits),
                "index_south": Out(span * lanes * config.index_bits),
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
            m.d.sync += self.control_south.eq(self.control)
        with m.If(self.move & self.control.fresh):
            m.d.sync += self.x_east.eq(self.x)
        with m.If(self.move & self.control.step):
            m.d.sync += [self.value_south.eq(self.value), self.index_south.eq(self.index)]
        control = Signal(control_layout, name="elements_control")
        slot = self.control_south
        m.d.comb += [
            control.enable.eq(self.move & slot.step),
            control.first.eq(slot.first),
            control.load.eq(self.move & slot.step & slot.last),
            control.pull.eq(self.move & self.shift),
        ]
        place_elements = self._select if config.tree == "operators" else self._add_up
        elements = place_elements(m, platform)
        above: list[Value] = [
            self.above.word_select(i, config.accumulator_bits)
            for i in range(config.dequant_rows * config.span)
        ]
        for row in elements:
            for element, result in zip(row, above, strict=False):
                m.d.comb += [element.control.eq(control), element.below.eq(result)]
            above = [*above[config.span :], *(element.result for element in row)]
        m.d.comb += self.below.eq(Cat(above))
        return m

    def _select(self, m: Module, platform: object) -> Elements:
        """Elements that select and multiply for themselves."""
        config = self.config
        values, indices = config.lanes * WEIGHT_BITS, config.lanes * config.index_bits
        elements = [[NMElement(config) for _ in range(config.span)] for _ in range(config.span)]
        for r, row in enumerate(elements):
            for c, element in enumerate(row):
                place(
                    m,
                    platform,
                    f"element_{r}_{c}",
                    element,
                    x=self._blocks(r),
                    w=self.value_south.word_select(c, values),
                    index=self.index_south.word_select(c, indices),
                )
        return elements

    def _add_up(self, m: Module, platform: object) -> Elements:
        """Elements that only accumulate what one tree a row gives."""
        config = self.config
        choices = WeightChoices(tree_of(config))
        place(m, platform, "weight_choices", choices, w=self.value_south)
        selects = self._one_hot(m)
        bits = dot_bits(ACTIVATION_BITS, WEIGHT_BITS, config.lanes)
        element = ElementConfig(
            operand_bits=bits, result_bits=config.accumulator_bits, multiplies=False
        )
        elements = []
        for r in range(config.span):
            sums = SelectedProducts(config)
            place(
                m,
                platform,
                f"products_{r}",
                sums,
                x=self._blocks(r),
                selects=selects,
                choices=choices.choices,
            )
            row = [MultiplyAccumulate(element) for _ in range(config.span)]
            for c, accumulate in enumerate(row):
                product = sums.products.word_select(c, bits).as_signed()
                place(m, platform, f"element_{r}_{c}", accumulate, x=product)
            elements.append(row)
        return elements

    def _one_hot(self, m: Module) -> Value:
        """Whether each place of a block is the one that a slot has: lanes, columns innermost."""
        config = self.config
        bits, lanes = config.index_bits, config.lanes
        indices = [
            self.index_south.word_select(column * lanes + lane, bits)
            for lane in range(lanes)
            for column in range(config.span)
        ]
        selects = Signal(config.m * len(indices))
        m.d.comb += selects.eq(Cat(i == place for place in range(config.m) for i in indices))
        return selects

    def _blocks(self, row: int) -> Value:
        """Blocks of all lanes of a row."""
        return self.x_east.word_select(row, self.config.lanes * self.config.m * ACTIVATION_BITS)
