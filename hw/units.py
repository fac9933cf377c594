"""Hardware of a design that golden declares."""

from ..golden.contract.config import Config
from ..golden.contract.design import Design
from ..golden.contract.reference import resolve
from .lib.base import Unit


def component(design: Design, config: Config) -> Unit:
    """The hardware of a design with this configuration."""
    return resolve(design.hardware)(config)
