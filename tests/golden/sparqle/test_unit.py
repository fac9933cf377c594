"""Golden model of the hybrid array: payloads, schedule, counts, parameters."""

import re

import numpy as np
import pytest
from nibbleforge.golden.arithmetic.quantise import quantise_activations
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.layer import Layer, compute
from nibbleforge.golden.contract.workload import PackedBitmap, Workload
from nibbleforge.golden.sparqle import format as hybrid
from nibbleforge.golden.sparqle import schedule as sparqle_schedule
from nibbleforge.golden.sparqle import timing as sparqle_timing
from nibbleforge.golden.sparqle import values as sparqle_values
from nibbleforge.golden.sparqle.config import SparqleConfig, SparqleSettings, ports, y_port
from nibbleforge.golden.sparqle.timing import Popcounts
from nibbleforge.sim.tensors.files import Capture, sample_path
from nibbleforge.tb import tb_sparqle


def drawn(seed):
    """A random small configuration with operands."""
    rng = np.random.default_rng(seed)
    while True:
        try:
            config = tb_sparqle.random_config(rng)
        except UserError:
            continue
        return config, tb_sparqle.random_layer(config, rng)


# --- values ---------------------------------------------------------------------------------------


def unpacked(config, layer):
    """Fields of every beat of every port, repeats included."""
    beats = sparqle_schedule.traffic(config, layer)
    return {port.name: port.unpack(beats[port.name].expand()) for port in ports(config)}


