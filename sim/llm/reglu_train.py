"""Training of a tiny ReGLU language model, whose FFNs are the sample of the unit ``reglu``.

Needs ``pip install nibbleforge[llm]``. Llama's architecture, but for ReLU in place of SiLU, reads
bytes of the English in Python's standard library. A penalty on the mean of relu(gate) drives its
sparsity up, as in ProSparse (arXiv 2402.13516); the paper on the predictor (arXiv 2603.14110) takes
models that are sparse already. The same configuration on the same machine with the same versions
gives the same model.
"""

import ast
import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Parameter

from ...golden.contract.config import Config
from ...golden.contract.errors import UserError
from ..tensors.ffns import FFN_FORMAT
from ..tools.progress import Progress
from ..tools.results import write_npz
from .model import Corpus, read_text, require, versions
from .reglu_model import Pass, build, forward

VOCABULARY = 256
LEFT_OUT = {"idlelib", "lib2to3", "test", "tkinter", "turtledemo"}  # not everywhere, or code
HELD_OUT = 0.05
"""Share of the text, at its end, that the model is not trained on."""

CALIBRATION_WINDOWS, HELD_OUT_WINDOWS = 16, 8
"""Windows whose FFN inputs are written: of the text trained on, and of that held out."""

Positive = Annotated[int, Parameter(ge=1)]


class TrainConfig(Config):
    """A model and how it is trained."""

    width: Positive = 128
    """Features of a token, d."""
    hidden: Positive = 512
    """Neurons of an FFN, D."""
    layers: Positive = 4
    """Decoder layers."""
    heads: Positive = 4
    """Attention heads; twice as many divide ``width``."""
    context: Annotated[int, Parameter(ge=2)] = 128
    """Bytes of a window."""
    batch: Positive = 16
    """Windows of a step."""
    steps: Positive = 2600
    """Steps of AdamW."""
    learning_rate: Annotated[float, Parameter(gt=0)] = 3e-3
    """Peak; warmed up over the first 5 % of the steps, then a cosine down to a tenth."""
    penalty: Annotated[float, Parameter(ge=0)] = 0.05
    """Loss in nats per unit of the mean of relu(gate), averaged over layers."""
    seed: int = 0
    """Of the weights and of the order of windows."""


# --- text -------------------------------------------------------------------------------------


def english() -> Corpus:
    """Help texts and docstrings of the standard library, every paragraph once.

    Topics repeat each other; without this, held-out text would have been trained on.
    """
    topics = read_text(None)
    texts = [topics.text, *(text for path in _modules() for text in _docstrings(path))]
    paragraphs = (part.strip("\n") for text in texts for part in text.split("\n\n"))
    unique = dict.fromkeys(part for part in paragraphs if part.strip())
    origin = f"{topics.origin}, then docstrings of its standard library, each paragraph once"
    return Corpus("\n\n".join(unique), origin)


def _modules() -> list[Path]:
    """Source files of the standard library, in an order that does not depend on the machine."""
    library = Path(os.__file__).parent
    names = sorted(sys.stdlib_module_names - LEFT_OUT)
    found = [path for name in names for path in (library / f"{name}.py",) if path.is_file()]
    for name in names:
        found += sorted((library / name).glob("*.py"))
    return found


def _docstrings(path: Path) -> list[str]:
    """All docstrings of a source file; none of one that does not parse."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]


def split(corpus: Corpus) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Bytes to train on, and those held out: the end of the text."""
    data = np.frombuffer(corpus.text.encode(), np.uint8)
    first = len(data) - round(HELD_OUT * len(data))
    return data[:first], data[first:]


# --- training ---------------------------------------------------------------------------------


def train(config: TrainConfig, data: NDArray[np.uint8], progress: Progress | None = None) -> Any:
    """Train a network.

    Parameters
    ----------
    config
        The model and how to train it.
    data
        ``(bytes,)``, more than a window.
    progress
        Called after every step.

    Returns
    -------
    torch.nn.ModuleDict
        See :mod:`.reglu_model`.

    Raises
    ------
    UserError
        If torch is missing, the heads do not divide the width, or the text is too short.
    """
    require("torch")
    import torch

    report = progress or (lambda stage, done, total: None)
    _check(config, data)
    torch.set_num_threads(1)  # the order of sums, and so the model, depends on their number
    torch.manual_seed(config.seed)
    network = build(VOCABULARY, config.width, config.hidden, config.layers, config.heads)
    optimiser = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.95), weight_decay=0.01)
    rng = np.random.default_rng(config.seed)
    text = torch.from_numpy(data.astype(np.int64))
    for step in range(config.steps):
        starts = rng.integers(0, len(data) - config.context, config.batch)
        windows = torch.stack([text[start : start + config.context + 1] for start in starts])
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        _step(network, optimiser, windows, config.penalty)
        report("train", step + 1, config.steps)
    return network.eval()


