import itertools
import json
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibbleforge.golden.anda import search as anda_search
from nibbleforge.golden.anda.search import OPT, PUBLISHED, BopsWeights, Round, llama
from nibbleforge.golden.contract.errors import UserError

BY_NAME = {published.model: published for published in PUBLISHED}


def refuses(sentence, function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert str(error.value) == sentence


def bits(text):
    """``"7765"`` as a combination."""
    return tuple(map(int, text))


# --- what the paper says --------------------------------------------------------------------------


def test_weights_of_models():
    """Matrix sizes of a layer, in units of hidden squared."""
    assert OPT == (3, 1, 4, 4)
    assert llama(4096, 11008) == (3, 1, 5.375, 2.6875)
    assert [p.model for p in PUBLISHED if p.weights != OPT] == [
        "LLaMA-7B",
        "LLaMA2-7B",
        "LLaMA-13B",
        "LLaMA2-13B",
    ]
    assert all(p.intermediate == 4 * p.hidden for p in PUBLISHED if p.weights == OPT)


@pytest.mark.parametrize(("model", "saving"), [("OPT-1.3B", "2.74"), ("LLaMA-13B", "1.88")])
def test_published_savings(model, saving):
    published = BY_NAME[model]
    assert f"{anda_search.saving(published.tenth_percent, published.weights):.2f}" == saving


@pytest.mark.parametrize(("loss", "mean"), [("tenth_percent", "2.43"), ("one_percent", "2.89")])
def test_published_means(loss, mean):
    savings = [anda_search.saving(getattr(p, loss), p.weights) for p in PUBLISHED]
    assert len(savings) == 9
    assert f"{math.prod(savings) ** (1 / 9):.2f}" == mean


TRACE = {
    "4444": False,
    "5555": False,
    "6666": False,
    "7777": True,
    "7767": True,
    "7757": False,
    "7766": True,
    "7756": False,
    "7765": True,
    "7755": False,
}


def test_trace_of_the_paper():
    """Its Fig. 9, OPT-125M: the same candidates in the same order."""
    outcome = {bits(text): passes for text, passes in TRACE.items()}
    result = anda_search.search(lambda m: 1.0 if outcome[m] else 0.9, 1, OPT, max_rounds=10)
    assert [r.mantissas for r in result.rounds] == list(outcome)
    assert [r.accepted for r in result.rounds] == list(outcome.values())
    assert result.best == (7, 7, 6, 5)
    assert result.saving == 16 / 6


# --- an independent model: Algorithm 1 over plain lists -------------------------------------------


def model(passes, weights, max_rounds, first):
    """All rounds: the candidate, and whether it passed (None: dropped)."""
    queue, visited, best, rounds = [(m,) * 4 for m in first], [], math.inf, []

    def cost(m):
        return sum(Fraction(w) * b for w, b in zip(weights, m, strict=True))

    while queue and len(rounds) < max_rounds:
        candidate = min(queue, key=cost)  # the first of the cheapest
        queue.remove(candidate)
        if candidate in visited:
            continue
        visited.append(candidate)
        if cost(candidate) >= best:
            rounds.append((candidate, None))
            continue
        rounds.append((candidate, passes(candidate)))
        if passes(candidate):
            best = cost(candidate)
            for i in range(4):
                less = tuple(m - (j == i) for j, m in enumerate(candidate))
                if min(less) >= 1:
                    queue.append(less)
    return rounds


@st.composite
def landscapes(draw):
    """Weights, and the least mantissa length each kind of layer bears, alone and on average."""
    weights = draw(st.sampled_from([OPT, *(p.weights for p in PUBLISHED[5:])]))
    least = draw(st.tuples(*[st.integers(1, 10)] * 4))
    mean = draw(st.integers(1, 12))
    return (
        weights,
        lambda m: all(a >= b for a, b in zip(m, least, strict=True)) and sum(m) >= 4 * mean,
    )


@given(landscapes(), st.integers(1, 60), st.lists(st.integers(1, 16), min_size=1, unique=True))
def test_every_round(landscape, max_rounds, first):
    weights, passes = landscape
    result = anda_search.search(
        lambda m: 0.99 if passes(m) else 0.98, 1, weights, 0.01, max_rounds, first
    )
    expected = model(passes, weights, max_rounds, first)
    assert [r.mantissas for r in result.rounds] == [m for m, _ in expected]
    assert [r.accepted for r in result.rounds] == [bool(passed) for _, passed in expected]
    scores = {None: None, True: 0.99, False: 0.98}
    assert [r.score for r in result.rounds] == [scores[passed] for _, passed in expected]
    accepted = [m for m, passed in expected if passed]
    assert result.best == (accepted[-1] if accepted else None)
    for r in result.rounds:
        assert anda_search.saving(r.mantissas, weights) == pytest.approx(16 / r.bops)


@settings(max_examples=20)
@given(st.tuples(*[st.integers(1, 7)] * 4), st.sampled_from(PUBLISHED))
def test_finds_the_cheapest_where_kinds_are_independent(least, published):
    """Given rounds enough: every kind bears its own mantissa length and nothing below."""
    result = anda_search.search(
        lambda m: all(a >= b for a, b in zip(m, least, strict=True)),
        1,
        published.weights,
        max_rounds=5000,
    )
    assert result.best == least
    assert len({r.mantissas for r in result.rounds}) == len(result.rounds)


def test_ties_are_exact():
    """LLaMA-13B has I/h = 2.7, which no float holds: costs are those of the matrix sizes."""
    weights = llama(5120, 13824)
    for m in itertools.product(range(4, 7), repeat=4):
        terms = (3 * 5120 * m[0], 5120 * m[1], 2 * 13824 * m[2], 13824 * m[3])
        assert anda_search.cost(m, weights) == Fraction(sum(terms), 4 * 5120 + 3 * 13824)


# --- thresholds and outcome -----------------------------------------------------------------------


@pytest.mark.parametrize(("score", "accepted"), [(0.75, True), (0.7499, False), (math.nan, False)])
def test_threshold(score, accepted):
    result = anda_search.search(lambda _: score, 1, OPT, delta=0.25, max_rounds=1)
    assert result.rounds[0].accepted == accepted


def test_perplexity():
    """Twice the reference less the perplexity tolerates exactly 1 + delta."""
    perplexity = dict.fromkeys(((m,) * 4 for m in range(4, 14)), 25.0)
    perplexity |= {(5,) * 4: 20.25, (6,) * 4: 20.125}
    result = anda_search.search(lambda m: 40 - perplexity[m], 20, OPT, 2**-7, max_rounds=3)
    assert [r.accepted for r in result.rounds] == [False, False, True]


def test_nothing_passes():
    result = anda_search.search(lambda _: 0.5, 1, OPT)
    assert [r.mantissas for r in result.rounds] == [(m,) * 4 for m in range(4, 14)]
    assert result.best is None
    assert result.saving == 1
    assert result.verdict == (
        "Nothing passes: 10 combinations evaluated, none within the tolerated loss."
    )


def test_verdict():
    outcome = {bits(text): passes for text, passes in TRACE.items()}
    result = anda_search.search(lambda m: float(outcome.get(m, False)), 1, OPT)
    assert len(result.rounds) == 26  # nothing is left before 32
    assert result.verdict == (
        "[7, 7, 6, 5] passes and saves 2.67x BOPs: 13 combinations evaluated."
    )


def test_down_to_one_bit():
    result = anda_search.search(lambda _: 1.0, 1, OPT, max_rounds=100)
    assert result.best == (1, 1, 1, 1)
    assert result.saving == 16
    assert min(min(r.mantissas) for r in result.rounds) == 1


# --- interruption ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", range(12))
def test_resumes_without_evaluating_again(stop):
    """What an interrupted search wrote, line by line, is enough to end as if it had not been."""
    outcome = {bits(text): passes for text, passes in TRACE.items()}
    evaluated, lines = [], []

    def score(mantissas):
        if len(evaluated) == stop:
            raise KeyboardInterrupt
        evaluated.append(mantissas)
        return float(outcome.get(mantissas, False))

    def write(done):
        lines.append(done.model_dump_json())

    with pytest.raises(KeyboardInterrupt):
        anda_search.search(score, 1, OPT, on_round=write)
    assert len(lines) == stop
    replay = [Round(**json.loads(line)) for line in lines]
    stop = -1
    resumed = anda_search.search(score, 1, OPT, on_round=write, replay=replay)
    whole = anda_search.search(lambda m: float(outcome.get(m, False)), 1, OPT)
    assert resumed == whole
    assert len(evaluated) == len(set(evaluated)) == 13
    assert [Round(**json.loads(line)) for line in lines] == list(whole.rounds)


@pytest.mark.parametrize("score", [None, 0.1, math.nan, -math.inf])
def test_records(score):
    done = Round(mantissas=(7, 7, 6, 5), bops=6.0, score=score, accepted=False)
    again = Round(**json.loads(done.model_dump_json()))
    assert again.mantissas == (7, 7, 6, 5)
    assert repr(again) == repr(done)


def test_illegal_record():
    line = '{"mantissas": [7, 7, 6], "bops": 6.0, "score": null, "accepted": false}'
    refuses("mantissas.3 is required.", lambda: Round(**json.loads(line)))


def test_rounds_one_at_a_time():
    """Nothing is evaluated before its round is asked for."""
    asked = []
    rounds = anda_search.rounds(lambda m: asked.append(m) or 0.0, 1, OPT)
    assert next(rounds).mantissas == (4, 4, 4, 4)
    assert next(rounds).mantissas == (5, 5, 5, 5)
    assert asked == [(4,) * 4, (5,) * 4]


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reference": 0}, "reference must be positive and finite, got 0."),
        ({"reference": math.inf}, "reference must be positive and finite, got inf."),
        ({"reference": math.nan}, "reference must be positive and finite, got nan."),
        (
            {"weights": BopsWeights(3, 0, 4, 4)},
            "the weights of all kinds must be positive, got 0.",
        ),
        ({"delta": -0.1}, "delta must be in 0..1, got -0.1."),
        ({"delta": 1.5}, "delta must be in 0..1, got 1.5."),
        ({"max_rounds": 0}, "max_rounds must be at least 1, got 0."),
        ({"first": []}, "first must hold at least one mantissa length, got none."),
        ({"first": [8, 17]}, "mantissa must be in 1..16, got 17."),
    ],
)
def test_illegal_parameters(changes, sentence):
    parameters = {"score": lambda _: 1.0, "reference": 1, "weights": OPT} | changes
    refuses(sentence, anda_search.search, **parameters)