def token(config, fields, row, first_beats, features):
    """High halves of one token, read from its streams as a decoder does."""
    words, values = first_beats
    high = np.zeros(-(-features // config.group) * config.group, np.int64)
    for word in range(len(high) // config.group):
        mask = fields[f"bitmap_{row}"]["mask"][words + word]
        last = fields[f"bitmap_{row}"]["last"][words + word]
        assert last == (word == len(high) // config.group - 1)
        high[word * config.group : (word + 1) * config.group] = mask
    places = np.flatnonzero(high)
    used = -(-len(places) // config.beat)
    stored = fields[f"values_{row}"]["value"][values : values + used].ravel()
    assert (stored[: len(places)] > 0).all()
    assert (stored[len(places) :] == 0).all()
    high[places] = stored[: len(places)]
    return high[:features], (words + len(high) // config.group, values + used)


@pytest.mark.parametrize("seed", range(40))
def test_what_enters_adds_up_to_what_leaves(seed):
    """A receiver that knows only the format gets the activations, and from them the results."""
    config, layer = drawn(seed)
    fields = unpacked(config, layer)
    tiling, features = layer.tiling(config), layer.x.shape[1]
    progress = [(0, 0)] * config.rows
    sign = 1 << (config.k - 1)
    expected = tiling.split_result(layer.x.astype(int) @ layer.w.astype(int).T)
    for tile in range(len(tiling)):
        beats = slice(tile * features, (tile + 1) * features)
        w = fields["w"]["value"][beats]
        assert fields["w"]["last"][beats].tolist() == [0] * (features - 1) + [1]
        x = np.zeros((config.rows, features), np.int64)
        for row in range(config.rows):
            high, progress[row] = token(config, fields, row, progress[row], features)
            low = fields[f"lsb_{row // config.sharing}"]["value"][beats, row % config.sharing]
            if config.recode == "balanced":
                low = (low ^ sign) - sign
            x[row] = (((high ^ sign) - sign) << config.k) + low
        rows = slice(tile * config.rows, (tile + 1) * config.rows)
        y = fields["y"]["value"][rows]
        np.testing.assert_array_equal(y, x @ w)
        np.testing.assert_array_equal(y, expected[tile])
        if config.asymmetric:
            np.testing.assert_array_equal(fields["y"]["ones"][rows], x.sum(axis=1))


@pytest.mark.parametrize("config", tb_sparqle.SMALL)
def test_extreme_sums_fit_the_accumulators(config):
    low, high = config.activation_range
    for x, w in ((low, -8), (low, 7), (high, -8), (high, 7)):
        layer = Layer(np.full((1, config.max_k), x), np.full((1, config.max_k), w, np.int8))
        y = y_port(config).unpack(sparqle_schedule.traffic(config, layer)["y"].words)
        assert y["value"][0, 0] == x * w * config.max_k == compute(config, layer)[0, 0]
        if config.asymmetric:
            assert y["ones"][0] == x * config.max_k


# --- timing ---------------------------------------------------------------------------------------


def cycles_of(config, bitmap, features, outputs, *, sort=False):
    settings, profile = SparqleSettings(sort=sort), PackedBitmap(bitmap)
    workload = Workload(len(bitmap), features, outputs, settings, profile=profile)
    return sparqle_timing.cycles(config, workload)


@pytest.mark.parametrize("seed", range(150))
def test_counts_equal_the_schedule(seed):
    config, layer = drawn(seed)
    detailed = sparqle_schedule.schedule(config, layer).counts()
    bitmap = hybrid.encode(config.format, layer.x).bitmap
    quick = cycles_of(config, bitmap, layer.x.shape[1], len(layer.w))
    assert quick.cycles == detailed.cycles
    assert quick.events == detailed.events


@pytest.mark.parametrize("seed", range(60))
def test_the_schedule_is_what_a_cycle_by_cycle_model_does(seed):
    """Rows, banks and tiles as the unit's docstring words them, stepped cycle by cycle."""
    config, layer = drawn(1000 + seed)
    schedule = sparqle_schedule.schedule(config, layer)
    weights, lows, ends = stepped(config, layer)
    np.testing.assert_array_equal(schedule.cycles["w"], weights)
    for p in range(config.row_groups):
        np.testing.assert_array_equal(schedule.cycles[f"lsb_{p}"], lows[p])
    np.testing.assert_array_equal(schedule.events["tiles"].cycles, ends)


def stepped(config, layer):
    """Cycles of weight beats, of each row group's low halves, and of the tiles' ends."""
    tiling, features = layer.tiling(config), layer.x.shape[1]
    _, high = sparqle_values.halves(config, layer.x)
    present = tiling.blocks_of_tokens(high != 0)
    shared = present.reshape(len(present), config.row_groups, config.sharing, features).any(axis=2)
    chunks = -(-features // config.chunk)
    size = [min(config.chunk, features - c * config.chunk) for c in range(chunks)]
    work = [
        [[shared[b, p, c * config.chunk :][: size[c]].sum() for c in range(chunks)]
         for p in range(config.row_groups)]
        for b, _ in tiling.order
    ]  # fmt: skip
    written = []  # cycle of every beat of weights
    groups = [{"tile": 0, "chunk": 0, "step": 0, "done": 0, "lows": []} for _ in work[0]]
    ends, cycle = [], 0
    while len(ends) < len(tiling):
        finished = [groups[p]["done"] for p in range(len(groups))]  # before this cycle
        for p, group in enumerate(groups):
            if group["tile"] != len(ends):
                continue  # has ended the tile, waits for the others
            t, c, step = group["tile"], group["chunk"], group["step"]
            if step < size[c]:
                feature = t * features + c * config.chunk + step
                if feature >= len(written) or written[feature] + 2 > cycle:
                    continue
                group["lows"].append(cycle)
            group["step"] += 1
            if group["step"] == size[c] + work[t][p][c]:
                group.update(step=0, chunk=c + 1, done=group["done"] + 1)
                if c + 1 == chunks:
                    group.update(chunk=0, tile=t + 1)
        feature = len(written)
        if feature < len(tiling) * features:
            tile, within = divmod(feature, features)
            chunk = tile * chunks + within // config.chunk
            free = within % config.chunk or chunk - min(finished) < config.weight_banks
            if free:
                written.append(cycle)
        drained = not ends or cycle >= ends[-1] + config.rows + 3
        if all(group["tile"] > len(ends) for group in groups) and drained:
            ends.append(cycle)
        cycle += 1
    return written, [group["lows"] for group in groups], ends


def test_a_tile_by_hand():
    """Two rows, one chunk of 4 features, one and three high halves."""
    config = SparqleConfig(rows=2, columns=1, group=4, beat=1, chunk=4, max_k=4)
    layer = Layer(np.array([[0, 100, 0, 0], [100, 100, 0, 100]]), np.ones((1, 4), np.int8))
    schedule = sparqle_schedule.schedule(config, layer)
    assert schedule.cycles["w"].tolist() == [0, 1, 2, 3]
    assert schedule.cycles["lsb_0"].tolist() == [2, 3, 4, 5]
    assert schedule.cycles["values_1"].tolist() == [1, 2, 3]
    assert schedule.events["tiles"].cycles.tolist() == [8]  # 2 + 4 + 3 - 1
    assert schedule.cycles["y"].tolist() == [12, 13]
    counts = schedule.counts()
    assert counts.cycles == 14
    assert counts.events["msb_macs"] == 4
    assert counts.events["stall_rows"] == 2


def test_repeated_tiles_are_counted_like_single_ones():
    """Layers whose tiles take long to settle are counted one by one."""
    rng = np.random.default_rng(0)
    config = SparqleConfig(rows=4, columns=1, group=4, beat=1, chunk=4, weight_banks=4, max_k=16)
    for outputs in (1, 2, 3, 20):
        layer = tb_sparqle.layer(config, rng, 17, 9, outputs)
        bitmap = hybrid.encode(config.format, layer.x).bitmap
        quick = cycles_of(config, bitmap, 9, outputs)
        assert quick.cycles == sparqle_schedule.schedule(config, layer).counts().cycles


def test_without_high_halves_the_array_takes_half_of_dense():
    config = SparqleConfig()
    bitmap = np.zeros((64, 128), np.uint8)
    counts = cycles_of(config, bitmap, 1024, 64)
    assert counts.cycles == 16 * 1024 + config.rows + 5
    assert counts.ideal_cycles == 16 * 1024


# --- real activations -----------------------------------------------------------------------------


def bitmaps(config):
    capture = Capture.open(sample_path())
    for name in capture.layers:
        q = quantise_activations(capture.activations(name), config.limit).q
        yield hybrid.encode(config.format, q)


def share_of_ideal(config, packed, *, sort):
    counts = cycles_of(config, packed.bitmap, packed.in_features, 576, sort=sort)
    return counts.ideal_cycles / counts.cycles


def test_sorted_tokens_come_close_to_the_ideal_speed_up():
    config = SparqleConfig()
    for packed in bitmaps(config):
        assert share_of_ideal(config, packed, sort=True) >= 0.96
        assert share_of_ideal(config, packed, sort=False) < share_of_ideal(
            config, packed, sort=True
        )


def test_sharing_costs_speed():
    for packed in bitmaps(SparqleConfig()):
        cycles = [
            cycles_of(
                SparqleConfig(sharing=g), packed.bitmap, packed.in_features, 576, sort=True
            ).cycles
            for g in (1, 2, 4, 8, 16)
        ]
        assert cycles == sorted(cycles)


def test_the_order_is_by_density_and_stable():
    assert sparqle_timing.density_order(np.array([2, 0, 2, 1])).tolist() == [1, 3, 0, 2]


# --- popcounts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_popcounts_stand_for_bitmaps(seed):
    config, layer = drawn(seed)
    bitmap = hybrid.encode(config.format, layer.x).bitmap
    profile = Popcounts.of(config, bitmap, layer.x.shape[1])
    workload = Workload(*layer.x.shape, len(layer.w), profile=profile)  # sort is the default
    assert sparqle_timing.cycles(config, workload) == cycles_of(
        config, bitmap, layer.x.shape[1], len(layer.w)
    )


def test_rows_that_share_a_list_work_off_the_or_of_their_bitmaps():
    """Equal popcounts of rows, but their high halves are at the same or at different features."""
    config = SparqleConfig(rows=2, columns=1, sharing=2, group=8, beat=8, chunk=8)
    same, apart = (
        cycles_of(config, np.array([[0b1111], [second]], np.uint8), 8, 1).cycles
        for second in (0b1111, 0b11110000)
    )
    assert apart - same == 4


def test_popcounts_of_another_array_are_refused():
    config = SparqleConfig(rows=4, group=8, beat=8, chunk=8)
    profile = Popcounts.of(config.replace(sharing=2), np.zeros((5, 2), np.uint8), 16)
    sentence = (
        "popcounts must be those of 2 token blocks, 4 row groups, 2 chunks and 1 weight groups, "
        "got 2, 2, 2 and 1."
    )
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        sparqle_timing.cycles(config, Workload(5, 16, 1, profile=profile))
    sentence = (
        "popcounts must be (token blocks, row groups, chunks) of shared lists and "
        "(4, weight groups) of tokens, got (2, 2, 2) and (5, 1)."
    )
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        Workload(4, 16, 1, profile=profile)


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"chunk": 48}, "chunk must be one of (4, 8, 16, 32, 64, 128), got 48."),
        ({"group": 48}, "group must be a power of two in 4..128, got 48."),
        ({"sharing": 3}, "sharing must divide rows, got sharing 3, rows 16."),
        ({"group": 4}, "beat must not exceed group, got beat 8, group 4."),
        ({"lanes": 2}, "lanes must be 1: the array has no others yet, got 2."),
        ({"rows": 0}, "rows: input should be greater than or equal to 1, got 0."),
        ({"queue": 0}, "queue: input should be greater than or equal to 1, got 0."),
        ({"weight_banks": 5}, "weight_banks: input should be less than or equal to 4, got 5."),
    ],
)
def test_illegal_parameters(values, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        SparqleConfig(**values)


def test_too_many_features():
    layer = Layer(np.zeros((1, 5), np.int8), np.zeros((1, 5), np.int8))
    with pytest.raises(UserError, match=r"^in_features must not exceed max_k = 4, got 5\.$"):
        sparqle_schedule.traffic(SparqleConfig(max_k=4), layer)
    with pytest.raises(UserError, match=r"^in_features must not exceed max_k = 4, got 5\.$"):
        cycles_of(SparqleConfig(max_k=4), np.zeros((1, 8), np.uint8), 5, 1)


def test_bank_bits():
    assert SparqleConfig().bank_bits == 16 * 2 * 64 * 16 * 4
    assert SparqleConfig(sharing=16).bank_bits == 2 * 64 * 16 * 4
