"""The network of a tiny ReGLU language model: Llama's, but for ReLU in place of SiLU.

Needs ``pip install nibbleforge[llm]``; :mod:`.reglu_train` trains it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

BASE = 10_000.0
"""Of the rotary embedding."""


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Mix tokens ``(windows, tokens, width)``."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(
            rotate(q, cosine, sine), rotate(k, cosine, sine), v, is_causal=True
        )
        return self.out(mixed.transpose(1, 2).flatten(2))


class Ffn(nn.Module):
    """``W_down (relu(W_gate x) * (W_up x))``; leaves the mean of relu(gate) in ``activity``."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.activity = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        """Apply to every token."""
        active = functional.relu(self.gate(x))
        self.activity = active.mean()
        return self.down(active * self.up(x))


class Block(nn.Module):
    """One decoder layer."""

    def __init__(self, width: int, hidden: int, heads: int):
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention = Attention(width, heads)
        self.ffn = Ffn(width, hidden)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Map hidden states ``(windows, tokens, width)``."""
        x = x + self.attention(self.attention_norm(x), cosine, sine)
        return x + self.ffn(self.ffn_norm(x))


class Network(nn.Module):
    """Token ids ``(windows, tokens)`` to logits ``(windows, tokens, vocabulary)``."""

    def __init__(self, vocabulary: int, width: int, hidden: int, layers: int, heads: int):
        super().__init__()
        self.head_width = width // heads
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, hidden, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
        for block in self.blocks:  # as GPT-2: what is added to the residual starts small
            for linear in (block.attention.out, block.ffn.down):
                nn.init.normal_(linear.weight, std=0.02 / (2 * layers) ** 0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next token; the output matrix is the embedding's."""
        x = self.embedding(ids)
        cosine, sine = rotation(ids.shape[1], self.head_width)
        for block in self.blocks:
            x = block(x, cosine, sine)
        return functional.linear(self.norm(x), self.embedding.weight)


def rotation(tokens: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine ``(tokens, width / 2)`` of the rotary embedding."""
    frequencies = BASE ** (-torch.arange(0, width, 2) / width)
    angles = torch.outer(torch.arange(tokens), frequencies)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn pairs of features (one of each half) by the angle of their position."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
