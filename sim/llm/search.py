"""Precision search on a real LLM: a record of every round, and what the found combination gains.

The search itself is :mod:`..golden.anda_search` (Anda, arXiv 2411.15982, Algorithm 1). Here a
combination passes if its perplexity is at most ``(1 + loss)`` times that of FP16 activations.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...golden.anda.config import AndaConfig, AndaSettings
from ...golden.anda.search import FP16_BITS, BopsWeights, Mantissas, Result, Round, saving
from ...golden.anda.search import search as golden_search
from ...golden.anda.unit import ARRAY
from ...golden.contract.errors import UserError
from ...golden.contract.workload import Workload
from ...golden.llm import Linear
from ..tools.progress import Progress
from ..tools.results import check_output, finite, new_files, write_json
from .model import Source
from .perplexity import KINDS, Text, provenance

RECORD = "rounds.jsonl"
RESULT = "search.json"

PREFILL = 512
"""Tokens of the prefill whose cycles are predicted."""
CONFIG = AndaConfig()
"""The array that they are predicted for."""

Settings = dict[str, Any]
"""What a perplexity of the search depends on, and the loss; only JSON."""


class Model(Protocol):
    """What a search needs of a model; see :class:`.perplexity.LanguageModel`."""

    @property
    def linears(self) -> Sequence[tuple[str, Linear]]:
        """Kind and shape of every linear layer."""

    def perplexity(
        self,
        mantissas: Mantissas | None,
        *,
        held_out: bool = False,
        progress: Progress | None = None,
    ) -> float:
        """Perplexity of a combination, or with FP16 activations."""


@dataclass(frozen=True, kw_only=True)
class Outcome(Result):
    """A finished search with a model.

    Attributes
    ----------
    reference
        Perplexity with FP16 activations, on the text of the search.
    held_out
        Perplexity with FP16 activations, and of the best if there is one, on text not used in the
        search.
    cycles
        Predicted cycles of a prefill, likewise; see :func:`prefill_cycles`.
    """

    reference: float
    held_out: list[float]
    cycles: list[int]


def search(
    settings: Settings,
    load: Callable[[], Model],
    output: Path,
    max_rounds: int = 32,
    on_round: Callable[[Round, float], None] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Search, or go on with an interrupted search, and write ``search.json``.

    Every round is in ``rounds.jsonl`` as soon as it ends, whatever happens afterwards; the same
    call with the same folder goes on from there. Its first line holds settings and reference.

    Parameters
    ----------
    settings
        What the perplexities depend on, and ``loss``, the tolerated relative loss in 0..1. Only
        a search of equal settings goes on.
    load
        Gives the model; called once the arguments are found to be right.
    output
        Folder of the results.
    max_rounds
        Rounds at most; an interrupted or finished search may go on with more.
    on_round
        Called after every round, those of the record included, with the reference.
    progress
        Called as ``progress(stage, done, total)``.

    Raises
    ------
    UserError
        If ``output`` cannot be written, or holds something else than a record with these
        settings, or the perplexity with FP16 activations is not finite.
    """
    check_output(output)
    record = Record.open(output, settings)
    model = load()
    if record.reference is None:
        record.begin(model.perplexity(None, progress=progress))
    reference = record.known_reference
    for done in record.rounds:
        if on_round is not None:
            on_round(done, reference)

    def write(done: Round) -> None:
        record.append(done)
        if on_round is not None:
            on_round(done, reference)

    weights = weights_of(model.linears)
    found = golden_search(
        lambda mantissas: _score(model.perplexity(mantissas, progress=progress), reference),
        reference,
        weights,
        settings["loss"],
        max_rounds,
        on_round=write,
        replay=tuple(record.rounds),
    )
    compared = [None, found.best] if found.best else [None]
    outcome = Outcome(
        found.rounds,
        found.best,
        found.saving,
        reference=reference,
        held_out=[model.perplexity(m, held_out=True, progress=progress) for m in compared],
        cycles=[prefill_cycles(model.linears, m) for m in compared],
    )
    with new_files(output) as folder:
        write_json(folder / RESULT, _report(settings, weights, outcome))
    return outcome


def anda_settings(model: str, source: Source, text: Text, loss: float) -> Settings:
    """Settings of a search with a model that has these files, on this text."""
    return {"unit": "anda", "loss": loss, **provenance(model, source, text)}


def weights_of(linears: Sequence[tuple[str, Linear]]) -> BopsWeights:
    """Weights of a model by kind of layer, as many as there are."""
    counted = dict.fromkeys(KINDS, 0)
    for kind, linear in linears:
        counted[kind] += linear.in_features * linear.outputs
    return BopsWeights(**counted)


