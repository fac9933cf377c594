import pytest
from nibbleforge.golden.soc.registers import COUNTERS, IDENTIFICATION
from nibbleforge.golden.soc.unit import registers
from nibbleforge.golden.units import core_name, unit

UNITS = ("anda", "dense", "dense2k", "figna", "fp16", "fp16_int4", "nm", "reglu", "sparqle")


def map_of(name, preset="tiny"):
    core = unit(core_name(name))
    config = core.presets[preset]
    (design,) = core.designs(config)
    return registers(design.inner, config), config


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dense2k", ["x_beats", "x_part", "w_beats"]),
        ("fp16", ["x_beats", "w_beats"]),
        ("nm", ["x_beats", "x_part", "w_beats", "y_beats", "n"]),
        ("sparqle", ["w_beats", "w_part", "lsb_beats", "bitmap_beats", "bitmap_part"]),
        ("anda", ["sign_beats", "exponent_beats", "plane_beats", "plane_part", "w_beats",
                  "scale_beats"]),
    ],
)  # fmt: skip
def test_settings_follow_from_the_declaration(name, settings):
    every = ["outputs_stay", "tile_packets", "tokens", "outputs", *settings]
    assert [register.name for register in map_of(name)[0].of("setting")] == every


def test_settings_of_a_unit_that_asks_for_rows():
    names = [register.name for register in map_of("reglu")[0].of("setting")]
    rows = [f"{matrix}_{what}" for matrix in ("a", "b", "gate", "up", "down")
            for what in ("base", "stride")]  # fmt: skip
    assert names == [
        "tile_packets", "tokens", "x_beats", "y_beats", "neurons", "rank", "h_mult", "h_shift",
        "b_beats", *rows,
    ]  # fmt: skip


def test_settings_of_results_of_several_ports():
    found, config = map_of("anda", "chained")
    names = [register.name for register in found.of("setting")]
    assert names[-2:] == ["y_plane_beats", "y_mantissa"]
    assert [found[name].width for name in names[-2:]] == [5, 5]
    tiles = config.unit.group // config.unit.columns
    assert config.output_blocks == tiles


@pytest.mark.parametrize("name", UNITS)
def test_registers_do_not_overlap(name):
    found, config = map_of(name)
    offsets = [register.offset for register in found.registers]
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 for offset in offsets)
    for register in found.registers:
        bits = [range(field.lsb, field.lsb + field.width) for field in register.fields]
        used = [bit for group in bits for bit in group]
        assert len(used) == len(set(used))
        assert max(used) < 32
        assert register.value & ~register.mask == 0
    assert found["identification"].value == IDENTIFICATION
    digest = f"{found['hash_high'].value:08x}{found['hash_low'].value:08x}"
    assert config.config_hash.startswith(digest)


def test_every_event_has_a_counter_of_64_bits():
    found, _ = map_of("dense2k")
    names = [register.name for register in found.of("counter")]
    assert names[:4] == ["macs_low", "macs_high", "x_beats_low", "x_beats_high"]
    assert found["macs_low"].offset == COUNTERS
    assert len(names) == 2 * len(found.events)
