"""Neuron-skipping ReGLU FFN with its predictor: what it computes, and when.

Source of the idea: arXiv 2603.14110. Values are those of :mod:`.reglu_ffn` and
:mod:`.reglu_predictor`; the schedule is the one that the docstring of
:class:`nibbleforge.hw.reglu.SkippingFFN` states, worked out in :mod:`.reglu_timing`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle as repeated
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .design import Design, Unit
from .errors import UserError
from .events import Counts
from .layer import check_integer
from .ports import Port
from .reglu_config import (
    Matrix,
    RegluConfig,
    RegluSettings,
    bandwidth,
    events,
    ports,
)
from .reglu_ffn import (
    MULT_BITS,
    SHIFTS,
    FixedPoint,
    IntegerFfn,
    exact_product,
    multiply_shift,
    run,
)
from .reglu_timing import HIDDEN, SCALED, Neurons, TokenRun, TokenTiming
from .schedule import Answers, Beats, Pulses, Schedule, Traffic, final_of, ranges

ROWS_AT_ONCE = 1 << 14  # rows packed at a time: bounds the temporary arrays


@dataclass(frozen=True)
class FfnRun:
    """Operands of tokens through one FFN.

    Attributes
    ----------
    x
        ``(tokens, d)``, int8.
    gate, up, down
        ``(D, d)``, int8; down transposed.
    gate_mult, gate_shift, up_mult, up_shift
        ``(D,)``: factors from g to g16 and from u to u16, uint16 and uint8.
    h_mult, h_shift
        Factor from relu(g16) * u16 to h, 0-d.
    a, b
        The predictor, ``(r, d)`` and ``(D, r)``, int8; r = 0 without.
    z_mult, z_shift
        ``(r,)``: factors from z to z8.
    thresholds
        ``(D,)``, int32.
    latency
        Cycles from a request to its first beat, at least 1, ``(n,)``: of n requests, then again.
    """

    x: NDArray[np.int8]
    gate: NDArray[np.int8]
    up: NDArray[np.int8]
    down: NDArray[np.int8]
    gate_mult: NDArray[np.uint16]
    gate_shift: NDArray[np.uint8]
    up_mult: NDArray[np.uint16]
    up_shift: NDArray[np.uint8]
    h_mult: NDArray[np.integer]
    h_shift: NDArray[np.integer]
    a: NDArray[np.int8]
    b: NDArray[np.int8]
    z_mult: NDArray[np.uint16]
    z_shift: NDArray[np.uint8]
    thresholds: NDArray[np.int32]
    latency: NDArray[np.integer]

    @property
    def shape(self) -> tuple[int, int, int]:
        """d, D and r."""
        return self.x.shape[1], len(self.gate), len(self.a)

    @property
    def ffn(self) -> IntegerFfn:
        """The FFN, every scale 1."""
        d, D, _ = self.shape
        one = np.float32(1)
        return IntegerFfn(
            self.gate,
            self.up,
            self.down,
            FixedPoint(self.gate_mult, self.gate_shift),
            FixedPoint(self.up_mult, self.up_shift),
            FixedPoint(self.h_mult, self.h_shift),
            x_scale=one,
            h_scale=one,
            gate_scale=np.ones(D, np.float32),
            up_scale=np.ones(D, np.float32),
            down_scale=np.ones(d, np.float32),
        )


def check(config: RegluConfig, operands: FfnRun) -> None:
    """Raise :class:`UserError` unless the unit takes the operands."""
    if operands.x.ndim != 2 or not operands.x.size:
        raise UserError(f"x must be a matrix and not empty, got shape {operands.x.shape}.")
    if operands.gate.ndim != 2 or operands.a.ndim != 2:
        raise UserError("gate and a must be matrices.")
    d, D, rank = operands.shape
    for name, shape, dtype in _layout(len(operands.x), d, D, rank):
        found = getattr(operands, name)
        if found.shape != shape or found.dtype != dtype:
            raise UserError(
                f"{name} must be {np.dtype(dtype)} {shape}, got {found.dtype} {found.shape}."
            )
    check_shape(config, d, D, rank)
    for name in ("h_mult", "h_shift"):
        check_integer(name, getattr(operands, name))
    for name in ("gate_shift", "up_shift", "h_shift", "z_shift"):
        _check_range(name, getattr(operands, name), *SHIFTS)
    _check_range("h_mult", operands.h_mult, 0, (1 << MULT_BITS) - 1)
    if operands.latency.ndim != 1 or not operands.latency.size:
        raise UserError(f"latency must be a vector, got shape {operands.latency.shape}.")
    _check_range("latency", operands.latency, 1, None)


def check_shape(config: RegluConfig, d: int, D: int, rank: int) -> None:
    """Raise :class:`UserError` unless the unit is large enough."""
    limits = [("features", d, config.max_features), ("neurons", D, config.max_neurons)]
    if config.predictor:
        limits.append(("the rank", rank, config.max_rank))
    elif rank:
        raise UserError(f"a unit without predictor takes rank 0, got {rank}.")
    for name, found, most in limits:
        if not 1 <= found <= most:
            raise UserError(f"{name} must be in 1..{most}, got {found}.")


def _layout(tokens: int, d: int, D: int, rank: int) -> list[tuple[str, tuple[int, ...], type]]:
    """Names, shapes and types of the arrays."""
    return [
        ("x", (tokens, d), np.int8),
        ("gate", (D, d), np.int8),
        ("up", (D, d), np.int8),
        ("down", (D, d), np.int8),
        ("gate_mult", (D,), np.uint16),
        ("gate_shift", (D,), np.uint8),
        ("up_mult", (D,), np.uint16),
        ("up_shift", (D,), np.uint8),
        ("a", (rank, d), np.int8),
        ("b", (D, rank), np.int8),
        ("z_mult", (rank,), np.uint16),
        ("z_shift", (rank,), np.uint8),
        ("thresholds", (D,), np.int32),
    ]


def _check_range(name: str, values: NDArray, least: int, most: int | None) -> None:
    """Refuse integers that are not within a range."""
    low, high = (int(values.min()), int(values.max())) if values.size else (least, least)
    if low < least or (most is not None and high > most):
        wanted = f"at least {least}" if most is None else f"in {least}..{most}"
        raise UserError(f"{name} must be {wanted}, got {low}..{high}.")


# --- values -----------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """Results of a run.

    Attributes
    ----------
    y
        ``(tokens, d)``, int32.
    neurons
        What became of them, bool ``(tokens, D)`` each.
    """

    y: NDArray[np.int32]
    neurons: Neurons


def compute(config: RegluConfig, operands: FfnRun) -> Outcome:
    """The integer FFN on the neurons that are predicted."""
    check(config, operands)
    predicted = predict(config, operands)
    found = run(operands.ffn, operands.x, predicted, config.double_relu)
    return Outcome(found.y, Neurons(predicted, found.gate_survivors, found.survivors))


def predict(config: RegluConfig, operands: FfnRun) -> NDArray[np.bool_]:
    """Neurons whose gate is computed, ``(tokens, D)``."""
    if not config.predictor:
        return np.ones((len(operands.x), len(operands.gate)), np.bool_)
    z = exact_product(operands.x, operands.a)
    z8 = multiply_shift(z, operands.z_mult, operands.z_shift, bits=8)
    return exact_product(z8, operands.b) > operands.thresholds


# --- schedule ---------------------------------------------------------------------------------


def timings(
    config: RegluConfig, neurons: Neurons, d: int, rank: int, latency: NDArray[np.integer]
) -> Iterator[TokenTiming]:
    """Timing of token after token; their neurons are ``(tokens, D)``."""
    begin, beats = 0, -(-d // config.lanes)
    latencies = repeated(latency.tolist())
    for predicted, positive, adding in zip(
        neurons.predicted, neurons.positive, neurons.adding, strict=True
    ):
        token = Neurons(predicted, positive, adding)
        timing = TokenRun(config, token, beats, rank, begin, latencies).timing()
        begin = timing.outputs + beats
        yield timing


def schedule(config: RegluConfig, operands: FfnRun) -> Schedule:
    """Golden schedule of a run."""
    outcome = compute(config, operands)
    d, _, rank = operands.shape
    tokens = list(timings(config, outcome.neurons, d, rank, operands.latency))
    every = _Everything(config, operands, tokens)
    beats = _beats(config, operands, outcome.y, every)
    x_beats = np.arange(every.beats)
    cycles = {
        "x": (np.array([token.begin for token in tokens])[:, None] + x_beats).ravel(),
        "rows": every.row_beats,
        "request": every.decided + 1,
        "y": (np.array([token.outputs for token in tokens])[:, None] + x_beats).ravel(),
    }
    return Schedule(beats, cycles, _pulses(config, outcome.neurons, every, cycles, tokens))


def traffic(config: RegluConfig, operands: FfnRun) -> Traffic:
    """Payloads of every port."""
    return schedule(config, operands).beats


class _Everything:
    """Requests and rows of all tokens, one after the other."""

    def __init__(self, config: RegluConfig, operands: FfnRun, tokens: list[TokenTiming]):
        d, D, rank = operands.shape
        self.beats = -(-d // config.lanes)
        self.z_beats = -(-rank // config.lanes)
        self.matrix, self.row, self.decided, self.first, self.final = (
            np.concatenate([getattr(token, name) for token in tokens])
            for name in ("matrix", "row", "decided", "first", "final")
        )
        self.token = np.repeat(np.arange(len(tokens)), [len(token.row) for token in tokens])
        many = {Matrix.A: rank, Matrix.B: D}
        self.count = np.ones(len(self.row), np.int64)
        self.row_size = np.full(len(self.row), self.beats)
        for matrix, count in many.items():
            self.count[self.matrix == matrix] = count
        self.row_size[self.matrix == Matrix.B] = self.z_beats
        self.sizes = self.count * self.row_size
        self.row_beats = ranges(self.first, self.sizes)

    def finals(self) -> NDArray[np.int64]:
        """Cycles of the final beat of every row."""
        size = np.repeat(self.row_size, self.count)
        return ranges(np.zeros_like(self.count), self.count) * size + np.repeat(
            self.first + self.row_size - 1, self.count
        )

    def of(self, matrix: Matrix, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Final beats of the rows of neurons chosen by ``(tokens, D)``."""
        mine = self.matrix == matrix
        mine[mine] = chosen[self.token[mine], self.row[mine]]
        return self.final[mine]


