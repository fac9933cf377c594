"""Simulation of the bitmap codec on a user's activations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import Activations, check_matrix, take_activations
from ...golden.bitmap import DECODER, ENCODER, BitmapConfig, BitmapSettings, Groups
from ...golden.contract.errors import UserError
from ...golden.sparqle import format as hybrid
from ...golden.sparqle.format import HybridFormat, Packed
from ..run.measure import Measured
from .simulate import Finished, Prepared, Run, Tensors, sqnr_db, times


@dataclass(frozen=True, eq=False)
class HighHalves(Prepared):
    """High halves of activations, to be encoded and decoded."""

    config: BitmapConfig
    tensors: Tensors
    x: Activations
    q: NDArray[np.signedinteger]
    form: HybridFormat
    packed: Packed

    @property
    def shape(self) -> dict[str, int | None]:
        """Tokens and input features."""
        packed = self.packed
        return {"tokens": packed.tokens, "in_features": packed.in_features, "out_features": None}

    @property
    def runs(self) -> tuple[Run, ...]:
        """Decoder and encoder, on the same groups."""
        groups = _groups(self.form, self.q)
        return tuple(Run(design, self.config, groups) for design in (DECODER, ENCODER))

    def finish(self, *measured: Measured) -> Finished:
        """Put together again what the decoder gave and the stored low halves."""
        packed = self.packed
        restored = self._restore(measured[0])
        y = times(restored, self.x.scale[:, None].astype(np.float64))
        arrays = {
            "y": y,
            "y_int": restored,
            "x_q": self.q,
            "x_scale": self.x.scale,
            "lsb": packed.lsb,
            "bitmap": packed.bitmap,
            "values": packed.values,
        }
        figures = {
            "msb_zero_share": packed.msb_zero_share,
            "bits_per_activation": packed.bits_per_activation,
            "bits_per_activation_padded": packed.bits_per_activation_padded,
            "sqnr_db": sqnr_db(check_matrix("activations", self.tensors.activations), y),
        }
        return Finished(arrays, figures)

    def _restore(self, decoded: Measured) -> NDArray:
        """Activations from stored low halves and the high halves that the decoder gave."""
        packed, form = self.packed, self.form
        high = self._decoded(decoded)
        sign = 1 << (form.k - 1)
        signed = ((high ^ sign) - sign).astype(np.int8)
        signed = signed.reshape(packed.tokens, -1)[:, : packed.in_features]
        low, _ = hybrid.split(form, hybrid.decode(form, packed))
        return hybrid.join(form, low, signed)

    def _decoded(self, decoded: Measured) -> NDArray[np.int64]:
        """Groups that the decoder gave, ``(groups, G)``; zeros where beats are missing."""
        packed, group = self.packed, self.form.group
        high = np.zeros((packed.tokens * packed.padded_features // group, group), np.int64)
        port = DECODER.ports(self.config)[-1]
        fields = port.unpack(decoded.run.seen.words[port.name])
        if self.config.mode == "scatter":
            high[: len(fields["value"])] = fields["value"][: len(high)]
            return high
        number = np.cumsum(fields["group_last"]) - fields["group_last"]
        used = np.arange(self.config.width) < fields["count"][:, None]
        row = np.broadcast_to(number[:, None], used.shape)[used]
        inside = row < len(high)
        high[row[inside], fields["index"][used][inside]] = fields["value"][used][inside]
        return high


def prepare(config: BitmapConfig, settings: BitmapSettings, tensors: Tensors) -> HighHalves:
    """Quantise and split: the high halves are what the codec handles."""
    activations = check_matrix("activations", tensors.activations)
    form = _format(config, settings)
    x = take_activations(activations, form.limit, tensors.int8_policy)
    form = form.replace(recode=x.recode) if x.recode != form.recode else form
    q = hybrid.enhance(form, x.q, settings.tau_lo, settings.tau_hi)
    return HighHalves(config, tensors, x, q, form, hybrid.encode(form, q))


def _format(config: BitmapConfig, settings: BitmapSettings) -> HybridFormat:
    """Number format whose high halves the codec handles."""
    if config.value_width not in (2, 4, 8):
        raise UserError(
            "a simulation needs value_width 2, 4 or 8, half the bits of an activation, "
            f"got {config.value_width}."
        )
    return HybridFormat.model_validate(
        {
            "k": config.value_width,
            "recode": settings.recode,
            "group": config.group,
            "beat": config.beat,
        }
    )


def _groups(form: HybridFormat, q: NDArray) -> Groups:
    """High halves of quantised activations ``(tokens, in_features)`` as groups of raw values."""
    _, high = hybrid.split(form, q)
    tokens, features = q.shape
    per_token = -(-features // form.group)
    dense = np.zeros((tokens, per_token * form.group), np.uint8)
    dense[:, :features] = high.view(np.uint8) & ((1 << form.k) - 1)
    last = np.arange(tokens * per_token) % per_token == per_token - 1
    return Groups(dense.reshape(-1, form.group), last)
