from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.reglu import predictor as reglu_predictor
from nibbleforge.golden.reglu.ffn import quantise_ffn
from nibbleforge.golden.reglu.file import load, save
from nibbleforge.golden.reglu.predictor import Predictor, SignPredictor, build, construct, factors
from nibbleforge.golden.reglu.quality import quality
from nibbleforge.golden.reglu.thresholds import ALWAYS


def refuses(sentence, function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert str(error.value) == sentence


def sample(seed=1, d=32, D=96, tokens=400):
    """An FFN most of whose gates are negative, and inputs of which few directions are strong."""
    rng = np.random.default_rng(seed)
    mix = np.linalg.qr(rng.normal(size=(d, d)))[0] * 0.75 ** np.arange(d)
    x = (rng.normal(size=(tokens, d)) @ mix.T + 0.3).astype(np.float32)
    gate, up = rng.normal(size=(2, D, d)) / np.sqrt(d)
    gate -= 0.05 * np.exp(rng.normal(size=(D, 1)))
    down = rng.normal(size=(d, D)) / np.sqrt(D)
    weights = tuple(w.astype(np.float32) for w in (gate, up, down))
    return weights, x, quantise_ffn(*weights, x)


# --- construction ---------------------------------------------------------------------------------


def whitened(w, x, rank):
    """The paper's: whiten with the Cholesky factor of X1^T X1, truncate, and go back."""
    lower = np.linalg.cholesky(x.T @ x)
    u, s, vt = np.linalg.svd(w @ lower, full_matrices=False)
    return u[:, :rank] * s[:rank] @ np.linalg.solve(lower.T, vt[:rank].T).T


@pytest.mark.parametrize("rank", [1, 5, 20])
@pytest.mark.parametrize("shape", [(96, 20), (12, 20)], ids=["wide", "narrow"])
def test_the_product_is_that_of_the_paper(shape, rank):
    rng = np.random.default_rng(1)
    w, x = rng.normal(size=shape), rng.normal(size=(3000, 20)) * np.exp(rng.normal(size=20))
    w, x = (array.astype(np.float32) for array in (w, x))
    rank = min(rank, *shape)
    a, b = factors(w, x, rank)
    expected = whitened(w.astype(np.float64), x.astype(np.float64), rank)
    np.testing.assert_allclose(b @ a, expected, atol=1e-9)
    np.testing.assert_allclose(a @ x.T @ x @ a.T, np.eye(rank), atol=1e-6)


def test_the_product_by_definition():
    """From the svd of W X1^T itself; the best approximation there is, of any of that rank."""
    rng = np.random.default_rng(1)
    w, x = rng.normal(size=(30, 12)), rng.normal(size=(50, 12))
    w, x = (array.astype(np.float32).astype(np.float64) for array in (w, x))
    u, s, _ = np.linalg.svd(w @ x.T)
    a, b = factors(w, x, 4)
    np.testing.assert_allclose(b @ a, u[:, :4] @ u[:, :4].T @ w, atol=1e-12)
    error = np.square((b @ a - w) @ x.T).sum()
    assert error == pytest.approx(np.square(s[4:]).sum())
    largest = b[np.abs(b).argmax(axis=0), range(4)]
    assert (largest > 0).all()


def test_rank_that_calibration_supports():
    """Few tokens, or inputs without variety: the sentence names the possible rank."""
    (gate, _, _), x, _ = sample()
    sentence = (
        "the rank must be in 1..{}, which is what these {} calibration tokens and the gate"
        " support, got {}."
    )
    refuses(sentence.format(5, 5, 6), factors, gate, x[:5], 6)
    refuses(sentence.format(32, 400, 33), factors, gate, x, 33)
    refuses(sentence.format(32, 400, 0), factors, gate, x, 0)
    x = np.rint(64 * x) / 64  # sums and differences are exact
    twice = np.concatenate([x[:7], 2 * x[:7], x[:7] - x[1]])
    refuses(sentence.format(7, 21, 8), factors, gate, twice, 8)
    assert factors(gate, x[:5], 5).a.shape == (5, 32)
    nothing = "all gates are 0 on these 400 calibration tokens: no rank is possible."
    refuses(nothing, factors, 0 * gate, x, 1)


def test_many_tokens_in_parts(monkeypatch):
    (gate, _, _), x, _ = sample(tokens=3000)
    monkeypatch.setattr(reglu_predictor, "parts", lambda x, tokens: [x])
    a, b = factors(gate, x, 6)
    monkeypatch.undo()
    again = factors(gate, x, 6)
    np.testing.assert_allclose(again.a, a, atol=1e-12)
    np.testing.assert_allclose(again.b, b, atol=1e-9)


# --- prediction in Python's integers --------------------------------------------------------------


def slow_scores(predictor, x):
    """One token."""
    z8 = []
    for row, mult, shift in zip(predictor.a_q.tolist(), *predictor.to_z8, strict=True):
        z = sum(a * b for a, b in zip(row, x, strict=True))
        z8.append(min(max((z * int(mult) + (1 << (int(shift) - 1))) >> int(shift), -128), 127))
    return [sum(a * b for a, b in zip(row, z8, strict=True)) for row in predictor.b_q.tolist()]


@given(st.integers(0, 2**32), st.integers(1, 8), st.sampled_from([1, 10, 128]))
def test_like_the_slow_model(seed, rank, size):
    """Inputs beyond the calibrated range, so that z8 saturates."""
    weights, x, ffn = sample(seed, d=8, D=9, tokens=20)
    predictor, thresholds = build(ffn, weights, x, x, rank, 0.7)
    x_q = np.random.default_rng(seed).integers(-size, size, (4, 8)).astype(np.int8)
    slow = [slow_scores(predictor, token) for token in x_q.tolist()]
    assert predictor.scores(x_q).tolist() == slow
    expected = [[p > t for p, t in zip(row, thresholds.values, strict=True)] for row in slow]
    assert predictor.predict(x_q).tolist() == expected


def test_the_integers_approximate_the_gate():
    """But for quantisation, the estimate is the projected gate; z8 just reaches its limit."""
    weights, x, ffn = sample(tokens=2000)
    predictor = construct(ffn, weights[0], x[:1000], x[1000:], 12)
    a, b = factors(weights[0], x[:1000], 12)
    x_q = ffn.take(x[1000:])
    exact = x[1000:] @ (b @ a).T
    assert np.abs(predictor.estimate(x_q) - exact).max() < 0.05 * np.abs(exact).max()
    assert np.abs(predictor.hidden(x_q).astype(int)).max() == 127
    step = predictor.b_scale[:, None]
    assert (np.abs(predictor.b_q * step - b) <= 0.5001 * step).all()


def test_zero_rows():
    """A dead neuron, and inputs that are all 0."""
    (gate, up, down), x, _ = sample()
    gate[3] = 0
    ffn = quantise_ffn(gate, up, down, x)
    predictor, _ = build(ffn, (gate, up, down), x, x, 8, 0.5)
    assert not predictor.b_q[3].any()
    silent = construct(ffn, gate, x, 0 * x, 8)
    assert not silent.hidden(ffn.take(x)).any()
    assert not silent.to_z8.mult.any()


# --- thresholds -----------------------------------------------------------------------------------


def test_hardware_drops_what_calibration_dropped():
    weights, x, ffn = sample(tokens=600)
    predictor, thresholds = build(ffn, weights, x[:300], x[300:], 8, 0.7)
    mask = predictor.predict(ffn.take(x[300:]))
    natural = (np.maximum(x[300:] @ weights[0].T, 0) == 0).mean()
    assert predictor.info.natural_sparsity == pytest.approx(natural)
    assert thresholds.target == predictor.info.target == pytest.approx(0.7 * natural)
    assert 1 - mask.mean() == pytest.approx(thresholds.reached)
    assert thresholds.target <= thresholds.reached < thresholds.target + 0.01


def test_nothing_to_drop():
    weights, x, ffn = sample()
    predictor, _ = build(ffn, weights, x, x, 8, 0)
    assert (predictor.thresholds == ALWAYS).all()
    assert predictor.predict(ffn.take(x)).all()


def test_double_relu_lets_more_be_dropped():
    weights, x, ffn = sample()
    single, double = (build(ffn, weights, x, x, 8, 0.5, relu)[0].info for relu in (False, True))
    assert double.natural_sparsity > single.natural_sparsity + 0.05
    assert double.reached > single.reached


def test_missing_thresholds(tmp_path):
    weights, x, ffn = sample()
    predictor = construct(ffn, weights[0], x, x, 8)
    refuses("the predictor has no thresholds: calibrate it first.", predictor.predict, ffn.take(x))
    refuses(
        "the predictor has no thresholds: calibrate it before saving it.",
        save,
        predictor,
        tmp_path / "p.npz",
    )
    assert not (tmp_path / "p.npz").exists()


# --- what quality depends on ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_higher_rank_predicts_better(seed):
    weights, x, ffn = sample(seed, tokens=1500)
    found = []
    for rank in (1, 4, 16):
        predictor, _ = build(ffn, weights, x[:500], x[500:1000], rank, 0.8)
        found.append(quality(ffn, predictor, ffn.take(x[1000:])))
    assert found[0].auc < found[1].auc < found[2].auc
    assert found[0].error > found[1].error > found[2].error
    assert found[2].recall > 0.98


@pytest.mark.parametrize("seed", range(3))
def test_thresholds_of_their_own_are_better(seed):
    """Than one threshold on the approximated gate for all neurons that drops as many."""
    weights, x, ffn = sample(seed, tokens=1500)
    predictor, _ = build(ffn, weights, x[:500], x[500:1000], 3, 0.8)
    x2_q, x_q = ffn.take(x[500:1000]), ffn.take(x[1000:])
    scale = predictor.b_scale * predictor.info.z_scale
    common = np.quantile(predictor.estimate(x2_q), 1 - predictor.predict(x2_q).mean())
    alike = replace(predictor, thresholds=np.floor(common / scale).astype(np.int32))
    own, other = quality(ffn, predictor, x_q), quality(ffn, alike, x_q)
    assert own.dropped == pytest.approx(other.dropped, abs=0.03)
    assert own.error < other.error


# --- signs ----------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(0, 600))
def test_signs_by_counting(seed, d, conservativeness):
    rng = np.random.default_rng(seed)
    gate, x = rng.integers(-2, 3, (7, d)), rng.integers(-2, 3, (5, d)).astype(np.int8)
    mask = SignPredictor(gate < 0, conservativeness).predict(x)
    for token, neuron in np.ndindex(mask.shape):
        negatives = sum((a < 0) != (b < 0) for a, b in zip(x[token], gate[neuron], strict=True))
        positives = d - negatives
        assert mask[token, neuron] == (conservativeness * positives >= 256 * negatives)


def test_signs_are_worth_something():
    _, x, ffn = sample()
    x_q = ffn.take(x)
    found = [quality(ffn, SignPredictor.of(ffn, c), x_q) for c in (200, 256, 320)]
    assert found[0].recall < found[1].recall < found[2].recall
    assert found[0].dropped > found[1].dropped > found[2].dropped
    assert found[1].auc > 0.7
    refuses("the conservativeness must be at least 0, got -1.", SignPredictor.of, ffn, -1)


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    weights, x, ffn = sample()
    predictor, _ = build(ffn, weights, x, x, 8, 0.7)
    save(predictor, tmp_path / "p.npz")
    return predictor, tmp_path / "p.npz", ffn.take(x)


def test_what_is_saved_is_loaded(stored, tmp_path):
    predictor, path, x_q = stored
    again = load(path)
    assert isinstance(again, Predictor)
    assert again.info == predictor.info
    assert np.array_equal(again.predict(x_q), predictor.predict(x_q))
    assert np.array_equal(again.estimate(x_q), predictor.estimate(x_q))
    save(again, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def changed(path, **changes):
    with np.load(path) as archive:
        arrays = dict(archive) | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"a_q": None}, "{} is not a predictor: it has no array 'a_q'."),
        ({"info": None}, "{} is not a predictor: it has no array 'info'."),
        ({"info": np.array("{")}, "{} is not a predictor: its 'info' is not JSON."),
        ({"info": np.array(9999 * "[")}, "{} is not a predictor: its 'info' is not JSON."),
        ({"info": np.zeros(3)}, "{} is not a predictor: its 'info' is not JSON."),
        (
            {"info": np.array('{"rank": 1}')},
            "{} is not a predictor that can be read: features is required.",
        ),
        (
            {"b_q": np.zeros((95, 8), np.int8)},
            "array 'b_q' of {} must be int8 (96, 8), got int8 (95, 8).",
        ),
        (
            {"thresholds": np.zeros(96)},
            "array 'thresholds' of {} must be int32 (96,), got float64 (96,).",
        ),
        ({"z_shift": np.arange(8, dtype=np.uint8)}, "the shifts in {} must be in 1..47, got 0..7."),
    ],
)
def test_files_that_are_not_predictors(stored, changes, sentence):
    path = changed(stored[1], **changes)
    refuses(sentence.format(path), load, path)


