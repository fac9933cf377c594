"""NMArray: emitted Verilog against golden."""

import numpy as np
import pytest
from nibbleforge.golden.contract.schedule import Beats
from nibbleforge.golden.grouped import GroupScales
from nibbleforge.golden.nm import schedule as nm_schedule
from nibbleforge.golden.nm import unit as nm
from nibbleforge.golden.nm.config import NMConfig, ports
from nibbleforge.golden.nm.pattern import Pattern
from nibbleforge.golden.units import unit
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify import verify
from nibbleforge.sim.verify.regress import variations
from nibbleforge.tb import tb_nm
from nibbleforge.tb.stalls import PROFILES, gates

VARIATIONS = variations(["nm"], list(unit("nm").presets))
ODD_SHAPES = [
    NMConfig(rows=1, columns=1, span=1, max_k=24),
    NMConfig(rows=4, columns=4, span=4, m=16, max_k=48),
    NMConfig(rows=6, columns=3, span=3, dequant_rows=3, max_k=40),
    NMConfig(rows=2, columns=4, span=2, dequant_rows=2, m=16, max_k=48),
    NMConfig(rows=8, columns=2, span=2, max_k=48, dequant_rows=2,
             dequant=GroupScales(weight_group=16, add_latency=4)),
    NMConfig(rows=1, columns=2, span=1, m=8, max_k=24,
             dequant=GroupScales(weight_group=8, add_latency=1)),
]  # fmt: skip


def design(config):
    return nm.GROUPED if config.grouped else nm.ARRAY


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
    checked = verify.check_random(Model(design(config), config, optimise="quick"), seeds=range(5))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.first(1, deep=2)
@pytest.mark.parametrize("tree", ["carry_save", "operators"])
@pytest.mark.parametrize("lanes", [8, 2, 3, 16])
def test_lanes(lanes, tree):
    config = NMConfig(rows=4, columns=6, span=2, max_k=160, lanes=lanes, tree=tree)
    checked = verify.check_random(Model(design(config), config, optimise="quick"), seeds=range(5))
    assert not checked.wrong, checked.wrong[0]
    assert checked.scalars > 1_000


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(tb_nm.SMALL[0], marks=pytest.mark.deep),
        *(pytest.param(config, marks=pytest.mark.slow) for config in tb_nm.SMALL[1:]),
        *tb_nm.SMALL_GROUPED,
    ],
    ids=describe,
)
def test_every_product(config):
    checked = verify.check_exhaustive(Model(design(config), config, optimise="quick"))
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.quick("fpga")
@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name)
def test_stimuli_hit_every_functional_bin(variation):
    assert not verify.missing_bins(variation, range(80))


# --- every pattern --------------------------------------------------------------------------------

MODELS = {
    4: NMConfig(rows=2, columns=6, span=2, m=4, max_k=64),
    8: NMConfig(rows=3, columns=5, span=1, m=8, max_k=64),
    16: NMConfig(rows=2, columns=6, span=2, m=16, max_k=64),
}


@pytest.fixture(scope="module", params=[4, pytest.param(8, marks=pytest.mark.deep), 16])
def model(request):
    return Model(nm.ARRAY, MODELS[request.param], optimise="quick")


def test_random_operands(model):
    checked = verify.check_random(model, seeds=range(3))
    assert not checked.wrong, checked.wrong[0]


def run_together(model, layers, profile="none"):
    """Beats of all layers in one run, what is seen, and what golden expects of ``y``."""
    traffics = [nm_schedule.traffic(model.config, layer) for layer in layers]
    beats = {
        port.name: Beats(np.concatenate([traffic[port.name].expand() for traffic in traffics]))
        for port in model.ports
    }
    stalls = gates(profile, model.ports, 0)
    seen = model.run(beats, gates=stalls, trace=profile == "none", garbage=bool(stalls)).seen
    return beats, seen


def test_every_choice_of_n_of_m(model):
    """N changes from tile to tile; of M = 16 some of the choices."""
    m, rng = model.config.m, np.random.default_rng(0)
    layers = [tb_nm.patterns(model.config, n) for n in range(1, m + 1)]
    if m == 16:
        layers = [tb_nm.layer(model.config, rng, n, 2, 64, 60) for n in range(1, m + 1)]
    for profile in ("none", "random"):
        beats, seen = run_together(model, layers, profile)
        np.testing.assert_array_equal(seen.words["y"], beats["y"].words)


