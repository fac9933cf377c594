"""What is to be shown of the bitmap codec: every preset, and smaller configurations."""

from collections.abc import Iterator, Mapping

from ..golden.bitmap import DECODER, ENCODER, UNIT, BitmapConfig
from ..golden.contract.config import Config
from ..golden.contract.design import Design
from .goals import Goal, Target, bounded, proved_in_the_soak, shown
from .properties_bitmap import DecoderProperties, EncoderProperties

SMALL = BitmapConfig(group=4, beat=2, width=2, value_width=1)
TINY = BitmapConfig(**UNIT.presets["tiny"].model_dump())


_PATHS: Mapping[str, Target] = {"tiny": "test", "paper": "deep"}
"""Presets whose paths are looked for before the soak."""


def _paths(design: Design) -> Iterator[Goal]:
    for name, config in UNIT.presets.items():
        if design in UNIT.designs(config):
            yield Goal(design, config, None, _PATHS.get(name, "soak"))


def _decoder() -> Iterator[Goal]:
    yield from _paths(DECODER)
    yield from proved_in_the_soak(DECODER, SMALL, DecoderProperties, depth=10)
    yield from shown(DECODER, SMALL.replace(mode="scatter"), DecoderProperties, target="deep")
    yield from shown(DECODER, SMALL.replace(value_width=0), DecoderProperties, target="test")
    proved = (
        TINY,
        SMALL.replace(beat=1, width=1),
        SMALL.replace(beat=4, width=3),
        SMALL.replace(beat=1, width=1, mode="scatter"),
        SMALL.replace(beat=4, mode="scatter"),
        TINY.replace(beat=4, width=3, value_width=0),
    )
    for config in proved:
        yield from shown(DECODER, config, DecoderProperties)
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
    yield from shown(ENCODER, SMALL, EncoderProperties, target="test")
    proved = (
        TINY.replace(value_width=1),
        SMALL.replace(value_width=2),
        SMALL.replace(beat=1, width=1),
        SMALL.replace(beat=4),
    )
    for config in proved:
        yield from shown(ENCODER, config, EncoderProperties)
    some: tuple[tuple[Config, int], ...] = (
        (TINY, 10),
        (UNIT.presets["fpga"], 3),
        (BitmapConfig(group=16, beat=4), 6),
    )
    for subject, depth in some:
        yield Goal(ENCODER, subject, bounded(depth), properties=EncoderProperties)


DECODER_GOALS = tuple(_decoder())
ENCODER_GOALS = tuple(_encoder())
