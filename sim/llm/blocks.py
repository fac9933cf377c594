"""Decoder blocks of an LLM whose weights are changed one after the other, each with its inputs.

Every block is calibrated with the inputs that the changed blocks before it give (as in SparseGPT,
arXiv 2301.00774); within a block, layers see those of the block as it was.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.errors import UserError
from ...golden.nm.prune import Calibration, InverseFactor, inverse_factor
from ..tools.progress import Progress
from .model import without_warnings
from .perplexity import LanguageModel


@dataclass(frozen=True, eq=False)
class Block:
    """A decoder block, and its linear layers by name."""

    module: Any
    linears: dict[str, Any]


def blocks_of(model: LanguageModel) -> list[Block]:
    """Decoder blocks in order: what bears a number and holds linear layers.

    Raises
    ------
    UserError
        A layer is in no numbered block.
    """
    named = {name.removeprefix("model."): m for name, m in model.network.named_modules()}
    found: dict[str, Block] = {}
    for _, linear, module in model.layers:
        name = linear.name
        numbered = re.match(r"(.*\.[0-9]+)\.", name)
        if numbered is None:
            raise UserError(f"linear layers must be in numbered blocks to be pruned, got {name}.")
        block = found.setdefault(numbered[1], Block(named[numbered[1]], {}))
        block.linears[name] = module
    return list(found.values())


@contextmanager
def restoring(modules: Sequence[Any]) -> Iterator[None]:
    """Give the modules back the weights they have now."""
    weights = [module.weight.detach().clone() for module in modules]
    try:
        yield
    finally:
        for module, own in zip(modules, weights, strict=True):
            module.weight.data.copy_(own)


def put(module: Any, weights: NDArray[np.float32]) -> None:
    """Put weights in the place of a module's own."""
    import torch

    module.weight.data.copy_(torch.from_numpy(weights))


def weights_of(module: Any) -> NDArray[np.float32]:
    """Weights of a module, ``(out_features, in_features)``; not a copy."""
    return module.weight.detach().numpy()


def factors_of(calibrations: Mapping[str, Calibration]) -> dict[str, InverseFactor]:
    """Factored inverse Hessians by layer; layers with the same inputs share one."""
    known: dict[int, InverseFactor] = {}  # by identity of the calibration
    for calibration in calibrations.values():
        if id(calibration) not in known:
            known[id(calibration)] = inverse_factor(calibration)
    return {name: known[id(calibration)] for name, calibration in calibrations.items()}


def settle(
    model: LanguageModel,
    change: Callable[[Block, Mapping[str, Calibration]], None],
    blocks: Sequence[Block],
    *,
    calibrated: bool = True,
    gram: bool = True,
    stage: str,
    report: Progress,
) -> None:
    """Change the weights of every block just before it runs.

    All windows of the text to calibrate on run at once, so that one pass through the network does.

    Parameters
    ----------
    model
        Whose blocks these are.
    change
        Called with each block and, by layer, its calibration.
    blocks
        In order.
    calibrated, gram
        Whether calibrations are collected, and gram matrices with them.
    stage
        What is reported.
    report
        Called as ``report(stage, blocks done, blocks)``.
    """
    import torch

    def changing(position: int) -> Any:
        def pre_hook(module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
            report(stage, position, len(blocks))
            block = blocks[position]
            calibrations: dict[str, Calibration] = {}
            if calibrated:
                with _calibrating(block, gram) as calibrations:
                    module.forward(*args, **kwargs)
            change(block, calibrations)

        return pre_hook

    hooks = [
        block.module.register_forward_pre_hook(changing(position), with_kwargs=True)
        for position, block in enumerate(blocks)
    ]
    try:
        with without_warnings(), torch.no_grad():
            model.network.base_model(_windows(model), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    report(stage, len(blocks), len(blocks))


def _windows(model: LanguageModel) -> Any:
    """The text to calibrate on in windows of equal length; a shorter last one is left out."""
    ids = model.pieces[0]
    length = min(model.context, len(ids))
    return ids[: len(ids) // length * length].reshape(-1, length)


@contextmanager
def _calibrating(block: Block, gram: bool) -> Iterator[dict[str, Calibration]]:
    """Sum up what goes into the layers of a block; layers with the same input share the sums."""
    found: dict[str, Calibration] = {}
    inputs: list[tuple[Any, Calibration]] = []

    def recorder(name: str) -> Any:
        def pre_hook(module: Any, args: tuple) -> None:
            x = args[0]
            shared = next((sums for seen, sums in inputs if seen is x), None)
            if shared is None:
                shared = Calibration.empty(module.in_features, gram)
                for window in x.reshape(-1, x.shape[-2], x.shape[-1]):
                    shared.add(window.numpy())
                inputs.append((x, shared))
            found[name] = shared

        return pre_hook

    hooks = [m.register_forward_pre_hook(recorder(name)) for name, m in block.linears.items()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
