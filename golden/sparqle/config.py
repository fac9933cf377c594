"""Hybrid array of SPARQLe: parameters, ports and events.

Source: SPARQLe, arXiv 2606.00365. Chunks, weight banks and sharing are our own; see :mod:`.format`
for what in the number format is.
"""

from typing import Annotated

from pydantic import Field as Parameter
from pydantic import model_validator

from ..contract.config import Config
from ..contract.errors import UserError
from ..contract.events import Event
from ..contract.layer import WEIGHT_BITS, accumulator_bits
from ..contract.ports import Field, Port
from ..dequantizer import DequantizerConfig
from ..grouped import GroupedConfig
from .format import HybridFormat

CHUNKS = (4, 8, 16, 32, 64, 128)


class SparqleConfig(HybridFormat, GroupedConfig):
    """Parameters of the hybrid array: those of the number format, and the following."""

    rows: int = Parameter(default=16, ge=1, le=256)
    """Tokens a tile (R)."""
    columns: int = Parameter(default=16, ge=1, le=256)
    """Outputs a tile (C)."""
    chunk: int = 64
    """Input features that a row works off, low halves first, before it goes on."""
    weight_banks: int = Parameter(default=2, ge=2, le=4)
    """Chunks of weights held, so that rows may be that far apart."""
    sharing: int = Parameter(default=1, ge=1)
    """Rows that share weight banks and one list of indices."""
    queue: Annotated[int, Parameter(ge=1, le=64)] = 4
    """Decoded high halves that wait for their row."""
    max_k: int = Parameter(default=14336, ge=1, le=1 << 20)
    """Largest in_features; sizes the accumulators."""
    asymmetric: bool = False
    """A further column with weights of 1, for weights with a zero point."""

    @model_validator(mode="after")
    def _check_array(self) -> "SparqleConfig":
        if self.chunk not in CHUNKS:
            raise UserError(f"chunk must be one of {CHUNKS}, got {self.chunk}.")
        if self.rows % self.sharing:
            raise UserError(
                f"sharing must divide rows, got sharing {self.sharing}, rows {self.rows}."
            )
        if self.beat > self.group:
            raise UserError(
                f"beat must not exceed group, got beat {self.beat}, group {self.group}."
            )
        if self.lanes != 1:
            raise UserError(f"lanes must be 1: the array has no others yet, got {self.lanes}.")
        if self.grouped:
            self._check_groups()
        return self

    def _check_groups(self) -> None:
        """Refuse weight groups that chunks or bitmap words straddle, or that are too short."""
        self._check_max_k(self.max_k)
        for name in ("chunk", "group"):
            size = getattr(self, name)
            if self.weight_group % size:
                raise UserError(
                    f"{name} must divide weight_group, got {name} {size}, "
                    f"weight_group {self.weight_group}."
                )
        turn = self.dequantizer.passes * self.dequantizer.period
        if self.asymmetric and self.weight_group < turn:
            raise UserError(
                f"weight_group must be at least {turn} here, for the dequantizer takes two passes "
                f"over {self.rows} rows, got {self.weight_group}."
            )

    @property
    def dequantizer(self) -> DequantizerConfig:
        """The dequantizer behind the array."""
        return self._dequantizer(
            rows=self.rows,
            columns=self.columns,
            acc_bits=self.array.accumulator_bits,
            asymmetric=self.asymmetric,
            ones_bits=self.array.ones_bits,
            errors=True,
        )

    @property
    def format(self) -> HybridFormat:
        """The number format alone."""
        return HybridFormat(**{name: getattr(self, name) for name in HybridFormat.model_fields})

    @property
    def row_groups(self) -> int:
        """Groups of rows that work independently (P)."""
        return self.rows // self.sharing

    @property
    def span(self) -> int:
        """Input features of a mask buffer: the larger of group and chunk."""
        return max(self.group, self.chunk)

    @property
    def weight_bits(self) -> int:
        """Bits of a weight."""
        return WEIGHT_BITS

    @property
    def activation_range(self) -> tuple[int, int]:
        """Smallest and largest activation that the array multiplies exactly."""
        return self.q_min, self.q_max

    @property
    def operand_bits(self) -> int:
        """Bits of the signed activation operand of a multiplier."""
        return self.k + (self.recode == "twos")

    @property
    def accumulator_bits(self) -> int:
        """Bits of an accumulator: enough for max_k products of any accepted operands."""
        return accumulator_bits(2 * self.k, self.max_k)

    @property
    def ones_bits(self) -> int:
        """Bits of a sum of max_k activations."""
        return (self.max_k << (2 * self.k - 1)).bit_length() + 1

    @property
    def bank_bits(self) -> int:
        """Bits of all weight banks."""
        return self.row_groups * self.weight_banks * self.chunk * self.columns * WEIGHT_BITS


class SparqleSettings(Config):
    """How activations are prepared for the array, and in which order tokens come."""

    tau_lo: int = Parameter(default=0, ge=0)
    """Values up to this much below those without high halves that are moved there (lossy)."""
    tau_hi: int = Parameter(default=0, ge=0)
    """Values up to this much above those without high halves that are moved there (lossy)."""
    sort: bool = True
    """Deal tokens to tiles in the order of their number of high halves; undone at the output."""


