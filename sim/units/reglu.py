"""Simulation of the neuron-skipping FFN on a user's FFN, inputs and predictor."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import check_matrix
from ...golden.contract.errors import UserError
from ...golden.contract.workload import Workload
from ...golden.reglu.config import OPERAND_BITS, RegluConfig, RegluSettings, ports
from ...golden.reglu.ffn import IntegerFfn, Result, quantise_ffn, reference, run
from ...golden.reglu.predictor import Predictor
from ...golden.reglu.timing import FfnProfile, dense_cycles
from ...golden.reglu.unit import REGLU_FFN
from ...golden.reglu.values import FfnRun, Neurons, predict
from ..run.measure import Measured
from ..tensors.ffns import FfnWeights
from .simulate import Finished, Prepared, Run, Tensors, sqnr_db


@dataclass(frozen=True, eq=False)
class SkippedFfn(Prepared):
    """An FFN in integers, its inputs, and a predictor if the unit has one."""

    config: RegluConfig
    tensors: Tensors
    ffn: IntegerFfn
    operands: FfnRun

    @property
    def shape(self) -> dict[str, int | None]:
        """Tokens, features, neurons and rank."""
        d, D, rank = self.operands.shape
        tokens = len(self.operands.x)
        return {"tokens": tokens, "in_features": d, "out_features": d, "neurons": D, "rank": rank}

    @property
    def runs(self) -> tuple[Run, ...]:
        """All tokens, with the memory that holds the rows."""
        return (Run(REGLU_FFN, self.config, self.operands),)

    def finish(self, *measured: Measured) -> Finished:
        """Scale back; how much skipping changes, against the same integer FFN without it."""
        (found,) = measured
        ffn, x_q = self.ffn, self.operands.x
        y_int = _outputs(self.config, found, *x_q.shape)
        y = ffn.dequantise(y_int)
        predicted = predict(self.config, self.operands)
        alone = run(ffn, x_q, None, self.config.double_relu)
        figures = {
            "baselines": _baselines(self.config, self.operands, alone, found.cycles),
            "bits_per_activation": float(OPERAND_BITS),
            "bits_per_activation_padded": float(OPERAND_BITS),
            "bits_per_weight": float(OPERAND_BITS),
            "sqnr_db": sqnr_db(self._exact(), y),
            "bytes_read": found.run.seen.totals["row_beats"] * self.config.lanes,
            **_quality(ffn.dequantise(alone.y), y, alone.survivors, predicted),
        }
        arrays: dict[str, NDArray] = {
            "y": y,
            "y_int": y_int,
            "x_q": x_q,
            "x_scale": np.asarray(ffn.x_scale),
            "gate_q": ffn.gate_q,
            "up_q": ffn.up_q,
            "down_q": ffn.down_q,
            "predicted": predicted,
        }
        return Finished(arrays, figures)

    def _exact(self) -> NDArray[np.float64]:
        """Results in float64 of what the user gave."""
        assert self.tensors.ffn is not None
        activations = check_matrix("activations", self.tensors.activations)
        return reference(*self.tensors.ffn, activations, self.config.double_relu)


def prepare(config: RegluConfig, settings: RegluSettings, tensors: Tensors) -> SkippedFfn:
    """Quantise the FFN and its inputs.

    The scale of x is the predictor's; those of what is between gate and down come from the given
    activations, as does that of x without predictor. int8 activations count as scaled by 1.
    """
    assert tensors.ffn is not None  # a unit that takes an FFN gets one
    activations = check_matrix("activations", tensors.activations)
    ffn, x_q = _quantised(config, tensors.ffn, activations, tensors.predictor)
    operands = _operands(ffn, x_q, tensors.predictor, settings)
    return SkippedFfn(config, tensors, ffn, operands)


def _quantised(
    config: RegluConfig, weights: FfnWeights, activations: NDArray, predictor: Predictor | None
) -> tuple[IntegerFfn, NDArray[np.int8]]:
    """The FFN and its inputs in integers."""
    scale = 1.0 if activations.dtype == np.int8 else None
    if config.predictor:
        if predictor is None:
            raise UserError(
                "this unit has a predictor: give --predictor P.npz, or take --preset early_exit."
            )
        scale = _check_predictor(predictor, weights, scale)
    elif predictor is not None:
        raise UserError("this unit has no predictor: leave --predictor out.")
    ffn = quantise_ffn(*weights, activations, scale)
    return ffn, ffn.take(activations)


def _check_predictor(predictor: Predictor, weights: FfnWeights, scale: float | None) -> float:
    """The scale of x that the predictor was built for, once it is known to fit."""
    info = predictor.info
    D, d = weights.gate.shape
    if (info.neurons, info.features) != (D, d):
        raise UserError(
            f"the predictor is for a gate of {info.neurons} x {info.features},"
            f" this one is {D} x {d}."
        )
    if scale not in (None, info.x_scale):
        raise UserError(
            "int8 activations count as scaled by 1,"
            f" but the predictor takes x scaled by {info.x_scale:.6g}."
        )
    return info.x_scale


def _operands(
    ffn: IntegerFfn,
    x_q: NDArray[np.int8],
    predictor: Predictor | None,
    settings: RegluSettings,
) -> FfnRun:
    """Operands of the hardware and its memory."""
    d, D = ffn.features, ffn.neurons
    a, b = np.zeros((0, d), np.int8), np.zeros((D, 0), np.int8)
    mult, shift = np.zeros(0, np.uint16), np.zeros(0, np.uint8)
    thresholds = np.zeros(D, np.int32)
    if predictor is not None:
        a, b = predictor.a_q, predictor.b_q
        mult, shift = predictor.to_z8
        if predictor.thresholds is None:
            raise UserError("the predictor has no thresholds: calibrate it first.")
        thresholds = predictor.thresholds
    return FfnRun(
        x=x_q,
        gate=ffn.gate_q,
        up=ffn.up_q,
        down=ffn.down_q,
        gate_mult=ffn.to_g16.mult,
        gate_shift=ffn.to_g16.shift,
        up_mult=ffn.to_u16.mult,
        up_shift=ffn.to_u16.shift,
        h_mult=ffn.to_h.mult,
        h_shift=ffn.to_h.shift,
        a=a,
        b=b,
        z_mult=mult,
        z_shift=shift,
        thresholds=thresholds,
        latency=np.array([settings.latency]),
    )


def _outputs(config: RegluConfig, measured: Measured, tokens: int, d: int) -> NDArray[np.int32]:
    """Sums that the hardware gave, ``(tokens, d)``; zeros where beats are missing."""
    port = ports(config)[-1]
    values = port.unpack(measured.run.seen.words["y"])["value"]
    beats = -(-d // config.lanes)
    whole = np.zeros((tokens * beats, config.lanes), np.int32)
    whole[: len(values)] = values[: len(whole)]
    return np.ascontiguousarray(whole.reshape(tokens, -1)[:, :d])


def _baselines(
    config: RegluConfig, operands: FfnRun, alone: Result, found: int
) -> list[dict[str, Any]]:
    """As many lanes on all rows, and on the rows that gates leave without a predictor."""
    tokens, (d, D, _) = len(operands.x), operands.shape
    everyone = Neurons(np.ones((tokens, D), np.bool_), alone.gate_survivors, alone.survivors)
    without = config.replace(predictor=False)
    profile = FfnProfile(everyone, 0, operands.latency)
    early = REGLU_FFN.cycles(without, Workload(tokens, d, d, profile=profile)).cycles
    dense = dense_cycles(config, tokens, d, D)
    return [
        {"unit": "dense FFN", "cycles": dense, "speedup": dense / found},
        {"unit": "early exit", "cycles": early, "speedup": early / found},
    ]


def _quality(
    expected: NDArray[np.float32],
    y: NDArray[np.float32],
    adding: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
) -> dict[str, float | None]:
    """What skipping changes: results and neurons of the same integer FFN without it are given."""
    norm, needed = float(np.linalg.norm(expected)), int(adding.sum())
    return {
        "natural_sparsity": 1 - float(adding.mean()),
        "dropped": 1 - float(predicted.mean()),
        "recall": int((adding & predicted).sum()) / needed if needed else None,
        "output_error": float(np.linalg.norm(y - expected)) / norm if norm else None,
    }
