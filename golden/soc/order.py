"""In which order a core takes blocks and runs tiles: the loops over a layer."""

from collections.abc import Iterator
from dataclasses import dataclass

from .config import SIDES


@dataclass(frozen=True)
class Load:
    """A block of one side, that is a packet for each of the side's ports.

    Attributes
    ----------
    side
        ``tokens`` or ``outputs``.
    group
        How many groups of this side were begun before, those of earlier sweeps included.
    place
        Place in the group, which the packet's header names.
    block
        Block of the layer.
    final
        Whether it completes its group.
    """

    side: str
    group: int
    place: int
    block: int
    final: bool


@dataclass(frozen=True)
class Pass:
    """Tiles of a group of blocks of tokens and one of outputs, run without a pause.

    Attributes
    ----------
    tokens, outputs
        Blocks of the layer.
    groups
        Number of the group of each side, counted as :attr:`Load.group`.
    released
        Sides whose half of the buffers is free afterwards.
    """

    tokens: range
    outputs: range
    groups: dict[str, int]
    released: tuple[str, ...]

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """Block of tokens and of outputs of each tile in run order."""
        return [(token, output) for token in self.tokens for output in self.outputs]


@dataclass(frozen=True)
class Loops:
    """The loops over a layer.

    Blocks are taken in groups that fill a half of the buffers. Groups of the side that stays are
    the outer loop; for each of them all groups of the other side pass. Within a pass the order
    of tiles is that of :class:`nibbleforge.golden.contract.tiling.Tiling`.

    Attributes
    ----------
    tokens, outputs
        Blocks of the layer.
    token_room, output_room
        Blocks that a half of the buffers holds.
    outputs_stay
        Which side is the outer loop.
    """

    tokens: int
    outputs: int
    token_room: int
    output_room: int
    outputs_stay: bool = False

    @property
    def outer(self) -> str:
        """The side that stays."""
        return SIDES[self.outputs_stay]

    @property
    def inner(self) -> str:
        """The side that passes."""
        return SIDES[not self.outputs_stay]

    def groups(self, side: str) -> list[range]:
        """Blocks of each group of a side."""
        blocks = self.tokens if side == "tokens" else self.outputs
        room = self.token_room if side == "tokens" else self.output_room
        return [range(i, min(i + room, blocks)) for i in range(0, blocks, room)]

    def passes(self) -> list[Pass]:
        """Every pass in run order."""
        found, inner = [], self.groups(self.inner)
        for i, stays in enumerate(self.groups(self.outer)):
            for j, goes in enumerate(inner):
                blocks = {self.outer: stays, self.inner: goes}
                groups = {self.outer: i, self.inner: i * len(inner) + j}
                over = (self.outer,) if j == len(inner) - 1 else ()
                found.append(Pass(blocks["tokens"], blocks["outputs"], groups, (self.inner, *over)))
        return found

    def loads(self) -> Iterator[Load]:
        """Blocks in the order in which they pass the bus.

        A group that stays comes while the groups before it pass, spread evenly between them.
        """
        outer, inner = self.groups(self.outer), self.groups(self.inner)
        yield from _loads(self.outer, 0, outer[0], outer[0])
        for i in range(len(outer)):
            ahead = outer[i + 1] if i + 1 < len(outer) else range(0)
            for j, goes in enumerate(inner):
                yield from _loads(self.inner, i * len(inner) + j, goes, goes)
                first, end = (len(ahead) * k // len(inner) for k in (j, j + 1))
                yield from _loads(self.outer, i + 1, ahead, ahead[first:end])


def _loads(side: str, group: int, blocks: range, some: range) -> Iterator[Load]:
    """Some blocks of a group."""
    for block in some:
        place = block - blocks[0]
        yield Load(side, group, place, block, place == len(blocks) - 1)
