"""The Anda array joined to the compressor: values, what the next layer takes, law, bad input."""

from dataclasses import replace

import numpy as np
import pytest
from nibbleforge.golden.anda import compressed as anda_compressed
from nibbleforge.golden.anda import schedule as anda_schedule
from nibbleforge.golden.anda import values as anda_values
from nibbleforge.golden.anda.config import AndaConfig, AndaSettings
from nibbleforge.golden.anda.values import AndaLayer
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.units import unit
from nibbleforge.tb import tb_anda_compressed

CHAINED = unit("anda").presets["chained"]


def drawn(seed=0, **changes):
    config = CHAINED.replace(**changes)
    return config, tb_anda_compressed.random_layer(config, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(20))
def test_results_are_truncated_to_the_step_of_their_group(seed):
    config, layer = drawn(seed)
    half = np.asarray(anda_values.compute(config.replace(output="fp16"), layer), np.float64)
    y = anda_compressed.compute(config, layer).decode()
    for start in range(0, half.shape[1], config.group):
        group = half[:, start : start + config.group]
        exponent = np.maximum(np.frexp(np.abs(group).max(axis=1))[1] - 1, -14)
        step = np.ldexp(1.0, exponent - (layer.result_mantissa - 1))[:, None]
        np.testing.assert_array_equal(
            y[:, start : start + config.group], np.trunc(group / step) * step
        )


def test_the_next_layer_takes_what_leaves():
    config, layer = drawn(3)
    y = np.asarray(anda_values.compute(config.replace(output="fp16"), layer), np.float16)
    mantissa = min(layer.result_mantissa, config.max_mantissa)
    outputs = config.columns  # one tile deep, so that every beat is taken once
    following = AndaLayer(
        x=y,
        mantissa=mantissa,
        w=np.ones((outputs, y.shape[1]), np.int8),
        d=np.ones((outputs, 1), np.float16),
        weight_group=y.shape[1],
    )
    taken = anda_schedule.traffic(config.replace(output="fp16"), following)
    given = anda_compressed.traffic(config, replace(layer, result_mantissa=mantissa))
    np.testing.assert_array_equal(taken["plane"].words, given["y_plane"].words)
    np.testing.assert_array_equal(taken["sign"].words, given["y_sign"].words)
    ports = {port.name: port for port in anda_compressed.ports(config)}
    exponents = [
        ports[name].unpack(words[name].words)["value"]
        for name, words in (("exponent", taken), ("y_exponent", given))
    ]
    np.testing.assert_array_equal(*exponents)


@pytest.mark.parametrize("seed", range(60))
def test_cycles_equal_the_schedule(seed):
    rng = np.random.default_rng(seed)
    try:
        config = tb_anda_compressed.random_config(rng)
    except UserError:
        return
    layer = tb_anda_compressed.random_layer(config, rng)
    settings = AndaSettings(mantissa=layer.mantissa, result_mantissa=layer.result_mantissa)
    law = anda_compressed.cycles(
        config, Workload(*layer.x.shape, len(layer.w), settings, layer.weight_group)
    )
    counted = anda_compressed.schedule(config, layer).counts()
    assert (counted.cycles, counted.events) == (law.cycles, law.events)


WRONG_CONFIGS = [
    ({"columns": 3}, "columns must divide group, got columns 3, group 32."),
    (
        {"rows": 1, "columns": 4},
        "rows * group / columns must be at least 16 for output anda, "
        "got rows 1, group 32, columns 4.",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG_CONFIGS)
def test_configurations_that_the_compressor_cannot_follow(changes, sentence):
    with pytest.raises(UserError) as raised:
        AndaConfig(**{"group": 32, "fp_share": 1, **changes}, output="anda")
    assert str(raised.value) == sentence


def test_outputs_that_end_within_a_group():
    config, layer = drawn()
    with pytest.raises(UserError) as raised:
        anda_compressed.check(config, replace(layer, w=layer.w[:-1], d=layer.d[:-1]))
    assert str(raised.value) == f"outputs must be a multiple of group = 32, got {len(layer.w) - 1}."


@pytest.mark.parametrize(
    ("mantissa", "sentence"),
    [
        (17, "mantissa must be in 1..16, got 17."),
        (8.0, "result_mantissa must be a plain integer, got 8.0."),
    ],
)
def test_result_mantissas(mantissa, sentence):
    config, layer = drawn()
    with pytest.raises(UserError) as raised:
        anda_compressed.check(config, replace(layer, result_mantissa=mantissa))
    assert str(raised.value) == sentence
