import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibbleforge.golden.contract.events import Counts
from nibbleforge.golden.contract.schedule import Beats, Pulses, Schedule


def beats(rows, segments=None, words=2):
    array = np.arange(rows * words, dtype=np.uint32).reshape(rows, words)
    return Beats(array, None if segments is None else np.array(segments, np.int64).reshape(-1, 2))


def test_without_segments_every_row_is_sent_once():
    assert len(beats(3)) == 3
    assert beats(3).expand().tolist() == [[0, 1], [2, 3], [4, 5]]


def test_segments_repeat_and_reorder():
    sent = beats(4, [(2, 2), (0, 1), (2, 1), (2, 0), (0, 4)], words=1)
    assert len(sent) == 8
    assert sent.expand().ravel().tolist() == [2, 3, 0, 2, 0, 1, 2, 3]


def test_no_segments_at_all():
    assert len(beats(3, [])) == 0
    assert beats(3, []).expand().shape == (0, 2)


@given(st.data())
def test_expand_is_the_concatenation_of_slices(data):
    rows = data.draw(st.integers(1, 9))
    bounds = st.tuples(st.integers(0, rows), st.integers(0, rows)).map(sorted)
    slices = data.draw(st.lists(bounds, max_size=6))
    sent = beats(rows, [(a, b - a) for a, b in slices])
    expected = [row for a, b in slices for row in sent.words[a:b].tolist()]
    assert sent.expand().tolist() == expected
    assert len(sent) == len(expected)


def test_strobes_have_increment_1():
    pulses = Pulses.strobes([3, 5, 9])
    assert pulses.cycles.tolist() == [3, 5, 9]
    assert pulses.increments.tolist() == [1, 1, 1]
    assert pulses.cycles.dtype == pulses.increments.dtype == np.int64
    assert len(Pulses.strobes(np.zeros(0)).cycles) == 0


def schedule(cycles, events=()):
    ports = {name: np.array(values, np.int64) for name, values in cycles.items()}
    pulses = {name: Pulses(*map(np.array, pulses)) for name, pulses in dict(events).items()}
    return Schedule({}, ports, pulses)


@pytest.mark.parametrize(
    ("cycles", "expected"),
    [
        ({"x": [0, 1], "y": [5]}, 6),
        ({"x": [4]}, 1),
        ({"x": [3, 7], "y": []}, 5),
        ({"x": [], "y": []}, 0),
    ],
)
def test_cycles_span_first_to_last_beat(cycles, expected):
    assert schedule(cycles).counts() == Counts(expected)


def test_events_are_totals():
    counts = schedule({"x": [0]}, {"a": ([1, 4], [3, 5]), "b": ([], [])}).counts()
    assert counts.events == {"a": 8, "b": 0}
    assert all(type(total) is int for total in counts.events.values())
