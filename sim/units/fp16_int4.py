"""Simulation of the mantissa array behind aligners on a user's layer."""

from dataclasses import replace
from typing import ClassVar

from ...golden.contract.design import Design
from ...golden.figna import FignaSettings
from ...golden.fp16 import OPERAND_BITS
from ...golden.fp16_int4 import ARRAY, Fp16Int4Config
from ..run.measure import Measured
from .figna import MantissaLayer, prepare_as
from .simulate import Finished, Tensors


class AlignedLayer(MantissaLayer):
    """A layer whose activations are aligned at the array's edge."""

    design: ClassVar[Design] = ARRAY

    def finish(self, *measured: Measured) -> Finished:
        """Activations are moved as FP16."""
        found = super().finish(*measured)
        encoded = self.layer.encoded(self.config)
        padding = encoded.padded_features / encoded.in_features
        moved = {
            "bits_per_activation": float(OPERAND_BITS),
            "bits_per_activation_padded": OPERAND_BITS * padding,
        }
        return replace(found, figures={**found.figures, **moved})


def prepare(config: Fp16Int4Config, settings: FignaSettings, tensors: Tensors) -> AlignedLayer:
    """As for the mantissa array alone."""
    return prepare_as(AlignedLayer, config, settings, tensors)
