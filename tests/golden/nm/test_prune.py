import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.arithmetic.quantise import quantise_weights
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.nm import prune as nm_prune
from nibbleforge.golden.nm.format import quantise_sparse, slots
from nibbleforge.golden.nm.pattern import BLOCKS, Pattern
from nibbleforge.golden.nm.prune import (
    METHODS,
    Calibration,
    Grid,
    inverse_factor,
    prune,
    second_order,
)

PATTERNS = [Pattern(n, m) for m in BLOCKS for n in range(1, m + 1)]
two_of_four = Pattern(2, 4)


def refuses(sentence, function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert str(error.value) == sentence


def correlated(rng, tokens, in_features):
    """Inputs of which each depends on others and some are far larger, as in an LLM."""
    mix = rng.normal(size=(in_features, in_features)) / np.sqrt(in_features)
    return rng.normal(size=(tokens, in_features)) @ mix * np.exp(rng.normal(size=in_features))


def calibrated(*pieces, gram=True):
    calibration = Calibration.empty(pieces[0].shape[1], gram)
    for piece in pieces:
        calibration.add(piece)
    return calibration


def error_of(w, pruned, x):
    """What pruning changes in the outputs: ||(w - w') X||^2."""
    return np.square((w - pruned.weights) @ x.T).sum()


# --- calibration ----------------------------------------------------------------------------------


def test_calibration_adds_up():
    x = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
    whole, pieces = calibrated(x), calibrated(x[:7], x[7:8], x[8:])
    assert pieces.tokens == 30
    np.testing.assert_allclose(pieces.gram, x.astype(np.float64).T @ x.astype(np.float64))
    np.testing.assert_allclose(pieces.squared_norms, whole.squared_norms)
    np.testing.assert_allclose(np.diag(whole.gram), whole.squared_norms)
    assert calibrated(x, gram=False).gram is None
    refuses("activations must have 6 in_features, got 5.", whole.add, x[:, :5])


# --- masks ----------------------------------------------------------------------------------------


def slow_mask(scores, pattern):
    """A weight survives if fewer than N of its block beat it."""
    keep = np.zeros(scores.shape, bool)
    for row, column in np.ndindex(scores.shape):
        start = column - column % pattern.m
        block = scores[row, start : start + pattern.m]
        beaten_by = sum(s > scores[row, column] for s in block)
        beaten_by += sum(s == scores[row, column] for s in block[: column - start])
        keep[row, column] = beaten_by < pattern.n
    return keep


@given(
    st.sampled_from(PATTERNS),
    st.integers(1, 40),
    st.integers(0, 2**32),
    st.sampled_from(["magnitude", "wanda"]),
)
def test_masks_like_the_slow_model(pattern, in_features, seed, method):
    """Few different numbers, so that there are ties."""
    rng = np.random.default_rng(seed)
    w = rng.integers(-3, 4, (3, in_features)) * 0.25
    x = rng.integers(-2, 3, (4, in_features)) * 1.0
    scores = np.abs(w)
    if method == "wanda":
        scores = scores * np.sqrt(np.square(x).sum(axis=0))
    pruned = prune(w, pattern, method, calibrated(x, gram=False))
    assert np.array_equal(pruned.keep, slow_mask(scores, pattern))
    assert np.array_equal(pruned.weights, np.where(pruned.keep, w, 0))
    assert pruned.weights.dtype == np.float32


def test_in_parts_as_in_one_piece(monkeypatch):
    w = np.random.default_rng(1).normal(size=(9, 20))
    whole = prune(w, two_of_four).keep
    monkeypatch.setattr(nm_prune, "_SCORES_AT_ONCE", 50)
    assert np.array_equal(prune(w, two_of_four).keep, whole)


def test_wanda_by_hand():
    """|w| * ||x|| is 6, 2, 4, 3: the input counts, not the weight alone."""
    w, x = np.array([[-2, 2, 1, 3.0]]), np.array([[3, 1, 0, 1.0], [0, 0, 4, 0]])
    assert prune(w, two_of_four).keep.tolist() == [[True, False, False, True]]
    assert prune(w, two_of_four, "wanda", calibrated(x)).keep.tolist() == [
        [True, False, True, False]
    ]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_as_many_survive_as_there_are_slots(pattern, method):
    """Padding is never preferred to a weight, though it be 0; dead inputs are among them."""
    rng = np.random.default_rng(1)
    for in_features in (1, 21, 131):
        w, x = rng.normal(size=(5, in_features)), rng.normal(size=(9, in_features))
        w[0], w[:, -1], x[:, -2:] = 0, 0, 0
        pruned = prune(w, pattern, method, calibrated(x))
        starts = np.arange(0, in_features, pattern.m)
        survivors = np.add.reduceat(pruned.keep.astype(int), starts, axis=1)
        sizes = np.minimum(pattern.m, in_features - starts)
        assert np.array_equal(survivors, np.tile(np.minimum(sizes, pattern.n), (5, 1)))
        assert not pruned.weights[~pruned.keep].any()
        sparse = quantise_sparse(pruned.weights, pruned.keep)
        slots(sparse.weights.q, sparse.keep, pattern)  # takes them


@pytest.mark.parametrize("method", METHODS)
def test_dense_changes_nothing(method):
    rng = np.random.default_rng(1)
    w, x = rng.normal(size=(4, 30)).astype(np.float32), rng.normal(size=(50, 30))
    pruned = prune(w, Pattern(8, 8), method, calibrated(x))
    assert pruned.keep.all()
    assert np.array_equal(pruned.weights, w)


# --- second order, by least squares ---------------------------------------------------------------


def damped(x, damping):
    """Inputs whose gram matrix is the damped one."""
    mean = np.square(x).sum(axis=0).mean()
    return np.concatenate([x, np.sqrt(damping * mean) * np.eye(x.shape[1])])


def compensated(x, j):
    """What columns after j best add to make up for column j, and the squared error left of it."""
    later, *_ = np.linalg.lstsq(x[:, j + 1 :], x[:, j], rcond=None)
    return later, np.square(x[:, j] - x[:, j + 1 :] @ later).sum()


def slow_second_order(w, x, pattern):
    """One row, one weight at a time; scores and updates by least squares."""
    rest, keep = w.copy(), np.ones(len(w), bool)
    for start in range(0, len(w), pattern.m):
        block = range(start, min(start + pattern.m, len(w)))
        rises = [rest[j] ** 2 * compensated(x, j)[1] for j in block]
        for j in sorted(block, key=lambda j: -rises[j - start])[pattern.n :]:
            keep[j] = False
        for j in block:
            if not keep[j]:
                rest[j + 1 :] += rest[j] * compensated(x, j)[0]
                rest[j] = 0
    return rest, keep


@pytest.mark.parametrize(
    "pattern", [Pattern(1, 4), Pattern(2, 4), Pattern(5, 8), Pattern(3, 16)], ids=str
)
@pytest.mark.parametrize("columns", [16, 128])
def test_second_order_by_least_squares(pattern, columns, monkeypatch):
    monkeypatch.setattr(nm_prune, "COLUMNS", columns)
    rng = np.random.default_rng(1)
    w, x = rng.normal(size=(4, 37)), correlated(rng, 60, 37)
    for damping in (0, 0.01):
        pruned = prune(w, pattern, "second-order", calibrated(x), damping)
        for row in range(len(w)):
            rest, keep = slow_second_order(w[row], damped(x, damping), pattern)
            assert pruned.keep[row].tolist() == keep.tolist()
            np.testing.assert_allclose(pruned.weights[row], rest, rtol=1e-4, atol=1e-6)


def slow_rounding(w, x, keep, grid):
    """One row, one weight at a time: kept ones to the nearest multiple of their group's scale."""
    rest, most = w.copy(), 2 ** (grid.bits - 1) - 1
    for j in range(len(w)):
        if j % grid.group == 0:
            scale = float(np.float16(np.abs(rest[j : j + grid.group]).max() / most))
        settled = min(max(round(rest[j] / scale), -most), most) * scale if keep[j] else 0
        rest[j + 1 :] += (rest[j] - settled) * compensated(x, j)[0]
        rest[j] = settled
    return rest


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("pattern", [Pattern(2, 4), Pattern(4, 4)], ids=str)
def test_rounding_is_made_up_for_by_least_squares(pattern, bits):
    rng = np.random.default_rng(bits)
    w, x = rng.normal(size=(4, 45)).astype(np.float32), correlated(rng, 80, 45)
    factor, grid = inverse_factor(calibrated(x)), Grid(bits, 16)
    found = second_order(w, pattern, factor, grid)
    for row in range(len(w)):
        expected = slow_rounding(w[row].astype(float), damped(x, 0.01), found.keep[row], grid)
        np.testing.assert_allclose(found.weights[row], expected, rtol=1e-4, atol=1e-6)
    if pattern.n == pattern.m and bits > 2:  # with three values it is chance
        nearest = quantise_weights(w, "group", 16, bits=bits).dequantise()
        assert error_of(w, found, x) < np.square((w - nearest) @ x.T).sum()


def test_scales_that_overflow():
    w, x = np.full((2, 8), 1e6, np.float32), np.eye(8)
    sentence = "the scales of weights must fit FP16 (at most 65504), got 333333."
    factor = inverse_factor(calibrated(x))
    refuses(sentence, second_order, w, two_of_four, factor, Grid(3, 4))


def test_one_weight_by_optimal_brain_surgeon():
    """Pruning the first of a row: no other change of the survivors gives a smaller error.

    The closed form: w - w_0 / [H^-1]_00 * [H^-1]_:0 and a rise of w_0^2 / [H^-1]_00.
    """
    rng = np.random.default_rng(1)
    x = correlated(rng, 40, 4)
    w = np.array([[1e-3, 2, -1, 3]])
    pruned = prune(w, Pattern(3, 4), "second-order", calibrated(x), damping=0)
    assert pruned.keep.tolist() == [[False, True, True, True]]
    inverse = np.linalg.inv(x.T @ x)
    closed = w[0] - w[0, 0] / inverse[0, 0] * inverse[:, 0]
    np.testing.assert_allclose(pruned.weights[0, 1:], closed[1:], rtol=1e-6)
    assert error_of(w, pruned, x) == pytest.approx(w[0, 0] ** 2 / inverse[0, 0], rel=1e-2)


def test_factor_of_the_inverse():
    x = correlated(np.random.default_rng(1), 60, 20).astype(np.float32).astype(np.float64)
    upper = inverse_factor(calibrated(x), 0.01).upper
    aware = damped(x, 0.01)
    np.testing.assert_allclose(upper.T @ upper, np.linalg.inv(aware.T @ aware), rtol=1e-8)
    assert not np.tril(upper, -1).any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pattern", [Pattern(2, 4), Pattern(4, 8), Pattern(4, 16)], ids=str)
def test_each_method_beats_the_one_before(pattern, seed):
    rng = np.random.default_rng(seed)
    w, x = rng.normal(size=(32, 96)), correlated(rng, 400, 96)
    errors = [error_of(w, prune(w, pattern, method, calibrated(x)), x) for method in METHODS]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.7 * errors[0]


def test_dead_inputs():
    """Their weights go first, and leave the others as if they were not there."""
    rng = np.random.default_rng(1)
    w, x = rng.normal(size=(6, 24)), correlated(rng, 100, 24)
    dead = np.zeros(24, bool)
    dead[[0, 5, 6, 14]] = True
    x[:, dead] = 0
    pruned = prune(w, two_of_four, "second-order", calibrated(x), 0)
    assert not pruned.keep[:, dead].any()
    rises = [slow_second_order(row, damped_where(x, dead), two_of_four) for row in w]
    for found, (rest, _) in zip(pruned.weights, rises, strict=True):
        np.testing.assert_allclose(found[~dead], rest[~dead], rtol=1e-4, atol=1e-6)
    nothing = prune(w, two_of_four, "second-order", calibrated(np.zeros((3, 24))))
    assert not nothing.weights.any()
    assert nothing.keep.sum() == 6 * 12


def damped_where(x, dead):
    """Inputs to which the dead ones add a little of their own: then least squares has an answer."""
    return np.concatenate([x, 1e-9 * np.diag(dead.astype(float))])


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("best",), "the method must be one of magnitude, wanda, second-order, got 'best'."),
        (("wanda",), "wanda needs a calibration with at least one token."),
        (("wanda", Calibration.empty(4)), "wanda needs a calibration with at least one token."),
        (
            ("wanda", calibrated(np.ones((1, 5)))),
            "the calibration must be of 4 in_features, got 5.",
        ),
        (
            ("second-order", calibrated(np.ones((1, 4)), gram=False)),
            "second-order pruning needs a calibration with gram matrix.",
        ),
        (
            ("second-order", calibrated(np.ones((1, 4))), -1),
            "damping must be at least 0 and finite, got -1.",
        ),
        (
            ("second-order", calibrated(np.ones((1, 4))), 0),
            "the gram matrix must not be singular: raise the damping above 0 or calibrate with"
            " more tokens.",
        ),
    ],
)
def test_bad_input(arguments, sentence):
    refuses(sentence, prune, np.ones((1, 4)), two_of_four, *arguments)


def test_bad_weights():
    refuses(
        "weights to be pruned must be floating point, got int8.",
        prune,
        np.ones((1, 4), np.int8),
        two_of_four,
    )
    refuses(
        "weights must be finite, got nan in row 0, column 1.",
        prune,
        np.array([[1, np.nan]]),
        two_of_four,
    )
