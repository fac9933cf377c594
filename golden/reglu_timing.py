"""Timing of the neuron-skipping FFN: which row it asks for, and when everything happens.

The rules are those that the docstring of :class:`nibbleforge.hw.reglu.SkippingFFN` states. The
order of requests depends on the neurons alone: results of rows are applied one by one in the order
of the requests, and only when nothing can be asked for or F of them wait.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .reglu_config import Matrix, RegluConfig

SCALED, HIDDEN = 6, 9
"""Cycles from the final beat of a row, T apart, to the result of a gate, and of an up."""

A_REQUEST, B_REQUEST = 1, 2
"""Cycles from a token's first feature to the requests for A and B being made up."""

Y_READ = 2
"""Cycles from everything being done to the first output."""


@dataclass(frozen=True)
class Neurons:
    """What becomes of the neurons of a token, bool ``(D,)`` each.

    Attributes
    ----------
    predicted
        Gate row is needed.
    positive
        Predicted ones that survive the gate: up row is needed.
    adding
        Those of them that survive the up: down row is needed.
    """

    predicted: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    adding: NDArray[np.bool_]


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
    first, final
        Cycles of its first and final beat.
    """

    begin: int
    quiet: int
    matrix: NDArray[np.int64]
    row: NDArray[np.int64]
    decided: NDArray[np.int64]
    first: NDArray[np.int64]
    final: NDArray[np.int64]

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
        Of x and y, and of a row of gate, up, down or A (X).
    rank
        Of the predictor (r); not used without.
    begin
        Cycle of the token's first feature.
    latency
        Cycles from a request to its first beat, for every request to come.
    """

    def __init__(
        self,
        config: RegluConfig,
        neurons: Neurons,
        beats: int,
        rank: int,
        begin: int,
        latency: Iterator[int],
    ):
        self.config, self.neurons = config, neurons
        self.beats, self.rank, self.begin = beats, rank, begin
        self.latency = latency
        self.free = begin + beats  # cycle from which the next beat can be accepted
        self.down = self.free - 2  # of the down row before
        self.requests: list[tuple[int, int, int, int, int]] = []

    def timing(self) -> TokenTiming:
        """Run it to its end."""
        quiet = self._neurons(self._indices())
        columns = np.array(self.requests, np.int64).T
        return TokenTiming(self.begin, quiet, *columns)

    def _ask(self, matrix: Matrix, row: int, cycle: int, beats: int, earliest: int = 0) -> int:
        """Decide on a request in a cycle; the cycle of its final beat."""
        offered = cycle + 1 + next(self.latency)
        first = max(offered, self.free, earliest)
        final = first + beats - 1
        self.free = final + 1
        self.requests.append((matrix, row, cycle, first, final))
        return final

    def _indices(self) -> "_Indices":
        """Neurons to ask for, in time; with a predictor, A and B come first."""
        config, begin, chosen = self.config, self.begin, np.flatnonzero(self.neurons.predicted)
        if not config.predictor:
            return _Counter(len(self.neurons.predicted), begin + 1)
        z_beats = -(-self.rank // config.lanes)
        done = self._ask(Matrix.A, 0, begin + A_REQUEST, self.rank * self.beats)
        written = done + config.tree_stages + SCALED
        count = len(self.neurons.predicted)
        final = self._ask(Matrix.B, 0, begin + B_REQUEST, count * z_beats, written)
        ends = np.minimum(
            np.arange(1, -(-count // config.mask_group) + 1) * config.mask_group, count
        )
        offered = final - (count - ends) * z_beats + config.tree_stages + 5
        return _Decoder(chosen, offered, config.mask_group)

    def _neurons(self, indices: "_Indices") -> int:
        """Ask for the rows of all neurons; the first cycle in which nothing is left to do."""
        config, positive, adding = self.config, self.neurons.positive, self.neurons.adding
        scaled, hidden = (config.tree_stages + more for more in (SCALED, HIDDEN))
        survivors: deque[int] = deque()
        hiddens: deque[int] = deque()
        unapplied: deque[tuple[Matrix, int, int]] = deque()
        cycle = self.begin + (B_REQUEST if config.predictor else 0) + 1
        used = 0
        while True:
            wants_gate = used < config.survivors and not indices.ended
            if len(unapplied) == config.in_flight or (
                unapplied and not (wants_gate or hiddens or survivors)
            ):
                matrix, neuron, known = unapplied.popleft()
                cycle = max(cycle, known) + 1
                if matrix is Matrix.GATE:
                    if positive[neuron]:
                        survivors.append(neuron)
                    else:
                        used -= 1
                elif matrix is Matrix.UP and adding[neuron]:
                    hiddens.append(neuron)
            elif wants_gate:
                cycle = max(cycle, indices.visible)
                neuron = indices.take(cycle)
                if neuron is None:
                    continue
                used += 1
                final = self._ask(Matrix.GATE, neuron, cycle, self.beats)
                unapplied.append((Matrix.GATE, neuron, final + scaled))
                cycle += 1
            elif hiddens:
                neuron = hiddens.popleft()
                final = self._ask(Matrix.DOWN, neuron, cycle, self.beats, self.down + 2)
                self.down = final - self.beats + 1
                unapplied.append((Matrix.DOWN, neuron, final + 1))
                cycle += 1
            elif survivors:
                neuron = survivors.popleft()
                used -= 1
                final = self._ask(Matrix.UP, neuron, cycle, self.beats)
                unapplied.append((Matrix.UP, neuron, final + hidden))
                cycle += 1
            else:
                return cycle


class _Indices:
    """Neurons in the order and at the time in which they can be asked for.

    Attributes
    ----------
    visible
        Cycle from which the next one, or the end, is seen.
    ended
        Whether the end has been taken.
    """

    visible: int
    ended: bool = False

    def take(self, cycle: int) -> int | None:
        """Take the next one in a cycle; None at the end."""
        raise NotImplementedError


class _Counter(_Indices):
    """All neurons, one after the other."""

    def __init__(self, neurons: int, visible: int):
        self.neurons, self.visible, self.at = neurons, visible, 0

    def take(self, cycle: int) -> int | None:
        if self.at == self.neurons:
            self.ended = True
            return None
        self.visible = cycle + 1
        self.at += 1
        return self.at - 1


class _Decoder(_Indices):
    """Neurons as the bitmap decoder finds them in words of the mask.

    Extraction k is in cycle ``e[k] = max(e[k-1] + 1, c[k-1], taken + 1)``, c[k-1] the cycle in
    which the one before was taken; it is seen in ``e[k] + 1``. A word is taken when it is offered,
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
        self.at, self.current = 0, -1
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
        if self.at == len(self.beats):
            self.ended = True
            return None
        neuron = int(self.beats[self.at])
        self.consumed = cycle
        self.at += 1
        self._advance()
        return neuron
