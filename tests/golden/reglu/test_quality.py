import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.reglu.ffn import quantise_ffn, run
from nibbleforge.golden.reglu.quality import quality, roc_auc, share


@pytest.mark.parametrize(("s", "expected"), [(0.5, 0.279), (0.7, 0.219)])
def test_share_of_the_paper(s, expected):
    assert round(share(4096, 11008, 256, 0.9, s), 3) == expected


def test_share_by_hand():
    """Dense; early exit without predictor; a perfect predictor for nothing."""
    assert share(64, 256, 0, 0, 0) == 1
    assert share(64, 256, 0, 0.9, 0) == pytest.approx(0.4)
    assert share(64, 256, 0, 0.9, 1) == pytest.approx(0.1)
    products = 3 * 64 * 256
    assert share(64, 256, 8, 1, 1) == pytest.approx(8 * (64 + 256) / products)


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30),
)
def test_auc_by_pairs(pairs):
    positives = [score for score, positive in pairs if positive]
    others = [score for score, positive in pairs if not positive]
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in positives for b in others]
    found = roc_auc(*(np.array(column) for column in zip(*pairs, strict=True)))
    if not wins:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(sum(wins) / len(wins))


class Fixed:
    """A predictor that says what it is told."""

    def __init__(self, mask):
        self.mask = mask

    def predict(self, x_q):
        return self.mask

    def estimate(self, x_q):
        return self.mask.astype(float)


def test_quality_by_counting():
    rng = np.random.default_rng(1)
    gate, up, down = rng.normal(size=(30, 8)), rng.normal(size=(30, 8)), rng.normal(size=(8, 30))
    x = rng.normal(size=(20, 8))
    ffn = quantise_ffn(gate, up, down, x)
    x_q = ffn.take(x)
    for double_relu in (False, True):
        active = run(ffn, x_q, None, double_relu).survivors
        mask = rng.random(active.shape) < 0.6
        found = quality(ffn, Fixed(mask), x_q, double_relu)
        assert found.natural == pytest.approx((~active).mean())
        assert found.dropped == pytest.approx((~mask).mean())
        assert found.recall == pytest.approx((mask & active).sum() / active.sum())
        assert found.precision == pytest.approx((mask & active).sum() / mask.sum())
        assert 0 < found.error < 1
        perfect = quality(ffn, Fixed(active), x_q, double_relu)
        assert (perfect.recall, perfect.precision, perfect.auc, perfect.error) == (1, 1, 1, 0)
    nothing = quality(ffn, Fixed(np.zeros_like(mask)), x_q)
    assert (nothing.recall, nothing.error) == (0, 1)
    assert math.isnan(nothing.precision)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 4, 1, 0, 0), "d and D must be at least 1 and the rank at least 0, got 0, 4 and 1."),
        ((4, 4, -1, 0, 0), "d and D must be at least 1 and the rank at least 0, got 4, 4 and -1."),
        ((4, 4, 1, 1.5, 0), "natural and dropped must be in 0..1, got 1.5 and 0."),
        ((4, 4, 1, 0, -1), "natural and dropped must be in 0..1, got 0 and -1."),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(UserError) as error:
        share(*arguments)
    assert str(error.value) == sentence