def test_files_that_cannot_be_read(stored, tmp_path):
    predictor, path, _ = stored
    refuses(f"{tmp_path / 'no.npz'} does not exist.", load, tmp_path / "no.npz")
    refuses(f"{tmp_path} is a directory; give one of its files.", load, tmp_path)
    refuses(f"{tmp_path} cannot be written: Is a directory.", save, predictor, tmp_path)
    np.save(tmp_path / "a.npy", np.zeros(3))
    refuses(
        f"{tmp_path / 'a.npy'} is not a predictor: it is not a .npz file.", load, tmp_path / "a.npy"
    )
    content = path.read_bytes()
    path.write_bytes(b"")
    refuses(f"{path} is empty.", load, path)
    for damaged in (b"nonsense", content[: len(content) // 2]):
        path.write_bytes(damaged)
        refuses(f"{path} is not a valid .npz file.", load, path)
    directory = content.rindex(b"PK\x01\x02")  # of the last array: then flags and compression
    for position, bit in ((200, 1), (directory + 8, 1), (directory + 8, 64), (directory + 10, 85)):
        flipped = bytearray(content)
        flipped[position] ^= bit
        path.write_bytes(flipped)
        refuses(f"{path} is not a valid .npz file.", load, path)


# --- what is refused ------------------------------------------------------------------------------


def test_bad_input():
    weights, x, ffn = sample()
    refuses("x1 must have 32 in_features, got 31.", factors, weights[0], x[:, :31], 2)
    refuses("x2 must have 32 in_features, got 31.", build, ffn, weights, x, x[:, :31], 2, 0.5)
    refuses(
        "the share of the natural sparsity must be in 0..1, got 1.5.",
        build,
        ffn,
        weights,
        x,
        x,
        2,
        1.5,
    )
    refuses(
        "the gate must be (96, 32), as in the FFN, got (95, 32).",
        construct,
        ffn,
        weights[0][:95],
        x,
        x,
        2,
    )
    predictor, _ = build(ffn, weights, x, x, 2, 0.5)
    refuses("x_q must be int8 (tokens, 32), got float32 (400, 32).", predictor.predict, x)
