"""What is to be shown of the bitmap codec: every preset, and smaller configurations."""

from collections.abc import Iterator

from ..golden.bitmap import DECODER, ENCODER, UNIT, BitmapConfig
from ..golden.contract.config import Config
from ..golden.contract.design import Design
from .goals import Goal, bounded, proved_in_the_soak, shown
from .properties_bitmap import DecoderProperties, EncoderProperties

SMALL = BitmapConfig(group=4, beat=2, width=2, value_width=1)
TINY = BitmapConfig(**UNIT.presets["tiny"].model_dump())


def _paths(design: Design) -> Iterator[Goal]:
    for name, config in UNIT.presets.items():
        if design in UNIT.designs(config):
            yield Goal(design, config, None, quick=name in ("tiny", "paper"))


def _decoder() -> Iterator[Goal]:
    yield from _paths(DECODER)
    yield from proved_in_the_soak(DECODER, SMALL, DecoderProperties, depth=10)
    quick = (SMALL.replace(mode="scatter"), SMALL.replace(value_width=0))
    proved = (
        TINY,
        SMALL.replace(beat=1, width=1),
        SMALL.replace(beat=4, width=3),
        SMALL.replace(beat=1, width=1, mode="scatter"),
        SMALL.replace(beat=4, mode="scatter"),
        TINY.replace(beat=4, width=3, value_width=0),
    )
    for config in (*quick, *proved):
        yield from shown(DECODER, config, DecoderProperties, quick=config in quick)
    some: tuple[tuple[Config, int], ...] = (
        (TINY.replace(mode="scatter"), 12),
        (UNIT.presets["fpga"], 5),
        (UNIT.presets["paper"], 4),
        (UNIT.presets["mask"], 3),  # cycles until the first beat may leave
        (UNIT.presets["scatter"], 4),
    )
    for subject, depth in some:
        yield Goal(DECODER, subject, bounded(depth), properties=DecoderProperties)


def _encoder() -> Iterator[Goal]:
    yield from _paths(ENCODER)
    proved = (
        SMALL,
        TINY.replace(value_width=1),
        SMALL.replace(value_width=2),
        SMALL.replace(beat=1, width=1),
        SMALL.replace(beat=4),
    )
    for config in proved:
        yield from shown(ENCODER, config, EncoderProperties, quick=config == SMALL)
    some: tuple[tuple[Config, int], ...] = (
        (TINY, 10),
        (UNIT.presets["fpga"], 3),
        (BitmapConfig(group=16, beat=4), 6),
    )
    for subject, depth in some:
        yield Goal(ENCODER, subject, bounded(depth), properties=EncoderProperties)


DECODER_GOALS = tuple(_decoder())
ENCODER_GOALS = tuple(_encoder())
