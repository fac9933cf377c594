"""Stimuli of cores: those of the unit inside, in either loop order, and what software does."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.errors import TooLongError
from ..golden.contract.ports import port_of
from ..golden.contract.schedule import Beats, Schedule
from ..golden.soc.blocks import LayerBlocks
from ..golden.soc.config import CoreConfig
from ..golden.soc.memory import PAGE, Rows, config_around
from ..golden.soc.registers import sides
from ..golden.soc.unit import CoreRun, all_ports, ports, registers, schedule
from .harness import IDLE_LIMIT, Harness
from .stimuli import Software, Stimuli, stimuli_of

LARGEST_LATENCY = 100
LARGE = 1 / 4  # share of large layers
TIMES = 4  # they have so many times the tokens and outputs that both halves of the buffers hold
MOST_TILES = 256  # of large layers
DRAWS = 30  # until a layer fits the buffers


def random_config(
    unit: Callable[[Any], Config], design: Design, rng: np.random.Generator
) -> Config:
    """A small core around a small unit; an illegal draw raises ``UserError``."""
    inner = unit(rng)
    fetches = Rows.of(design.ports(inner)) is not None
    values: dict[str, Any] = {
        "bus_width": int(rng.choice([32, 64, 128])),
        "token_blocks": int(rng.integers(1, 4)),
        "output_blocks": int(rng.integers(1, 4)),
        "block_beats": int(rng.choice([32, 64, 128])),
        "result_beats": int(rng.choice([16, 64])),
    }
    if fetches:
        values |= {
            "address_bits": int(rng.choice([32, 40])),
            "burst": int(rng.choice([1, 2, 5, 64])),
            "rows_ahead": int(rng.integers(1, 9)),
        }
    return config_around(type(inner), fetches=fetches)(unit=inner, **values)


def random_run(
    operands: Callable[[Any, Any], Any],
    design: Design,
    config: CoreConfig,
    rng: np.random.Generator,
) -> CoreRun:
    """A layer in a random loop order; its rows anywhere in a memory of any latency."""
    outputs_stay, tile_packets = (bool(bit) for bit in rng.integers(0, 2, 2))
    large = rng.random() < LARGE
    layer = _fitting(operands, design, config, rng)
    if large and _takes_large(design, config):
        layer = _enlarged(design, config, layer, rng)
    run = CoreRun(layer, outputs_stay, tile_packets)
    rows = Rows.of(design.ports(config.unit))
    if rows is None:
        return run
    address = int(rng.integers(PAGE)) * rows.beat_bytes
    latency = rng.integers(1, rng.choice([2, 10, LARGEST_LATENCY]), int(rng.choice([1, 7])))
    return replace(run, address=address, latency=latency)


def _fitting(
    operands: Callable[[Any, Any], Any],
    design: Design,
    config: CoreConfig,
    rng: np.random.Generator,
) -> Any:
    """Random operands whose blocks the buffers hold: the driver cuts others.

    Raises
    ------
    UserError
        They hold none.
    """
    for _ in range(DRAWS):
        layer = operands(config.unit, rng)
        try:
            LayerBlocks.of(design, config, layer)
        except TooLongError as error:
            too_long = error
        else:
            return layer
    raise too_long


def _large(design: Design, config: CoreConfig) -> dict[str, int]:
    """Blocks of a large layer, by side."""
    return {side: TIMES * 2 * config.blocks(side) for side in sides(design.ports(config.unit))}


def _takes_large(design: Design, config: CoreConfig) -> bool:
    """Whether large layers do not take long."""
    return prod(_large(design, config).values()) <= MOST_TILES


def _enlarged(design: Design, config: CoreConfig, layer: Any, rng: np.random.Generator) -> Any:
    """A large layer of rows of another one; ragged, where tiles do not share blocks of results."""
    tiling, blocks = layer.tiling(config.unit).results, _large(design, config)
    shared = any(port.tiles > 1 for port in design.ports(config.unit))
    tokens = blocks["tokens"] * tiling.rows - int(rng.integers(tiling.rows))
    outputs = blocks.get("outputs", 1) * tiling.columns
    outputs -= 0 if shared else int(rng.integers(tiling.columns))
    return layer.part(
        rng.integers(tiling.tokens, size=tokens), rng.integers(tiling.outputs, size=outputs)
    )


def bins(
    unit: Callable[[Any, Any], dict[str, bool]], design: Design, config: CoreConfig, run: CoreRun
) -> dict[str, bool]:
    """Functional bins, the unit's and the core's, and whether this run hits them."""
    layer = LayerBlocks.of(design, config, run.operands, outputs_stay=run.outputs_stay)
    loops, large = layer.loops(config), _large(design, config)
    found = {
        "core: packet a tile": run.tile_packets,
        "core: packet a layer": not run.tile_packets,
        "core: single pass": len(loops.passes()) == 1,
    }
    if _takes_large(design, config):
        blocks = {"tokens": loops.tokens, "outputs": loops.outputs}
        found["core: layer beyond all buffers"] = all(blocks[s] >= large[s] for s in large)
    ports = design.ports(config.unit)
    if "outputs" in sides(ports):
        found |= {
            "core: tokens stay": not run.outputs_stay,
            "core: outputs stay": run.outputs_stay,
        }
    if rows := Rows.of(ports):
        found |= _memory_bins(design, config, run, rows)
    return unit(config.unit, run.operands) | found


def _memory_bins(design: Design, config: CoreConfig, run: CoreRun, rows: Rows) -> dict[str, bool]:
    """What memory and the bursts of a run are like."""
    port = port_of(all_ports(design, config), "m_axi_ar")
    bursts = port.unpack(schedule(design, config, run).beats[port.name].words)
    ends = bursts["addr"] + (bursts["len"] + 1) * rows.beat_bytes
    return {
        "core: same latency": len(run.latency) == 1,
        "core: random latency": len(run.latency) > 1,
        "core: burst up to the end of a page": bool((ends % PAGE == 0).any()),
    }


# --- software ---------------------------------------------------------------------------------


class _Host:
    """Software at the registers of a core while its streams go on as they are."""

    def __init__(self, harness: Harness, config: CoreConfig):
        self.harness = harness
        self.ports = {port.name: port for port in ports(config)}
        sources = {driver.port.name: driver for driver in harness.drivers}
        sinks = {monitor.port.name: monitor for monitor in harness.monitors}
        self.aw, self.w, self.ar = (sources[f"s_axi_{name}"] for name in ("aw", "w", "ar"))
        self.b, self.r = sinks["s_axi_b"], sinks["s_axi_r"]
        self.stream = sources["s_axis"]
        self.bursts, self.beats = sinks.get("m_axi_ar"), sources.get("m_axi_r")

    async def finish(self) -> None:
        """Begin nothing new; let accesses that are under way come to their end."""
        for driver in (self.aw, self.w, self.ar, self.stream):
            driver.held = True
        await self._until(self._idle)

    def _idle(self) -> bool:
        for one, other in ((self.aw, self.w), (self.w, self.aw)):
            one.held = not other.offers  # both are taken at once
        return not (
            any(driver.offers for driver in (self.aw, self.w, self.ar))
            or len(self.b.accepted) < len(self.aw.accepted)
            or len(self.r.accepted) < len(self.ar.accepted)
        )

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Let cycles pass until something holds."""
        for _ in range(IDLE_LIMIT):
            if condition():
                return
            await self.harness.cycle()
        raise AssertionError("the core does not come to an end with an access")

    async def write(self, address: int, value: int) -> None:
        """Write a register and wait for the response."""
        payloads = (
            (self.aw, self.ports["s_axi_aw"].pack(addr=[address])),
            (self.w, self.ports["s_axi_w"].pack(data=[value], strb=[15])),
        )
        for driver, payload in payloads:
            driver.load(Beats(payload), {})
            driver.restart(None)
        answered = len(self.b.accepted)
        await self._until(lambda: len(self.b.accepted) > answered)

    async def memory_is_quiet(self) -> None:
        """Wait until all bursts that were asked for, if any can be, have been answered."""
        for _ in range(2):  # one may come with the final beat
            await self._until(self._all_answered)
            await self.harness.cycle()

    def _all_answered(self) -> bool:
        """Whether no burst is offered, and the beats of all that were accepted are taken."""
        bursts, beats = self.bursts, self.beats
        if bursts is None or beats is None or beats.answers is None:
            return True
        owed = int(np.searchsorted(beats.answers.needs, len(bursts.accepted), side="right"))
        return not int(bursts.valid.value) and len(beats.accepted) == owed

    async def stream_is_empty(self) -> None:
        """Wait until no word waits at the stream in."""
        await self._until(lambda: not self.stream.offers)


