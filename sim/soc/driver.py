"""Driver of a core: whole layers from Python, whatever connects the core."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.design import Design
from ...golden.contract.errors import TooLongError, UserError
from ...golden.contract.ports import WORD_BITS, Field, Port
from ...golden.contract.tiling import Tiling
from ...golden.soc.blocks import LayerBlocks, Operands
from ...golden.soc.config import CoreConfig, ResultPacking, ShellConfig
from ...golden.soc.memory import FetchingConfig, Image
from ...golden.soc.packets import parted
from ...golden.soc.registers import (
    BYTES,
    IDENTIFICATION,
    LENGTH_BITS,
    in_packets,
    result_port,
    result_ports,
    sides,
)
from ...golden.soc.stream import Runs, StreamBlocks, StreamCoreConfig
from ...golden.soc.unit import registers
from ...golden.units import core_name, unit
from .transport import CoreError, TimeOutError, Transport

DEFAULT_TIMEOUT = 10.0
_POLLS = 1000  # reads of a state that is to change in a few cycles


@dataclass(frozen=True)
class Result:
    """What a layer gave.

    Attributes
    ----------
    fields
        Field of the unit's results to ``(tokens, outputs)``, as integers or, where they are
        floating-point numbers, as such; a field with one element a row is ``(tokens, blocks)``, one
        a block of outputs. All are ``(groups, ...)`` where a unit has results of several groups of
        weights. Where results have several ports, ``PORT.FIELD`` to ``(blocks of tokens, blocks of
        results along outputs, beats, elements)``.
    events
        Event name to how often it happened.
    """

    fields: dict[str, NDArray]
    events: dict[str, int]

    @property
    def y(self) -> NDArray:
        """The unit's results, ``(tokens, outputs)``."""
        return self.fields["value"]


@dataclass(frozen=True)
class StreamResult:
    """What a run of streams gave.

    Attributes
    ----------
    ports
        Port of results to its fields, each ``(beats,)`` or ``(beats, elements)``.
    events
        Event name to how often it happened.
    """

    ports: dict[str, dict[str, NDArray]]
    events: dict[str, int]


