"""Neuron-skipping ReGLU FFN with its predictor: when it does what, and what that costs.

Source of the idea: arXiv 2603.14110. The schedule is the one that the docstring of
:class:`nibbleforge.hw.reglu.ffn.SkippingFFN` states, worked out in :mod:`.timing`.
"""

from collections.abc import Iterator
from itertools import cycle as repeated

import numpy as np
from numpy.typing import NDArray

from ..contract.design import Design, Unit
from ..contract.events import Counts
from ..contract.schedule import Pulses, Schedule, Traffic, ranges
from ..contract.workload import Workload
from .config import Matrix, RegluConfig, RegluSettings, bandwidth, events, ports
from .timing import HIDDEN, SCALED, FfnProfile, Neurons, TokenRun, TokenTiming
from .schedule import Requests, traffic_of
from .values import FfnRun, Outcome, check_shape, compute

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
    outcome, tokens = _worked_out(config, operands)
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
    outcome, tokens = _worked_out(config, operands)
    order = (np.concatenate([getattr(token, name) for token in tokens]) for name in _ORDER)
    return traffic_of(config, operands, outcome.y, Requests(config, operands, *order))


_ORDER = ("matrix", "row")


def _worked_out(config: RegluConfig, operands: FfnRun) -> tuple[Outcome, list[TokenTiming]]:
    """Results, and the timing of every token."""
    outcome = compute(config, operands)
    d, _, rank = operands.shape
    return outcome, list(timings(config, outcome.neurons, d, rank, operands.latency))


class _Everything:
    """Requests and rows of all tokens, one after the other."""

    def __init__(self, config: RegluConfig, operands: FfnRun, tokens: list[TokenTiming]):
        matrix, row, self.decided, self.first, self.final = (
            np.concatenate([getattr(token, name) for token in tokens])
            for name in (*_ORDER, "decided", "first", "final")
        )
        self.beats = -(-operands.x.shape[1] // config.lanes)
        self.token = np.repeat(np.arange(len(tokens)), [len(token.row) for token in tokens])
        self.requests = Requests(config, operands, matrix, row)
        self.row_beats = ranges(self.first, self.requests.sizes)

    def finals(self) -> NDArray[np.int64]:
        """Cycles of the final beat of every row."""
        count, size = self.requests.count, self.requests.row_size
        before = ranges(np.zeros_like(count), count)  # rows of the same request
        return np.repeat(self.first + size - 1, count) + before * np.repeat(size, count)

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


# --- law --------------------------------------------------------------------------------------


def workload(config: RegluConfig, operands: FfnRun) -> Workload:
    """What becomes of the neurons, and what the memory is like."""
    d, _, rank = operands.shape
    profile = FfnProfile(compute(config, operands).neurons, rank, operands.latency)
    return Workload(len(operands.x), d, d, profile=profile)


def cycles(config: RegluConfig, workload: Workload) -> Counts:
    """Counts of tokens in one free-flowing run, by their :class:`FfnProfile`."""
    tokens, d = workload.tokens, workload.in_features
    profile = workload.profile_as(FfnProfile)
    neurons, rank, latency = profile.neurons, profile.rank, profile.latency
    if latency is None:
        latency = np.array([workload.settings_as(RegluSettings).latency])
    D = neurons.predicted.shape[1]
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
    workload=workload,
    cycles=cycles,
    hardware="nibbleforge.hw.reglu.ffn:SkippingFFN",
    stimuli="nibbleforge.tb.tb_reglu:FFN",
)

SMALL = RegluConfig(lanes=64, max_features=576, max_neurons=1536, max_rank=64)
"""For a model as small as SmolLM2-135M."""

UNIT = Unit(
    name="reglu",
    summary="neuron-skipping ReGLU FFN with a training-free low-rank predictor",
    config=RegluConfig,
    presets={
        "paper": RegluConfig(),
        "early_exit": RegluConfig(predictor=False),
        "small": SMALL,
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
    designs=lambda _: (SKIPPING_FFN,),
    takes="ffn",
    settings=RegluSettings,
    simulation="nibbleforge.sim.units.reglu:prepare",
)

UNITS = (UNIT,)
