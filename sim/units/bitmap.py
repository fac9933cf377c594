"""Simulation of the bitmap codec on a user's activations."""

import numpy as np
from numpy.typing import NDArray

from ...golden import bitmap
from ...golden.arithmetic.quantise import Recode, check_matrix, take_activations
from ...golden.bitmap import DECODER, ENCODER, BitmapConfig, BitmapSettings, Groups
from ...golden.contract.errors import UserError
from ...golden.sparqle import format as hybrid
from ...golden.sparqle.format import HybridFormat, Packed
from ..run.measure import Measured, Runner
from .simulate import Simulation, Tensors, counts_of, sqnr_db, times


def simulate(
    unit_name: str,
    config: BitmapConfig,
    settings: BitmapSettings,
    tensors: Tensors,
    runner: Runner,
) -> Simulation:
    """Quantise and split, encode and decode the high halves in RTL, compare, put together again."""
    if tensors.weights is not None:
        raise UserError(f"{unit_name} takes no weights.")
    activations = check_matrix("activations", tensors.activations)
    form = _format(config, settings)
    x = take_activations(activations, form.limit, tensors.int8_policy)
    form = form.replace(recode=x.recode) if x.recode != form.recode else form
    q = hybrid.enhance(form, x.q, settings.tau_lo, settings.tau_hi)
    packed = hybrid.encode(form, q)
    groups = high_halves(form, q)

    encoded = runner.measure(
        ENCODER,
        config,
        ENCODER.traffic(config, groups),
        bitmap.encoder_cycles(config, packed.bitmap),
    )
    decoded = runner.measure(
        DECODER,
        config,
        DECODER.traffic(config, groups),
        bitmap.decoder_cycles(config, packed.bitmap),
    )
    restored = _restore(config, form, packed, decoded)
    y = times(restored, x.scale[:, None].astype(np.float64))
    shape = {"tokens": packed.tokens, "in_features": packed.in_features, "out_features": None}
    counts = counts_of(
        unit_name,
        config,
        settings,
        shape,
        decoded.summary() | {"mismatches": len(encoded.mismatches) + len(decoded.mismatches)},
        designs={DECODER.name: decoded.summary(), ENCODER.name: encoded.summary()},
        msb_zero_share=packed.msb_zero_share,
        bits_per_activation=packed.bits_per_activation,
        bits_per_activation_padded=packed.bits_per_activation_padded,
        sqnr_db=sqnr_db(activations, y),
    )
    arrays = {
        "y": y,
        "y_int": restored,
        "x_q": q,
        "x_scale": x.scale,
        "lsb": packed.lsb,
        "bitmap": packed.bitmap,
        "values": packed.values,
    }
    return Simulation(counts, arrays, encoded.mismatches + decoded.mismatches)


def _format(config: BitmapConfig, settings: BitmapSettings) -> HybridFormat:
    if config.value_width not in (2, 4, 8):
        raise UserError(
            "a simulation needs value_width 2, 4 or 8, half the bits of an activation, "
            f"got {config.value_width}."
        )
    return format_of(config, settings.recode)


def format_of(config: BitmapConfig, recode: Recode = "balanced") -> HybridFormat:
    """Number format whose high halves the codec handles."""
    fields = {"k": config.value_width, "recode": recode, "group": config.group, "beat": config.beat}
    return HybridFormat.model_validate(fields)


def high_halves(form: HybridFormat, q: NDArray) -> Groups:
    """High halves of quantised activations ``(tokens, in_features)`` as groups of raw values."""
    _, high = hybrid.split(form, q)
    tokens, features = q.shape
    per_token = -(-features // form.group)
    dense = np.zeros((tokens, per_token * form.group), np.uint8)
    dense[:, :features] = high.view(np.uint8) & ((1 << form.k) - 1)
    last = np.arange(tokens * per_token) % per_token == per_token - 1
    return Groups(dense.reshape(-1, form.group), last)


def _restore(
    config: BitmapConfig, form: HybridFormat, packed: Packed, decoded: Measured
) -> NDArray:
    """Activations from stored low halves and the high halves that the decoder gave."""
    high = np.zeros((packed.tokens * packed.padded_features // form.group, form.group), np.int64)
    port = bitmap.decoder_ports(config)[-1]
    fields = port.unpack(decoded.run.seen.words[port.name])
    if config.mode == "scatter":
        high[: len(fields["value"])] = fields["value"][: len(high)]
    else:
        group = np.cumsum(fields["group_last"]) - fields["group_last"]
        used = np.arange(config.width) < fields["count"][:, None]
        row = np.broadcast_to(group[:, None], used.shape)[used]
        inside = row < len(high)
        high[row[inside], fields["index"][used][inside]] = fields["value"][used][inside]
    sign = 1 << (form.k - 1)
    signed = ((high ^ sign) - sign).astype(np.int8)
    signed = signed.reshape(packed.tokens, -1)[:, : packed.in_features]
    low, _ = hybrid.split(form, hybrid.decode(form, packed))
    return hybrid.join(form, low, signed)
