"""Simulation of the FP16 array with fused dot products on a user's layer."""

from ...golden.contract.config import Config
from ...golden.fp16_fused import ARRAY, Fp16FusedConfig
from .fp16 import HalfLayer, prepared
from .simulate import Tensors


def prepare(config: Fp16FusedConfig, settings: Config, tensors: Tensors) -> HalfLayer:
    """Round to FP16, as :func:`nibbleforge.sim.units.fp16.prepare` does."""
    return prepared(ARRAY, config, tensors)
