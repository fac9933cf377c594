"""Cores around units of plain streams: blocks, packets and schedule, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from nibbleforge.golden.bitmap import BitmapConfig, Groups
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.dequantizer import DequantizerConfig, GroupSums
from nibbleforge.golden.soc.designs import stream_core_design
from nibbleforge.golden.soc.packets import parted, result_packets
from nibbleforge.golden.soc.registers import result_ports
from nibbleforge.golden.soc.stream import (
    StreamBlocks,
    StreamRun,
    cut,
    stream_config_around,
)
from nibbleforge.golden.soc.unit import registers
from nibbleforge.golden.units import core_name, unit
from nibbleforge.tb.stimuli import stimuli_of

STREAMS = ("bitmap", "compressor", "dequantizer")


def encoder(**values):
    """Groups of 4 elements of 4 bits, 2 values a beat."""
    parameters = BitmapConfig(group=4, beat=2, width=1)
    config = stream_config_around(BitmapConfig)(unit=parameters, **{"block_beats": 4, **values})
    _, inner = unit("bitmap").designs(parameters)
    return stream_core_design(inner), config


def tokens(*sizes):
    """Tokens of so many groups with 3 values each."""
    last = np.zeros(sum(sizes), bool)
    last[np.cumsum(sizes) - 1] = True
    return Groups(np.tile(np.array([1, 0, 2, 3], np.uint16), (len(last), 1)), last)


def test_blocks_are_as_long_as_buffers_allow():
    """Two groups of a token give 3 beats of values, one gives 2: a half holds 4 of each port."""
    design, config = encoder()
    assert cut(design.inner, config, tokens(1, 1, 2, 1, 1)) == [
        slice(0, 2), slice(2, 3), slice(3, 5),
    ]  # fmt: skip


def test_a_run_by_hand():
    design, config = encoder(quiet=5)
    found = design.schedule(config, StreamRun(tokens(1, 1, 1)))
    # 2 settings, the mask, then the start in cycle 3: busy from 4 on. A header, a cycle to look
    # at it, a word a group (17 bits); two groups, then one.
    assert found.cycles["s_axis"].tolist() == [4, 6, 7, 8, 10]
    # The first block is there in 8: beats from 10 on. Groups enter the output stage in 12 and 14
    # and give 2 beats of values each, the final one in 15: over in 20, packets from 21 on: two
    # bitmap words and four beats of values, with two headers.
    # The second block begins in 21, beats from 23 on, the final one in 26: over in 31.
    assert found.cycles["m_axis"].tolist() == [*range(21, 29), *range(32, 37)]
    assert found.counts().events["core_busy"] == 33
    assert found.counts().events["core_stall_load"] == 4
    words = found.beats["m_axis"].words[:, 0].tolist()
    first = [0 | 2 << 16, 0b11101, 0b11101, 1 | 4 << 16, 0x21, 0x03, 0x21, 0x03]
    assert words == [*first, 0 | 1 << 16, 0b11101, 1 | 2 << 16, 0x21, 0x03]
    assert found.beats["m_axis"].words[:, 1].tolist() == [0] * 12 + [1]


def test_blocks_may_end_packets():
    design, config = encoder()
    found = design.schedule(config, StreamRun(tokens(1, 1, 1), block_packets=True))
    assert np.flatnonzero(found.beats["m_axis"].words[:, 1]).tolist() == [7, 12]


@pytest.mark.parametrize(
    ("values", "run", "sentence"),
    [
        (
            {},
            tokens(1, 3),
            "a block of values has 5 beats and the core holds 4: depths.values must be larger.",
        ),
        (
            {"quiet": 1},
            tokens(1),
            "the unit gives results after a pause of 2 cycles: quiet must be at least 2, got 1.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(values, run, sentence):
    design, config = encoder(**values)
    with pytest.raises(UserError) as caught:
        design.schedule(config, StreamRun(run))
    assert str(caught.value) == sentence


def test_runs_must_end():
    design, config = encoder()
    for last in ([True, False], [False, False]):
        run = Groups(tokens(1, 1).dense, np.array(last))
        with pytest.raises(UserError) as caught:
            design.schedule(config, StreamRun(run))
        assert str(caught.value) == (
            "a run of bitmap_encoder must end where the unit is as after a reset."
        )


def test_runs_have_as_many_blocks_as_their_register_counts(monkeypatch):
    monkeypatch.setattr("nibbleforge.golden.soc.stream.LENGTH_BITS", 1)
    design, config = encoder()
    with pytest.raises(UserError, match=r"^a run must have at most 1 blocks\.$"):
        design.schedule(config, StreamRun(tokens(2, 2)))


@pytest.mark.parametrize("name", STREAMS)
def test_pieces_are_runs_of_their_own(name):
    """What passes each port is the same, whether a run is cut or not."""
    owner = unit(name)
    config = owner.presets["tiny"]
    for design in owner.designs(config):
        operands = stimuli_of(design).random(config, np.random.default_rng(5))
        whole = design.traffic(config, operands)
        middle = operands.runs // 2
        parts = [operands.part(slice(0, middle)), operands.part(slice(middle, operands.runs))]
        traffic = [design.traffic(config, part) for part in parts]
        for port in design.ports(config):
            joined = np.concatenate([beats[port.name].expand() for beats in traffic])
            assert np.array_equal(joined, whole[port.name].expand())


@pytest.mark.parametrize("bus", [32, 64, 128])
@pytest.mark.parametrize("name", STREAMS)
def test_packets_are_parted_again(name, bus):
    owner = unit(core_name(name))
    config = owner.presets["tiny"].replace(bus_width=bus)
    for design in owner.designs(config):
        inner = design.inner
        results = result_ports(inner.ports(config.unit))
        operands = stimuli_of(design).random(config, np.random.default_rng(3)).operands
        blocks = StreamBlocks.of(inner, config, operands)
        packets = [result_packets(config, results, s.beats) for s in blocks.schedules]
        found = parted(config, results, np.concatenate(packets))
        for port in results:
            whole = inner.traffic(config.unit, operands)[port.name].expand()
            assert np.array_equal(found[port.name], whole)


def test_designs_of_one_configuration_are_told_apart():
    owner = unit(core_name("bitmap"))
    config = owner.presets["tiny"]
    decoder, encoder = (registers(d.inner, config) for d in owner.designs(config))
    assert decoder["hash_low"].value == encoder["hash_low"].value
    assert decoder["design"].value != encoder["design"].value
    assert decoder["status"].bit("waits_stream") == 3
    assert [r.name for r in decoder.of("setting")] == ["block_packets", "stream"]


def test_a_block_takes_the_longest_of_loading_computing_and_draining():
    """In steady state: 8 beats of 5 words and a header in, 8 of 4 words and a header out."""
    parameters = DequantizerConfig(rows=8, columns=4, acc_bits=32)
    config = stream_config_around(DequantizerConfig)(unit=parameters, block_beats=8, quiet=16)
    (inner,) = unit("dequantizer").designs(parameters)
    acc = np.arange(20 * 8 * 4).reshape(20, 8, 4)
    sums = GroupSums(acc, np.ones((20, 4), np.float16), np.ones(20, bool))
    found = stream_core_design(inner).schedule(config, StreamRun(sums))
    loading = 2 + 8 * 5 + 2 + 3
    assert set(np.diff(found.events["core_passes"].cycles)) == {loading}
    wide = replace_quiet(config, 200)
    found = stream_core_design(inner).schedule(wide, StreamRun(sums))
    computing = 2 + (7 + parameters.latency) + 200 + 1
    assert set(np.diff(found.events["core_passes"].cycles)) == {computing}


def replace_quiet(config, quiet):
    return config.replace(quiet=quiet)


@pytest.mark.parametrize("name", STREAMS)
def test_every_preset_has_a_core(name):
    core, inner = unit(core_name(name)), unit(name)
    assert set(core.presets) == set(inner.presets)
    for preset, config in core.presets.items():
        assert replace(core, presets={}).designs(config)
        assert config.unit == inner.presets[preset]
