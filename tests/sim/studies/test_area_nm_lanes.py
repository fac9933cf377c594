"""What N:M arrays with lanes are compared with."""

import pytest
from nibbleforge.golden.nm.config import NMConfig
from nibbleforge.sim.silicon.library import Library
from nibbleforge.sim.silicon.report import AreaReport, ModuleArea, Spread
from nibbleforge.sim.silicon.synthesis import Target
from nibbleforge.sim.silicon.timing import CriticalPath
from nibbleforge.sim.studies import area_nm_lanes as study
from nibbleforge.sim.studies.area import Found
from nibbleforge.sim.studies.area_nm_lanes import TINY, equal_bandwidth, equal_work

HALF, QUARTER = study.PATTERNS


@pytest.mark.parametrize(("pattern", "lanes"), [(HALF, 8), (QUARTER, 16)])
def test_equal_work(pattern, lanes):
    rivals = equal_work(NMConfig(lanes=4), pattern)
    assert {(rival.lanes, rival.tree) for rival in rivals} == {
        (lanes, "pair_sums"),
        (lanes, "carry_save"),
    }


@pytest.mark.parametrize(
    ("lanes", "pattern", "expected"),
    [
        # 16 rows and columns; n slots take 16 * 32L + 2 bits of x, 3/4n of 16 * 8L + 3 bits of w
        # dense: 16 * 8 bits of x for each lane, 1 for the beat, 16 * 4 of w for each lane
        (4, HALF, (7, "carry_save")),  # 1025 + 393 - 24.75 = 1410.25 of 192 * 7 + 1 = 1345
        (8, HALF, (14, "pair_sums")),  # 2049 + 770.25 = 2819.25, 192 * 14 + 1 = 2689
        (4, QUARTER, (12, "pair_sums")),  # 2050 + 386.25 = 2436.25, 192 * 12 + 1 = 2305
        (8, QUARTER, (25, "carry_save")),  # 4098 + 770.25 = 4868.25, 192 * 25 + 1 = 4801
    ],
)
def test_equal_bandwidth(lanes, pattern, expected):
    rival = equal_bandwidth(NMConfig(lanes=lanes), pattern)
    assert (rival.lanes, rival.tree) == expected


def found(array, area, path):
    module = ModuleArea("top", 1, 0, Spread((area,)), Spread((0.0,)))
    report = AreaReport(
        array.design,
        array.config,
        pricing="table",
        seeds=(0,),
        modules=(module,),
        memories=(),
        target=Target(Library("made up", (), {})),
        unit="",
        paths=(CriticalPath(path, "start", "end"),),
        notes=(),
    )
    return Found(array, report)


def test_comparisons():
    """4 x 4 arrays of known areas: one of 2 N:M lanes, and dense ones."""
    areas = {
        "nm, 2 lanes, span 4": 2e6,
        "dense2k, 3 lanes, carry_save": 1e6,
        "dense2k, 4 lanes, carry_save": 1.5e6,
        "dense2k, 4 lanes, pair_sums": 1e6,
        "dense2k, 6 lanes, pair_sums": 1e6,
        "dense2k, 8 lanes, carry_save": 3e6,
        "dense2k, 8 lanes, pair_sums": 4e6,
    }
    assert [array.name for array in TINY.arrays] == list(areas)
    arrays = [found(each, areas[each.name], 3.0 - ("nm" in each.name)) for each in TINY.arrays]
    measured = study.runs(arrays, (4, 4800, 4))
    half, quarter, *_ = measured
    # a tile: 600 beats of two blocks, in two slots or one; two pulls, a stage each way, four rows
    assert (half.cycles, quarter.cycles) == (2 + 1200 + 2 + 4, 1 + 600 + 2 + 4)
    assert half.row() == ["nm, 2 lanes, span 4", "2:4", "129", "50", 1208, "64", "31.8"]
    # dense: a cycle before, and four rows behind 1200, 600, 1600 and 800 beats
    first, second = study.comparisons(measured)
    assert first[:4] == [half.found.array.name, "2:4", "4 lanes, pair_sums", "0.50 (0.75)"]
    assert first[4:] == ["3 lanes, carry_save", "1.33", "0.66 (1.00)"]
    assert second[:4] == [half.found.array.name, "1:4", "8 lanes, carry_save", "1.50 (2.24)"]
    assert second[4:] == ["6 lanes, pair_sums", "1.33", "0.66 (0.99)"]