def _pulses(
    config: RegluConfig,
    neurons: Neurons,
    every: _Everything,
    cycles: dict[str, NDArray[np.int64]],
    tokens: list[TokenTiming],
) -> dict[str, Pulses]:
    """When every event fires."""
    stages = config.tree_stages
    running = [np.arange(token.begin + every.beats, token.quiet + 1) for token in tokens]
    known = stages + SCALED - 1  # one before its result is seen
    strobes = {
        "tokens": cycles["y"][every.beats - 1 :: every.beats],
        "requests": cycles["request"],
        "row_beats": cycles["rows"],
        "rows": every.finals(),
        "predicted": every.decided[every.matrix == Matrix.GATE],
        "gate_survivors": every.of(Matrix.GATE, neurons.positive) + known,
        "false_positives": every.of(Matrix.GATE, ~neurons.positive) + known,
        "survivors": every.of(Matrix.UP, neurons.adding) + stages + HIDDEN - 1,
        "y_beats": cycles["y"],
        "stall_rows": np.setdiff1d(np.concatenate(running), cycles["rows"]),
        "stall_request": np.zeros(0, np.int64),
        "stall_out": np.zeros(0, np.int64),
    }
    macs = Pulses(cycles["rows"], np.full(len(cycles["rows"]), config.lanes))
    found = {name: Pulses.strobes(when) for name, when in strobes.items()} | {"macs": macs}
    return {event.name: found[event.name] for event in events(config)}


