"""Bit-plane array of Anda: parameters, ports and events.

Source: Anda, arXiv 2411.15982. Banked sign planes, shared post-processors and how weights are
loaded are our own.
"""

from typing import Literal, Self

from pydantic import Field as Parameter
from pydantic import model_validator

from ..contract.config import Config
from ..contract.errors import UserError
from ..contract.events import Event
from ..contract.layer import WEIGHT_BITS
from ..contract.ports import Field, Port
from ..dequantizer import SCALE_BITS, FloatLatencies
from .dots import acc_bits
from .format import EXPONENT_BITS, MANTISSA_MAX, AndaFormat

RESULT_BITS = {"fp32": 32, "fp16": 16}


class GroupArrayConfig(AndaFormat, FloatLatencies):
    """What arrays on groups have in common: their size, and post-processors of group sums."""

    rows: int = Parameter(default=16, ge=1, le=64)
    """Tokens a tile (R)."""
    columns: int = Parameter(default=16, ge=1, le=64)
    """Outputs a tile (C)."""
    fp_share: int = Parameter(default=4, ge=1, le=64)
    """Processors of a row that share a post-processor."""
    asymmetric: bool = False
    """Whether weights have a minimum beside their scale."""

    @model_validator(mode="after")
    def _check_share(self) -> Self:
        check_part(self, "fp_share", "columns")
        return self

    @property
    def largest_mantissa(self) -> int:
        """Most bits of a mantissa."""
        raise TypeError("an array on groups has a largest mantissa")

    @property
    def accumulator_bits(self) -> int:
        """Bits of a group's signed dot product."""
        return acc_bits(self.group, self.largest_mantissa)

    @property
    def value_bits(self) -> int:
        """Bits of the integer that is converted, which minima widen."""
        return acc_bits(self.group, self.largest_mantissa, self.asymmetric)

    @property
    def ones_bits(self) -> int:
        """Bits of a signed sum of a group's mantissas."""
        return (self.group * ((1 << self.largest_mantissa) - 1)).bit_length() + 1

    @property
    def weight_beats(self) -> int:
        """Beats of weights that must be there before a group; none where weights stream."""
        return 0

    @property
    def passes(self) -> int:
        """Times a group goes through the post-processors: scales, then minima."""
        return 2 if self.asymmetric else 1

    @property
    def latency(self) -> int:
        """Cycles from a group's sum to the running sum that holds it."""
        return self.convert_latency + self.multiply_latency + self.add_latency

    @property
    def result_latency(self) -> int:
        """Cycles from a tile's final group sum to the cycle before its first row leaves."""
        return self.latency

    @property
    def period(self) -> int:
        """Cycles between passes over the same running sums."""
        return max(self.fp_share, self.add_latency)

    @property
    def products(self) -> int:
        """Products that are sent to running sums in a cycle."""
        return self.rows * self.columns // self.fp_share


def check_part(config: Config, part: str, whole: str) -> None:
    """Raise :class:`UserError` unless one parameter divides the other."""
    size, total = getattr(config, part), getattr(config, whole)
    if total % size:
        raise UserError(f"{part} must divide {whole}, got {part} {size}, {whole} {total}.")


class AndaConfig(GroupArrayConfig):
    """Parameters of the bit-plane array."""

    max_mantissa: int = Parameter(default=MANTISSA_MAX, ge=1, le=MANTISSA_MAX)
    """Most bits of a mantissa at run time; sizes the accumulators."""
    sign_plane: Literal["banked", "serial"] = "banked"
    """``banked``: sign words on a port of their own; ``serial``: before the group's planes."""
    weight_beat: int = Parameter(default=16, ge=1, le=64)
    """Weights of each column a beat."""
    output: Literal["fp32", "fp16", "anda"] = "fp32"
    """Format of the results; FP16 saturates, ``anda`` is made from it by the compressor."""
    tree: Literal["carry_save", "binary"] = "carry_save"
    """How a processor adds up a plane: carry-save adders, or a tree of signed adders."""
    weight_registers: Literal["column", "processor"] = "column"
    """Who holds the weights of a group: each column once, or each processor."""

    @model_validator(mode="after")
    def _check_beat(self) -> Self:
        check_part(self, "weight_beat", "group")
        if self.output == "anda":
            self._check_compressor()
        return self

    def _check_compressor(self) -> None:
        """The compressor takes C elements of a lane a beat and must never hold the array up."""
        check_part(self, "columns", "group")
        if self.rows * self.group < MANTISSA_MAX * self.columns:
            raise UserError(
                f"rows * group / columns must be at least {MANTISSA_MAX} for output anda, "
                f"got rows {self.rows}, group {self.group}, columns {self.columns}."
            )

    @property
    def largest_mantissa(self) -> int:
        """Most bits of a mantissa."""
        return self.max_mantissa

    @property
    def weight_beats(self) -> int:
        """Beats of weights a group."""
        return self.group // self.weight_beat

    @property
    def result_latency(self) -> int:
        """Cycles from a tile's final group sum to the cycle before its first row leaves."""
        return self.latency + (self.output != "fp32")

    @property
    def bit_macs(self) -> int:
        """Mantissa bits times weights of a plane."""
        return self.rows * self.columns * self.group

    def beats(self, mantissa: int) -> int:
        """Beats of the plane port a group."""
        return mantissa + (self.sign_plane == "serial")

    def group_cycles(self, mantissa: int) -> int:
        """Cycles a group takes in steady state."""
        return max(self.beats(mantissa), self.passes * self.period, self.weight_beats)


