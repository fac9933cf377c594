"""Systolic N:M-sparse array: parameters, ports and events.

Source of the idea: arXiv 2512.24713 (withdrawn by its authors); relatives: VEGETA, arXiv
2302.08687. The array, its dataflow and the ports are our definition.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter
from pydantic import model_validator

from ..contract.config import Config
from ..contract.errors import UserError
from ..contract.events import Event
from ..contract.layer import WEIGHT_BITS, accumulator_bits
from ..contract.ports import Field, Port
from ..dequantizer import DequantizerConfig
from ..grouped import GroupedConfig
from .pattern import Pattern

ACTIVATION_BITS = 8
BEAT_BITS = 8  # of a column's packed weights


class NMConfig(GroupedConfig):
    """Parameters of the N:M-sparse array."""

    rows: int = Parameter(default=16, ge=1, le=64)
    """Tokens a tile (R)."""
    columns: int = Parameter(default=16, ge=1, le=64)
    """Outputs a tile (C)."""
    m: Literal[4, 8, 16] = 4
    """Weights of a block, of which any n are stored; n is known at run time."""
    span: int = Parameter(default=4, ge=1, le=64)
    """Rows and columns that share a pipeline register: 1 is the textbook's systolic array."""
    lanes: int = Parameter(default=1, ge=1, le=32)
    """Blocks a beat, which an element works off side by side (L)."""
    tree: Literal["operators", "carry_save"] = "operators"
    """How an element adds up the products of its lanes; there are no pair sums to share."""
    dequant_rows: int = Parameter(default=1, ge=1, le=16)
    """Rows of sums that leave, and are dequantised, in a cycle."""
    max_k: int = Parameter(default=14336, ge=1, le=1 << 20)
    """Largest in_features; sizes the accumulators."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for part, whole in (("span", "rows"), ("span", "columns"), ("dequant_rows", "span")):
            size, total = getattr(self, part), getattr(self, whole)
            if total % size:
                raise UserError(f"{part} must divide {whole}, got {part} {size}, {whole} {total}.")
        if self.grouped:
            self._check_max_k(self.max_k)
            self._check_dequantizer()
        return self

    def _check_dequantizer(self) -> None:
        """Weight groups are whole blocks; running sums must be there when the next group's come."""
        if self.weight_group % (self.lanes * self.m):
            raise UserError(
                f"lanes * m must divide weight_group, got lanes {self.lanes}, m {self.m}, "
                f"weight_group {self.weight_group}."
            )
        latency = self.scales.add_latency
        if self.drain < latency:
            raise UserError(
                "rows / dequant_rows must be at least add_latency, got rows "
                f"{self.rows}, dequant_rows {self.dequant_rows}, add_latency {latency}."
            )

    @property
    def dequantizer(self) -> DequantizerConfig:
        """The dequantizer behind the array."""
        return self._dequantizer(
            rows=self.rows,
            columns=self.columns,
            rows_per_beat=self.dequant_rows,
            acc_bits=self.array.accumulator_bits,
            errors=True,
        )

    @property
    def weight_bits(self) -> int:
        """Bits of a weight."""
        return WEIGHT_BITS

    @property
    def activation_range(self) -> tuple[int, int]:
        """Smallest and largest activation."""
        return -(1 << (ACTIVATION_BITS - 1)), (1 << (ACTIVATION_BITS - 1)) - 1

    @property
    def accumulator_bits(self) -> int:
        """Bits of an accumulator: enough for max_k products, which a dense layer has."""
        return accumulator_bits(ACTIVATION_BITS, self.max_k)

    @property
    def index_bits(self) -> int:
        """Bits of a place in a block."""
        return self.m.bit_length() - 1

    @property
    def stages(self) -> tuple[int, int]:
        """Pipeline stages from north to south, and from west to east."""
        return self.rows // self.span, self.columns // self.span

    @property
    def drain(self) -> int:
        """Beats of sums that a weight group or tile gives: cycles in which they leave."""
        return self.rows // self.dequant_rows

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates of a slot: one a processing element and lane."""
        return self.rows * self.columns * self.lanes

    def beats(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Beats of activations for the blocks of each weight group."""
        return -(-blocks // self.lanes)

    def pattern(self, n: int) -> Pattern:
        """``n`` of this array's ``m``; ``n`` outside 1..``m`` is a :class:`UserError`."""
        return Pattern(n, self.m)


def ports(config: NMConfig) -> tuple[Port, ...]:
    """Ports of the array; lane j of row (or column) i is number i * lanes + j."""
    n_bits = config.m.bit_length()
    x = (
        Field(
            "value",
            ACTIVATION_BITS,
            "activations of a block, lane after lane, row after row",
            True,
            config.rows * config.lanes * config.m,
        ),
        Field("last", 1, "final blocks of the weight group: sums leave", made="part"),
        Field(
            "end",
            1,
            "final blocks of the packed rows: the rest of the weights' beat is padding",
            made="block",
        ),
    )
    w = (
        Field(
            "bits",
            BEAT_BITS,
            "next bits of each column's packed row, or those of each lane",
            count=config.columns * config.lanes,
        ),
        Field(
            "n",
            n_bits,
            "n, on the first beat of packed rows; outside 1..m an error, taken as m",
            made="setting",
        ),
    )
    y = (
        Field(
            "value",
            config.accumulator_bits,
            "sums, row after row",
            True,
            config.dequant_rows * config.columns,
        ),
        Field("last", 1, "final rows of the weight group or tile", made="block"),
        Field(
            "error",
            1,
            "a block of this weight group, or n of its rows, was no legal one",
            made="error",
        ),
    )
    return (
        Port("x", "in", x, "activations, L blocks of each row a beat", "tokens"),
        Port("w", "in", w, "packed weights as they are stored", "outputs"),
        Port("y", "out", y, "sums, D rows a beat, row 0 first", "results"),
    )


def events(config: NMConfig) -> tuple[Event, ...]:
    """Events of the array."""
    return (
        Event("macs", "work", "multiply-accumulates of slots", config.macs_per_step.bit_length()),
        Event("x_beats", "work", "blocks of activations read"),
        Event("w_beats", "work", "beats of packed weights read"),
        Event("y_beats", "work", "beats of sums written"),
        Event("tiles", "work", "tiles, or weight groups of tiles, finished"),
        Event(
            "stall_operands",
            "time",
            "cycles within a tile without a slot",
            waits_for={"x": 1, "w": 1},
        ),
        Event("stall_drain", "time", "cycles a final slot waits for the sums before to leave"),
        Event(
            "stall_out",
            "time",
            "cycles that everything waits for the consumer",
            waits_for={"y": 1},
        ),
    )


def bandwidth(config: NMConfig, n: int | None = None) -> dict[str, float]:
    """Bits per cycle on each input in steady state, for ``n`` (by default 1, where it is most)."""
    slots = n or 1
    x, w, _ = ports(config)
    beats = config.pattern(slots).block_bits / BEAT_BITS / slots
    return {"x": x.width / slots, "w": w.width * beats}


class NMSettings(Config):
    """What the hardware takes as it runs, and how weights are prepared for it."""

    n: int = Parameter(default=2, ge=1, le=16)
    """Weights of a block that are stored, 1..m; n = m is dense."""
    method: Literal["magnitude", "wanda"] = "magnitude"
    """How weights are chosen: by size, or by size times the norm of the given activations."""
