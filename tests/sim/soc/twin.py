"""A core in Python at transaction level: registers, packets and golden results."""

import numpy as np
from nibbleforge.golden.soc.blocks import LayerBlocks
from nibbleforge.golden.soc.unit import CoreRun, registers, result_words


class TwinCore:
    """Takes the packets of a layer that is known beforehand, word for word, and gives its results.

    ``take(words)`` and ``give(count)`` are its streams; rows are to be in memory at ``address``.
    """

    def __init__(self, design, config, address=0):
        self.design, self.config, self.address = design, config, address
        self.map = registers(design.inner, config)
        self.values = {register.offset: register.value for register in self.map.registers}
        self.layers, self.expected = [], np.zeros((0, config.bus_width // 32), np.uint32)
        self.results = self.expected
        self.taken = 0

    def will_run(self, operands, *, outputs_stay):
        self.layers.append((operands, outputs_stay))

    def read(self, address):
        assert address in self.values
        return self.values[address]

    def write(self, address, value):
        register = next(r for r in self.map.registers if r.offset == address)
        assert register.written, register.name
        if register.access == "command":
            if value & 1 << register.bit("start"):
                self._start()
        elif register.access == "sticky":
            self.values[address] &= ~value
        else:
            self.values[address] = value & register.mask

    def _start(self):
        operands, outputs_stay = self.layers.pop(0)
        inner = self.design.inner
        layer = LayerBlocks.of(inner, self.config, operands, outputs_stay=outputs_stay)
        set_up = {r.name: self.values[r.offset] for r in self.map.of("setting")}
        rows = layer.image.settings(self.config, self.address) if layer.image else {}
        assert set_up == {"tile_packets": 0, **layer.settings, **rows}
        self.expected, self.taken = layer.stream(self.config), 0
        run = CoreRun(operands, outputs_stay)
        words = result_words(inner, self.config, run, layer).expand()
        self._later = words.reshape(len(words), -1)[:, : self.config.bus_width // 32]

    def take(self, words):
        assert np.array_equal(words, self.expected[self.taken : self.taken + len(words)])
        self.taken += len(words)
        if self.taken == len(self.expected):
            self.results = self._later

    def give(self, count):
        found, self.results = self.results[:count], self.results[count:]
        return found
