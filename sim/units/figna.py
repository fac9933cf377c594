"""Simulation of the mantissa array on a user's layer."""

from typing import ClassVar, TypeVar

from ...golden.anda.format import to_fp16
from ...golden.anda.values import check_operands
from ...golden.contract.design import Design
from ...golden.figna import ARRAY, FignaConfig, FignaLayer, FignaSettings
from ..run.measure import Measured, fp32_results
from .anda import FloatLayer, weights_of
from .simulate import Finished, Run, Tensors


class MantissaLayer(FloatLayer):
    """A layer on the mantissa array."""

    design: ClassVar[Design] = ARRAY

    @property
    def runs(self) -> tuple[Run, ...]:
        """The whole layer."""
        return (Run(self.design, self.config, self.layer),)

    def finish(self, *measured: Measured) -> Finished:
        """``y`` is what the hardware gives."""
        port = self.design.ports(self.config)[-1]
        y = fp32_results(self.layer.tiling(self.config), port, measured[0])
        return self.report(measured[0], {"y": y})


L = TypeVar("L", bound=MantissaLayer)


def prepare(config: FignaConfig, settings: FignaSettings, tensors: Tensors) -> MantissaLayer:
    """Round to FP16; weights as for the bit-plane array: INT4 per weight group."""
    return prepare_as(MantissaLayer, config, settings, tensors)


def prepare_as(kind: type[L], config: FignaConfig, settings: FignaSettings, tensors: Tensors) -> L:
    """The same for any array that takes these operands."""
    _, weights = tensors.matrices()
    w = weights_of(config, settings.weight_group, tensors, weights)
    minimum = [] if w.minimum is None else [w.minimum]
    x = to_fp16("activations", tensors.activations)
    layer = FignaLayer(x, w.q, w.scale, w.group, *minimum)
    check_operands(config, layer)
    return kind(config, settings, tensors, w, layer)
