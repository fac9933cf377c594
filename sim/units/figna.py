"""Simulation of the mantissa array on a user's layer."""

import numpy as np

from ...golden import figna
from ...golden.anda.format import to_fp16
from ...golden.anda.schedule import check_operands
from ...golden.arithmetic.quantise import check_matrix
from ...golden.contract.errors import UserError
from ...golden.figna import ARRAY, FignaConfig, FignaLayer, FignaSettings
from ..run.measure import Runner, fp32_results
from .anda import report, weights_of
from .simulate import Simulation, Tensors


def simulate(
    unit_name: str, config: FignaConfig, settings: FignaSettings, tensors: Tensors, runner: Runner
) -> Simulation:
    """Round to FP16, align mantissas, run the RTL over the whole layer, compare.

    Weights are prepared as for the bit-plane array: INT4 per weight group.
    """
    if tensors.weights is None:
        raise UserError(f"{unit_name} needs weights.")
    activations = check_matrix("activations", tensors.activations)
    weights = check_matrix("weights", tensors.weights)
    w = weights_of(config, settings.weight_group, tensors, weights)
    x = to_fp16("activations", tensors.activations)
    minimum = [] if w.minimum is None else [w.minimum]
    layer = FignaLayer(x, w.q, w.scale, np.array(w.group), *minimum)
    check_operands(config, layer)

    shape = (len(x), x.shape[1], len(w.q))
    golden = figna.cycles(config, *shape, w.group)
    measured = runner.measure(ARRAY, config, figna.traffic(config, layer), golden)
    y = fp32_results(layer.tiling(config), figna.ports(config)[-1], measured)
    exact = activations.astype(np.float64) @ weights.astype(np.float64).T
    return report(unit_name, config, settings, exact, layer, w, measured, {"y": y})
