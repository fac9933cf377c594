"""Simulation of the toy unit on a user's activations."""

from dataclasses import dataclass

import numpy as np
from nibbleforge.golden.arithmetic.quantise import take_activations
from nibbleforge.golden.contract.config import Config
from nibbleforge.sim.run.measure import Measured
from nibbleforge.sim.units.simulate import Finished, Prepared, Run, Tensors

from .golden import MAXIMUM, SUM, Packets, ToyConfig


@dataclass(frozen=True, eq=False)
class Tokens(Prepared):
    """Every token is a packet."""

    config: ToyConfig
    x: np.ndarray

    @property
    def shape(self) -> dict[str, int | None]:
        """Tokens and input features."""
        return {"tokens": len(self.x), "in_features": self.x.shape[1], "out_features": None}

    @property
    def runs(self) -> tuple[Run, ...]:
        """Sum and maximum of the same packets."""
        operands = Packets(self.x.reshape(-1), np.full(len(self.x), self.x.shape[1]))
        return tuple(Run(design, self.config, operands) for design in (SUM, MAXIMUM))

    def finish(self, *measured: Measured) -> Finished:
        """What the hardware gave."""
        given = [run.run.seen.words["y"] for run in measured]
        port = SUM.ports(self.config)[1]
        total, largest = (port.unpack(words)["value"] for words in given)
        return Finished({"y": total, "largest": largest}, {"bits_per_activation": 8.0})


def prepare(config: ToyConfig, settings: Config, tensors: Tensors) -> Tokens:
    """Quantise activations per token; int8 ones are taken as they are."""
    x = take_activations(tensors.activations, config.limit, tensors.int8_policy)
    return Tokens(config.replace(longest=x.q.shape[1]), x.q.astype(np.int64))
