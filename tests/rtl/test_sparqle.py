"""SparqleArray: emitted Verilog against golden."""

import numpy as np
import pytest
from nibbleforge.golden.contract.layer import Layer
from nibbleforge.golden.contract.schedule import Beats
from nibbleforge.golden.sparqle import format as hybrid
from nibbleforge.golden.sparqle import schedule as sparqle_schedule
from nibbleforge.golden.sparqle import unit as sparqle
from nibbleforge.golden.sparqle.config import SparqleConfig, bitmap_port, y_port
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import variations
from nibbleforge.tb import tb_grouped, tb_sparqle
from nibbleforge.tb.stalls import PROFILES, gates

PRESETS = list(unit("sparqle").presets)
VARIATIONS = variations(["sparqle"], PRESETS)
ODD_SHAPES = [
    SparqleConfig(rows=2, columns=2, group=32, chunk=8, beat=4, queue=1, max_k=200),
    SparqleConfig(
        rows=4, columns=1, group=16, chunk=4, beat=1, queue=1, sharing=4, asymmetric=True,
        recode="twos", max_k=100,
    ),
    SparqleConfig(
        rows=3, columns=2, group=4, chunk=16, beat=4, queue=1, weight_banks=3, asymmetric=True,
        max_k=100,
    ),
    SparqleConfig(rows=1, columns=5, group=16, chunk=16, weight_banks=4, recode="twos", max_k=100),
]  # fmt: skip


def describe(config):
    return config.config_hash[:6]


@pytest.mark.quick("tiny")
@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0])
    checked += verify.check_random(model, seeds=range(1, 4))
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 1_000


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("config", ODD_SHAPES, ids=describe)
def test_extreme_parameters(config):
    checked = verify.check_random(Model(sparqle.ARRAY, config, optimise="quick"), seeds=range(5))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(c, marks={2: (), 3: pytest.mark.deep}.get(i, pytest.mark.slow))
        for i, c in enumerate(tb_sparqle.SMALL)
    ],
    ids=describe,
)
def test_every_product(config):
    checked = verify.check_exhaustive(Model(sparqle.ARRAY, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(60))


# --- bitmaps that do not fit their tile -----------------------------------------------------------

FEATURES = 70
ILLEGAL = [
    SparqleConfig(rows=4, columns=2, group=16, chunk=16, beat=4, max_k=200),
    SparqleConfig(rows=4, columns=2, group=8, chunk=32, beat=4, max_k=200, sharing=2),
    SparqleConfig(rows=4, columns=2, group=32, chunk=8, beat=4, max_k=200, sharing=4),
]
MODELS = [pytest.param(c, marks=pytest.mark.deep if i else ()) for i, c in enumerate(ILLEGAL)]


@pytest.fixture(scope="module", params=MODELS, ids=describe)
def model(request):
    return Model(sparqle.ARRAY, request.param, optimise="quick")


@pytest.mark.parametrize("described", [5, 33, 64, 97, 150])
@pytest.mark.parametrize("row", [0, 3])
def test_a_bitmap_of_another_length_is_an_error_and_the_tile_still_ends(model, described, row):
    config = model.config
    rng = np.random.default_rng(described)
    longer = tb_sparqle.layer(config, rng, tokens=6, features=200, outputs=5)
    right = Layer(longer.x[:, :FEATURES], longer.w[:, :FEATURES])
    wrong = Layer(longer.x[:, :described], longer.w[:, :described])
    beats = sparqle_schedule.traffic(config, right)
    other = sparqle_schedule.traffic(config, wrong)
    beats |= {name: other[name] for name in (f"bitmap_{row}", f"values_{row}")}

    seen = model.run(beats).seen
    y = y_port(config).unpack(seen.words["y"])
    low, high = hybrid.split(config.format, right.x)
    high = high.copy()
    high[row :: config.rows, described:] = 0  # rest of the words that are there is 0
    x = hybrid.join(config.format, low, high)
    expected = right.tiling(config).split_result(x.astype(int) @ right.w.astype(int).T)
    np.testing.assert_array_equal(y["value"], expected.reshape(y["value"].shape))
    words = -(-described // config.group) != -(-FEATURES // config.group)
    assert y["error"].all() if words else not y["error"].any()
    assert seen.totals["errors"] == words * len(right.tiling(config))


@pytest.mark.parametrize("profile", PROFILES)
def test_an_error_is_that_of_its_tile_alone(model, profile):
    """Row 0 of the middle tile, of seven, has a word too many; decoding runs ahead of the rows."""
    config = model.config
    tiles, features = 7, config.group
    x = np.zeros((tiles * config.rows, features), np.int16)
    beats = sparqle_schedule.traffic(config, Layer(x, np.ones((1, features), np.int8)))
    last = bitmap_port(config, 0).unpack(beats["bitmap_0"].expand())
    assert last["last"].tolist() == [1] * tiles
    mask, flags = np.zeros((tiles + 1, config.group), int), np.ones(tiles + 1, int)
    flags[3] = 0
    beats |= {"bitmap_0": Beats(bitmap_port(config, 0).pack(mask=mask, last=flags))}
    stalls = gates(profile, model.ports, 5)
    run = model.run(beats, gates=stalls, garbage=bool(stalls))
    assert not run.seen.violations
    y = y_port(config).unpack(run.seen.words["y"])
    np.testing.assert_array_equal(y["error"], np.repeat(np.arange(tiles) == 3, config.rows))
    assert run.seen.totals["errors"] == 1


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("config", tb_grouped.SMALL_SPARQLE[::-1], ids=describe)
def test_illegal_runs_behind_the_dequantizer(config):
    checked = verify.check_random(Model(sparqle.GROUPED, config, optimise="quick"), seeds=range(6))
    assert not checked.wrong, checked.wrong[0]
