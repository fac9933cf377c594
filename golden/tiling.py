"""Tile order as data: the sequence of tiles and operand slices that covers a layer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tiling:
    """Tiles of a layer ``y[tokens, outputs] = x[tokens, K] @ w[outputs, K].T`` in run order.

    Token blocks of ``rows`` are the outer loop and output blocks of ``columns`` the inner one, so
    that a block of activations stays while the weights stream past. Every tile takes all of K.

    Attributes
    ----------
    tokens, outputs
        Extent of the layer.
    rows, columns
        Extent of the array; tiles at the edges are padded with zeros.
    """

    tokens: int
    outputs: int
    rows: int
    columns: int

    @property
    def token_blocks(self) -> int:
        """Blocks of ``rows`` tokens."""
        return -(-self.tokens // self.rows)

    @property
    def output_blocks(self) -> int:
        """Blocks of ``columns`` outputs."""
        return -(-self.outputs // self.columns)

    def __len__(self) -> int:
        return self.token_blocks * self.output_blocks

    @property
    def order(self) -> NDArray[np.int64]:
        """``(tiles, 2)``: token block and output block of each tile."""
        blocks = np.indices((self.token_blocks, self.output_blocks)).reshape(2, -1)
        return blocks.T.astype(np.int64)

    @property
    def utilisation(self) -> float:
        """Share of the array's PEs that hold a real token and output, over all tiles."""
        padded = self.token_blocks * self.rows * self.output_blocks * self.columns
        return self.tokens * self.outputs / padded

    def blocks_of_tokens(self, matrix: NDArray) -> NDArray:
        """``(tokens, n)`` to ``(token_blocks, rows, n)``, padded with zeros."""
        return _blocks(matrix, self.token_blocks, self.rows)

    def blocks_of_outputs(self, matrix: NDArray) -> NDArray:
        """``(outputs, n)`` to ``(output_blocks, columns, n)``, padded with zeros."""
        return _blocks(matrix, self.output_blocks, self.columns)

    def split_result(self, y: NDArray) -> NDArray:
        """``(tokens, outputs)`` to ``(tiles, rows, columns)`` in run order, padded with zeros."""
        padded = np.zeros(
            (self.token_blocks * self.rows, self.output_blocks * self.columns), y.dtype
        )
        padded[: self.tokens, : self.outputs] = y
        grid = padded.reshape(self.token_blocks, self.rows, self.output_blocks, self.columns)
        return grid.transpose(0, 2, 1, 3).reshape(len(self), self.rows, self.columns)

    def join_result(self, tiles: NDArray) -> NDArray:
        """Inverse of :meth:`split_result`, padding removed."""
        grid = tiles.reshape(self.token_blocks, self.output_blocks, self.rows, self.columns)
        padded = grid.transpose(0, 2, 1, 3).reshape(self.token_blocks * self.rows, -1)
        return padded[: self.tokens, : self.outputs]


def _blocks(matrix: NDArray, blocks: int, size: int) -> NDArray:
    padded = np.zeros((blocks * size, matrix.shape[1]), matrix.dtype)
    padded[: len(matrix)] = matrix
    return padded.reshape(blocks, size, matrix.shape[1])
