"""Perplexity of a real LLM whose linear layers take activations in the Anda format.

Needs ``pip install nibbleforge[llm]``. Source of the format: Anda, arXiv 2411.15982; the kinds of
layers are those of its precision search. The output head keeps the activations it has.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...golden.anda.format import AndaFormat, check_mantissa
from ...golden.anda.search import Mantissas
from ...golden.contract.errors import UserError
from ...golden.llm import Linear
from ..tensors.arrays import some
from ..tools.progress import Progress
from .linear_layers import EMBEDDING, Modules, in_words, sort_modules, summarise
from .model import (
    DEFAULT_OFFSET,
    Corpus,
    Source,
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

KINDS = {
    "qkv": ("q_proj", "k_proj", "v_proj", "qkv_proj"),
    "o": ("o_proj", "out_proj"),
    "u": ("gate_proj", "up_proj", "gate_up_proj", "fc1"),
    "d": ("down_proj", "fc2"),
}
"""Names of linear layers by the four kinds of input, in the order of a combination."""

HEAD = "lm_head"
SMALLEST = 2.0**-14  # normal number of FP16, and weight of the hidden bit of subnormal ones
LARGEST = 65504.0


@dataclass(frozen=True)
class Text:
    """The tokens to run: two pieces of a text, to search or calibrate on and for final figures.

    Attributes
    ----------
    corpus
        The text; the second piece is its end.
    offset
        First token of the first piece.
    tokens
        Tokens of each piece.
    context
        The tokens are run in windows of this many, each without knowledge of those before it.
    """

    corpus: Corpus
    offset: int
    tokens: int
    context: int


def read(path: Path | None, offset: int | None, tokens: int, context: int) -> Text:
    """Take a text that the user named.

    Parameters
    ----------
    path
        A UTF-8 text file; by default the English text of ``pydoc_data.topics``.
    offset
        First token of the first piece, by default 20,000 in the default text, else 0.
    tokens
        Tokens of each piece, at least 2.
    context
        Tokens of a window, at least 2.

    Raises
    ------
    UserError
        If a number is too small or the file cannot be read.
    """
    if offset is None:
        offset = DEFAULT_OFFSET if path is None else 0
    for name, value, least in (
        ("tokens", tokens, 2),
        ("offset", offset, 0),
        ("context", context, 2),
    ):
        if value < least:
            raise UserError(f"{name} must be at least {least}, got {value}.")
    return Text(read_text(path), offset, tokens, context)


def provenance(model: str, source: Source, text: Text) -> dict[str, Any]:
    """What a perplexity depends on: model, text and tools, as JSON."""
    return {
        "model": model,
        "model_sha256": {path.name: sha256(path) for path in source.files},
        "text": text.corpus.origin,
        "text_sha256": text.corpus.sha256,
        "offset": text.offset,
        "tokens": text.tokens,
        "context": text.context,
        "versions": versions(),
    }


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A model in memory with the text to measure it on.

    Attributes
    ----------
    network
        The model, float32.
    layers
        Its linear layers but for the output head: kind, shape and module.
    pieces
        Token numbers ``(tokens,)``: to search or calibrate on, and held out from that.
    context
        Tokens of a window.
    format
        Parameters of the Anda format.
    """

    network: Any
    layers: tuple[tuple[str, Linear, Any], ...]
    pieces: tuple[Any, Any]
    context: int
    format: AndaFormat

    @property
    def linears(self) -> tuple[tuple[str, Linear], ...]:
        """Kind and shape of every linear layer."""
        return tuple((kind, linear) for kind, linear, _ in self.layers)

    def perplexity(
        self,
        mantissas: Mantissas | None,
        *,
        held_out: bool = False,
        progress: Progress | None = None,
    ) -> float:
        """Perplexity: e to the mean negative log-likelihood of a token, given its window so far.

        Parameters
        ----------
        mantissas
            Bits for the inputs of qkv, o, u and d, 1..16; None leaves them in FP16.
        held_out
            Whether to run the piece of text that is held out from the search.
        progress
            Called as ``progress("perplexity", tokens done, tokens)``.

        Raises
        ------
        UserError
            If ``mantissas`` is not as above.
        """
        for mantissa in mantissas or ():
            check_mantissa(mantissa)
        with self._rounding(mantissas):
            return self.measure(held_out=held_out, progress=progress)

    def measure(self, *, held_out: bool = False, progress: Progress | None = None) -> float:
        """Perplexity of the network as it is now; arguments as :meth:`perplexity` has them."""
        import torch

        report = progress or (lambda stage, done, total: None)
        ids = self.pieces[held_out]
        loss, predicted = 0.0, 0
        with without_warnings(), torch.no_grad():
            for first in range(0, len(ids), self.context):
                report("perplexity", first, len(ids))
                window = ids[first : first + self.context]
                logits = self.network(window[None], use_cache=False).logits[0, :-1]
                loss += float(
                    torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum")
                )
                predicted += len(window) - 1
        report("perplexity", len(ids), len(ids))
        try:
            return math.exp(loss / predicted)
        except OverflowError:
            return math.inf

    @contextmanager
    def _rounding(self, mantissas: Mantissas | None) -> Iterator[None]:
        """Round what goes into the linear layers."""
        bits = dict(zip(KINDS, mantissas or [None] * len(KINDS), strict=True))

        def rounding(mantissa: int | None) -> Any:
            def pre_hook(module: Any, inputs: tuple) -> tuple:
                return (_rounded(self.format, mantissa, inputs[0]), *inputs[1:])

            return pre_hook

        with hooked((module, rounding(bits[kind])) for kind, _, module in self.layers):
            yield


