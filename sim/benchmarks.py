"""The figures of ``make bench``: every speed as a ratio to something measured in the same run."""

import importlib.util
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from amaranth.back import rtlil
from numpy.typing import NDArray

from ..golden import bitmap, dense
from ..golden.arithmetic.quantise import quantise_activations, take_activations, take_weights
from ..golden.bitmap import BitmapConfig
from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.layer import Layer
from ..golden.contract.workload import PackedBitmap, Workload
from ..golden.dense import ARRAY, DenseConfig
from ..golden.llm import llm
from ..golden.nm.format import pack, slots, unpack
from ..golden.nm.pattern import Pattern
from ..golden.sparqle import format as hybrid
from ..golden.sparqle import unit as sparqle
from ..golden.sparqle.config import SparqleConfig
from ..golden.sparqle.format import HybridFormat
from ..hw.lib.emission import to_verilog
from ..hw.lib.yosys import run_yosys
from ..hw.units import component
from ..tb.job import Job
from . import demo
from .llm import reglu_build, reglu_host
from .run import cocotb
from .run.native import Model
from .tensors.ffns import FfnWeights
from .tensors.files import Capture, sample_path
from .tools.threads import threads
from .tools.workers import Workers

DECODED = 25
"""Tokens of a decoding benchmark."""


@dataclass(frozen=True)
class Figure:
    """A measured figure beside its target.

    Attributes
    ----------
    what
        What was measured.
    target
        The figure to reach, in words.
    measured
        What was measured, in words.
    reached
        Whether it is.
    """

    what: str
    target: str
    measured: str
    reached: bool


