"""Tile order as data: the sequence of tiles and operand slices that covers a layer."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tiling:
    """Tiles of a layer ``y[tokens, outputs] = x[tokens, K] @ w[outputs, K].T`` in run order.

    Token blocks of ``rows`` are the outer loop and output blocks of ``columns`` the inner one, so
    that a block of activations stays while the weights stream past. A tile takes all of K, or with
    weight groups one of them; then groups are the innermost loop.

    Attributes
    ----------
    tokens, outputs
        Extent of the layer.
    rows, columns
        Extent of the array; tiles at the edges are padded with zeros.
    groups
        Weight groups, equally long: blocks of tokens and of outputs are one group deep.
    """

    tokens: int
    outputs: int
    rows: int
    columns: int
    groups: int = 1

    @property
    def token_blocks(self) -> int:
        """Blocks of ``rows`` tokens and a weight group."""
        return -(-self.tokens // self.rows) * self.groups

    @property
    def output_blocks(self) -> int:
        """Blocks of ``columns`` outputs and a weight group."""
        return -(-self.outputs // self.columns) * self.groups

    def __len__(self) -> int:
        return self.token_blocks * self.output_blocks // self.groups

    @property
    def order(self) -> NDArray[np.int64]:
        """``(tiles, 2)``: token block and output block of each tile."""
        extent = (self.token_blocks // self.groups, self.output_blocks // self.groups, self.groups)
        token, output, group = np.indices(extent).reshape(3, -1)
        return np.stack([token, output], axis=1) * self.groups + group[:, None]

    @property
    def results(self) -> "Tiling":
        """Tiles of results: the same without weight groups."""
        return replace(self, groups=1)

    @property
    def utilisation(self) -> float:
        """Share of the array's PEs that hold a real token and output, over all tiles."""
        padded = len(self) // self.groups * self.rows * self.columns
        return self.tokens * self.outputs / padded

    def blocks_of_tokens(self, matrix: NDArray) -> NDArray:
        """``(tokens, n)`` to ``(token_blocks, rows, n / groups)``, padded with zeros."""
        return self._blocks(matrix, self.token_blocks, self.rows)

    def blocks_of_outputs(self, matrix: NDArray) -> NDArray:
        """``(outputs, n)`` to ``(output_blocks, columns, n / groups)``, padded with zeros."""
        return self._blocks(matrix, self.output_blocks, self.columns)

    def split_result(self, y: NDArray) -> NDArray:
        """Results to ``(tiles, rows, columns)`` in run order, padded with zeros.

        ``y`` is ``(tokens, outputs)``, or ``(groups, tokens, outputs)`` with weight groups.
        """
        tokens, outputs = self.token_blocks // self.groups, self.output_blocks // self.groups
        padded = np.zeros((self.groups, tokens * self.rows, outputs * self.columns), y.dtype)
        padded[:, : self.tokens, : self.outputs] = y
        grid = padded.reshape(self.groups, tokens, self.rows, outputs, self.columns)
        return grid.transpose(1, 3, 0, 2, 4).reshape(len(self), self.rows, self.columns)

    def join_result(self, tiles: NDArray) -> NDArray:
        """Inverse of :meth:`split_result` without weight groups, padding removed."""
        grid = tiles.reshape(self.token_blocks, self.output_blocks, self.rows, self.columns)
        padded = grid.transpose(0, 2, 1, 3).reshape(self.token_blocks * self.rows, -1)
        return padded[: self.tokens, : self.outputs]

    def _blocks(self, matrix: NDArray, blocks: int, size: int) -> NDArray:
        padded = np.zeros((blocks // self.groups * size, matrix.shape[1]), matrix.dtype)
        padded[: len(matrix)] = matrix
        deep = padded.reshape(blocks // self.groups, size, self.groups, -1)
        return deep.transpose(0, 2, 1, 3).reshape(blocks, size, -1)
