"""Timing of the neuron-skipping FFN: which row it asks for, and when everything happens.

The rules are those that the docstring of :class:`nibbleforge.hw.reglu.ffn.RegluFFN` states. The
order of requests depends on the neurons alone: results of rows are applied one by one in the order
of the requests, and only when nothing can be asked for or ``in_flight`` of them wait.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle as repeated
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..contract.errors import UserError
from ..contract.events import Counts
from ..contract.rows import Latencies, Supply
from ..contract.workload import Profile, Workload
from .config import Matrix, RegluConfig, RegluSettings
from .values import FfnRun, Neurons, check_shape, compute

SCALED, HIDDEN, MASKED = 6, 9, 5
"""Cycles from a row's final beat to the result of A or a gate, of an up, of a word of the mask.

T more: the registers of the adder tree.
"""

ADDED = 2
"""Cycles from a beat of a down row until its word of y can be added to again."""

Y_READ = 2
"""Cycles from everything being done to the first output."""


@dataclass(frozen=True, eq=False)
class FfnProfile(Profile):
    """What tokens make of an FFN.

    Attributes
    ----------
    neurons
        What becomes of them, bool ``(tokens, D)`` each.
    rank
        Of the predictor (r); 0 without.
    latency
        Cycles from a request to its first beat, at least 1, ``(n,)``: of n requests, then again.
        None for that of the settings.
    """

    neurons: Neurons
    rank: int
    latency: NDArray[np.integer] | None = None

    def check(self, tokens: int, in_features: int) -> None:
        """As :meth:`nibbleforge.golden.contract.workload.Profile.check`."""
        parts = (self.neurons.predicted, self.neurons.positive, self.neurons.adding)
        shape = parts[0].shape
        if len(shape) != 2 or any(p.shape != shape or p.dtype != np.bool_ for p in parts):
            raise UserError("predicted, positive and adding must be bool (tokens, D), all alike.")
        if shape[0] != tokens:
            raise UserError(f"the neurons must be those of {tokens} tokens, got {shape[0]}.")
        if self.latency is not None and (self.latency.ndim != 1 or not self.latency.size):
            raise UserError(f"latency must be a vector, got shape {self.latency.shape}.")


@dataclass(frozen=True)
class TokenTiming:
    """When everything of a token happens.

    Attributes
    ----------
    begin, quiet
        Cycle of the first feature, and the first one in which nothing is left to do.
    matrix, row
        Of every request.
    decided
        Cycle in which each request is made up; it is accepted in the next.
    taken
        Cycles of the beats of each.
    """

    begin: int
    quiet: int
    matrix: NDArray[np.int64]
    row: NDArray[np.int64]
    decided: NDArray[np.int64]
    taken: list[Sequence[int]]

    @property
    def outputs(self) -> int:
        """Cycle of the first output."""
        return self.quiet + Y_READ


class TokenRun:
    """One token, request by request.

    Parameters
    ----------
    config
        The unit.
    neurons
        What becomes of them.
    beats
        Of x and y, and of a row of gate, up, down or A.
    rank
        Of the predictor (r); not used without.
    begin
        Cycle of the token's first feature.
    supply
        Who brings the rows.
    """

    def __init__(
        self,
        config: RegluConfig,
        neurons: Neurons,
        beats: int,
        rank: int,
        begin: int,
        supply: Supply,
    ):
        self.config, self.neurons = config, neurons
        self.beats, self.rank, self.begin = beats, rank, begin
        self.supply = supply
        self.free = begin + beats  # cycle from which the next beat can be accepted
        self.down = begin  # cycle of the first beat of the down row before
        self.requests: list[tuple[int, int, int]] = []
        self.taken: list[Sequence[int]] = []
        self.cycle = begin + 1  # of the next action
        self.used = 0  # places of survivors
        self.survivors: deque[int] = deque()
        self.hiddens: deque[int] = deque()
        self.unapplied: deque[tuple[Matrix, int, int]] = deque()

    def timing(self) -> TokenTiming:
        """Run it to its end."""
        indices = self._predict() if self.config.predictor else self._everyone()
        while self._act(indices):
            pass
        matrix, row, decided = np.array(self.requests, np.int64).T
        return TokenTiming(self.begin, self.cycle, matrix, row, decided, self.taken)

    def _ask(self, matrix: Matrix, row: int, count: int, size: int, earliest: int = 0) -> int:
        """Make up a request in this cycle; the cycle of its final beat."""
        ready = max(self.free, earliest)
        taken = self.supply.take(matrix, row, count, size, self.cycle + 1, ready)
        self.requests.append((matrix, row, self.cycle))
        self.taken.append(taken)
        self.free = taken[-1] + 1
        self.cycle += 1
        return taken[-1]

    def _everyone(self) -> "_Indices":
        """All neurons, without predictor."""
        return _Counter(len(self.neurons.predicted), self.cycle)

    def _predict(self) -> "_Indices":
        """Ask for A and B; the neurons that are predicted, as soon as they are known."""
        config, predicted = self.config, self.neurons.predicted
        count, z_beats = len(predicted), -(-self.rank // config.lanes)
        done = self._ask(Matrix.A, 0, self.rank, self.beats)
        self._ask(Matrix.B, 0, count, z_beats, done + config.tree_stages + SCALED)
        ends = range(config.mask_group, count + config.mask_group, config.mask_group)
        final = [self.taken[-1][min(end, count) * z_beats - 1] for end in ends]
        offered = np.array(final) + config.tree_stages + MASKED
        return _Decoder(np.flatnonzero(predicted), offered, config.mask_group)

    def _act(self, indices: "_Indices") -> bool:
        """Apply a result or ask for a row; False if there is nothing left to do."""
        wants_gate = self.used < self.config.survivors and not indices.ended
        eligible = wants_gate or bool(self.hiddens or self.survivors)
        if not (eligible or self.unapplied):
            return False
        if len(self.unapplied) == self.config.in_flight or not eligible:
            self._apply()
        elif wants_gate:
            self._ask_gate(indices)
        elif self.hiddens:
            self._ask_down()
        else:
            self._ask_up()
        return True

    def _apply(self) -> None:
        """Apply the oldest result as soon as it is known."""
        matrix, neuron, known = self.unapplied.popleft()
        self.cycle = max(self.cycle, known) + 1
        if matrix == Matrix.GATE and self.neurons.positive[neuron]:
            self.survivors.append(neuron)
        elif matrix == Matrix.GATE:
            self.used -= 1
        elif matrix == Matrix.UP and self.neurons.adding[neuron]:
            self.hiddens.append(neuron)

    def _ask_gate(self, indices: "_Indices") -> None:
        """Ask for the next gate row as soon as it is known, or notice that there is none."""
        self.cycle = max(self.cycle, indices.visible)
        neuron = indices.take(self.cycle)
        if neuron is None:
            return
        self.used += 1
        final = self._ask(Matrix.GATE, neuron, 1, self.beats)
        self.unapplied.append((Matrix.GATE, neuron, final + self.config.tree_stages + SCALED))

    def _ask_up(self) -> None:
        neuron = self.survivors.popleft()
        self.used -= 1
        final = self._ask(Matrix.UP, neuron, 1, self.beats)
        self.unapplied.append((Matrix.UP, neuron, final + self.config.tree_stages + HIDDEN))

    def _ask_down(self) -> None:
        neuron = self.hiddens.popleft()
        final = self._ask(Matrix.DOWN, neuron, 1, self.beats, self.down + ADDED)
        self.down = self.taken[-1][0]
        self.unapplied.append((Matrix.DOWN, neuron, final + 1))


class _Indices(Protocol):
    """Neurons in the order and at the time in which they can be asked for.

    Attributes
    ----------
    visible
        Cycle from which the next one, or the end, is seen.
    ended
        Whether the end has been taken.
    """

    visible: int
    ended: bool

    def take(self, cycle: int) -> int | None:
        """Take the next one in a cycle; None at the end."""


class _Counter:
    """All neurons, one after the other."""

    def __init__(self, neurons: int, visible: int):
        self.neurons, self.visible, self.at, self.ended = neurons, visible, 0, False

    def take(self, cycle: int) -> int | None:
        """As :class:`_Indices`."""
        if self.at == self.neurons:
            self.ended = True
            return None
        self.visible = cycle + 1
        self.at += 1
        return self.at - 1


class _Decoder:
    """Neurons as the bitmap decoder finds them in words of the mask.

    Extraction i is in cycle ``e[i] = max(e[i-1] + 1, c[i-1], taken + 1)``, c[i-1] the cycle in
    which the one before was taken; it is seen in ``e[i] + 1``. A word is taken when it is offered,
    but not before the final extraction of the one before. A word without neurons has one extraction
    that is taken when it is seen.
    """

    def __init__(self, chosen: NDArray[np.int64], offered: NDArray[np.int64], group: int):
        words = chosen // group
        empty = np.setdiff1d(np.arange(len(offered)), words)
        beats = np.concatenate([chosen, -1 - empty])  # negative: a word without neurons
        word = np.concatenate([words, empty])
        order = np.argsort(word, kind="stable")
        self.beats, self.word = beats[order].tolist(), word[order].tolist()
        self.offered = offered.tolist()
        self.at, self.current, self.ended = 0, -1, False
        self.extracted = self.consumed = -1
        self.entered = 0
        self._advance()

    def _advance(self) -> None:
        """Extract up to the next neuron."""
        while self.at < len(self.beats):
            word = self.word[self.at]
            if word != self.current:
                self.current, self.entered = word, max(self.offered[word], self.extracted)
            self.extracted = max(self.extracted + 1, self.consumed, self.entered + 1)
            self.visible = self.extracted + 1
            if self.beats[self.at] >= 0:
                return
            self.consumed = self.visible
            self.at += 1
        self.visible = self.consumed + 1

    def take(self, cycle: int) -> int | None:
        """As :class:`_Indices`."""
        if self.at == len(self.beats):
            self.ended = True
            return None
        neuron = int(self.beats[self.at])
        self.consumed = cycle
        self.at += 1
        self._advance()
        return neuron


def timings(
    config: RegluConfig, neurons: Neurons, d: int, rank: int, supply: Supply
) -> Iterator[TokenTiming]:
    """Timing of token after token; their neurons are ``(tokens, D)``."""
    begin, beats = 0, -(-d // config.lanes)
    for predicted, positive, adding in zip(
        neurons.predicted, neurons.positive, neurons.adding, strict=True
    ):
        token = Neurons(predicted, positive, adding)
        timing = TokenRun(config, token, beats, rank, begin, supply).timing()
        begin = timing.outputs + beats
        yield timing


def repeating(latency: NDArray[np.integer]) -> Supply:
    """A memory with the latency of n requests, then again."""
    return Latencies(repeated(latency.tolist()))


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
    for timing in timings(config, neurons, d, rank, repeating(latency)):
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
