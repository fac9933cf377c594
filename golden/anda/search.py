"""Search for mantissa lengths: the cheapest combination that keeps a model's quality.

A combination ``(qkv, o, u, d)`` gives the mantissa lengths of the activations that enter the four
kinds of linear layers of an LLM. Cost is counted in bit operations (BOPs): in each kind its share
of the weights times its mantissa length. Source: Anda, arXiv 2411.15982, Algorithm 1.

The search is deterministic: given the rounds of an interrupted one, it takes the same way again
without evaluating a combination twice. A :class:`Round` is written as ``round.model_dump_json()``
and read back as ``Round(**json.loads(line))``.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from typing import Annotated, NamedTuple

from pydantic import ConfigDict
from pydantic import Field as Parameter

from ..contract.config import Config
from ..contract.errors import UserError
from .format import check_mantissa

Mantissas = tuple[int, int, int, int]
FP16_BITS = 16


class BopsWeights(NamedTuple):
    """Weights of a model by kind of layer, relative to each other; exact, so that ties are ties."""

    qkv: int | Fraction
    o: int | Fraction
    u: int | Fraction
    d: int | Fraction


OPT = BopsWeights(3, 1, 4, 4)
"""Models whose FFN has two matrices of four times the hidden size."""


def llama(hidden: int, intermediate: int) -> BopsWeights:
    """Models with a gated FFN: gate and up share their input."""
    ratio = Fraction(intermediate, hidden)
    return BopsWeights(3, 1, 2 * ratio, ratio)


def cost(mantissas: Sequence[int], weights: BopsWeights) -> Fraction:
    """BOPs relative to a mantissa of 1 bit everywhere: the weighted mean length, exactly."""
    bops = sum(m * Fraction(w) for m, w in zip(mantissas, weights, strict=True))
    return Fraction(bops) / sum(map(Fraction, weights))


def saving(mantissas: Sequence[int], weights: BopsWeights) -> float:
    """How many times fewer BOPs than FP16 activations take."""
    return float(FP16_BITS / cost(mantissas, weights))


class Round(Config):
    """What one round of the search did; also its record in a file."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    mantissas: Annotated[Mantissas, Parameter(strict=False)]
    """The candidate: bits for qkv, o, u and d."""
    bops: float
    """Its cost relative to a mantissa of 1 bit everywhere."""
    score: float | None
    """Its score; None if it was dropped unevaluated, being no cheaper than the best."""
    accepted: bool
    """Whether it became the best."""


@dataclass(frozen=True)
class Result:
    """A finished search.

    Attributes
    ----------
    rounds
        What each round did, in order.
    best
        The cheapest combination that passes, or None if nothing passes.
    saving
        How many times fewer BOPs than FP16 the best takes; 1 if nothing passes.
    """

    rounds: tuple[Round, ...]
    best: Mantissas | None
    saving: float

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        tried = f"{sum(r.score is not None for r in self.rounds)} combinations evaluated"
        if self.best is None:
            return f"Nothing passes: {tried}, none within the tolerated loss."
        return f"{list(self.best)} passes and saves {self.saving:.2f}x BOPs: {tried}."


def search(
    score: Callable[[Mantissas], float],
    reference: float,
    weights: BopsWeights,
    delta: float = 0.01,
    max_rounds: int = 32,
    first: Iterable[int] = range(4, 14),
    on_round: Callable[[Round], None] | None = None,
    replay: Iterable[Round] = (),
) -> Result:
    """Find the cheapest combination that scores at least ``(1 - delta) * reference``.

    Parameters
    ----------
    score
        Quality of a combination, higher is better; NaN fails. Perplexity is lower-is-better: pass
        ``2 * P - perplexity`` and reference P, which tolerates ``(1 + delta) * P`` exactly, or
        ``1 / perplexity`` and ``1 / P``, which tolerates ``P / (1 - delta)``.
    reference
        Score of the model with FP16 activations, > 0.
    weights
        Relative cost of each kind of layer, see :data:`OPT` and :func:`llama`.
    delta
        Tolerated relative loss, 0..1; 0.001 and 0.01 in the paper.
    max_rounds
        Rounds at most; one that drops its candidate counts.
    first
        Mantissa lengths to start from, each the same for all kinds.
    on_round
        Called after every round that ``replay`` does not hold, for instance to append it to a
        file.
    replay
        Rounds of an interrupted search with the same ``score``; theirs are not evaluated again.

    Returns
    -------
    Result

    Raises
    ------
    UserError
        If a number is not as above.
    """
    recorded, finished = set(replay), []
    for done in rounds(score, reference, weights, delta, max_rounds, first, recorded):
        finished.append(done)
        if on_round is not None and done not in recorded:
            on_round(done)
    best = next((done.mantissas for done in reversed(finished) if done.accepted), None)
    return Result(tuple(finished), best, saving(best, weights) if best else 1.0)