def _seconds(action: Callable[[], object], times: int = 3) -> float:
    """Median wall time of an action."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def correctness() -> Iterator[Figure]:
    """The embedded sample through both harnesses."""
    results = demo.run()
    failures = [text for result in results for text in result.failures]
    counts = [s.counts for result in results for s in result.simulations.values()]
    cycles = sum(count["cycles"] for count in counts)
    yield Figure(
        "RTL against golden, the embedded sample",
        "0 mismatches",
        f"{len(failures)} in {cycles:,} cycles of {len(counts)} native runs and "
        f"{sum(len(result.corners) for result in results)} cocotb runs",
        not failures,
    )


def _converted(config: DenseConfig) -> str:
    """Verilog as ``amaranth.back.verilog`` makes it, with the Yosys of PyPI in this process."""
    text = rtlil.convert(component(ARRAY, config), emit_src=False)
    passes = ("proc -nomux -norom", "memory_collect", "write_verilog -norename {result}")
    return run_yosys(text, "read_rtlil {source}", *passes)


def emission() -> Iterator[Figure]:
    """Our emission against plain Amaranth conversion of the same array."""
    small, large = DenseConfig(), DenseConfig(rows=64, columns=64)
    plain = _seconds(lambda: _converted(small), 1)
    ours = _seconds(lambda: to_verilog(component(ARRAY, small), "dense_array"))
    texts: list[str] = []
    big = _seconds(lambda: texts.append(to_verilog(component(ARRAY, large), "dense_array")[0]), 1)
    yield Figure(
        "emission, 16 x 16, against plain Amaranth conversion",
        "<= 1/8",
        f"1/{plain / ours:.1f} ({ours:.2f} s against {plain:.2f} s)",
        ours <= plain / 8,
    )
    yield Figure(
        "emission, 64 x 64, against plain conversion of 16 x 16",
        "<= 1, <= 1 MB",
        f"{big / plain:.2f} of its time ({big:.2f} s), {len(texts[0]) / 1e6:.2f} MB",
        big <= plain and len(texts[0]) <= 1e6,
    )


def simulation() -> Iterator[Figure]:
    """The native driver against the bare model and against cocotb."""
    capture = Capture.open(sample_path())
    name = next(layer for layer in capture.layers if layer.endswith("o_proj"))
    config = DenseConfig()
    x = take_activations(capture.activations(name), config.activation_range[1]).q
    layer = Layer(x, take_weights(capture.weights(name)).q)
    traffic = dense.traffic(config, layer)
    model = Model(ARRAY, config)
    cycles = dense.cycles(config, dense.workload(config, layer)).cycles
    driven = statistics.median(model.run(traffic).cycles_per_second for _ in range(3))
    free = statistics.median(model.free_run(traffic, cycles).cycles_per_second for _ in range(3))
    job = Job.of("dense", ARRAY, config, [0, 1, 2])
    with Workers(1) as workers:
        outcome = cocotb.run(cocotb.build(ARRAY, config), job, workers, tests="free_flow")
    slow = sum(note["cycles"] for note in outcome.notes) / sum(n["seconds"] for n in outcome.notes)
    yield Figure(
        "native driver, a whole layer, against the bare model",
        ">= 0.7",
        f"{driven / free:.2f} ({driven:,.0f} of {free:,.0f} cycles/s)",
        driven >= 0.7 * free,
    )
    yield Figure(
        "native driver against the cocotb harness",
        ">= 15 x",
        f"{driven / slow:.0f} x ({slow:,.0f} cycles/s)",
        driven >= 15 * slow,
    )


def lanes() -> Iterator[Figure]:
    """Elements of many products a cycle in the native simulation, against elements of one."""
    rng = np.random.default_rng(0)
    layer = Layer(
        rng.integers(-128, 128, (64, 2304), np.int8), rng.integers(-8, 8, (64, 2304), np.int8)
    )
    single = DenseConfig(passes=1)
    speeds = []
    for config in (single, single.replace(lanes=16, tree="packed")):
        model, traffic = Model(dense.ARRAY_2K, config), dense.traffic(config, layer)
        fastest = max(model.run(traffic).cycles_per_second for _ in range(5))
        speeds.append(fastest * config.macs_per_step)
    one, many = speeds
    yield Figure(
        "native simulation, multiply-accumulates a second: 16 lanes, packed",
        ">= 5 x 1 lane",
        f"{many / one:.1f} x ({many / 1e6:,.0f} against {one / 1e6:,.0f} million)",
        many >= 5 * one,
    )


def whole_model() -> Iterator[Figure]:
    """Golden counts of all linear layers of Llama2-7B, 2,048 tokens."""
    tokens, shape = 2048, llm("llama2-7b")
    rng = np.random.default_rng(0)
    profiles = {}
    for features in {linear.in_features for linear in shape.linears}:
        size = (shape.blocks, tokens, features // 8)
        bits = rng.integers(0, 256, size, np.uint8) & rng.integers(0, 256, size, np.uint8)
        profiles[features] = [PackedBitmap(block) for block in bits]
    array, codec, hybrid_array = DenseConfig(), BitmapConfig(), SparqleConfig()

    def count(cases: Sequence[tuple[Design, Config]]) -> None:
        for block, linear in itertools.product(range(shape.blocks), shape.linears):
            profile = profiles[linear.in_features][block]
            workload = Workload(tokens, linear.in_features, linear.outputs, profile=profile)
            for design, config in cases:
                design.cycles(config, workload)

    taken = _seconds(lambda: count([(ARRAY, array), (bitmap.DECODER, codec)]))
    hybrid_taken = _seconds(lambda: count([(sparqle.ARRAY, hybrid_array)]), 1)
    yield Figure(
        "golden `cycles`, Llama2-7B, 2,048 tokens: `dense`, decoder",
        "<= 10 s",
        f"{taken:.2f} s",
        taken <= 10,
    )
    yield Figure(
        "golden `cycles`, the same layers: `sparqle`, sorted",
        "<= 10 s",
        f"{hybrid_taken:.2f} s",
        hybrid_taken <= 10,
    )


def codec() -> Iterator[Figure]:
    """Encoding and decoding a large activation tensor in numpy."""
    form = HybridFormat()
    x = np.random.default_rng(0).standard_t(4, (2048, 11008)).astype(np.float32)
    q = quantise_activations(x, form.limit).q
    packed = hybrid.encode(form, q)
    encode = _seconds(lambda: hybrid.encode(form, quantise_activations(x, form.limit).q))
    decode = _seconds(lambda: hybrid.decode(form, packed))
    copy = _seconds(lambda: x.copy())
    yield Figure(
        "numpy quantise and encode, 2,048 x 11,008",
        "<= 2 s",
        f"{encode:.2f} s, {encode / copy:.0f} x a copy of the tensor",
        encode <= 2,
    )
    yield Figure(
        "numpy decode, 2,048 x 11,008",
        "<= 2 s",
        f"{decode:.2f} s, {decode / copy:.0f} x a copy of the tensor",
        decode <= 2,
    )


def packing() -> Iterator[Figure]:
    """Packing and unpacking N:M weights of a large layer in numpy."""
    pattern = Pattern(2, 4)
    rng = np.random.default_rng(0)
    q = rng.integers(-8, 8, (4096, 11008), np.int8)
    scores = rng.random((4096, 11008 // 4, 4), np.float32)
    keep = (scores.argsort(axis=2).argsort(axis=2) < 2).reshape(q.shape)
    kept = slots(q, keep, pattern)
    stream = pack(*kept, pattern, 8)
    packed = _seconds(lambda: pack(*kept, pattern, 8))
    unpacked = _seconds(lambda: unpack(stream, pattern, 8, q.shape[1]))
    copy = _seconds(lambda: q.copy())
    for what, taken in (("packing", packed), ("unpacking", unpacked)):
        yield Figure(
            f"numpy {what}, 2:4, 4,096 x 11,008",
            "<= 3 s",
            f"{taken:.2f} s, {taken / copy:.0f} x a copy of the INT8 matrix",
            taken <= 3,
        )


def _fastest(way: reglu_host.Executor, tokens: list[NDArray[np.float32]]) -> float:
    """Median wall time of a token with the better number of threads: one, or one a processor.

    On a machine that is busy with other work, several threads wait for each other. Tokens take
    turns, so that rows gathered for one are not those of the one before.
    """
    taken = []
    for count in {1, len(os.sched_getaffinity(0))}:
        turns = map(way, itertools.cycle(tokens))
        with threads(count):
            taken.append(_seconds(partial(next, turns), len(tokens)))
    return min(taken)


def decoding() -> Iterator[Figure]:
    """A ReGLU FFN on the host, one token: all neurons against those predicted.

    Both ways with their better number of threads; the predictor's own time is in.
    """
    d, D, rank, sparsity = 2048, 5504, 128, 0.9
    ffn = reglu_host.synthetic(d, D, rank, sparsity)
    tokens = [reglu_host.synthetic_token(ffn, seed) for seed in range(DECODED)]
    backends: list[reglu_host.Backend] = ["numpy"]
    if importlib.util.find_spec("torch"):
        backends.append("torch")
    for backend in backends:
        ways = reglu_host.executors(ffn, backend)
        dense, skipping = (_fastest(way, tokens) for way in (ways.dense, ways.skipping))
        yield Figure(
            f"{backend}, ReGLU FFN {d} x {D}: rows gathered",
            ">= 2 x dense",
            f"{dense / skipping:.2f} x ({skipping * 1e3:.2f} ms against {dense * 1e3:.2f} ms)",
            dense >= 2 * skipping,
        )


def calibration() -> Iterator[Figure]:
    """A neuron predictor for a large FFN, half of the tokens for factors, half for thresholds."""
    d, D, rank, count = 2048, 5504, 256, 20_000
    made = reglu_host.synthetic(d, D, rank, 0.9)
    weights = FfnWeights(made.gate, made.up, np.ascontiguousarray(made.down.T))
    x = np.random.default_rng(1).standard_normal((count, d), np.float32)
    x += np.outer(1 - x @ made.a[0], made.a[0])  # as in synthetic_token
    halves = reglu_build.split(weights, x, None)
    with threads(1):
        taken = _seconds(lambda: reglu_build.make(halves, rank, 0.7), 1)
    yield Figure(
        f"predictor, rank {rank}, {d} x {D}, {count:,} tokens: built, measured",
        "<= 120 s",
        f"{taken:.0f} s, one thread",
        taken <= 120,
    )


BENCHMARKS = (
    correctness,
    emission,
    simulation,
    lanes,
    whole_model,
    codec,
    packing,
    decoding,
    calibration,
)
