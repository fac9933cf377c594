"""Simulation of the bit-plane array on a user's layer."""

import numpy as np
from numpy.typing import NDArray

from ..golden import anda, fp16
from ..golden.anda import ARRAY, AndaLayer
from ..golden.anda_config import AndaConfig, AndaSettings, GroupArrayConfig
from ..golden.anda_format import to_fp16
from ..golden.errors import UserError
from ..golden.fp16 import Fp16Config
from ..golden.quantise import QuantisedWeights, check_matrix, take_weights
from .measure import Runner, results
from .simulate import Simulation, Tensors, counts_of, sqnr_db


def simulate(
    unit_name: str, config: AndaConfig, settings: AndaSettings, tensors: Tensors, runner: Runner
) -> Simulation:
    """Round to FP16, encode, run the RTL over the whole layer, compare.

    Weights are quantised to INT4 per weight group; with ``asymmetric`` they have minima, and are
    taken from the model's file if that holds them so. ``y`` is what the hardware gives.
    """
    if tensors.weights is None:
        raise UserError(f"{unit_name} needs weights.")
    activations = check_matrix("activations", tensors.activations)
    weights = check_matrix("weights", tensors.weights)
    w = weights_of(config, settings.weight_group, tensors, weights)
    layer = layer_of(config, settings, to_fp16("activations", tensors.activations), w)
    shape = (len(layer.x), layer.x.shape[1], len(w.q))
    golden = anda.cycles(config, settings.mantissa, *shape, w.group)
    measured = runner.measure(ARRAY, config, anda.traffic(config, layer), golden)
    bits = results(layer.tiling(config), anda.ports(config)[-1], measured)
    y = bits.astype(np.uint32).view(np.float32)
    if config.output == "fp16":
        y = bits.astype(np.uint16).view(np.float16)
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


def layer_of(
    config: AndaConfig, settings: AndaSettings, x: NDArray[np.float16], w: QuantisedWeights
) -> AndaLayer:
    """Operands of the array, checked."""
    minimum = [] if w.minimum is None else [w.minimum]
    mantissa, group = np.array(settings.mantissa), np.array(w.group)
    layer = AndaLayer(x, mantissa, w.q, w.scale, group, *minimum)
    anda.check(config, layer)
    return layer


def weights_of(
    config: GroupArrayConfig, weight_group: int, tensors: Tensors, weights: NDArray
) -> QuantisedWeights:
    """INT4 weights per weight group: the file's own where the array can take them."""
    blocks = tensors.blocks
    if config.asymmetric and blocks is not None and blocks.group % config.group == 0:
        return blocks
    return take_weights(weights, "group", weight_group, not config.asymmetric)


def baselines(
    config: GroupArrayConfig, cycles: float, tokens: int, in_features: int, outputs: int
) -> list[dict[str, object]]:
    """Cycles of the FP16 array of the same extent, and the speed-up over it."""
    rival = Fp16Config(rows=config.rows, columns=config.columns, max_k=max(in_features, 1))
    needed = fp16.cycles(rival, tokens, in_features, outputs).cycles
    return [{"unit": "fp16", "cycles": needed, "speedup": needed / cycles}]