# --- payloads ---------------------------------------------------------------------------------


def _beats(
    config: RegluConfig, operands: FfnRun, y: NDArray[np.int32], every: _Everything
) -> Traffic:
    """Payloads of every port in the order of the requests."""
    x_port, rows_port, request_port, y_port = ports(config)
    tokens = len(operands.x)
    y_last = final_of(every.beats, tokens)
    table = _Table(config, operands, rows_port)
    sizes = every.sizes
    return {
        "x": Beats(_inputs(config, operands, x_port, every.beats)),
        "rows": Beats(
            table.words,
            np.stack([table.start[every.matrix] + every.row * every.row_size, sizes], axis=1),
            Answers(
                "request",
                needs=np.repeat(np.arange(1, len(sizes) + 1), sizes),
                latency=np.resize(operands.latency, len(sizes)).astype(np.int64),
            ),
        ),
        "request": Beats(request_port.pack(matrix=every.matrix, row=every.row, count=every.count)),
        "y": Beats(
            y_port.pack(
                value=_by_lane(y, config.lanes).reshape(-1, config.lanes),
                last=y_last,
                error=np.zeros_like(y_last),
            )
        ),
    }


def _inputs(config: RegluConfig, operands: FfnRun, port: Port, beats: int) -> NDArray[np.uint32]:
    """Beats of x; shape and factor count on a token's first one."""
    _, D, rank = operands.shape
    first = np.tile(np.arange(beats) == 0, len(operands.x))
    numbers = {"neurons": D, "rank": rank, "h_mult": operands.h_mult, "h_shift": operands.h_shift}
    return port.pack(
        value=_by_lane(operands.x, config.lanes).reshape(-1, config.lanes),
        last=final_of(beats, len(operands.x)),
        **{
            field.name: np.where(first, int(numbers[field.name]), 0)
            for field in port.fields
            if field.name in numbers
        },
    )


