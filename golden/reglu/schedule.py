"""Schedule of the neuron-skipping FFN: payloads of its ports, and when they pass them."""

import numpy as np
from numpy.typing import NDArray

from ..contract.ports import Port
from ..contract.rows import Supply
from ..contract.schedule import Answers, Beats, Pulses, Schedule, Traffic, final_of
from .config import Matrix, RegluConfig, events, ports
from .format import MULT_BITS
from .timing import HIDDEN, SCALED, TokenTiming, repeating, timings
from .values import FfnRun, Neurons, Outcome, compute

ROWS_AT_ONCE = 1 << 14  # rows packed at a time: bounds the temporary arrays


class Requests:
    """What is asked for, in order.

    Parameters
    ----------
    config, operands
        The unit and its run.
    matrix, row
        ``(n,)``: of every request; A and B are asked for as a whole.

    Attributes
    ----------
    count
        Rows asked for.
    row_size
        Beats of each of them.
    """

    def __init__(
        self,
        config: RegluConfig,
        operands: FfnRun,
        matrix: NDArray[np.int64],
        row: NDArray[np.int64],
    ):
        d, D, rank = operands.shape
        self.matrix, self.row = matrix, row
        self.count = np.ones_like(row)
        self.count[matrix == Matrix.A] = rank
        self.count[matrix == Matrix.B] = D
        self.row_size = np.full_like(row, -(-d // config.lanes))
        self.row_size[matrix == Matrix.B] = -(-rank // config.lanes)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Beats of each request."""
        return self.count * self.row_size


def traffic_of(
    config: RegluConfig, operands: FfnRun, y: NDArray[np.int32], requests: Requests
) -> Traffic:
    """Payloads of every port, rows as segments so that nothing is copied."""
    x_port, rows_port, request_port, y_port = ports(config)
    outputs = _by_lane(y, config.lanes)
    last = final_of(outputs.shape[1], len(y))
    table = _Table(config, operands, rows_port)
    sizes = requests.sizes
    start = table.start[requests.matrix] + requests.row * requests.row_size
    answers = Answers(
        "request",
        needs=np.repeat(np.arange(1, len(sizes) + 1), sizes),
        latency=np.resize(operands.latency, len(sizes)).astype(np.int64),
    )
    asked = request_port.pack(matrix=requests.matrix, row=requests.row, count=requests.count)
    return {
        "x": Beats(_inputs(config, operands, x_port)),
        "rows": Beats(table.words, np.stack([start, sizes], axis=1), answers),
        "request": Beats(asked),
        "y": Beats(
            y_port.pack(
                value=outputs.reshape(-1, config.lanes), last=last, error=np.zeros_like(last)
            )
        ),
    }


def _inputs(config: RegluConfig, operands: FfnRun, port: Port) -> NDArray[np.uint32]:
    """Beats of x; shape and factor count on a token's first one."""
    _, D, rank = operands.shape
    value = _by_lane(operands.x, config.lanes)
    tokens, beats, _ = value.shape
    first = np.tile(np.arange(beats) == 0, tokens)
    factor = {"h_mult": operands.h_mult, "h_shift": operands.h_shift}
    numbers = {"neurons": D, "rank": rank, **factor}
    return port.pack(
        value=value.reshape(-1, config.lanes),
        last=final_of(beats, tokens),
        **{
            field.name: np.where(first, numbers[field.name], 0)
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
    return mult.astype(np.uint32) | shift.astype(np.uint32) << np.uint32(MULT_BITS)


def _by_lane(matrix: NDArray, lanes: int) -> NDArray:
    """``(rows, beats, lanes)``, with zeros beyond the end of a row."""
    padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % lanes)))
    return padded.reshape(len(matrix), -1, lanes)


def schedule(config: RegluConfig, operands: FfnRun) -> Schedule:
    """Golden schedule of a run, rows coming with the latency of the operands."""
    return supplied(config, operands, repeating(operands.latency))


def supplied(config: RegluConfig, operands: FfnRun, supply: Supply) -> Schedule:
    """Golden schedule of a run whose rows come from a supply."""
    outcome, tokens = _worked_out(config, operands, supply)
    every = _Everything(config, operands, tokens)
    x_beats = np.arange(every.beats)
    cycles = {
        "x": (np.array([token.begin for token in tokens])[:, None] + x_beats).ravel(),
        "rows": every.row_beats,
        "request": every.decided + 1,
        "y": (np.array([token.outputs for token in tokens])[:, None] + x_beats).ravel(),
    }
    beats = traffic_of(config, operands, outcome.y, every.requests)
    return Schedule(beats, cycles, _pulses(config, outcome.neurons, every, cycles, tokens))


def traffic(config: RegluConfig, operands: FfnRun) -> Traffic:
    """Payloads of every port, without the cycles of each beat and event."""
    outcome, tokens = _worked_out(config, operands, repeating(operands.latency))
    order = (np.concatenate([getattr(token, name) for token in tokens]) for name in _ORDER)
    return traffic_of(config, operands, outcome.y, Requests(config, operands, *order))


_ORDER = ("matrix", "row")


def _worked_out(
    config: RegluConfig, operands: FfnRun, supply: Supply
) -> tuple[Outcome, list[TokenTiming]]:
    """Results, and the timing of every token."""
    outcome = compute(config, operands)
    d, _, rank = operands.shape
    return outcome, list(timings(config, outcome.neurons, d, rank, supply))


class _Everything:
    """Requests and rows of all tokens, one after the other."""

    def __init__(self, config: RegluConfig, operands: FfnRun, tokens: list[TokenTiming]):
        matrix, row, self.decided = (
            np.concatenate([getattr(token, name) for token in tokens])
            for name in (*_ORDER, "decided")
        )
        taken = [beats for token in tokens for beats in token.taken]
        self.beats = -(-operands.x.shape[1] // config.lanes)
        self.token = np.repeat(np.arange(len(tokens)), [len(token.row) for token in tokens])
        self.requests = Requests(config, operands, matrix, row)
        self.row_beats = np.concatenate([np.asarray(beats, np.int64) for beats in taken])
        self.final = np.array([beats[-1] for beats in taken])

    def finals(self) -> NDArray[np.int64]:
        """Cycles of the final beat of every row."""
        sizes = np.repeat(self.requests.row_size, self.requests.count)
        return self.row_beats[np.cumsum(sizes) - 1]

    def decisions(self, matrix: Matrix) -> NDArray[np.int64]:
        """Cycles in which requests for a matrix are made up."""
        return self.decided[self.requests.matrix == matrix]

    def of(self, matrix: Matrix, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Final beats of the rows of neurons chosen by ``(tokens, D)``."""
        mine = self.requests.matrix == matrix
        mine[mine] = chosen[self.token[mine], self.requests.row[mine]]
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
        "predicted": every.decisions(Matrix.GATE),
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
