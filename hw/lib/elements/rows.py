"""Rows of elements that share activations, and what the elements of a column share."""

from typing import Any

from amaranth.hdl import Cat, Module, ShapeLike, Value, unsigned

from ....golden.contract.elements import Tree
from ..emission import place
from .choices import TreeConfig, WeightChoices, choices_layout
from .element import ElementConfig, MultiplyAccumulate
from .packed import PackedConfig, PackedProducts, pack_weights
from .tree import DotProducts


class RowElements:
    """The C elements of a row: each multiplies, or adds up what one tree for all gives.

    Parameters
    ----------
    element
        The element that multiplies.
    columns
        How many there are (C).
    tree
        How products are added up.
    """

    def __init__(self, element: ElementConfig, columns: int, tree: Tree = "operators"):
        self.element = element
        self.columns = columns
        sums = {
            "operand_bits": element.operand_bits,
            "weight_bits": element.weight_bits,
            "lanes": element.lanes,
            "columns": columns,
        }
        self.tree = None
        self.packed = PackedConfig(**sums) if tree == "packed" else None
        if tree in ("carry_save", "pair_sums"):
            self.tree = TreeConfig(**sums, tree=tree)

    @property
    def weights(self) -> ShapeLike:
        """Shape of what a row takes for weights: these, their words, or what they choose."""
        if self.tree is not None:
            return choices_layout(self.tree)
        if self.packed is not None:
            return unsigned(self.columns * self.packed.weights.vector_bits)
        return unsigned(self.columns * self.element.lanes * self.element.weight_bits)

    def decode(self, m: Module, platform: object, w: Value) -> Value:
        """What rows take for these weights, of all columns, lanes innermost."""
        if self.tree is not None:
            choices = WeightChoices(self.tree)
            place(m, platform, "weight_choices", choices, w=w)
            return choices.choices
        if self.packed is not None:
            return pack_weights(m, platform, self.packed, w)
        return w

    def place(self, m: Module, platform: object, row: Any, x: Value) -> Value:
        """Put the elements into a row; their results, one after the other.

        Parameters
        ----------
        row
            The part: its ``w``, of shape :attr:`weights`, ``control`` and, if results are pulled,
            ``below`` go to the elements, a word each of the first and the last.
        x
            Activations of all lanes.
        """
        element, operands = self._operands(m, platform, row, x)
        results: list[Value] = []
        for column in range(self.columns):
            pe = MultiplyAccumulate(element)
            place(
                m,
                platform,
                f"pe_{column}",
                pe,
                control=row.control,
                **operands(column),
            )
            if element.pulls:
                m.d.comb += pe.below.eq(row.below.word_select(column, element.result_bits))
            results.append(pe.result)
        return Cat(results)

    def _operands(self, m: Module, platform: object, row: Any, x: Value) -> Any:
        """The element that a column has, and its operands."""
        element = self.element
        if self.tree is not None:
            dots = DotProducts(self.tree)
            place(m, platform, "dot_products", dots, x=x, choices=row.w)
            products = dots.products
        elif self.packed is not None:
            packed = PackedProducts(self.packed)
            place(m, platform, "packed_products", packed, x=x, words=row.w)
            products = packed.products
        else:
            size = element.lanes * element.weight_bits
            return element, lambda column: {"x": x, "w": row.w.word_select(column, size)}
        bits = element.product_bits
        adds = element.replace(operand_bits=bits, lanes=1, multiplies=False)
        return adds, lambda column: {"x": products.word_select(column, bits).as_signed()}