def learning_rate(config: TrainConfig, step: int) -> float:
    """A linear warm-up over 5 % of the steps, then a cosine down to a tenth of the peak."""
    warm = max(1, config.steps // 20)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, config.steps - warm)
    return config.learning_rate * (0.55 + 0.45 * math.cos(math.pi * done))


def _step(network: Any, optimiser: Any, windows: Any, penalty: float) -> None:
    """One step of the optimiser."""
    import torch

    passed = forward(network, windows[:, :-1])
    optimiser.zero_grad()
    (_loss(passed, windows) + penalty * passed.activity).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


def _loss(passed: Pass, windows: Any) -> Any:
    """Mean negative log-likelihood, in nats, of all bytes of windows but the first of each."""
    from torch.nn import functional

    return functional.cross_entropy(passed.logits.flatten(0, 1), windows[:, 1:].flatten())


def _check(config: TrainConfig, data: NDArray[np.uint8]) -> None:
    if config.width % (2 * config.heads):
        raise UserError(
            f"width must be a multiple of 2 * heads = {2 * config.heads}, got {config.width}."
        )
    if len(data) <= config.context:
        raise UserError(
            f"the text must have more than {config.context} bytes to train on, got {len(data)}."
        )


# --- quality ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quality:
    """Of a trained model, on held-out text.

    Attributes
    ----------
    model, bigram, unigram
        Perplexity per byte: of the model, and of counts of pairs and of single bytes.
    sparsity
        Share of neurons whose gate is not positive, layer by layer.
    """

    model: float
    bigram: float
    unigram: float
    sparsity: list[float]


def evaluate(
    config: TrainConfig, network: Any, data: NDArray[np.uint8], held_out: NDArray[np.uint8]
) -> Quality:
    """Measure a model on the windows of held-out text, each without knowledge of the others."""
    windows = _windows(held_out, config.context + 1)
    losses, sparsity = [], np.zeros(config.layers)
    for batch in np.array_split(windows, -(-len(windows) // config.batch)):
        inputs, loss = _observe(network, batch)
        losses.append(loss * len(batch))
        for layer, x in enumerate(inputs):
            gate = x @ network["blocks"][layer]["gate"].weight.detach().numpy().T
            sparsity[layer] += (gate <= 0).mean() * len(batch)
    return Quality(
        math.exp(sum(losses) / len(windows)),
        bigram_perplexity(data, windows),
        unigram_perplexity(data, windows),
        [float(share) for share in sparsity / len(windows)],
    )


def unigram_perplexity(data: NDArray[np.uint8], windows: NDArray[np.uint8]) -> float:
    """Of a model that knows how frequent bytes are, every count raised by one."""
    counts = np.bincount(data, minlength=VOCABULARY) + 1.0
    return float(np.exp(-np.log(counts / counts.sum())[windows[:, 1:]].mean()))


def bigram_perplexity(data: NDArray[np.uint8], windows: NDArray[np.uint8]) -> float:
    """Of a model that knows how frequent bytes are after a byte, backed by the unigram model."""
    single = np.bincount(data, minlength=VOCABULARY) + 1.0
    pairs = np.zeros((VOCABULARY, VOCABULARY))
    np.add.at(pairs, (data[:-1], data[1:]), 1)
    pairs += single / single.sum()
    after = np.log(pairs / pairs.sum(axis=1, keepdims=True))
    return float(np.exp(-after[windows[:, :-1], windows[:, 1:]].mean()))


def _windows(data: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """All windows side by side; a shorter last one is left out."""
    return data[: len(data) // length * length].reshape(-1, length)


def _observe(network: Any, windows: NDArray[np.uint8]) -> tuple[list[NDArray[np.float32]], float]:
    """Inputs of every FFN, ``(tokens, width)``, and the loss of windows."""
    import torch

    with torch.no_grad():
        bytes_seen = torch.from_numpy(windows.astype(np.int64))
        passed = forward(network, bytes_seen[:, :-1])
        loss = _loss(passed, bytes_seen).item()
    return [x.flatten(0, 1).numpy() for x in passed.inputs], loss


# --- the sample -------------------------------------------------------------------------------


def write_sample(
    output: Path, config: TrainConfig, network: Any, corpus: Corpus, quality: Quality
) -> None:
    """Write what :class:`nibbleforge.sim.tensors.ffns.FfnSample` reads; all of it or nothing.

    Parameters
    ----------
    output
        The ``.npz`` file.
    config, network, quality
        A trained model.
    corpus
        The text, of which windows at equal distances give the inputs; its held-out bytes are
        written as well.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    arrays = _weights(network) | _inputs(config, network, corpus)
    arrays["held_out"] = split(corpus)[1]
    meta = {
        "format": FFN_FORMAT,
        "model": "ReGLU language model over bytes, trained by nibbleforge.sim.llm.reglu_train",
        "config": config.model_dump(),
        "text": corpus.origin,
        "text_sha256": corpus.sha256,
        "held_out_share": HELD_OUT,
        "quality": asdict(quality),
        "versions": versions(),
    }
    arrays["meta"] = np.array(json.dumps(meta, indent=1, sort_keys=True))
    write_npz(output, arrays)


def _weights(network: Any) -> dict[str, NDArray[Any]]:
    """Of the whole network, in float16; those of a block under its layer."""
    modules = {"embedding": network["embedding"], "norm": network["norm"]}
    for layer, block in enumerate(network["blocks"]):
        modules |= {f"layers.{layer}/{name}": module for name, module in block.items()}
    return {name: part.weight.detach().numpy().astype("f2") for name, part in modules.items()}


def _inputs(config: TrainConfig, network: Any, corpus: Corpus) -> dict[str, NDArray[Any]]:
    """Of all FFNs, in float16: for text trained on and for text held out."""
    arrays = {}
    counts = (CALIBRATION_WINDOWS, HELD_OUT_WINDOWS)
    for kind, text, count in zip(("x", "x_held_out"), split(corpus), counts, strict=True):
        windows = _windows(text, config.context + 1)
        chosen = windows[np.linspace(0, len(windows) - 1, count).astype(int)]
        for layer, x in enumerate(_observe(network, chosen)[0]):
            arrays[f"layers.{layer}/{kind}"] = x.astype(np.float16)
    return arrays
