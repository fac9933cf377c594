"""Which simulation serves which unit; one that has none is refused."""

from ...golden.contract.errors import UserError
from . import anda, anda_compressor, bitmap, dense, figna, fp16, nm, reglu, sparqle
from .simulate import Simulator


class _Simulators(dict[str, Simulator]):
    def __missing__(self, name: str) -> Simulator:
        raise UserError(f"{name} has no simulation of tensors; {', '.join(self)} have one.")


SIMULATORS = _Simulators(
    {
        "bitmap": bitmap.simulate,
        "dense": dense.simulate,
        "dense2k": dense.simulate,
        "sparqle": sparqle.simulate,
        "anda": anda.simulate,
        "compressor": anda_compressor.simulate,
        "fp16": fp16.simulate,
        "figna": figna.simulate,
        "nm": nm.simulate,
        "reglu": reglu.simulate,
    }
)

WITHOUT_WEIGHTS = ("bitmap", "compressor")
"""Units whose simulation takes activations only."""

WITH_FFN = ("reglu",)
"""Units whose simulation takes the three matrices of an FFN."""
