"""Which simulation serves which unit."""

from . import bitmap, dense
from .simulate import Simulator

SIMULATORS: dict[str, Simulator] = {
    "bitmap": bitmap.simulate,
    "dense": dense.simulate,
    "dense2k": dense.simulate,
}