class _Table:
    """Beats of all rows of all matrices, and where those of each matrix start."""

    def __init__(self, config: RegluConfig, operands: FfnRun, port: Port):
        self.config, self.port = config, port
        nothing = np.zeros(len(operands.down), np.uint32)
        parts = [
            self._pack(Matrix.A, operands.a, _factors(operands.z_mult, operands.z_shift)),
            self._pack(Matrix.B, operands.b, operands.thresholds.view(np.uint32)),
            self._pack(
                Matrix.GATE, operands.gate, _factors(operands.gate_mult, operands.gate_shift)
            ),
            self._pack(Matrix.UP, operands.up, _factors(operands.up_mult, operands.up_shift)),
            self._pack(Matrix.DOWN, operands.down, nothing),
        ]
        self.words = np.concatenate(parts)
        self.start = np.cumsum([0, *(len(part) for part in parts[:-1])])

    def _pack(
        self, matrix: Matrix, rows: NDArray[np.int8], word: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        """Beats of a matrix, row after row."""
        some = range(0, len(rows), ROWS_AT_ONCE) if rows.size else range(0)
        parts = [
            self._some(matrix, first, rows[first : first + ROWS_AT_ONCE], word[first:])
            for first in some
        ]
        return np.concatenate([np.zeros((0, self.port.words), np.uint32), *parts])

    def _some(
        self, matrix: Matrix, first: int, rows: NDArray[np.int8], word: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        """Beats of some rows."""
        value = _by_lane(rows, self.config.lanes)
        beats = value.shape[1]
        last = final_of(beats, len(rows))
        return self.port.pack(
            value=value.reshape(-1, self.config.lanes),
            word=np.where(last, np.repeat(word[: len(rows)], beats), 0),
            matrix=np.full(len(last), matrix),
            row=np.repeat(np.arange(first, first + len(rows)), beats),
            last=last,
        )


def _factors(mult: NDArray[np.uint16], shift: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Factors as a row's word holds them."""
    return mult | shift.astype(np.uint32) << MULT_BITS


def _by_lane(matrix: NDArray, lanes: int) -> NDArray:
    """``(rows, beats, lanes)``, with zeros beyond the end of a row."""
    padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % lanes)))
    return padded.reshape(len(matrix), -1, lanes)


