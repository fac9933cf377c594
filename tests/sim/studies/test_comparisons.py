"""Systems beside their rivals: how fast each design is, which rival counts, what a row says."""

import json

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.studies.area import Array
from nibbleforge.sim.studies.comparisons import (
    COMPARISONS,
    Candidate,
    Comparison,
    Pace,
    Row,
    by_law,
    kept,
    neurons,
    read_accuracy,
    rows,
    verdict,
)


class Found:
    """An area and a path, as if measured."""

    def __init__(self, area, path):
        self.area, self.path = area, path


@pytest.mark.parametrize("comparison", COMPARISONS.values(), ids=COMPARISONS)
def test_every_design_can_be_built_and_has_a_name_of_its_own(comparison):
    names = [candidate.name for candidate in comparison.candidates]
    assert len(set(names)) == len(names)
    assert any(candidate.rival for candidate in comparison.candidates)
    for array in comparison.arrays:
        assert array.design.bandwidth(array.config)


def test_all_products_of_a_dense_layer():
    """8 x 8 elements of 16 lanes, INT8 times INT4: operands are used by a row, or a column."""
    pace = by_law()(Array("", "dense2k", "lanes16", {"rows": 8, "columns": 8}))
    assert pace.products == pytest.approx(1024, rel=1e-4)
    assert pace.bits == pytest.approx((8 * 16 * 8 + 1 + 8 * 16 * 4) / 1024, rel=1e-4)


def test_weights_that_are_not_kept_count():
    array = Array("", "nm", "lanes16", {"rows": 8, "columns": 8, "lanes": 8})
    half, quarter = (kept(n)(array) for n in (2, 1))
    assert half.products == pytest.approx(2 * 512, rel=1e-3)
    assert quarter.products == pytest.approx(4 * 512, rel=1e-3)
    weights = {2: 3, 1: 1.5}  # bits: of every four weights two, or one, with two bits of index each
    for n, pace in ((2, half), (1, quarter)):
        expected = 8 / 8 + weights[n] / 8  # bits of x over columns, bits of w over rows
        assert pace.bits == pytest.approx(expected, rel=0.01)


def test_neurons_that_are_skipped():
    """A tenth of the neurons adds something; early exit reads all of gate and those of the rest."""
    early = neurons(0.0)(Array("", "reglu", "early_exit"))
    assert early.products == pytest.approx(16 * 3 / (1 + 2 * 0.1), rel=0.02)
    assert early.bits == pytest.approx(8 * (1 + 2 * 0.1) / 3, rel=0.02)
    most, none = (neurons(dropped)(Array("", "reglu", "paper")) for dropped in (0.9, 0.0))
    assert none.products < early.products < most.products


def test_the_best_rival_counts():
    arrays = [Array("", "dense2k", "paper", {"lanes": lanes}) for lanes in (1, 2, 4)]
    one, two, four = (
        Candidate(array, None, lambda _: Pace(10.0, 1.0), rival=rival)
        for array, rival in zip(arrays, (True, True, False), strict=True)
    )
    found = [Found(100, 3.0), Found(100, 2.0), Found(50, 1.0)]
    rival, measured = rows(Comparison("nm", (one, two, four)), found)
    assert rival.candidate == two
    assert [row.candidate for row in measured] == [four, two, one]
    assert [row.cost / rival.cost for row in measured] == [0.25, 1, 1.5]


def test_verdicts():
    """The cheapest rival counts that is as accurate; unknown accuracy: those that are named."""
    costs = {"own": 10.0, "worse": 4.0, "equal": 20.0, "better": 16.0, "named": 50.0}
    measured = [
        Row(
            Candidate(Array(name, "nm" if name == "own" else "dense2k"), name, None, name, rival),
            Found(cost, 1.0),
            Pace(1.0, 2.0),
        )
        for name, cost in costs.items()
        for rival in [name == "named"]
    ]
    accuracy = {"own": 18.0, "worse": 18.1, "equal": 18.0, "better": 17.9, "named": 17.0}
    found = verdict("nm", measured, accuracy)
    assert found.rival.candidate.operands == "better"
    assert found.ratio == 10 / 16
    assert found.cells(accuracy)[1:] == [
        "18.000",
        "dense2k paper better",
        "17.900",
        "0.62",
        "1.00",
    ]
    assert verdict("nm", measured, {}).rival.candidate.operands == "named"


def test_an_array_is_measured_once():
    array = Array("", "nm", "lanes16")
    twice = Comparison("nm", tuple(Candidate(array, None, kept(n), f"{n}:4") for n in (2, 1)))
    assert twice.arrays == [array]
    assert [candidate.name for candidate in twice.candidates] == [
        "nm lanes16 2:4",
        "nm lanes16 1:4",
    ]


@pytest.mark.parametrize("text", ["", "[1]", '{"a8": "much"}', '{"a8": null}'])
def test_files_without_perplexities(text, tmp_path):
    path = tmp_path / "perplexity.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_accuracy(path)
    assert str(caught.value) == f"{path} holds no perplexities of the study of operands."


def test_perplexities(tmp_path):
    path = tmp_path / "perplexity.json"
    path.write_text(json.dumps({"a8": 18.2}))
    assert read_accuracy(path) == {"a8": 18.2}
