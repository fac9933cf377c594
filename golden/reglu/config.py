"""Neuron-skipping ReGLU FFN: parameters, ports and events.

Source of the idea: arXiv 2603.14110. The unit, its ports and its order of requests are our
definition.
"""

from enum import IntEnum
from typing import Literal

from pydantic import Field as Parameter

from ..contract.config import Config
from ..contract.events import Event
from ..contract.ports import Field, Port
from ..contract.rows import MatrixRows
from .ffn import INT8_LIMIT
from .format import MULT_BITS, SHIFTS

OPERAND_BITS = 8
WORD_BITS = 32
SHIFT_BITS = SHIFTS[1].bit_length()


class Matrix(IntEnum):
    """What a row belongs to, as the ports say it."""

    A = 0
    B = 1
    GATE = 2
    UP = 3
    DOWN = 4


MATRIX_BITS = max(Matrix).bit_length()
_CODES = ", ".join(f"{matrix.value} {matrix.name.lower()}" for matrix in Matrix)


class RegluConfig(Config):
    """Parameters of the neuron-skipping FFN."""

    lanes: int = Parameter(default=16, ge=1, le=256)
    """Elements of a row that are read and multiplied in a cycle."""
    max_features: int = Parameter(default=4096, ge=1, le=1 << 16)
    """Largest d: features of x and y."""
    max_neurons: int = Parameter(default=11008, ge=1, le=1 << 16)
    """Largest D: neurons."""
    max_rank: int = Parameter(default=256, ge=1, le=1 << 12)
    """Largest r: rank of the predictor."""
    predictor: bool = True
    """Whether neurons are predicted; without, every gate row is read (early exit)."""
    double_relu: bool = False
    """Whether a neuron also ends where its up is not positive."""
    in_flight: int = Parameter(default=16, ge=1, le=256)
    """Rows of gate, up and down that are asked for ahead."""
    survivors: int = Parameter(default=256, ge=1, le=1 << 14)
    """Neurons between the request of their gate row and that of their up row."""
    mask_group: Literal[4, 8, 16, 32, 64, 128] = 64
    """Neurons of a word of the mask, which is decoded to indices."""

    @property
    def idle(self) -> frozenset[str]:
        """Without predictor there is no mask."""
        return frozenset() if self.predictor else frozenset({"mask_group"})

    @property
    def row_bits(self) -> int:
        """Bits of a row's number."""
        return max(1, (max(self.max_neurons, self.max_rank) - 1).bit_length())

    @property
    def count_bits(self) -> int:
        """Bits of a number of rows."""
        return max(self.max_neurons, self.max_rank).bit_length()

    @property
    def dot_bits(self) -> int:
        """Bits of z, p, g and u: sums of INT8 products over features, or over the rank."""
        terms = max(self.max_features, self.max_rank if self.predictor else 1)
        return min(WORD_BITS, (terms << 2 * (OPERAND_BITS - 1)).bit_length() + 1)

    @property
    def y_bits(self) -> int:
        """Bits of a sum over neurons of h times an INT8 weight."""
        largest = self.max_neurons * INT8_LIMIT << (OPERAND_BITS - 1)
        return min(WORD_BITS, largest.bit_length() + 1)

    @property
    def tree_stages(self) -> int:
        """Registers of the adder tree (T), one for three levels of adders."""
        return max(1, -(-(self.lanes - 1).bit_length() // 3))

    @property
    def x_words(self) -> int:
        """Beats of the longest x, y or row of gate, up, down and A."""
        return -(-self.max_features // self.lanes)

    @property
    def z_words(self) -> int:
        """Beats of the longest row of B."""
        return -(-self.max_rank // self.lanes)

    @property
    def mask_words(self) -> int:
        """Words of the longest mask."""
        return -(-self.max_neurons // self.mask_group)


def ports(config: RegluConfig) -> tuple[Port, ...]:
    """Ports of the FFN."""
    x = [
        Field("value", OPERAND_BITS, "features of x", True, config.lanes),
        Field("last", 1, "final beat of the token", made="block"),
        Field(
            "neurons",
            config.max_neurons.bit_length(),
            "D; on the first beat, as what follows",
            made="setting",
        ),
        Field("rank", config.max_rank.bit_length(), "r", made="setting"),
        Field("h_mult", MULT_BITS, "factor from relu(g16) * u16 to h", made="setting"),
        Field("h_shift", SHIFT_BITS, "its shift, 1..47", made="setting"),
    ]
    if not config.predictor:
        x = [field for field in x if field.name != "rank"]
    rows = (
        Field("value", OPERAND_BITS, "elements of the row; 0 beyond its end", True, config.lanes),
        Field(
            "word",
            WORD_BITS,
            "on a row's final beat: of B its threshold; of A, gate and up mult, then shift",
            made="word",
        ),
        Field("matrix", MATRIX_BITS, _CODES, made="matrix"),
        Field("row", config.row_bits, "row of the matrix; of down: column", made="row"),
        Field("last", 1, "final beat of the row", made="block"),
    )
    request = (
        Field("matrix", MATRIX_BITS, _CODES, made="matrix"),
        Field("row", config.row_bits, "first row asked for", made="row"),
        Field(
            "count", config.count_bits, "rows asked for: r of A, D of B, 1 of others", made="count"
        ),
    )
    y = (
        Field("value", config.y_bits, "outputs", True, config.lanes),
        Field("last", 1, "final beat of the token", made="block"),
        Field("error", 1, "a row of this token was not the one asked for", made="error"),
    )
    return (
        Port(
            "x",
            "in",
            tuple(x),
            "inputs of a token, L features a beat",
            "tokens",
            most=config.x_words,
        ),
        Port("rows", "in", rows, "the rows asked for, in order, L elements a beat", "answers"),
        Port(
            "request",
            "out",
            request,
            "rows that are needed",
            "request",
            asks=_matrices(config),
            ahead=config.in_flight + 2,  # single rows, A and B
        ),
        Port("y", "out", y, "outputs of a token, L a beat", "results", most=config.x_words),
    )


def _matrices(config: RegluConfig) -> tuple[MatrixRows, ...]:
    """What rows are asked of; all but those of B are as long as x."""
    return tuple(
        MatrixRows("b", matrix, "b", config.z_words)
        if matrix == Matrix.B
        else MatrixRows(matrix.name.lower(), matrix, "x", config.x_words)
        for matrix in Matrix
        if config.predictor or matrix not in (Matrix.A, Matrix.B)
    )


def events(config: RegluConfig) -> tuple[Event, ...]:
    """Events of the FFN."""
    return (
        Event("tokens", "work", "tokens finished"),
        Event("requests", "work", "requests accepted"),
        Event("row_beats", "work", "beats of rows read, L bytes each"),
        Event("rows", "work", "rows read"),
        Event("macs", "work", "multiply-accumulates", config.lanes.bit_length()),
        Event("predicted", "work", "gate rows asked for"),
        Event("gate_survivors", "work", "neurons whose gate is positive"),
        Event("false_positives", "work", "predicted neurons whose gate is not positive"),
        Event("survivors", "work", "neurons that add to y"),
        Event("y_beats", "work", "beats of outputs written"),
        Event(
            "stall_rows",
            "time",
            "cycles between inputs and outputs without a row",
            waits_for={"rows": 1, "request": 1},  # nobody brings what is not asked for
        ),
        Event(
            "stall_request",
            "time",
            "cycles a request waits to be accepted",
            waits_for={"request": 1},
        ),
        Event("stall_out", "time", "cycles outputs wait for the consumer", waits_for={"y": 1}),
    )


def bandwidth(config: RegluConfig) -> dict[str, float]:
    """Bits per cycle that the law assumes on each input."""
    return {port.name: float(port.width) for port in ports(config) if port.direction == "in"}


class RegluSettings(Config):
    """What a memory that answers the requests is like."""

    latency: int = Parameter(default=100, ge=1, le=10_000)
    """Cycles from a request to its first beat."""