# --- ports and events -------------------------------------------------------------------------


def ports(config: SparqleConfig) -> tuple[Port, ...]:
    """Ports of the array."""
    return (
        w_port(config),
        *(lsb_port(config, p) for p in range(config.row_groups)),
        *(bitmap_port(config, r) for r in range(config.rows)),
        *(values_port(config, r) for r in range(config.rows)),
        y_port(config),
    )


def w_port(config: SparqleConfig) -> Port:
    """Weights."""
    fields = (
        Field("value", WEIGHT_BITS, "weight of each column", True, config.columns),
        Field("last", 1, "final input feature of the tile", made="part"),
    )
    return Port("w", "in", fields, "weights, one input feature a beat", "outputs")


def lsb_port(config: SparqleConfig, p: int) -> Port:
    """Low halves of a row group."""
    fields = (Field("value", config.k, "low half of each row of the group", count=config.sharing),)
    meaning = f"low halves of row group {p}, one input feature a beat"
    return Port(f"lsb_{p}", "in", fields, meaning, "tokens", family="lsb")


def bitmap_port(config: SparqleConfig, r: int) -> Port:
    """Precision bitmap of a row."""
    fields = (
        Field("mask", 1, "bit i set: the high half of element i is not 0", count=config.group),
        Field("last", 1, "final group of the token", made="part"),
    )
    meaning = f"precision bitmap of row {r}, one group a beat"
    return Port(f"bitmap_{r}", "in", fields, meaning, "tokens", family="bitmap")


def values_port(config: SparqleConfig, r: int) -> Port:
    """High halves of a row."""
    fields = (Field("value", config.k, "high halves in ascending index", count=config.beat),)
    meaning = f"packed high halves of row {r}"
    return Port(f"values_{r}", "in", fields, meaning, "tokens", "last", family="values")


def y_port(config: SparqleConfig) -> Port:
    """Results."""
    fields = [Field("value", config.accumulator_bits, "sum of each column", True, config.columns)]
    if config.asymmetric:
        fields.append(Field("ones", config.ones_bits, "sum of the activations", True))
    fields += [
        Field("error", 1, "a bitmap of this tile ended before or after it", made="error"),
        Field("last", 1, "final row of the tile", made="block"),
    ]
    meaning = "results, one row a beat, row 0 first"
    return Port("y", "out", tuple(fields), meaning, "results", beats=config.rows)


def events(config: SparqleConfig) -> tuple[Event, ...]:
    """Events of the array; time events count row groups."""
    macs = (config.rows * config.columns).bit_length()
    rows, groups = config.rows.bit_length(), config.row_groups.bit_length()
    everyone, others = config.row_groups, config.row_groups - 1
    low = [f"lsb_{p}" for p in range(config.row_groups)]
    high = [f"{name}_{r}" for name in ("bitmap", "values") for r in range(config.rows)]
    return (
        Event("lsb_macs", "work", "multiply-accumulates on low halves", macs),
        Event("msb_macs", "work", "multiply-accumulates on high halves", macs),
        Event("gated_macs", "work", "slots of rows whose own high half is 0", macs),
        Event("bank_reads", "work", "weight bank entries read", groups),
        Event("w_beats", "work", "beats of weights read"),
        Event("lsb_beats", "work", "beats of low halves read", groups),
        Event("bitmap_words", "work", "bitmap words read", rows),
        Event("value_beats", "work", "beats of high halves read", rows),
        Event("y_beats", "work", "rows of results written"),
        Event("tiles", "work", "tiles finished"),
        Event("errors", "work", "row groups of tiles with a bitmap of another length", groups),
        Event(
            "stall_weights",
            "time",
            "cycles within a tile without the next weights",
            groups,
            {"w": everyone, **dict.fromkeys([*low, *high], others)},  # banks that nobody frees
        ),
        Event(
            "stall_lsb",
            "time",
            "cycles without the next low halves",
            groups,
            dict.fromkeys(low, 1),
        ),
        Event(
            "stall_list",
            "time",
            "cycles without the next decoded high halves",
            groups,
            dict.fromkeys(high, 1),
        ),
        Event("stall_rows", "time", "cycles in wait for the tile's end", groups, {"y": everyone}),
        Event(
            "stall_drain",
            "time",
            "cycles a finished tile waits for the one before to drain",
            waits_for={"y": 1},
        ),
    )


def bandwidth(config: SparqleConfig) -> dict[str, float]:
    """Peak bits per cycle on each input: a chunk without high halves."""
    values = {f"values_{r}": float(config.k) for r in range(config.rows)}
    bitmaps = {f"bitmap_{r}": (config.group + 1) / config.group for r in range(config.rows)}
    low = {f"lsb_{p}": float(config.sharing * config.k) for p in range(config.row_groups)}
    return {"w": config.columns * WEIGHT_BITS + 1.0, **low, **bitmaps, **values}
