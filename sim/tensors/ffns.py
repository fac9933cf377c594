"""ReGLU FFNs in files: those of the user, and the embedded sample."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...golden.contract.errors import UserError
from ...golden.contract.files import opened
from ...golden.reglu.ffn import check_ffn
from ..llm.reglu_network import Block, Network
from .arrays import ArrayFile, NpyFile, NpzFile, nearest, open_arrays, some, split_name
from .files import Capture, load_matrix

FFN_FORMAT = "nibbleforge-ffn-1"
"""What ``meta["format"]`` says in a file that :mod:`nibbleforge.sim.llm.reglu_train` wrote."""

MLP = "layers.{}.mlp"
"""What the FFN of layer N is called in a language model."""


LAYOUTS = ("{}", "{}_proj.weight", "{}.weight")
"""What gate, up and down are called in a file, after the name of the FFN if there is one."""


class FfnWeights(NamedTuple):
    """Weights of an FFN, float32.

    Attributes
    ----------
    gate, up
        ``(D, d)`` as in ``torch.nn.Linear``.
    down
        ``(d, D)``.
    """

    gate: NDArray[np.float32]
    up: NDArray[np.float32]
    down: NDArray[np.float32]


def load_ffn(given: str | os.PathLike[str]) -> FfnWeights:
    """Read an FFN: arrays gate, up and down of a file, or of a layer of a checkpoint.

    Parameters
    ----------
    given
        As in :func:`.files.load_matrix`, but that ``FILE:NAME`` names the FFN, such as
        ``model.layers.3.mlp``, whose arrays then are ``NAME.gate_proj.weight`` and so on. See
        ``LAYOUTS``.

    Raises
    ------
    UserError
        If the file cannot be read, lacks one of them, they do not fit together, or the
        ``config.json`` beside a checkpoint names another activation than ReLU.
    """
    path, name = split_name(given)
    file = open_arrays(path)
    if not isinstance(file, NpyFile | NpzFile):
        _check_activation(path)
    return FfnWeights(*check_ffn(*(file.load(part) for part in _parts(file, name))))


def _parts(file: ArrayFile, name: str | None) -> list[str]:
    """Names of gate, up and down of an FFN, in the layout that has most of them."""
    if isinstance(file, NpyFile):
        raise UserError(
            f"{file.path} holds one array without a name; an FFN has three: gate, up and down."
        )
    there = set(file.names)
    starts = [""] if name is None else [f"{name}.", f"{name}/"]
    layouts = [_in_layout(start, layout) for start in starts for layout in LAYOUTS]
    best = max(layouts, key=lambda parts: len(there.intersection(parts)))
    if not there.isdisjoint(best):
        return best
    ffns = _ffns(file.names)
    if name is None and len(ffns) == 1:
        return _parts(file, ffns[0])
    if name is None and ffns:
        raise UserError(
            f"{file.path} holds several FFNs; name one of {some(ffns)},"
            f" as in {file.path}:{ffns[0]}."
        )
    if ffns:
        raise UserError(f"{file.path} has no FFN {name!r}; {nearest(name or '', ffns)}.")
    return best


def _check_activation(path: Path) -> None:
    """Refuse a checkpoint whose FFNs another function gates."""
    config = (path if path.is_dir() else path.parent) / "config.json"
    try:
        content = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # a checkpoint without a configuration is the user's own
    if isinstance(content, dict):
        check_activation(path, activation_of({**content, **_dict(content.get("text_config"))}))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def activation_of(config: Mapping[str, Any]) -> str | None:
    """What gates the FFNs, by the configuration of a Hugging Face model; None if it is not said."""
    names = ("hidden_act", "hidden_activation", "activation_function")
    return next((str(config[name]) for name in names if config.get(name)), None)


def check_activation(path: Path, activation: str | None) -> None:
    """Raise :class:`UserError` unless the FFNs of a file may be ReLU-gated."""
    if activation not in (None, "relu"):
        raise UserError(f"the FFNs in {path} must be gated by relu, got {activation}.")


def _ffns(names: Iterable[str]) -> list[str]:
    """What ``FILE:NAME`` may name, in the order of ``names``."""
    names = list(names)
    there = set(names)
    found: dict[str, None] = {}
    for mark in "./":
        for layout in LAYOUTS:
            end = mark + layout.format("gate")
            for name in names:
                stem = name.removesuffix(end)
                if stem != name and there.issuperset(_in_layout(stem + mark, layout)):
                    found[stem] = None
    return list(found)


def _in_layout(start: str, layout: str) -> list[str]:
    """Names of gate, up and down."""
    return [start + layout.format(part) for part in FfnWeights._fields]


class FfnLayer(NamedTuple):
    """Weights and inputs of one FFN, float32.

    Attributes
    ----------
    gate, up
        ``(D, d)``.
    down
        ``(d, D)``.
    x, x_held_out
        ``(tokens, d)``: inputs to calibrate on, and inputs of text not trained on.
    """

    gate: NDArray[np.float32]
    up: NDArray[np.float32]
    down: NDArray[np.float32]
    x: NDArray[np.float32]
    x_held_out: NDArray[np.float32]

    @property
    def weights(self) -> FfnWeights:
        """Gate, up and down."""
        return FfnWeights(self.gate, self.up, self.down)


def sample_path() -> Path:
    """The embedded sample: all FFNs of a tiny ReGLU language model, see its README."""
    return Path(__file__).parents[1] / "sample" / "reglu.npz"


@dataclass(frozen=True, eq=False)
class FfnSample:
    """FFN layers of a language model, read from the file when asked for.

    Attributes
    ----------
    path
        The ``.npz`` file, float16 but for the text: for every layer ``layers.N/gate``, ``/up``,
        ``/down``, ``/x`` and ``/x_held_out``, and ``/attention_norm``, ``/qkv``, ``/out``,
        ``/ffn_norm`` of the rest of its block; ``embedding``, ``norm``, and ``held_out``, uint8.
    layers
        Their number.
    meta
        Where they come from.
    """

    path: Path
    layers: int
    meta: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "FfnSample":
        """Open a file that :mod:`nibbleforge.sim.llm.reglu_train` wrote.

        Raises
        ------
        UserError
            If the file cannot be read or is not such a file.
        """
        path = Path(path)
        try:
            with opened(path) as stream, np.load(stream, allow_pickle=False) as archive:
                meta = json.loads(archive["meta"].item())
                layers = sum(name.endswith("/gate") for name in archive.files)
        except UserError:
            raise
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {error.strerror or 'it is damaged'}."
            ) from None
        except Exception as error:  # a damaged file raises a dozen kinds
            raise UserError(f"{path} does not hold FFNs with a 'meta'.") from error
        if not isinstance(meta, dict) or meta.get("format") != FFN_FORMAT:
            raise UserError(f"{path} does not hold FFNs: its 'meta' is not that of {FFN_FORMAT}.")
        return cls(path, layers, meta)

    def layer(self, number: int) -> FfnLayer:
        """Read a layer.

        Raises
        ------
        UserError
            If there is no such layer, or the file is damaged.
        """
        if not 0 <= number < self.layers:
            raise UserError(f"{self.path} has layers 0..{self.layers - 1}, got {number}.")
        return FfnLayer(*(self._floats(f"layers.{number}/{kind}") for kind in FfnLayer._fields))

    def network(self) -> Network:
        """Read the language model, whose FFNs are those of the layers.

        Raises
        ------
        UserError
            If the file lacks a part of it, or is damaged.
        """
        embedding, norm = (self._floats(name) for name in ("embedding", "norm"))
        blocks = tuple(
            Block(*(self._floats(f"layers.{number}/{kind}") for kind in Block._fields))
            for number in range(self.layers)
        )
        return Network(embedding, blocks, norm, self.meta["config"]["heads"])

    def held_out(self) -> NDArray[np.uint8]:
        """Text that the model was not trained on, ``(windows, context + 1)``, side by side.

        Raises
        ------
        UserError
            If the file does not hold it, or is damaged.
        """
        text, length = load_matrix(self.path, "held_out"), self.meta["config"]["context"] + 1
        return text[: len(text) // length * length].reshape(-1, length)

    def _floats(self, name: str) -> NDArray[np.float32]:
        return load_matrix(self.path, name).astype(np.float32)


def ffn_of(path: str | os.PathLike[str], name: str) -> tuple[FfnWeights, NDArray[np.float32]]:
    """Weights and inputs of an FFN; where a file holds several inputs, those held out.

    Parameters
    ----------
    path
        A file of FFNs, or what ``nibbleforge capture`` wrote.
    name
        ``layers.N`` of the first; of the second a layer such as ``layers.N.mlp``, of which
        gate_proj, up_proj and down_proj must be in the file; of both, N alone.

    Raises
    ------
    UserError
        If the file, the layer or a part of it is missing, or the FFN has another activation than
        ReLU.
    """
    weights, _, held_out = _find(Path(path), name)
    return weights, held_out


def calibration_of(
    path: str | os.PathLike[str], name: str
) -> tuple[FfnWeights, NDArray[np.float32]]:
    """As :func:`ffn_of`, but with inputs to calibrate on where a file holds several."""
    weights, x, _ = _find(Path(path), name)
    return weights, x


def _find(path: Path, name: str) -> tuple[FfnWeights, NDArray[np.float32], NDArray[np.float32]]:
    """Weights, inputs to calibrate on and held-out inputs of an FFN in a file."""
    if _is_capture(path):
        weights, x = _captured(Capture.open(path), in_full(name, MLP))
        return weights, x, x
    file = FfnSample.open(path)
    names = [f"layers.{number}" for number in range(file.layers)]
    name = in_full(name, "layers.{}")
    if name not in names:
        raise UserError(f"{path} has no layer {name!r}; its layers are {some(names)}.")
    layer = file.layer(names.index(name))
    return layer.weights, layer.x, layer.x_held_out


def in_full(name: str, pattern: str) -> str:
    """The name of a layer, of which a number may be given; without a leading ``model.``."""
    return pattern.format(name) if name.isdecimal() else name.removeprefix("model.")


def _is_capture(path: Path) -> bool:
    """Whether ``nibbleforge capture`` wrote a file."""
    try:
        Capture.open(path)
    except UserError:
        return False
    return True


def _captured(capture: Capture, name: str) -> tuple[FfnWeights, NDArray[np.float32]]:
    """Weights and inputs of a captured FFN."""
    parts = [f"{name}.{part}_proj" for part in FfnWeights._fields]
    for part in parts:
        if part not in capture.layers:
            raise UserError(
                f"{capture.path} has no layer {part!r}, which an FFN needs;"
                f" its layers are {some(capture.layers)}."
            )
    check_activation(capture.path, capture.meta.get("activation"))
    weights = check_ffn(*(capture.weights(part) for part in parts))
    return FfnWeights(*weights), capture.activations(parts[0]).astype(np.float32)