class Driver:
    """Runs layers, or streams, on a core.

    The host's part: the order of tokens (a density-sorted one is the caller's), scales a token or
    output that the unit does not apply, quantisation and packing of operands. The core's part is
    everything between operands and results of the unit. Rows that the unit asks for the driver puts
    into memory, once as long as they stay the same.

    Parameters
    ----------
    transport
        What connects the core.
    design, config
        The core that is expected at the other end.

    Raises
    ------
    CoreError
        Another core, or none, is there.
    """

    def __init__(self, transport: Transport, design: Design, config: ShellConfig):
        if design.inner is None:
            raise UserError(f"{design.name} is no core.")
        self.transport, self.config = transport, config
        self.unit = design.inner
        self.registers = registers(design.inner, config)
        self.ports = design.inner.ports(config.unit)
        self.sides = sides(self.ports)
        self.image: Image | None = None  # what memory holds, and where
        self.address = 0
        self._identify()

    @classmethod
    def of_manifest(cls, path: str | Path, transport: Transport) -> Self:
        """The driver of a core that was generated, from its ``.json``."""
        try:
            manifest = json.loads(Path(path).read_text())
            owner = unit(core_name(manifest["unit"]))
            fields = {name: value for name, value in manifest["config"].items() if name != "type"}
            config = owner.config(**fields)
            design = next(d for d in owner.designs(config) if d.name == manifest["design"])
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} is not the manifest of a core.") from None
        return cls(transport, design, config)  # type: ignore[arg-type]

    # --- layers -------------------------------------------------------------------------------

    def run(
        self,
        operands: Operands,
        *,
        outputs_stay: bool | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Result:
        """Run a layer.

        Parameters
        ----------
        operands
            As the unit's design takes them.
        outputs_stay
            Whether blocks of outputs stay while tokens pass; by default what moves fewer words.
        timeout
            Seconds after which to give up.

        Raises
        ------
        UserError
            The unit does not take the operands, or a block is longer than its buffer.
        CoreError
            The core noted an error, or did not finish in time.
        """
        config = self._layers
        tiling = operands.tiling(config.unit).results
        before = self.counters()
        tokens_axis, outputs_axis = (0, 1) if in_packets(self.ports) else (-2, -1)
        parts = []
        for tokens in self._calls(tiling.token_blocks, tiling.rows):
            row = [
                self._sum(operands.part(tokens, outputs), outputs_stay, timeout)
                for outputs in self._calls(tiling.output_blocks, tiling.columns)
            ]
            parts.append(_joined(row, outputs_axis))
        after = self.counters()
        fields = _joined(parts, tokens_axis)
        return Result(fields, {name: after[name] - before[name] for name in after})

    def stream(self, operands: Runs, *, timeout: float = DEFAULT_TIMEOUT) -> StreamResult:
        """Pass a run through a core around a unit of plain streams.

        Parameters
        ----------
        operands
            As the unit's design takes them.
        timeout
            Seconds after which to give up.

        Raises
        ------
        UserError
            The unit does not take the operands, a piece that cannot be cut is longer than a
            buffer, or the core is one that runs layers.
        CoreError
            The core noted an error, or did not finish in time.
        """
        config = self.config
        if not isinstance(config, StreamCoreConfig):
            raise UserError(f"a core around {self.unit.name} takes layers: Driver.run.")
        blocks = StreamBlocks.of(self.unit, config, operands)
        before = self.counters()
        most = (1 << LENGTH_BITS) - 1
        found = []
        for first in range(0, len(blocks.schedules), most):
            some = StreamBlocks(blocks.ports, blocks.schedules[first : first + most])
            gives = sum(len(some.result_packets(config, b)) for b in range(len(some.schedules)))
            found.append(self._exchange(some.settings, some.stream(config), gives, timeout))
        after = self.counters()
        results = result_ports(self.ports)
        beats = parted(config, results, np.concatenate(found))
        return StreamResult(
            {port.name: _fields(port.sent, beats[port.name]) for port in results},
            {name: after[name] - before[name] for name in after},
        )

    def counters(self) -> dict[str, int]:
        """All counters since the core's reset, by the names of their events."""
        self._write("control", self._bit("control", "snapshot"))
        for _ in range(_POLLS):
            if not self._read("status") & self._bit("status", "counting"):
                break
        else:
            raise CoreError("the core does not complete its snapshot of the counters.")
        first = self.registers.of("counter")[0].offset
        words = [
            self.transport.read(first + BYTES * i) for i in range(2 * len(self.registers.events))
        ]
        return {
            event.name: words[2 * i] | words[2 * i + 1] << WORD_BITS
            for i, event in enumerate(self.registers.events)
        }

    def forget_rows(self) -> None:
        """Put rows into memory anew with the next layer, as where another has written there."""
        self.image = None

    def reset(self) -> None:
        """Give up what is under way, drop what waits at the stream in, forget errors."""
        self._write("control", self._bit("control", "soft_reset"))
        self._write("drain", 1)
        for _ in range(_POLLS):
            if not self._read("status") & self._bit("status", "input_waiting"):
                break
        else:
            raise CoreError("words keep coming at the core's stream in: stop what sends them.")
        self._write("drain", 0)
        self._forget()

    @property
    def _layers(self) -> CoreConfig:
        """The configuration of a core that runs layers."""
        if not isinstance(self.config, CoreConfig):
            raise UserError(f"a core around {self.unit.name} takes streams: Driver.stream.")
        return self.config

    def _calls(self, blocks: int, size: int) -> Iterator[slice]:
        """Rows that one call can take: the core counts so many blocks; results come as a whole."""
        tiles = max(port.tiles for port in self.ports)
        most = ((1 << LENGTH_BITS) - 1) // tiles * tiles * size
        # of no rows an empty call, which the unit refuses
        return (slice(first, first + most) for first in range(0, max(1, blocks * size), most))

    def _sum(
        self, operands: Operands, outputs_stay: bool | None, timeout: float
    ) -> dict[str, NDArray]:
        """Run a layer, cut along in_features as often as the core needs it."""
        try:
            return self._call(operands, outputs_stay, timeout)
        except TooLongError as error:
            halves = operands.halves(self._layers.unit)
            if halves is None:
                raise UserError(
                    f"{str(error).removesuffix('.')}; the driver cannot cut the layer, as partial "
                    f"results of {self.unit.name} do not add up exactly."
                ) from None
        first, second = (self._sum(half, outputs_stay, timeout) for half in halves)
        return {name: first[name] + second[name] for name in first}

    def _call(
        self, operands: Operands, outputs_stay: bool | None, timeout: float
    ) -> dict[str, NDArray]:
        """Run what the core can count in one go."""
        layer = self._planned(operands, outputs_stay)
        settings = layer.settings | self._rows(layer)
        words = layer.stream(self._layers)
        if in_packets(self.ports):
            results, passes = result_ports(self.ports), layer.loops(self._layers).passes()
            packets = (layer.result_packets(self._layers, results, one) for one in passes)
            found = self._exchange(settings, words, sum(map(len, packets)), timeout)
            return self._parted(layer, parted(self.config, results, found))
        packing = ResultPacking(result_port(self.ports).sent, self.config.bus_width)
        rows = sum(map(len, layer.result_words(self._layers, result_port(self.ports))))
        found = self._exchange(settings, words, rows, timeout)
        return self._arranged(layer, packing.unpack(found))

    def _parted(
        self, layer: LayerBlocks, beats: dict[str, NDArray[np.uint32]]
    ) -> dict[str, NDArray]:
        """Beats of several ports in the order in which they left, as arrays."""
        found = {}
        for port in result_ports(self.ports):
            passes = layer.loops(self._layers).passes()
            order = [block for one in passes for block in layer.blocks_of(port, one)]
            shape = (layer.tiling.token_blocks, len(order) // layer.tiling.token_blocks)
            for name, values in _fields(port.sent, beats[port.name]).items():
                blocks = values.reshape(len(order), -1, *values.shape[1:])
                sorted_ones = np.empty_like(blocks)
                sorted_ones[order] = blocks
                found[f"{port.name}.{name}"] = sorted_ones.reshape(*shape, *blocks.shape[1:])
        return found

    def _exchange(
        self, settings: dict[str, int], words: NDArray[np.uint32], count: int, timeout: float
    ) -> NDArray[np.uint32]:
        """Set everything, start, send words and receive so many."""
        self._forget()
        for register in self.registers.of("setting"):
            self._write(register.name, settings.get(register.name, 0))
        self._write("control", self._bit("control", "start"))
        self._check()
        try:
            found = self.transport.exchange(words, count, timeout)
        except TimeOutError as error:
            self._explain(error, count, timeout)
        self._check()
        return found

    def _planned(self, operands: Operands, outputs_stay: bool | None) -> LayerBlocks:
        """The layer as blocks, in the order that was asked for or that moves fewer words."""
        if outputs_stay is None and "outputs" in self.sides:
            return min(
                (self._planned(operands, stay) for stay in (False, True)),
                key=lambda layer: len(layer.stream(self._layers)),
            )
        stay = bool(outputs_stay)
        return LayerBlocks.of(self.unit, self._layers, operands, outputs_stay=stay)

    def _rows(self, layer: LayerBlocks) -> dict[str, int]:
        """Where the rows are that the unit asks for: they are put into memory when they change."""
        if layer.image is None or not isinstance(self.config, FetchingConfig):
            return {}
        if self.image is None or not np.array_equal(self.image.content, layer.image.content):
            self.address = self.transport.put(layer.image.content)
            self.image = layer.image
        return layer.image.settings(self.config, self.address)

    def _arranged(self, layer: LayerBlocks, rows: dict[str, NDArray]) -> dict[str, NDArray]:
        """Rows in the order in which they left, as matrices."""
        tiling = layer.tiling
        order = [
            token * tiling.output_blocks + output
            for one in layer.loops(self._layers).passes()
            for token, output in one.tiles
        ]
        found = {}
        for field in result_port(self.ports).sent.fields:
            elements = 1 if field.count is None else tiling.columns
            values = rows[field.name].reshape(len(tiling), -1, tiling.rows, elements)
            tiles = np.empty_like(values)
            tiles[order] = values
            if field.floating:
                tiles = _as_floats(field, tiles)
            groups = [_matrix(tiling, group, field) for group in tiles.swapaxes(0, 1)]
            found[field.name] = groups[0] if len(groups) == 1 else np.stack(groups)
        return found

    # --- the other end ------------------------------------------------------------------------

    def _identify(self) -> None:
        """Refuse another core."""
        found = self._read("identification")
        if found != IDENTIFICATION:
            raise CoreError(
                "there is no core of nibbleforge at the other end: its identification reads "
                f"{found:#010x} and should be {IDENTIFICATION:#010x}."
            )
        words = [self._read(name) for name in ("hash_high", "hash_low")]
        digest = "".join(f"{word:08x}" for word in words)
        expected = self.config.config_hash[: len(digest)]
        if digest != expected:
            raise CoreError(
                "the core was generated from another configuration: its config hash begins with "
                f"{digest}, that of the driver with {expected}."
            )
        if "design" in self.registers and self._read("design") != self.registers["design"].value:
            raise CoreError(f"the core is around another design than {self.unit.name}.")

    def _check(self) -> None:
        """Raise what the core noted."""
        noted = self._read("errors")
        if noted:
            error = next(bits for bits in self.registers["errors"].fields if noted >> bits.lsb & 1)
            raise CoreError(f"the core noted {error.name!r}: {error.meaning}.")

    def _explain(self, error: TimeOutError, count: int, timeout: float) -> None:
        """Say why results did not come, from errors and states, and give the layer up."""
        try:
            self._check()
            state = self._read("status")
            found = [
                bits.meaning
                for bits in self.registers["status"].fields
                if bits.name.startswith("waits_") and state >> bits.lsb & 1
            ]
            if not state & self._bit("status", "busy"):
                found = ["the core is idle"]
            reason = " and ".join(found) or "the unit is at work, or its results are not taken"
            raise CoreError(
                f"the core gave {error.received} of {count} words in {timeout:g} s: {reason}."
            )
        finally:
            self._write("control", self._bit("control", "soft_reset"))

    def _forget(self) -> None:
        """Clear what stays noted."""
        for register in self.registers.of("sticky"):
            self._write(register.name, register.mask)

    def _bit(self, register: str, field: str) -> int:
        return 1 << self.registers[register].bit(field)

    def _read(self, name: str) -> int:
        return self.transport.read(self.registers[name].offset)

    def _write(self, name: str, value: int) -> None:
        self.transport.write(self.registers[name].offset, value)


def _fields(port: Port, beats: NDArray[np.uint32]) -> dict[str, NDArray]:
    """Fields of beats, floating-point ones as such."""
    found: dict[str, NDArray] = dict(port.unpack(beats))
    return {
        field.name: _as_floats(field, found[field.name]) if field.floating else found[field.name]
        for field in port.fields
    }


def _as_floats(field: Field, patterns: NDArray) -> NDArray:
    """Bit patterns as the floating-point numbers that they stand for."""
    size = field.width // 8
    return patterns.astype(f"<u{size}").view(f"<f{size}")


def _matrix(tiling: Tiling, tiles: NDArray, field: Field) -> NDArray:
    """Tiles, ``(tiles, rows, elements)``, as a matrix with a row a token."""
    if field.count is not None:
        return tiling.join_result(tiles)
    grid = tiles.reshape(tiling.token_blocks, tiling.output_blocks, tiling.rows)
    return grid.transpose(0, 2, 1).reshape(-1, tiling.output_blocks)[: tiling.tokens]


def _joined(parts: list[dict[str, NDArray]], axis: int) -> dict[str, NDArray]:
    """Fields of several calls side by side."""
    return {name: np.concatenate([part[name] for part in parts], axis) for name in parts[0]}
