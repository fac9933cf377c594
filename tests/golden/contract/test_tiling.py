import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.contract.tiling import Tiling

extents = st.integers(1, 20)
tilings = st.builds(Tiling, extents, extents, st.integers(1, 9), st.integers(1, 9))


def matrix(rows, columns):
    """Every element tells where it stands; none is 0."""
    return np.arange(1, rows * columns + 1).reshape(rows, columns)


def element(array, row, column):
    """An element, or the 0 that pads the edges."""
    return array[row, column] if row < array.shape[0] and column < array.shape[1] else 0


def test_token_blocks_are_the_outer_loop():
    tiling = Tiling(tokens=5, outputs=7, rows=4, columns=3)
    assert tiling.order.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert (tiling.token_blocks, tiling.output_blocks, len(tiling)) == (2, 3, 6)
    assert tiling.utilisation == 5 * 7 / (8 * 9)


@given(tilings)
def test_every_output_belongs_to_one_tile(tiling):
    covered = np.zeros((tiling.tokens, tiling.outputs), int)
    for token, output in tiling.order:
        rows = slice(token * tiling.rows, (token + 1) * tiling.rows)
        columns = slice(output * tiling.columns, (output + 1) * tiling.columns)
        assert covered[rows, columns].size
        covered[rows, columns] += 1
    assert (covered == 1).all()
    assert len(tiling) == len(tiling.order)


@given(tilings)
def test_utilisation_counts_the_real_elements(tiling):
    ones = tiling.split_result(np.ones((tiling.tokens, tiling.outputs)))
    assert tiling.utilisation == pytest.approx(ones.mean())


@given(tilings)
def test_result_tiles(tiling):
    y = matrix(tiling.tokens, tiling.outputs)
    tiles = tiling.split_result(y)
    assert tiles.shape == (len(tiling), tiling.rows, tiling.columns)
    for tile, (token, output) in zip(tiles, tiling.order, strict=True):
        for r in range(tiling.rows):
            for c in range(tiling.columns):
                row, column = token * tiling.rows + r, output * tiling.columns + c
                assert tile[r, c] == element(y, row, column)
    assert tiling.join_result(tiles).tolist() == y.tolist()


@given(tilings, st.integers(1, 5))
def test_operand_blocks(tiling, features):
    x = matrix(tiling.tokens, features)
    blocks = tiling.blocks_of_tokens(x)
    assert blocks.shape == (tiling.token_blocks, tiling.rows, features)
    for (block, row, feature), value in np.ndenumerate(blocks):
        assert value == element(x, block * tiling.rows + row, feature)
    w = matrix(tiling.outputs, features)
    blocks = tiling.blocks_of_outputs(w)
    assert blocks.shape == (tiling.output_blocks, tiling.columns, features)
    for (block, column, feature), value in np.ndenumerate(blocks):
        assert value == element(w, block * tiling.columns + column, feature)


@given(tilings)
def test_blocks_multiply_to_tiles(tiling):
    """The product of the operand blocks of each tile is that tile of the product."""
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, (tiling.tokens, 3))
    w = rng.integers(-9, 9, (tiling.outputs, 3))
    left, right = tiling.blocks_of_tokens(x), tiling.blocks_of_outputs(w)
    tiles = np.array([left[token] @ right[output].T for token, output in tiling.order])
    assert tiling.join_result(tiles).tolist() == (x @ w.T).tolist()


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float32])
def test_types_are_kept(dtype):
    tiling = Tiling(3, 5, 2, 2)
    assert tiling.split_result(np.ones((3, 5), dtype)).dtype == dtype
    assert tiling.join_result(tiling.split_result(np.ones((3, 5), dtype))).dtype == dtype
    assert tiling.blocks_of_tokens(np.ones((3, 2), dtype)).dtype == dtype
    assert tiling.blocks_of_outputs(np.ones((5, 2), dtype)).dtype == dtype