async def soft_reset(design: Design, config: CoreConfig, harness: Harness) -> None:
    """Give the layer up as drivers do: reset, drop a word that waits, forget what was noted."""
    known = registers(design, config)
    control = known["control"]
    host = _Host(harness, config)
    await host.finish()
    await host.write(control.offset, 1 << control.bit("soft_reset"))
    await host.write(known["drain"].offset, 1)
    await host.stream_is_empty()
    await host.memory_is_quiet()
    await host.write(known["drain"].offset, 0)
    for register in known.of("sticky"):
        await host.write(register.offset, register.mask)


def after(
    design: Design, config: CoreConfig, schedule: Schedule, totals: dict[str, int]
) -> Schedule:
    """The schedule with counters that have gone on from these totals."""
    known = registers(design, config)
    ar, r = (port_of(ports(config), name) for name in ("s_axi_ar", "s_axi_r"))
    addresses = ar.unpack(schedule.beats["s_axi_ar"].words)["addr"]
    read = r.unpack(schedule.beats["s_axi_r"].words)
    data = read["data"]
    for event in known.events:
        low, high = (addresses == known[f"{event.name}_{half}"].offset for half in ("low", "high"))
        if low.any():
            total = data[low] + (data[high] << 32) + totals.get(event.name, 0)
            data[low], data[high] = total & 0xFFFFFFFF, total >> 32
    beats = Beats(r.pack(data=data, resp=read["resp"]))
    return replace(schedule, beats={**schedule.beats, "s_axi_r": beats})


def around(design: Design) -> Stimuli:
    """Stimuli of the core around a unit's design."""
    unit = stimuli_of(design)
    return Stimuli(
        config=partial(random_config, unit.config, design),
        random=partial(random_run, unit.random, design),
        corners=lambda config: CoreRun(unit.corners(config.unit)),
        small=(),
        exhaustive=lambda config: CoreRun(unit.exhaustive(config.unit)),
        bins=partial(bins, unit.bins, design),
        operands=CoreRun,
        software=Software(reset=partial(soft_reset, design), after=partial(after, design)),
    )