def rounds(
    score: Callable[[Mantissas], float],
    reference: float,
    weights: BopsWeights,
    delta: float = 0.01,
    max_rounds: int = 32,
    first: Iterable[int] = range(4, 14),
    replay: Iterable[Round] = (),
) -> Iterator[Round]:
    """Rounds of :func:`search`, one at a time, with its parameters.

    A round takes the cheapest candidate not yet visited, of several the one that was inserted
    first. If it is cheaper than the best and passes, it becomes the best, and the combinations
    with one bit less in one kind become candidates.
    """
    starts = list(first)
    _check(reference, weights, delta, max_rounds, starts)
    known = {done.mantissas: done.score for done in replay if done.score is not None}
    candidates = _Candidates(weights)
    for m in starts:
        candidates.insert((m, m, m, m))
    best: Fraction | None = None
    for _ in range(max_rounds):
        if not candidates:
            return
        bops, mantissas = candidates.cheapest()
        if best is not None and bops >= best:
            yield Round(mantissas=mantissas, bops=float(bops), score=None, accepted=False)
            continue
        found = known[mantissas] if mantissas in known else float(score(mantissas))
        accepted = found >= (1 - delta) * reference
        if accepted:
            best = bops
            candidates.insert_neighbours(mantissas)
        yield Round(mantissas=mantissas, bops=float(bops), score=found, accepted=accepted)


class _Candidates:
    """Combinations to visit, the cheapest first, ties in order of insertion, each only once."""

    def __init__(self, weights: BopsWeights):
        self._weights = weights
        self._queue: list[tuple[Fraction, int, Mantissas]] = []
        self._seen: set[Mantissas] = set()
        self._order = count()

    def __bool__(self) -> bool:
        return bool(self._queue)

    def insert(self, mantissas: Mantissas) -> None:
        """Add a combination, unless it was added before."""
        if mantissas not in self._seen:
            self._seen.add(mantissas)
            bops = cost(mantissas, self._weights)
            heapq.heappush(self._queue, (bops, next(self._order), mantissas))

    def insert_neighbours(self, mantissas: Mantissas) -> None:
        """Add the combinations with one bit less in one kind, in the order qkv, o, u, d."""
        qkv, o, u, d = mantissas
        for less in (
            (qkv - 1, o, u, d),
            (qkv, o - 1, u, d),
            (qkv, o, u - 1, d),
            (qkv, o, u, d - 1),
        ):
            if min(less) >= 1:
                self.insert(less)

    def cheapest(self) -> tuple[Fraction, Mantissas]:
        """Take the next combination and its cost."""
        bops, _, mantissas = heapq.heappop(self._queue)
        return bops, mantissas


def _check(
    reference: float, weights: BopsWeights, delta: float, max_rounds: int, starts: list[int]
) -> None:
    """Raise :class:`UserError` unless a search can run with these numbers."""
    if not 0 < reference < float("inf"):
        raise UserError(f"reference must be positive and finite, got {reference}.")
    if min(weights) <= 0:
        raise UserError(f"the weights of all kinds must be positive, got {min(weights)}.")
    if not 0 <= delta <= 1:
        raise UserError(f"delta must be in 0..1, got {delta}.")
    if max_rounds < 1:
        raise UserError(f"max_rounds must be at least 1, got {max_rounds}.")
    if not starts:
        raise UserError("first must hold at least one mantissa length, got none.")
    for mantissa in starts:
        check_mantissa(mantissa)


class Published(NamedTuple):
    """A model's combinations in the paper."""

    model: str
    hidden: int
    intermediate: int
    weights: BopsWeights
    tenth_percent: Mantissas
    """Found for a loss of 0.1 %."""
    one_percent: Mantissas
    """Found for a loss of 1 %."""


def _opt(model: str, hidden: int, tenth: Mantissas, one: Mantissas) -> Published:
    return Published(f"OPT-{model}", hidden, 4 * hidden, OPT, tenth, one)


def _llama(
    model: str, hidden: int, intermediate: int, tenth: Mantissas, one: Mantissas
) -> Published:
    return Published(model, hidden, intermediate, llama(hidden, intermediate), tenth, one)


PUBLISHED = (
    _opt("1.3B", 2048, (8, 6, 5, 5), (8, 5, 5, 4)),
    _opt("2.7B", 2560, (7, 5, 5, 5), (6, 5, 5, 4)),
    _opt("6.7B", 4096, (7, 5, 5, 4), (6, 4, 5, 4)),
    _opt("13B", 5120, (7, 6, 5, 5), (6, 6, 5, 4)),
    _opt("30B", 7168, (7, 5, 5, 4), (6, 4, 5, 4)),
    _llama("LLaMA-7B", 4096, 11008, (9, 8, 8, 7), (7, 6, 6, 6)),
    _llama("LLaMA2-7B", 4096, 11008, (9, 7, 8, 8), (7, 6, 6, 6)),
    _llama("LLaMA-13B", 5120, 13824, (10, 8, 8, 8), (7, 5, 6, 6)),
    _llama("LLaMA2-13B", 5120, 13824, (10, 10, 8, 9), (7, 7, 6, 7)),
)
"""The nine models of the paper."""