def prefill_cycles(linears: Sequence[tuple[str, Linear]], mantissas: Mantissas | None) -> int:
    """Cycles of all linear layers for 512 tokens on a 16 x 16 array, groups of 64.

    A tile takes M cycles a group, without filling and draining the array:
    ``ceil(T / R) * ceil(N / C) * ceil(K / 64) * M``; with FP16 activations (None) it takes 16.
    """
    bits = dict(zip(KINDS, mantissas or [FP16_BITS] * len(KINDS), strict=True))
    ideal = 0.0
    for kind, linear in linears:
        settings = AndaSettings(mantissa=bits[kind])
        workload = Workload(PREFILL, linear.in_features, linear.outputs, settings)
        ideal += ARRAY.cycles(CONFIG, workload).ideal_cycles or 0.0
    return int(ideal)


def _score(perplexity: float, reference: float) -> float:
    """Higher is better, and at least ``(1 - loss) * reference`` up to the tolerated loss."""
    return -math.inf if math.isnan(perplexity) else 2 * reference - perplexity


def perplexity_of(done: Round, reference: float) -> float | None:
    """Perplexity of a round, from its score; None if it was dropped unevaluated."""
    return None if done.score is None else 2 * reference - done.score


def state_of(done: Round) -> str:
    """What became of the candidate: accepted, rejected or dropped."""
    if done.score is None:
        return "dropped"
    return "accepted" if done.accepted else "rejected"


# --- the record ------------------------------------------------------------------------------


@dataclass
class Record:
    """``rounds.jsonl``: a line of settings and reference, then a line a round."""

    output: Path
    settings: Settings
    reference: float | None
    rounds: list[Round]

    @classmethod
    def open(cls, output: Path, settings: Settings) -> "Record":
        """Read the record in a folder, if there is one.

        Raises
        ------
        UserError
            If it cannot be read or holds other settings.
        """
        path = output / RECORD
        try:
            lines = path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return cls(output, settings, None, [])
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            lines = []
        try:
            head = json.loads(lines[0])
            theirs, reference = dict(head["settings"]), float(head["reference"])
            rounds = [Round(**json.loads(line)) for line in lines[1:]]
        except (ValueError, LookupError, TypeError, UserError):
            raise UserError(f"{path} is not the record of a search.") from None
        for key in {**settings, **theirs}:
            if theirs.get(key) != settings.get(key):
                raise UserError(
                    f"{path} records a search with {key} {_shown(theirs.get(key))},"
                    f" not {_shown(settings.get(key))}: choose another folder."
                )
        return cls(output, settings, reference, rounds)

    @property
    def known_reference(self) -> float:
        """The reference of a record that has begun."""
        assert self.reference is not None
        return self.reference

    def begin(self, reference: float) -> None:
        """Write the first line."""
        if not math.isfinite(reference):
            raise UserError(f"perplexity with FP16 activations must be finite, got {reference}.")
        self.reference = reference
        self._write()

    def append(self, done: Round) -> None:
        """Add a round; the file is replaced as a whole, so that no line is ever half written."""
        self.rounds.append(done)
        self._write()

    def _write(self) -> None:
        head = json.dumps({"settings": self.settings, "reference": self.reference})
        lines = [head, *(done.model_dump_json() for done in self.rounds)]
        with new_files(self.output) as folder:
            (folder / RECORD).write_text("\n".join(lines) + "\n", "utf-8")


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value)


# --- the result ------------------------------------------------------------------------------


def _report(settings: Settings, weights: BopsWeights, outcome: Outcome) -> dict[str, Any]:
    """What ``search.json`` holds; a perplexity that is not finite is null."""
    return {
        "settings": settings,
        "kinds": list(KINDS),
        "weights": dict(weights._asdict()),
        "reference_perplexity": outcome.reference,
        "rounds": [
            {
                "mantissas": list(done.mantissas),
                "saving": saving(done.mantissas, weights),
                "perplexity": finite(perplexity_of(done, outcome.reference)),
                "outcome": state_of(done),
            }
            for done in outcome.rounds
        ],
        "best": None if outcome.best is None else list(outcome.best),
        "saving": outcome.saving,
        "held_out_perplexity": _named(map(finite, outcome.held_out)),
        "prefill": {
            "tokens": PREFILL,
            "rows": CONFIG.rows,
            "columns": CONFIG.columns,
            "group": CONFIG.group,
            "cycles": _named(outcome.cycles),
        },
    }


def _named(figures: Iterable[Any]) -> dict[str, Any]:
    """With FP16 activations, and of the best combination if there is one."""
    return dict(zip(("fp16", "best"), figures, strict=False))
