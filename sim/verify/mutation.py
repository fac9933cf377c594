"""Mutation testing: whether the regression notices random changes of the emitted Verilog.

Yosys' ``mutate`` puts all mutants of a campaign into one design, where an input tells which one
is active, so that one build serves them all. What the regression does not notice is compared with
the original: a mutant that behaves the same wherever anybody looks is equivalent and does not
count.
"""

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.contract.schedule import Schedule
from ...hw.generate import generate
from ...tb.scoreboard import Mismatch, Observation, check_counts, check_timing, check_values
from ...tb.stalls import PROFILES, Gates, gates
from ...tb.stimuli import illegal_run, stimuli_of
from ..run.native import Model
from .equivalence import compare, yosys
from .jams import check_jams, declared

Status = Literal["killed", "equivalent", "survived"]

SELECT = "mutsel"  # input that tells which mutant is active; 0: none
SEEDS = 12  # random operands, each under every stall profile
JAMS = 2  # seeds of operands under which ports are closed
IDLE_LIMIT = 2000  # cycles; longer than any stall of the profiles
_UNSTABLE = "did not converge"  # what Verilator says of logic that never settles
_PRAGMA = "/* verilator lint_off UNOPTFLAT */\n"  # bits of a mutated bus depend on each other
_PREPARED = (
    "proc",
    "memory -nomap",
    "memory_map",
    "opt",
    "opt_clean -purge",
    "setundef -zero -undriven",
)
_CLOCK = re.compile(r"-port (CLK|clk) |-wire clk ")


@dataclass(frozen=True)
class Mutant:
    """One change of the design and what became of it.

    Attributes
    ----------
    number
        Value of the selecting input.
    change
        Yosys' name of the change: ``inv``, ``const0``, ``const1``, ``cnot0`` or ``cnot1``.
    place
        Module, cell, port and bit, and the wire there.
    status
        ``killed`` by a stimulus; ``equivalent``: proved not to differ at any port; ``survived``.
    reason
        What killed it, how it was proved equivalent, or what is known about its survival.
    """

    number: int
    change: str
    place: str
    status: Status = "survived"
    reason: str = ""


@dataclass(frozen=True)
class Campaign:
    """Mutants of one design and what became of them.

    Attributes
    ----------
    design, config, seed
        What was mutated.
    mutants
        All mutants, in order of their numbers.
    seconds
        Wall time of build, runs and proofs.
    """

    design: str
    config: dict[str, Any]
    seed: int
    mutants: tuple[Mutant, ...]
    seconds: dict[str, float]

    def having(self, status: Status) -> list[Mutant]:
        """Mutants of a status."""
        return [mutant for mutant in self.mutants if mutant.status == status]

    @property
    def killed_share(self) -> float:
        """Killed mutants to all that are not equivalent; 1 where there are none."""
        killed = len(self.having("killed"))
        rest = killed + len(self.having("survived"))
        return killed / rest if rest else 1.0

    @property
    def summary(self) -> str:
        """One line."""
        counts = [f"{len(self.having(s))} {s}" for s in ("killed", "equivalent", "survived")]
        times = ", ".join(f"{what} {value:.1f} s" for what, value in self.seconds.items())
        return (
            f"{self.design}, seed {self.seed}: {', '.join(counts)} of {len(self.mutants)}; "
            f"{self.killed_share:.1%} of the non-equivalent killed ({times})"
        )

    def table(self) -> str:
        """Readable table, one mutant a line, the summary first."""
        width = max((len(mutant.place) for mutant in self.mutants), default=0)
        rows = [
            f"{m.number:3} {m.status:10} {m.change:6} {m.place:{width}} {m.reason}".rstrip()
            for m in self.mutants
        ]
        return "\n".join([self.summary, *rows])

    def to_json(self) -> str:
        """Everything as JSON."""
        return json.dumps({**asdict(self), "killed_share": self.killed_share}, indent=2)


def mutate(design: Design, config: Config, count: int, seed: int) -> Campaign:
    """Mutate a design and see which mutants the regression kills.

    Parameters
    ----------
    design, config
        What to mutate.
    count
        Number of mutants.
    seed
        Seed of the choice of mutants.

    Returns
    -------
    Campaign
        Mutants with their status.

    Raises
    ------
    RuntimeError
        The original fails the regression: nothing could be told about mutants.
    """
    marks = [time.perf_counter()]
    verilog, mutants = insert_mutants(design, config, count, seed)
    model = Model(design, config, verilog=verilog, constants=(SELECT,), optimise="quick")
    marks.append(time.perf_counter())
    trials = list(_trials(design, config))
    control = _first_failure(model, trials, 0)
    if control:
        raise RuntimeError(f"{design.name} fails the regression without a mutation: {control}")
    mutants = [_tried(model, trials, mutant) for mutant in mutants]
    marks.append(time.perf_counter())
    mutants = [_compared(model, verilog, mutant) for mutant in mutants]
    marks.append(time.perf_counter())
    seconds = dict(zip(("build", "runs", "proofs"), np.diff(marks).tolist(), strict=True))
    return Campaign(design.name, config.model_dump(), seed, tuple(mutants), seconds)


# Mutants in Verilog


