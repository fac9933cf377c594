"""The network of a tiny ReGLU language model: Llama's, but for ReLU in place of SiLU.

Needs ``pip install nibbleforge[llm]``; :mod:`.reglu_train` trains it. A network is a
``torch.nn.ModuleDict`` with ``embedding``, ``blocks`` and ``norm``; the output matrix is the
embedding's. A block holds ``attention_norm``, ``ffn_norm`` and bias-free linear layers: ``qkv`` and
``out`` of the attention, ``gate``, ``up`` and ``down`` of the FFN.
"""

from typing import Any, NamedTuple

BASE = 10_000.0
"""Of the rotary embedding."""

STD = 0.02
"""Of fresh weights."""


def build(vocabulary: int, width: int, hidden: int, layers: int, heads: int) -> Any:
    """An untrained network; torch's generator gives the weights."""
    from torch import nn

    def linear(inputs: int, outputs: int) -> Any:
        return nn.Linear(inputs, outputs, bias=False)

    def block() -> Any:
        norms = {name: nn.RMSNorm(width) for name in ("attention_norm", "ffn_norm")}
        attention = {"qkv": linear(width, 3 * width), "out": linear(width, width)}
        ffn = {name: linear(width, hidden) for name in ("gate", "up")}
        return nn.ModuleDict(norms | attention | ffn | {"down": linear(hidden, width)})

    embedding = nn.Embedding(vocabulary, width)
    blocks: Any = nn.ModuleList(block() for _ in range(layers))
    network: Any = nn.ModuleDict(
        {"embedding": embedding, "blocks": blocks, "norm": nn.RMSNorm(width)}
    )
    network.heads = heads
    for parameter in network.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=STD)
    for layer in blocks:  # as in GPT-2: what is added to the residual starts small
        for name in ("out", "down"):
            nn.init.normal_(layer[name].weight, std=STD / (2 * layers) ** 0.5)
    return network


class Pass(NamedTuple):
    """What a forward pass gives, tensors.

    Attributes
    ----------
    logits
        Of the next token: ``(windows, tokens, vocabulary)``.
    inputs
        Of the FFN, layer by layer: ``(windows, tokens, width)``.
    activity
        Mean of relu(gate) over all FFNs.
    """

    logits: Any
    inputs: list[Any]
    activity: Any


def forward(network: Any, ids: Any) -> Pass:
    """Run a network on token ids ``(windows, tokens)``; each window sees only itself."""
    import torch
    from torch.nn import functional

    x = network["embedding"](ids)
    turn = _rotation(ids.shape[1], x.shape[2] // network.heads)
    inputs, activity = [], []
    for block in network["blocks"]:
        x = x + _attention(block, network.heads, block["attention_norm"](x), turn)
        inputs.append(block["ffn_norm"](x))
        active = functional.relu(block["gate"](inputs[-1]))
        activity.append(active.mean())
        x = x + block["down"](active * block["up"](inputs[-1]))
    logits = functional.linear(network["norm"](x), network["embedding"].weight)
    return Pass(logits, inputs, torch.stack(activity).mean())


def _attention(block: Any, heads: int, x: Any, turn: tuple[Any, Any]) -> Any:
    """Causal self-attention over tokens ``(windows, tokens, width)``."""
    from torch.nn import functional

    q, k, v = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in block["qkv"](x).chunk(3, dim=-1)
    )
    mixed = functional.scaled_dot_product_attention(
        _rotate(q, *turn), _rotate(k, *turn), v, is_causal=True
    )
    return block["out"](mixed.transpose(1, 2).flatten(2))


def _rotation(tokens: int, width: int) -> tuple[Any, Any]:
    """Cosine and sine ``(tokens, width / 2)`` of the rotary embedding."""
    import torch

    frequencies = BASE ** (-torch.arange(0, width, 2) / width)
    angles = torch.outer(torch.arange(tokens), frequencies)
    return angles.cos(), angles.sin()


def _rotate(x: Any, cosine: Any, sine: Any) -> Any:
    """Turn pairs of features (one of each half) by the angle of their position."""
    import torch

    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
