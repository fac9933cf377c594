"""Parameters of the processing elements that integer arrays share: lanes and adder trees."""

from typing import Literal, get_args

from .errors import UserError

Tree = Literal["operators", "carry_save", "pair_sums", "packed"]
"""How an element adds up the products of its lanes.

``operators``: ``*`` and ``+``, left to synthesis, as DSP blocks want it. ``carry_save``: Booth
digits of the weights, a tree of full adders. ``pair_sums``: two lanes give ``0, x0, x1`` or
``x0 + x1`` for each bit of their weights; the sum is formed once a row; then full adders.
``packed``: a word of 64 bits holds the operands of several lanes, and one multiplication of words
adds up their products; for simulations, since a processor has such a multiplier.
"""

TREES: tuple[Tree, ...] = get_args(Tree)
"""All of them."""


def check_tree(tree: Tree, lanes: int) -> None:
    """Refuse pairs of lanes where one is left over."""
    if tree == "pair_sums" and lanes % 2:
        raise UserError(f"lanes must be even with tree pair_sums, got {lanes}.")


def check_lanes(lanes: int, weight_group: int) -> None:
    """Refuse lanes that a weight group does not fill."""
    if weight_group % lanes:
        raise UserError(
            f"lanes must divide weight_group, got lanes {lanes}, weight_group {weight_group}."
        )
