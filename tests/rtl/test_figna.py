"""FignaArray: golden against its definition, emitted Verilog against golden."""

import re

import numpy as np
import pytest
from nibbleforge.golden import figna
from nibbleforge.golden.anda import values as anda_values
from nibbleforge.golden.anda.config import AndaConfig
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.figna import ARRAY, FignaConfig, FignaLayer
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.jams import check_jams
from nibbleforge.sim.verify.regress import Variation, variations
from nibbleforge.tb import tb_figna

ODD_SHAPES = {
    "one of each": FignaConfig(
        group=16, rows=1, columns=1, fp_share=1, lanes=1, mantissa=4, tree="carry_save"
    ),
    "a group a cycle": FignaConfig(group=16, rows=2, columns=2, fp_share=2, lanes=16),
    "post-processors last": FignaConfig(
        group=16, rows=2, columns=4, fp_share=4, lanes=8, asymmetric=True, add_latency=4
    ),
    "operators": FignaConfig(
        group=32, rows=5, columns=3, fp_share=3, mantissa=16, tree="operators", convert_latency=3
    ),
    "deep adder": FignaConfig(
        group=16,
        rows=3,
        columns=2,
        fp_share=1,
        lanes=16,
        mantissa=8,
        add_latency=4,
        tree="carry_save",
    ),
    "packed": FignaConfig(
        group=32, rows=3, columns=4, fp_share=2, lanes=8, mantissa=11, tree="packed"
    ),
    "nearest": FignaConfig(
        group=32, rows=3, columns=4, fp_share=2, lanes=16, mantissa=7, rounding="nearest"
    ),
    "largest sums": FignaConfig(
        group=64, rows=2, columns=2, fp_share=2, lanes=8, mantissa=16, asymmetric=True
    ),
}
OWN = [Variation("figna", name, ARRAY, config) for name, config in ODD_SHAPES.items()]
PRESETS = variations(["figna"], list(unit("figna").presets))


def named(name):
    return next(v for v in PRESETS + OWN if v.preset == name)


def refuses(sentence):
    return pytest.raises(UserError, match=f"^{re.escape(sentence)}$")


# --- golden ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_values_are_those_of_the_bit_planes(seed):
    rng = np.random.default_rng(seed)
    config = tb_figna.random_config(rng).replace(rounding="truncate")
    layer = tb_figna.random_layer(config, rng)
    planes = AndaConfig(
        group=config.group, columns=16, asymmetric=config.asymmetric, weight_beat=16
    )
    same = anda_values.AndaLayer(mantissa=config.mantissa, **vars(layer))
    expected, found = anda_values.compute(planes, same), figna.compute(config, layer)
    assert np.array_equal(expected.view(np.uint32), found.view(np.uint32))


def test_beats_hold_the_operands_in_order():
    """Mantissas and weights of a beat are of the same elements."""
    config = FignaConfig(group=16, rows=2, columns=2, fp_share=2, lanes=4, mantissa=6)
    layer = tb_figna.layer(config, np.random.default_rng(1), 2, 29, 2)
    sent = {
        port.name: port.unpack(ARRAY.traffic(config, layer)[port.name].expand())
        for port in ARRAY.ports(config)
    }
    integers = layer.encoded(config).integers()
    for beat in range(8):
        for lane in range(4):
            feature = 4 * beat + lane
            for i in range(2):
                assert sent["x"]["value"][beat, 4 * i + lane] == integers[i, feature]
                weight = layer.w[i, feature] if feature < 29 else 0
                assert sent["w"]["value"][beat, 4 * i + lane] == weight
    assert sent["x"]["last"].tolist() == [0, 0, 0, 1, 0, 0, 0, 1]
    assert sent["exponent"]["last"].tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(60))
def test_cycles_equal_the_schedule(seed):
    rng = np.random.default_rng(seed)
    config = tb_figna.random_config(rng)
    layer = tb_figna.random_layer(config, rng)
    extent, group = (*layer.x.shape, len(layer.w)), layer.weight_group
    counted = ARRAY.schedule(config, layer).counts()
    found = figna.cycles(config, Workload(*extent, weight_group=group))
    assert (found.cycles, found.events) == (counted.cycles, counted.events)


@pytest.mark.parametrize(("preset", "each"), [("paper", 4), ("m11", 4), ("m8", 4), ("mxint8", 2)])
def test_a_group_takes_as_many_cycles_whatever_the_mantissa(preset, each):
    config = unit("figna").presets[preset]
    one, two = (
        figna.cycles(config, Workload(16, features, 16)).cycles for features in (1024, 2048)
    )
    assert two - one == each * 1024 // config.group


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"lanes": 3}, "lanes must divide group, got lanes 3, group 64."),
        ({"columns": 6}, "fp_share must divide columns, got fp_share 4, columns 6."),
        ({"lanes": 1}, "lanes must be even with tree pair_sums, got 1."),
        ({"rounding": "up"}, "rounding: input should be 'truncate' or 'nearest', got 'up'."),
        ({"mantissa": 3}, "mantissa: input should be greater than or equal to 4, got 3."),
        ({"mantissa": 17}, "mantissa: input should be less than or equal to 16, got 17."),
    ],
)
def test_wrong_parameters(values, sentence):
    with refuses(sentence):
        FignaConfig(**values)


def test_wrong_operands():
    config = FignaConfig(group=16)
    x, w, d = np.zeros((2, 40), np.float16), np.zeros((3, 40), np.int8), np.zeros((3, 2))
    with refuses("d must be float16 of shape (3, 2), got float64 (3, 2)."):
        figna.compute(config, FignaLayer(x, w, d, 32))
    with refuses("group must divide the weight group, got group 16, weight group 24."):
        figna.compute(config, FignaLayer(x, w, d.astype(np.float16), 24))
    with refuses("tokens, in_features and outputs must be at least 1, got 1, 0 and 1."):
        figna.cycles(config, Workload(1, 0, 1))


# --- Verilog --------------------------------------------------------------------------------------


@pytest.mark.quick("tiny")
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_both_harnesses_equal_golden_and_each_other(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_harnesses(variation, model, seeds=[0, 1])
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 100


@pytest.mark.quick("tiny", "deep adder", deep=["a group a cycle"])
@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_random_and_corner_operands(variation):
    model = Model(variation.design, variation.config, optimise="quick")
    checked = verify.check_random(model, seeds=range(2, 10))
    corners = ARRAY.schedule(model.config, tb_figna.corner_layer(model.config))
    for profile in ("none", "bursty"):
        checked += verify.check_schedule(model, corners, profile, label="corners")
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 400


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("name", ["tiny", "post-processors last"])
def test_waiting_cycles_are_counted_one_for_one(name):
    variation = named(name)
    model = Model(variation.design, variation.config, optimise="quick")
    for seed in range(2):
        found = check_jams(
            model.design, model.config, lambda s, g: model.run(s.beats, gates=g).seen, seed
        )
        assert not found, found[0]


@pytest.mark.first(0, deep=1)
@pytest.mark.parametrize("config", tb_figna.SMALL, ids=lambda c: c.tree)
def test_every_product(config):
    checked = verify.check_exhaustive(Model(ARRAY, config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.first(1, deep=4)
@pytest.mark.parametrize("name", ["one of each", "tiny", "largest sums", "deep adder"])
def test_lint(name):
    variation = named(name)
    assert not verify.check_lint(variation.design, variation.config)


@pytest.mark.parametrize("variation", PRESETS + OWN, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(80))