# --- law --------------------------------------------------------------------------------------


def cycles(
    config: RegluConfig,
    neurons: Neurons,
    d: int,
    rank: int,
    latency: NDArray[np.integer],
) -> Counts:
    """Counts of tokens in one free-flowing run.

    Parameters
    ----------
    neurons
        What becomes of them, bool ``(tokens, D)`` each.
    d, rank
        Features; rank of the predictor, 0 without.
    latency
        As in :class:`FfnRun`.
    """
    tokens, D = neurons.predicted.shape
    check_shape(config, d, D, rank)
    beats, end, running, requests = -(-d // config.lanes), 0, 0, 0
    for timing in timings(config, neurons, d, rank, latency):
        end = timing.outputs + beats
        running += timing.quiet + 1 - timing.begin - beats
        requests += len(timing.row)
    found = [int(part.sum()) for part in (neurons.predicted, neurons.positive, neurons.adding)]
    predicted, positive, adding = found
    row_beats = tokens * (rank * beats + (D * -(-rank // config.lanes)))
    row_beats += (predicted + positive + adding) * beats
    totals = {
        "tokens": tokens,
        "requests": requests,
        "row_beats": row_beats,
        "rows": sum(found) + (tokens * (rank + D) if rank else 0),
        "macs": row_beats * config.lanes,
        "predicted": predicted,
        "gate_survivors": positive,
        "false_positives": predicted - positive,
        "survivors": adding,
        "y_beats": tokens * beats,
        "stall_rows": running - row_beats,
        "stall_request": 0,
        "stall_out": 0,
    }
    return Counts(end, totals, float(row_beats))


def dense_cycles(config: RegluConfig, tokens: int, d: int, D: int) -> int:
    """Row beats of a dense FFN of as many lanes: ``3 * D * ceil(d / L)`` a token."""
    return 3 * D * -(-d // config.lanes) * tokens


SKIPPING_FFN = Design(
    name="skipping_ffn",
    summary="ReGLU FFN that reads the rows of predicted neurons only",
    law="ceil(d/L) * (r + P + S_gate + S_down) + D*ceil(r/L) a token (P neurons predicted), "
    "2*ceil(d/L) for x and y, and cycles without a row: latency at the start and the end",
    ports=ports,
    events=events,
    bandwidth=bandwidth,
    schedule=schedule,
    traffic=traffic,
)

_SMALL = RegluConfig(lanes=64, max_features=576, max_neurons=1536, max_rank=64, in_flight=16)

UNIT = Unit(
    name="reglu",
    summary="neuron-skipping ReGLU FFN with a training-free low-rank predictor",
    config=RegluConfig,
    presets={
        "paper": RegluConfig(),
        "early_exit": RegluConfig(predictor=False),
        "small": _SMALL,
        "tiny": RegluConfig(
            lanes=4,
            max_features=20,
            max_neurons=24,
            max_rank=8,
            in_flight=3,
            survivors=4,
            mask_group=8,
        ),
        "fpga": RegluConfig(
            lanes=8, max_features=1024, max_neurons=4096, max_rank=64, survivors=64, mask_group=32
        ),
    },
    designs=lambda config: (SKIPPING_FFN,),
    settings=RegluSettings,
)