def insert_mutants(
    design: Design, config: Config, count: int, seed: int
) -> tuple[str, list[Mutant]]:
    """Verilog of a design with all mutants in it, and what they change.

    The input ``mutsel`` selects one; 0 is the original. Clocks are left alone: a change there is
    no change of logic.
    """
    with tempfile.TemporaryDirectory(prefix="nibbleforge-") as folder:
        top = generate(design, config)
        Path(folder, "design.v").write_text(top.verilog)
        read = ["read_verilog design.v", f"hierarchy -check -top {top.name}", *_PREPARED]
        yosys([*read, f"mutate -list {2 * count} -seed {seed} -o list"], folder)
        lines = Path(folder, "list").read_text().splitlines()
        chosen = [line for line in lines if not _CLOCK.search(line)][:count]
        selected = f"mutate -ctrl {SELECT} {count.bit_length()}"
        insert = [line.replace("mutate", f"{selected} {n}", 1) for n, line in enumerate(chosen, 1)]
        yosys([*read, *insert, "setundef -init -zero", "write_verilog -noattr mutants.v"], folder)
        verilog = Path(folder, "mutants.v").read_text()
    return _PRAGMA + verilog, [_described(n, line) for n, line in enumerate(chosen, 1)]


def _described(number: int, line: str) -> Mutant:
    """A mutant as the command that inserts it describes it."""
    options = dict(re.findall(r"-(\w+) (\S+)", line))
    place = f"{options['module']}/{options['cell']}.{options['port']}[{options['portbit']}]"
    if "ctrlbit" in options:
        place += f" by [{options['ctrlbit']}]"
    if "wire" in options:
        place += f" = {options['wire']}[{options['wirebit']}]"
    return Mutant(number, options["mode"], place)


# Regression

_Trial = tuple[str, Callable[["_Player"], list[Mismatch]]]


class _RunAwayError(Exception):
    """Output beats without end."""


def _run_away(beats: int) -> None:
    """The driver reports progress after many thousand beats: far more than any trial has."""
    raise _RunAwayError(f"{beats} beats and no end")


@dataclass(frozen=True)
class _Player:
    """Runs schedules on one mutant."""

    model: Model
    number: int

    def play(
        self, schedule: Schedule, stalls: Gates | None = None, reset_after: int = 0
    ) -> Observation:
        """What the mutant does; where there are stalls, payloads are random while valid is 0."""
        run = self.model.run(
            schedule.beats,
            gates=stalls,
            trace=not stalls,
            garbage=bool(stalls),
            reset_after=reset_after,
            constants={SELECT: self.number},
            idle_limit=IDLE_LIMIT,
            progress=_run_away,
        )
        return run.seen

    def compare(
        self, schedule: Schedule, stalls: Gates | None = None, reset_after: int = 0
    ) -> list[Mismatch]:
        """What differs from golden: without stalls the cycle of everything as well."""
        design, config = self.model.design, self.model.config
        seen = self.play(schedule, stalls, reset_after)
        found = check_values(self.model.ports, schedule.beats, seen)
        free_flow = schedule.timed and not stalls
        found += check_counts(design, config, schedule.counts(), seen, free_flow=free_flow)
        return found + check_timing(schedule, seen) if free_flow else found

    def jam(self, seed: int) -> list[Mismatch]:
        """What events that count waiting cycles get wrong."""
        return check_jams(self.model.design, self.model.config, self.play, seed)


def _trials(design: Design, config: Config) -> Iterator[_Trial]:
    """The regression: stalls, resets in mid-work, illegal operands, closed ports, small space."""
    stimuli = stimuli_of(design)
    operands = [stimuli.random(config, np.random.default_rng(seed)) for seed in range(SEEDS)]
    for seed, some in enumerate([*operands, stimuli.corners(config)]):
        schedule = design.schedule(config, some)
        label = f"seed {seed}" if seed < SEEDS else "corners"
        for profile in PROFILES:
            stalls = gates(profile, design.ports(config), seed)
            trial = partial(_Player.compare, schedule=schedule, stalls=stalls)
            yield f"{label}, {f'{profile} stalls' if stalls else 'free flow'}", trial
        when = int(np.random.default_rng(seed).integers(1, 1 + schedule.counts().cycles))
        trial = partial(_Player.compare, schedule=schedule, reset_after=when)
        yield f"{label}, reset after {when}", trial
    yield from _illegal_trials(design, config)
    for seed in range(JAMS if declared(design, config) else 0):
        yield f"closed ports, seed {seed}", partial(_Player.jam, seed=seed)
    if stimuli.few(config):
        every = design.schedule(config, stimuli.exhaustive(config))
        yield "exhaustive", partial(_Player.compare, schedule=every)


def _illegal_trials(design: Design, config: Config) -> Iterator[_Trial]:
    """Runs that must report an error."""
    if stimuli_of(design).illegal is None:
        return
    for seed in range(SEEDS):
        schedule = illegal_run(design, config, seed)
        for profile in PROFILES:
            stalls = gates(profile, design.ports(config), seed)
            trial = partial(_Player.compare, schedule=schedule, stalls=stalls)
            yield f"illegal operands, seed {seed}, {profile} stalls", trial


def _first_failure(model: Model, trials: Iterable[_Trial], number: int) -> str:
    """What the first trial that notices the mutant has to say; empty if none does."""
    player = _Player(model, number)
    for name, trial in trials:
        try:
            found = trial(player)
        except _RunAwayError as error:
            return f"{name}: {error}"
        except RuntimeError as error:
            if _UNSTABLE not in str(error):
                raise
            return f"{name}: logic that never settles"
        if found:
            return f"{name}: {found[0]}"
    return ""


def _tried(model: Model, trials: Iterable[_Trial], mutant: Mutant) -> Mutant:
    reason = _first_failure(model, trials, mutant.number)
    return replace(mutant, status="killed", reason=reason) if reason else mutant


def _compared(model: Model, verilog: str, mutant: Mutant) -> Mutant:
    """Find out whether a surviving mutant differs from the original at all."""
    if mutant.status != "survived":
        return mutant
    found = compare(model.design, model.config, verilog, {SELECT: 0}, {SELECT: mutant.number})
    status: Status = "equivalent" if found.answer == "equal" else "survived"
    return replace(mutant, status=status, reason=found.reason)