@contextmanager
def hooked(hooks: Iterable[tuple[Any, Any]]) -> Iterator[None]:
    """Have modules call what sees, and may change, their inputs."""
    handles = [module.register_forward_pre_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def open_model(model: Source, text: Text, progress: Progress | None = None) -> LanguageModel:
    """Load a model, and the text in its tokens.

    Parameters
    ----------
    model
        Its files, see :func:`find`.
    text
        What it will run.
    progress
        Called as ``progress(stage, done, total)``.

    Raises
    ------
    UserError
        If the model cannot be loaded, has linear layers of unknown name or lacks a kind, or if the
        text is too short for two pieces.
    """
    report = progress or (lambda stage, done, total: None)
    report("load", 0, 1)
    with without_warnings():
        loaded = load(model)
        layers = _linear_layers(loaded.network)
        check_context(loaded.network, text.context, text.tokens)
        ids = tokenise(loaded, text.corpus)
    end = len(ids) - text.tokens
    if text.offset + text.tokens > end:
        raise UserError(
            f"the text has {len(ids)} tokens, too few for {text.tokens} from token {text.offset} on"
            f" and as many held out at its end."
        )
    report("load", 1, 1)
    pieces = piece(ids, text.offset, text.tokens), piece(ids, end, text.tokens)
    return LanguageModel(loaded.network, layers, pieces, text.context, AndaFormat())


def find(model: str, progress: Progress | None = None) -> Source:
    """Find, or fetch, the files of a model: ``smollm2``, a Hugging Face folder or a GGUF file.

    Raises
    ------
    UserError
        If there is no such model, it cannot be fetched, or a package is missing.
    """
    require("torch", "transformers")
    return find_source(model, progress or (lambda stage, done, total: None))


def _linear_layers(network: Any) -> tuple[tuple[str, Linear, Any], ...]:
    """Kind, shape and module of the linear layers, the output head left out."""
    import torch
    from transformers.pytorch_utils import Conv1D

    modules = sort_modules(network.named_modules(), torch.nn.Linear, Conv1D)
    return kinds_of(modules)


def kinds_of(modules: Modules) -> tuple[tuple[str, Linear, Any], ...]:
    """Kind, shape and module of linear layers, the output head left out.

    Raises
    ------
    UserError
        If a layer has another name or is transposed, a kind is missing, or other modules hold
        weights, which would stay as they are.
    """
    kind_of = {name: kind for kind, names in KINDS.items() for name in names}
    found, unknown = [], []
    for name, layer in modules.layers.items():
        last = name.rpartition(".")[2]
        if last == HEAD:
            continue
        if last in kind_of and not layer.transposed:
            linear = Linear(name, layer.module.in_features, layer.module.out_features)
            found.append((kind_of[last], linear, layer.module))
        else:
            unknown.append(name)
    if unknown:
        raise UserError(f"linear layers must be named {', '.join(kind_of)}, got {some(unknown)}.")
    others = {name: one for name, one in modules.left.items() if one.why != EMBEDDING}
    if others:
        reasons = "; ".join(map(in_words, summarise(others)))
        raise UserError(f"all weights must be in linear layers, got {reasons}.")
    for kind, names in KINDS.items():
        if kind not in {kind for kind, _, _ in found}:
            raise UserError(f"the model must have linear layers named {' or '.join(names)}.")
    return tuple(found)


# --- rounding --------------------------------------------------------------------------------


def anda(format: AndaFormat, mantissa: int, x: Any) -> Any:
    """Round a tensor to FP16 and then to the Anda format, exactly as golden encodes and decodes.

    Parameters
    ----------
    format
        Parameters of the format.
    mantissa
        Bits of a mantissa (M), 1..16.
    x
        ``(..., in_features)``, a floating-point ``torch.Tensor``, any values.

    Returns
    -------
    torch.Tensor
        As ``x``, float32.
    """
    import torch

    features = x.shape[-1]
    padded = torch.nn.functional.pad(_fp16(x), (0, -features % format.group))
    groups = padded.unflatten(-1, (-1, format.group))
    peak = groups.abs().amax(-1, keepdim=True).clamp_min(SMALLEST)
    step = peak / torch.frexp(peak).mantissa * 2.0**-mantissa  # powers of two: all is exact
    return (torch.trunc(groups / step) * step).flatten(-2)[..., :features]


def _rounded(format: AndaFormat, mantissa: int | None, x: Any) -> Any:
    """In the Anda format, or in FP16."""
    return _fp16(x) if mantissa is None else anda(format, mantissa, x)


def _fp16(x: Any) -> Any:
    """FP16 values as float32; NaN and infinity become the largest of their sign."""
    import torch

    half = x.half().float()
    limit = torch.full_like(half, LARGEST)
    return torch.where(half.isnan(), limit.copysign(half), half).clamp(-LARGEST, LARGEST)
