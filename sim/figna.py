"""Simulation of the mantissa array on a user's layer."""

import numpy as np
from numpy.typing import NDArray

from ..golden import figna
from ..golden.anda import check_operands
from ..golden.anda_format import to_fp16
from ..golden.errors import UserError
from ..golden.figna import ARRAY, FignaConfig, FignaLayer, FignaSettings
from ..golden.quantise import check_matrix
from .anda import baselines, weights_of
from .measure import Runner, fp32_results
from .simulate import Simulation, Tensors, counts_of, sqnr_db


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
    encoded = layer.encoded(config)
    padding = encoded.padded_features / encoded.in_features
    counts = counts_of(
        unit_name,
        config,
        settings,
        dict(zip(("tokens", "in_features", "out_features"), shape, strict=True)),
        measured.summary(),
        baselines=baselines(config, measured.cycles, *shape),
        bits_per_activation=encoded.bits_per_element,
        bits_per_activation_padded=encoded.bits_per_element * padding,
        bits_per_weight=w.bits_per_weight,
        sqnr_db=sqnr_db(activations.astype(np.float64) @ weights.astype(np.float64).T, y),
        utilisation=(golden.ideal_cycles or 0.0) / measured.cycles,
    )
    arrays: dict[str, NDArray] = {"y": y, "x": layer.x, "w_q": w.q, "w_scale": w.scale}
    if w.minimum is not None:
        arrays["w_min"] = w.minimum
    return Simulation(counts, arrays, measured.mismatches)