class MantissaSettings(Config):
    """What the hardware takes as it runs."""

    mantissa: int = Parameter(default=8, ge=1, le=MANTISSA_MAX)
    """Bits of a mantissa (M), hidden one included."""


class AndaSettings(MantissaSettings):
    """What the hardware takes as it runs, and how weights are prepared for it."""

    result_mantissa: int = Parameter(default=8, ge=1, le=MANTISSA_MAX)
    """Bits of a result's mantissa; matters only with ``output="anda"``."""

    weight_group: Literal[16, 32, 64, 128] = 128
    """Input features that share a scale; a multiple of the Anda group."""


# --- ports and events -------------------------------------------------------------------------


def exponent_port(config: GroupArrayConfig) -> Port:
    """Port of what comes with every group."""
    fields = (
        Field("value", EXPONENT_BITS, "exponent of each row", count=config.rows),
        Field("fresh", 1, "the group takes the next scales"),
        Field("last", 1, "final group of the tile", made="block"),
    )
    return Port("exponent", "in", fields, "exponents, one group a beat", "tokens")


def scale_port(config: GroupArrayConfig) -> Port:
    """Port of what comes with every weight group."""
    d = Field("d", SCALE_BITS, "FP16 scale of each column", count=config.columns)
    minimum = Field("minimum", SCALE_BITS, "FP16 minimum of each column", count=config.columns)
    fields = (d, minimum) if config.asymmetric else (d,)
    return Port("scale", "in", fields, "scales of weight groups", "outputs")


def ports(config: AndaConfig) -> tuple[Port, ...]:
    """Ports of the array."""
    elements = config.rows * config.group
    word = Field("word", 1, "sign of each row's elements", count=elements)
    sign = Port("sign", "in", (word,), "sign words, one group a beat", "tokens")
    plane = (
        Field("bits", 1, "bit of each row's elements", count=elements),
        Field("last", 1, "final plane of the group", made="part"),
    )
    weights = config.columns * config.weight_beat
    w = (Field("value", WEIGHT_BITS, "weights of each element's columns", True, weights),)
    result = f"{config.output.upper()} result of each column"
    y = (
        Field("value", RESULT_BITS[config.output], result, count=config.columns, floating=True),
        Field("last", 1, "final row of the tile", made="block"),
    )
    serial = config.sign_plane == "serial"
    order = "sign word, then planes" if serial else "planes"
    return (
        *(() if serial else (sign,)),
        exponent_port(config),
        Port("plane", "in", plane, f"{order} of a group, most significant first", "tokens"),
        Port("w", "in", w, "weights, elements of a group in ascending order", "outputs"),
        scale_port(config),
        Port("y", "out", y, "results, one row a beat, row 0 first", "results", beats=config.rows),
    )


def events(config: AndaConfig) -> tuple[Event, ...]:
    """Events of the array."""
    banked = ("sign",) if config.sign_plane == "banked" else ()
    planes = (*banked, "exponent", "plane", "scale")
    return (
        Event("bit_macs", "work", "mantissa bits times weights", config.bit_macs.bit_length()),
        Event("planes", "work", "mantissa planes worked off"),
        Event("groups", "work", "groups worked off"),
        Event("w_beats", "work", "beats of weights read"),
        Event("scales", "work", "beats of scales read"),
        Event("products", "work", "products sent to running sums", config.products.bit_length()),
        Event("y_beats", "work", "rows of results written"),
        Event("tiles", "work", "tiles whose final products were sent"),
        Event(
            "stall_operands",
            "time",
            "cycles within a tile that wait for planes",
            waits_for=dict.fromkeys(planes, 1),
        ),
        Event(
            "stall_weights",
            "time",
            "cycles a plane waits for the group's weights",
            waits_for={"w": 1},
        ),
        Event(
            "stall_post",
            "time",
            "cycles a group's final plane waits for the post-processors",
            waits_for={"y": 1},  # the group behind the one that waits
        ),
        Event(
            "stall_drain",
            "time",
            "cycles final products wait for the tile before to drain",
            waits_for={"y": 1},
        ),
    )


def bandwidth(config: AndaConfig, mantissa: int = 5) -> dict[str, float]:
    """Bits per cycle on each input in steady state, for a mantissa; scales for groups of 128."""
    cycles = config.group_cycles(mantissa)
    beats: dict[str, float] = {
        "plane": config.beats(mantissa),
        "w": config.weight_beats,
        "scale": config.group / 128,
    }
    return {
        port.name: port.width * beats.get(port.name, 1) / cycles
        for port in ports(config)
        if port.direction == "in"
    }