@pytest.mark.slow
@pytest.mark.parametrize("n", range(1, 17))
def test_every_choice_of_n_of_16(n):
    config = MODELS[16]
    schedule = nm_schedule.schedule(config, tb_nm.patterns(config, n))
    checked = verify.check_schedule(Model(nm.ARRAY, config), schedule)
    assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize("seed", range(4))
def test_n_changes_from_tile_to_tile(model, seed):
    """Cycles are those of the layers one after the other: nothing is lost in between."""
    rng = np.random.default_rng(seed)
    config = model.config
    numbers = [1, config.m, *rng.integers(1, config.m + 1, 8)]
    rng.shuffle(numbers)
    layers = [
        tb_nm.layer(config, rng, int(n), 3, int(rng.integers(1, 64)), int(rng.integers(1, 14)))
        for n in numbers
    ]
    beats, seen = run_together(model, layers)
    np.testing.assert_array_equal(seen.words["y"], beats["y"].words)
    np.testing.assert_array_equal(seen.cycles["y"], beats_leave(config, layers))


def beats_leave(config, layers):
    """Cycles of all beats of sums of layers in one run, by the recurrence of the docstring."""
    taken = issue = leave = 0
    found = []
    for layer in layers:
        pulls = -(-Pattern(layer.n, config.m).block_bits // 8)
        for blocks in np.tile(layer.group_blocks(config), len(layer.tiling(config))):
            for _ in range(blocks):
                taken = max(taken + pulls, issue)
                issue = taken + layer.n
            issue = max(issue, leave)
            leave = issue + config.drain
            found += [issue + sum(config.stages) + beat for beat in range(config.drain)]
    return found


# --- illegal packed rows --------------------------------------------------------------------------


def packed(values, metadata, width, m):
    """Rows of blocks of any metadata, ``(outputs, bytes)``."""
    rows = []
    for row, numbers in zip(values, metadata, strict=True):
        word, at = 0, 0
        for value, extra in zip(row, numbers, strict=True):
            fields = [(int(v) & 15, 4) for v in value] + [(int(e), width) for e in extra]
            for field, bits in fields:
                word |= field << at
                at += bits
        rows.append(list(word.to_bytes(-(-at // 8), "little")))
    return np.array(rows, np.uint8)


def play(model, layer, bits=None, n=None):
    """Beats of y and totals of a run with other packed rows, or another N, than the layer's."""
    config = model.config
    beats = nm_schedule.traffic(config, layer)
    port = ports(config)[1]
    found = port.unpack(beats["w"].expand())
    bits = found["bits"] if bits is None else bits
    numbers = found["n"] if n is None else n(found["n"])
    words = port.pack(bits=bits.astype(np.uint8), n=numbers.astype(np.uint8))
    run = model.run(beats | {"w": Beats(words)}, trace=True)
    y = ports(config)[2].unpack(run.seen.words["y"])
    return y, run.seen, nm_schedule.schedule(config, layer)


def blocks_of(model, n):
    """A legal layer of one tile: slots and their places, ``(columns, blocks, N)``."""
    config = model.config
    layer = tb_nm.layer(config, np.random.default_rng(n), n, 2, 64, config.columns)
    return layer, layer.values, layer.indices


def check_error(model, n, change, *, error=1):
    """Change the metadata of one block of one column: the tile ends as golden says."""
    layer, values, indices = blocks_of(model, n)
    pattern = Pattern(n, model.config.m)
    if pattern.metadata == "bitmap":
        codes = (1 << indices.astype(int)).sum(axis=2, keepdims=True)
        metadata, width = codes, pattern.m
    else:
        metadata, width = indices.astype(int), pattern.index_bits
    column, block = 3, metadata.shape[1] - 2
    metadata[column, block] = change(metadata[column, block].copy())
    rows = packed(values, metadata, width, pattern.m)
    y, seen, golden = play(model, layer, rows.T)
    np.testing.assert_array_equal(seen.cycles["y"], golden.cycles["y"])
    groups = np.cumsum(layer.group_blocks(model.config))
    wrong = np.arange(len(groups)) == np.searchsorted(groups, block, side="right")
    np.testing.assert_array_equal(y["error"], np.repeat(wrong & bool(error), model.config.drain))
    expected = ports(model.config)[2].unpack(golden.beats["y"].words)["value"]
    columns = np.arange(expected.shape[1]) % model.config.columns
    np.testing.assert_array_equal(y["value"][:, columns != column], expected[:, columns != column])


def patterns_with(metadata, m, least=1):
    return [n for n in range(least, m) if Pattern(n, m).metadata == metadata]


def test_indices_that_do_not_ascend_are_an_error(model):
    for n in patterns_with("index", model.config.m, 2):
        check_error(model, n, lambda places: places, error=0)
        check_error(model, n, lambda places: places[::-1])
        check_error(model, n, lambda places: places * 0 + places[-1])
        check_error(model, n, lambda places: [*places[:-1], places[-2]])


def test_bitmaps_with_another_number_of_ones_are_an_error(model):
    for n in patterns_with("bitmap", model.config.m):
        check_error(model, n, lambda code: code, error=0)
        check_error(model, n, lambda code: code & (code - 1))
        check_error(model, n, lambda code: code * 0)
        check_error(model, n, lambda code: code | (code + 1))
        check_error(model, n, lambda code: code | (1 << model.config.m) - 1)


def test_an_illegal_n_is_an_error_and_taken_as_m(model):
    m = model.config.m
    layer = tb_nm.layer(model.config, np.random.default_rng(0), m, 5, 30, 9)
    for illegal in (0, m + 1, 2 * m - 1):
        y, seen, golden = play(model, layer, n=lambda n, i=illegal: np.where(n == m, i, n))
        expected = ports(model.config)[2].unpack(golden.beats["y"].words)["value"]
        np.testing.assert_array_equal(y["value"], expected)
        np.testing.assert_array_equal(seen.cycles["y"], golden.cycles["y"])
        assert y["error"].all()


def test_n_counts_only_on_the_first_beat(model):
    layer = tb_nm.layer(model.config, np.random.default_rng(0), 2, 5, 60, 9)
    m = model.config.m
    y, seen, golden = play(model, layer, n=lambda n: np.where(n, n, np.arange(len(n)) % (2 * m)))
    np.testing.assert_array_equal(seen.words["y"], golden.beats["y"].words)
    assert not y["error"].any()


@pytest.mark.parametrize("profile", PROFILES)
def test_illegal_runs_end_and_report(model, profile):
    for seed in range(12):
        schedule = tb_nm.illegal_run(model.config, np.random.default_rng(seed))
        checked = verify.check_schedule(model, schedule, profile, seed, garbage=profile != "none")
        assert not checked.wrong, checked.wrong[0]


@pytest.mark.parametrize("profile", PROFILES)
def test_an_error_is_that_of_its_tile_alone(model, profile):
    """Legal tiles around the third, of six, each of a block; the next N comes while it waits."""
    config = model.config
    m, tiles = config.m, 6
    layer = tb_nm.layer(config, np.random.default_rng(0), m, config.rows * tiles, m, 1)
    beats = nm_schedule.traffic(config, layer)
    port = ports(config)[1]
    fields = port.unpack(beats["w"].expand())
    first = np.flatnonzero(fields["n"])
    assert len(first) == tiles
    fields["n"][first[2]] = 0
    stalls = gates(profile, model.ports, 3)
    run = model.run(beats | {"w": Beats(port.pack(**fields))}, gates=stalls, garbage=bool(stalls))
    assert not run.seen.violations
    y = ports(config)[2].unpack(run.seen.words["y"])
    np.testing.assert_array_equal(y["error"], np.repeat(np.arange(tiles) == 2, config.drain))


def test_an_error_is_reported_behind_the_dequantizer():
    config = tb_nm.SMALL_GROUPED[0]
    layer = tb_nm.layer(config, np.random.default_rng(0), config.m, 9, 64, 8)
    beats, port = nm.GROUPED.traffic(config, layer), ports(config.array)[1]
    fields = port.unpack(beats["w"].words)
    fields["n"] = np.where(fields["n"] == config.m, 0, fields["n"])
    model = Model(nm.GROUPED, config, optimise="quick")
    for words, error in ((beats["w"].words, 0), (port.pack(**fields), 1)):
        seen = model.run(beats | {"w": Beats(words, beats["w"].segments)}).seen
        y = nm.GROUPED.ports(config)[-1].unpack(seen.words["y"])
        assert (y["error"] == error).all()
        expected = nm.GROUPED.ports(config)[-1].unpack(beats["y"].words)["value"]
        np.testing.assert_array_equal(y["value"], expected)
