from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.reglu import thresholds as reglu_thresholds
from nibbleforge.golden.reglu.thresholds import ALWAYS, calibrate


def refuses(sentence, function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert str(error.value) == sentence


def dropped(p, threshold):
    return [value <= threshold for value in p]


def slow_calibrate(p, importance, target):
    """One step at a time, by the definition; p and importance as a list of tokens a neuron."""
    neurons, tokens = len(p), len(p[0])

    @cache
    def threshold(i, step):
        count = step * tokens // 256
        return sorted(p[i])[count - 1] if count else ALWAYS

    @cache
    def penalty(i, step):
        drops = dropped(p[i], threshold(i, step))
        return sum(s * s for s, drop in zip(importance[i], drops, strict=True) if drop)

    steps = [0] * neurons
    while True:
        share = sum(sum(dropped(p[i], threshold(i, steps[i]))) for i in range(neurons))
        free = [i for i in range(neurons) if steps[i] < 242]
        if share >= target * neurons * tokens or not free:
            values = [threshold(i, steps[i]) for i in range(neurons)]
            return values, steps, share / (neurons * tokens)
        best = min(
            free, key=lambda i: (penalty(i, steps[i] + 1) - penalty(i, steps[i]), steps[i], i)
        )
        steps[best] += 1


@given(
    st.integers(1, 4),
    st.sampled_from([1, 2, 7, 40, 300]),
    st.sampled_from([1, 3, 50, 10**6]),
    st.sampled_from([0, 0.01, 0.3, 0.5, 0.9, 1]),
    st.integers(0, 2**32),
)
def test_like_the_slow_model(neurons, tokens, spread, target, seed):
    """Small integers as importance: penalties are exact, and many tie."""
    rng = np.random.default_rng(seed)
    p = rng.integers(-spread, spread + 1, (tokens, neurons)).astype(np.int32)
    importance = rng.integers(-2, 4, p.shape)
    found = calibrate(p, importance, target)
    values, steps, reached = slow_calibrate(p.T.tolist(), importance.T.tolist(), target)
    assert found.values.tolist() == values
    assert found.steps.tolist() == steps
    assert found.reached == pytest.approx(reached)
    assert found.reached == (p <= found.values).mean()


def test_in_parts_as_in_one_piece(monkeypatch):
    rng = np.random.default_rng(1)
    p, importance = rng.integers(-99, 99, (50, 11)), rng.normal(size=(50, 11))
    whole = calibrate(p, importance, 0.5)
    monkeypatch.setattr(reglu_thresholds, "_SCORES_AT_ONCE", 160)
    parts = calibrate(p, importance, 0.5)
    assert np.array_equal(parts.values, whole.values)


def test_the_most_there_is():
    """242 of 256 steps, unless scores tie."""
    p = np.arange(256)[:, None] * np.ones((1, 3), int)
    most = calibrate(p, np.ones(p.shape), 0.99)
    assert most.steps.tolist() == [242] * 3
    assert most.values.tolist() == [241] * 3
    assert most.reached == 242 / 256
    assert most.verdict == (
        "Only 0.945 of all neurons are dropped, all thresholds at the last step;"
        " the target was 0.990."
    )
    assert calibrate(p * 0, np.ones(p.shape), 0.99).reached == 1


def test_the_unimportant_go_first():
    rng = np.random.default_rng(1)
    p = rng.integers(-1000, 1000, (512, 8))
    importance = np.ones(p.shape) * 2.0 ** np.arange(8)
    found = calibrate(p, importance, 0.4)
    assert found.steps[:3].tolist() == [242] * 3
    assert (np.diff(found.steps) <= 0).all()
    assert (found.values[found.steps == 0] == ALWAYS).all()
    assert 0.4 <= found.reached < 0.4 + 2 / 512
    assert found.verdict == "0.400 of all neurons are dropped; the target was 0.400."


def test_what_costs_nothing_is_shared():
    """No neuron is driven to its last step while others could drop as much for nothing."""
    p = np.arange(256)[:, None] * np.ones((1, 4), int)
    importance = np.where(p < 200, 0.0, 1.0)
    assert calibrate(p, importance, 0.5).steps.tolist() == [128] * 4
    assert calibrate(p, importance, 0.5 - 2.5 / 1024).steps.tolist() == [128, 128, 127, 127]


def test_scores_beyond_32_bits_are_not_needed():
    """The smallest score of INT32 is dropped by no threshold but itself."""
    p = np.array([[ALWAYS], [(1 << 31) - 1]])
    assert calibrate(p, np.ones(p.shape), 0).values.tolist() == [ALWAYS]


def test_bad_input():
    p = np.zeros((3, 2), int)
    refuses("the target must be in 0..1, got 1.5.", calibrate, p, p, 1.5)
    refuses("the target must be in 0..1, got nan.", calibrate, p, p, float("nan"))
    for tokens in (0, 4):
        refuses(
            "scores and importance must be (tokens, neurons), alike and not empty,"
            f" got ({tokens}, 2) and (3, 2).",
            calibrate,
            np.zeros((tokens, 2), int),
            p,
            0.5,
        )
