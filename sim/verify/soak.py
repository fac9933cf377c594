"""Every verification in full: what ``make soak`` runs and docs/verification.md shows."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ...golden.anda.format import MANTISSA_MAX
from ...golden.contract.config import Config
from ...golden.contract.design import Design
from ...golden.reglu import unit as reglu
from ...golden.units import UNITS, designs
from ...tb.goals import Goal
from ...tb.stimuli import bins_of, stimuli_of
from .. import demo, demo_ffn
from ..run.native import Model
from ..tools.workers import Workers, as_finished
from . import formal, fuzz
from .mutation import mutate
from .regress import Variation, variations
from .verify import (
    Checked,
    check_exhaustive,
    check_harnesses,
    check_lint,
    check_random,
)

MUTATED = ("tiny",)  # presets whose Verilog is mutated
KILLED = 0.95  # share of the mutants that are not equivalent


@dataclass(frozen=True)
class Effort:
    """How much of what could go on for ever is run.

    Attributes
    ----------
    scalars
        Values of a unit's design, over all presets, that are compared with golden.
    seeds, bin_seeds
        Random operands of the regression in both harnesses, and of the bins.
    configurations
        Random ones of the parameter fuzz, all designs together.
    mutants
        Of every design.
    tokens, corner
        Tokens of the sample's layers in the native harness (None: all), tokens and outputs in
        cocotb.
    """

    scalars: int = 1_000_000
    seeds: int = 10
    bin_seeds: int = 200
    configurations: int = 60
    mutants: int = 40
    tokens: int | None = None
    corner: int = 32


FULL = Effort()
BRIEF = Effort(
    scalars=10_000,
    seeds=2,
    configurations=len(tuple(designs())),
    mutants=10,
    tokens=16,
    corner=4,
)
"""Some of everything, for a unit under work; not what this project is verified with."""


@dataclass(frozen=True)
class Finding:
    """What one verification of one design found.

    Attributes
    ----------
    row
        The figure of the verification plan that this belongs to.
    subject
        What was verified.
    figure
        What was found, in words.
    wrong
        Why it failed; empty if it passed.
    seconds
        Wall time.
    """

    row: str
    subject: str
    figure: str
    wrong: tuple[str, ...] = ()
    seconds: float = 0.0


ROWS = {
    "values": (
        "Values, events and cycles",
        "All equal golden's under every stall profile, with garbage while valid is 0, and after a "
        "reset in mid-work. A line is a unit, a preset and a design of the unit.",
    ),
    "harnesses": (
        "Both harnesses",
        "cocotb and the native driver count the same cycles and events in every run; a corrupted "
        "golden value fails.",
    ),
    "sample": (
        "Real tensors",
        "The embedded sample of a real model: whole layers in the native harness, the first 32 "
        "tokens and outputs in cocotb under every stall profile; with every mantissa where it is "
        "a run-time setting.",
    ),
    "exhaustive": (
        "Small spaces in full",
        "Every product of two operands, every bitmap of 16 elements.",
    ),
    "bins": ("Bins", "Situations that random tests must reach, and how many they reach."),
    "formal": (
        "Formal proofs",
        "Claims of `prove` hold in all runs, those of `bmc` in all runs of so many cycles. `cover` "
        "finds a run that reaches each situation. `paths` are seen in the netlist: `valid` and "
        "`payload` of outputs come from registers, and `ready` of an input does not depend on what "
        "is offered there.",
    ),
    "mutants": (
        "Mutants",
        "Copies of the emitted Verilog with one random change each. The regression must notice "
        f"(kill) at least {KILLED:.0%} of those not proved equivalent to the original.",
    ),
    "lint": (
        "Lint",
        "Warnings of verilator -Wall on the emitted Verilog, with both levels of the reset.",
    ),
    "fuzz": ("Random configurations", "Drawn from all legal ones; built and run like any other."),
}
"""Row to its title and what it verifies."""

COMPARISONS = ("values", "harnesses", "sample", "exhaustive", "fuzz")
"""Rows that compare RTL with golden."""

Task = Callable[[], Finding]


def soak(
    names: Sequence[str] | None = None,
    jobs: int = 2,
    progress: Callable[[str, int, int], None] | None = None,
    effort: Effort = FULL,
    given: Sequence[Variation] = (),
) -> list[Finding]:
    """Run every verification of these units, or those of single configurations.

    Parameters
    ----------
    names
        Units; by default all.
    jobs
        Verifications at once.
    progress
        Called with what has ended.
    effort
        How much of each.
    given
        If there are any, only what concerns these configurations, with mutants of each.

    Returns
    -------
    list of Finding
        In the order of :data:`ROWS`.
    """
    if given:
        tasks = [*_of_variations(given, effort), *_mutations(given, effort)]
    else:
        names = tuple(UNITS) if names is None else names
        presets = sorted({preset for name in names for preset in UNITS[name].presets})
        chosen = variations(names, presets)
        mutated = [variation for variation in chosen if variation.preset in MUTATED]
        tasks = [
            *_of_variations(chosen, effort),
            *_of_sample(names, effort),
            *_mutations(mutated, effort),
            *_of_designs(chosen, effort),
        ]
    findings: list[Finding] = []
    with Workers(jobs) as workers:
        running = [workers.start(_timed, task) for task in tasks]
        for done, finished in enumerate(as_finished(running), 1):
            findings.append(finished.result())
            if progress:
                progress("verification", done, len(tasks))
    order = list(ROWS)
    return sorted(findings, key=lambda finding: (order.index(finding.row), finding.subject))


def _timed(task: Task) -> Finding:
    start = time.perf_counter()
    found = task()
    return Finding(found.row, found.subject, found.figure, found.wrong, time.perf_counter() - start)


def named(design: Design, config: Config) -> str:
    """A design and the parameters that are not as usual."""
    return " ".join([design.name, *_unusual(config)])


def _unusual(config: Config, prefix: str = "") -> Iterator[str]:
    usual = type(config)()
    for name in type(config).model_fields:
        value, default = getattr(config, name), getattr(usual, name)
        if isinstance(value, Config):
            inner = list(_unusual(value, f"{name}."))
            yield from inner or [f"{prefix}{name}"]
        elif value != default:
            yield f"{prefix}{name}={value}"


def _of_variations(chosen: Sequence[Variation], effort: Effort) -> Iterator[Task]:
    """What is verified for every design in every preset."""
    for variation in chosen:
        alike = [v for v in chosen if (v.unit, v.design) == (variation.unit, variation.design)]
        yield partial(_values, variation, -(-effort.scalars // len(alike)))
    yield from (partial(_harnesses, variation, effort.seeds) for variation in chosen)
    yield from (partial(_bins, variation, effort.bin_seeds) for variation in chosen)
    yield from (partial(_lint, variation) for variation in chosen)


def _values(variation: Variation, least: int) -> Finding:
    model = Model(variation.design, variation.config)
    total, seed = Checked(0, []), 0
    while total.scalars < least and not total.wrong:
        total += check_random(model, [seed])
        seed += 1
    figure = f"{total.scalars:,} values of {seed} seeds, {len(total.wrong)} mismatches"
    return Finding("values", variation.name, figure, tuple(total.wrong))


def _harnesses(variation: Variation, seeds: int) -> Finding:
    model = Model(variation.design, variation.config)
    checked = check_harnesses(variation, model, range(seeds))
    figure = f"{checked.scalars:,} values of {seeds} seeds, {len(checked.wrong)} differences"
    return Finding("harnesses", variation.name, figure, tuple(checked.wrong))


def _bins(variation: Variation, seeds: int) -> Finding:
    bins = bins_of(variation.design, variation.config, range(seeds))
    missing = sorted(name for name, hit in bins.items() if not hit)
    figure = f"{len(bins) - len(missing)} of {len(bins)} by {seeds} seeds"
    return Finding("bins", variation.name, figure, tuple(missing))


def _lint(variation: Variation) -> Finding:
    warnings = check_lint(variation.design, variation.config)
    return Finding("lint", variation.name, f"{len(warnings)} warnings", tuple(warnings))


def _of_sample(names: Sequence[str], effort: Effort) -> Iterator[Task]:
    """The embedded sample on every unit that takes tensors."""
    linear = [name for name in names if UNITS[name].simulation and UNITS[name].takes != "ffn"]
    cases = {name: demo.Case(name) for name in linear}
    cases |= {shown: case for shown, case in demo.RUNS.items() if case.unit in linear}
    for shown, case in cases.items():
        many = "mantissa" in UNITS[case.unit].settings.model_fields
        every = [{"mantissa": m} for m in range(1, MANTISSA_MAX + 1)] if many else [{}]
        for settings in every:
            chosen = replace(case, settings=settings)
            scope = demo.Scope({shown: chosen}, tokens=effort.tokens, corner=effort.corner)
            yield partial(_sample, shown, chosen, scope)
    if any(UNITS[name].takes == "ffn" for name in names):
        yield _sample_of_ffns


def _sample(shown: str, case: demo.Case, scope: demo.Scope) -> Finding:
    settings = "".join(f" {name}={value}" for name, value in case.settings.items())
    results = demo.run(jobs=1, scope=scope, tests="")
    return _sampled(shown, results, shown + settings)


def _sample_of_ffns() -> Finding:
    name = reglu.UNIT.name
    return _sampled(name, demo_ffn.run(jobs=1, tests=""), f"{name} paper, FFNs of the ReGLU model")


def _sampled(shown: str, results: list[demo.LayerResult], subject: str) -> Finding:
    wrong = [f"{result.layer}: {failure}" for result in results for failure in result.failures]
    cycles = sum(result.simulations[shown].counts["cycles"] for result in results)
    figure = f"{len(results)} layers, {cycles:,} cycles, {len(wrong)} differences"
    return Finding("sample", subject, figure, tuple(wrong))


def _mutations(chosen: Sequence[Variation], effort: Effort) -> Iterator[Task]:
    for variation in chosen:
        yield partial(_mutants, variation.design, variation.config, effort.mutants)


def _of_designs(chosen: Sequence[Variation], effort: Effort) -> Iterator[Task]:
    """What is verified once for every design."""
    every = {variation.design.name: variation.design for variation in chosen}
    for design in every.values():
        yield from (partial(_exhaustive, design, c) for c in stimuli_of(design).small)
        yield from (partial(_proofs, goal) for goal in formal.goals_of(design))
    for seed in range(effort.configurations):
        if fuzz.draw(seed)[0].name in every:
            yield partial(_fuzz, seed)


def _exhaustive(design: Design, config: Config) -> Finding:
    checked = check_exhaustive(Model(design, config, optimise="quick"))
    figure = f"{checked.scalars:,} values, {len(checked.wrong)} mismatches"
    return Finding("exhaustive", named(design, config), figure, tuple(checked.wrong))


def _fuzz(seed: int) -> Finding:
    design, config = fuzz.draw(seed)
    checked = fuzz.check(seed)
    figure = f"{checked.scalars:,} values, {len(checked.wrong)} mismatches"
    return Finding("fuzz", named(design, config), figure, tuple(checked.wrong))


def _mutants(design: Design, config: Config, mutants: int) -> Finding:
    campaign = mutate(design, config, mutants, seed=0)
    counts = {status: len(campaign.having(status)) for status in ("killed", "equivalent")}
    figure = (
        f"{counts['killed']} killed, {counts['equivalent']} proved equivalent, "
        f"{len(campaign.having('survived'))} survived of {len(campaign.mutants)}"
    )
    enough = campaign.killed_share >= KILLED
    survivors = [f"{mutant.change} {mutant.place}" for mutant in campaign.having("survived")]
    return Finding("mutants", named(design, config), figure, () if enough else tuple(survivors))


def _proofs(goal: Goal) -> Finding:
    claims = formal.claims(goal)
    depth = claims[0].depth
    bound = "all runs" if depth is None else f"{depth} cycles"
    wrong = tuple(f"{c.property}: {c.status}" for c in claims if c.status != "PASS")
    figure = f"{len(claims) - len(wrong)} of {len(claims)} claims, {bound}"
    return Finding("formal", goal.name, figure, wrong)
