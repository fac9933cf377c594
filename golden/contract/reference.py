"""References: what a declaration names on a floor above, found when it is needed.

Imports go one way, so golden cannot import the hardware, the stimuli or the simulation of a unit.
A declaration names them instead, as an entry point does: ``package.module:NAME``.
"""

from importlib import import_module
from typing import Any

from .errors import UserError


def resolve(reference: str) -> Any:
    """The object that ``module:name`` refers to.

    Raises
    ------
    UserError
        There is no such module, or nothing of that name in it.
    """
    path, _, name = reference.partition(":")
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        raise UserError(f"{reference} cannot be found: {error}.") from None
    if not hasattr(module, name):
        raise UserError(f"{reference} cannot be found: {path} has no {name!r}.")
    return getattr(module, name)
