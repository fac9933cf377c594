"""Events that count waiting cycles, checked where a port makes the design wait.

Golden knows the time events of free-flowing runs, where hardly any cycle is lost. Here one port is
closed until the design has come to a halt; the longer it stays closed, the more cycles must be
counted, one for one, by one event and by no other.
"""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..golden.anda_config import AndaConfig, GroupArrayConfig
from ..golden.config import Config
from ..golden.dense import DenseConfig
from ..golden.dequantizer import DequantizerConfig
from ..golden.design import Design
from ..golden.figna import FignaConfig
from ..golden.fp16 import Fp16Config
from ..golden.layer import Layer
from ..golden.nm_config import NMConfig
from ..golden.ports import Port
from ..golden.reglu_config import RegluConfig
from ..golden.schedule import Schedule
from ..golden.sparqle_config import SparqleConfig
from ..tb import tb_anda, tb_dense, tb_dequantizer, tb_figna, tb_fp16, tb_nm, tb_reglu
from ..tb.scoreboard import Mismatch, Observation, check_counts, check_values
from ..tb.stalls import Gates
from ..tb.stimuli import STIMULI

WAITED_FOR = {
    "anda_array": {
        "sign": "stall_operands",
        "exponent": "stall_operands",
        "plane": "stall_operands",
        "w": "stall_weights",
        "scale": "stall_operands",
        "y": "stall_drain",
    },
    "anda_compressor": {
        "x": "stall_input",
        "sign": "stall_out",
        "exponent": "stall_out",
        "plane": "stall_out",
    },
    "bitmap_decoder": {"values": "stall_values", "pairs": "stall_out", "dense": "stall_out"},
    "bitmap_encoder": {"bitmap": "stall_out", "values": "stall_out"},
    "dense2k_array": {"x": "stall_operands", "w": "stall_operands", "y": "stall_drain"},
    "dense_array": {"x": "stall_operands", "w": "stall_operands", "y": "stall_drain"},
    "dequantizer": {"x": "stall_operands", "scale": "stall_operands", "y": "stall_out"},
    "sparqle_array": {
        "w": "stall_weights",
        "lsb": "stall_lsb",
        "bitmap": "stall_list",
        "values": "stall_list",
        "y": "stall_drain",
    },
    "figna_array": {
        "exponent": "stall_operands",
        "x": "stall_operands",
        "w": "stall_operands",
        "scale": "stall_operands",
        "y": "stall_drain",
    },
    "fp16_array": {"x": "stall_operands", "w": "stall_operands", "y": "stall_drain"},
    "nm_array": {"x": "stall_operands", "w": "stall_operands", "y": "stall_out"},
    "skipping_ffn": {"rows": "stall_rows", "request": "stall_request", "y": "stall_out"},
}
"""Which event counts the cycles that wait for a port, for every port that one does count.

Ports of one kind, ``lsb_0``, ``lsb_1`` and so on, go by the name that they share.
"""

HALT = 1024  # cycles after which every design has come to a halt
EXTRA = 37  # cycles that a port is closed longer in the second run
BEATS = (1, 2)  # beats that a source gives before

Play = Callable[[Schedule, Gates], Observation]
"""Runs a schedule with gates."""


def check_jams(design: Design, config: Config, play: Play, seed: int = 0) -> list[Mismatch]:
    """Close each port in turn, for a while and for longer, and compare what the events counted.

    Results and work events are compared with golden as well.
    """
    schedule = design.schedule(config, _operands(design, config, seed))
    found = []
    for port in design.ports(config):
        for beats in BEATS if port.direction == "in" else (0,):
            found += _check_jam(design, config, play, schedule, port, beats)
    return found


def _operands(design: Design, config: Config, seed: int) -> object:
    """Operands that need every port more than once in the midst of work."""
    rng = np.random.default_rng(seed)
    if isinstance(config, DenseConfig):
        return tb_dense.layer(config, rng, 2 * config.rows, 2 * max(BEATS), config.columns + 1)
    if isinstance(config, SparqleConfig):
        features = config.span * (config.weight_banks + 2)
        low, _ = config.activation_range
        w = rng.integers(-8, 8, (2 * config.columns, features)).astype(np.int8)
        return Layer(np.full((config.rows, features), low, np.int16), w)
    if isinstance(config, DequantizerConfig):
        sums = tb_dequantizer.random_sums(config, rng)
        return replace(sums, last=np.arange(len(sums.last)) == len(sums.last) - 1)
    if isinstance(config, Fp16Config):
        beats = 2 * max(BEATS) * config.add_latency
        return tb_fp16.layer(config, rng, config.rows, beats * config.lanes, 2 * config.columns + 1)
    if isinstance(config, AndaConfig):
        return tb_anda.waiting_layer(config, rng)
    if isinstance(config, FignaConfig):
        return tb_figna.waiting_layer(config, rng)
    if isinstance(config, NMConfig):
        return tb_nm.waiting_layer(config, rng)
    if isinstance(config, RegluConfig):
        return tb_reglu.waiting_run(config)
    return STIMULI[design.name].random(config, rng)


def _check_jam(
    design: Design, config: Config, play: Play, schedule: Schedule, port: Port, beats: int
) -> list[Mismatch]:
    waiting = _waiting(design, config, port)
    runs, found = [], []
    for closed in (HALT, HALT + EXTRA):
        seen = play(schedule, {port.name: _closed(schedule, beats, closed)})
        found += check_values(design.ports(config), schedule.beats, seen)
        found += check_counts(design, config, schedule.counts(), seen, free_flow=False)
        runs.append(seen.totals)
    for event in design.events(config):
        more = runs[1][event.name] - runs[0][event.name]
        expected = EXTRA * waiting.get(event.name, 0)
        if event.kind == "time" and more != expected:
            place = f"counter {event.name}, {port.name} closed longer after {beats} beats"
            found.append(Mismatch(None, place, f"{expected} more", f"{more} more"))
    return found


def _waiting(design: Design, config: Config, port: Port) -> dict[str, int]:
    """By how much events count a cycle that waits for a port."""
    event = WAITED_FOR[design.name].get(re.sub(r"_\d+$", "", port.name))
    if event is None:
        return {}
    if isinstance(config, GroupArrayConfig) and event == "stall_drain":
        return {event: 1, "stall_post": 1}  # the group behind waits, too
    if event == "stall_request":
        return {event: 1, "stall_rows": 1}  # nobody brings what is not asked for
    if not isinstance(config, SparqleConfig):
        return {event: 1}
    everyone = config.row_groups
    if event == "stall_drain":
        return {event: 1, "stall_rows": everyone}
    if event == "stall_weights":
        return {event: everyone}
    return {event: 1, "stall_weights": everyone - 1}  # whose banks nobody frees


def _closed(schedule: Schedule, beats: int, cycles: int) -> np.ndarray:
    """Open for some beats, closed for some cycles, open to the end of the run."""
    rest = 2 * (cycles + schedule.counts().cycles)
    return np.repeat([1, 0, 1], [beats, cycles, rest]).astype(np.uint8)
