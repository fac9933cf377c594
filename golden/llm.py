"""Shapes of the linear layers of published LLMs."""

from dataclasses import dataclass

from .contract.errors import UserError


@dataclass(frozen=True)
class Linear:
    """One kind of linear layer: ``y[tokens, outputs] = x[tokens, in_features] @ w.T``.

    Attributes
    ----------
    name
        Name within a block.
    in_features, outputs
        Shape of the weights.
    """

    name: str
    in_features: int
    outputs: int


@dataclass(frozen=True)
class Llm:
    """A decoder of equal blocks with a gated FFN (LLaMA architecture).

    Attributes
    ----------
    name
        Name for the command line.
    blocks
        Number of blocks.
    hidden, ffn
        Width of the residual stream and of the FFN.
    key_value
        Width of keys and of values; below ``hidden`` with grouped-query attention.
    """

    name: str
    blocks: int
    hidden: int
    ffn: int
    key_value: int

    @property
    def linears(self) -> tuple[Linear, ...]:
        """Linear layers of one block; embedding and output head are not among them."""
        return (
            Linear("q_proj", self.hidden, self.hidden),
            Linear("k_proj", self.hidden, self.key_value),
            Linear("v_proj", self.hidden, self.key_value),
            Linear("o_proj", self.hidden, self.hidden),
            Linear("gate_proj", self.hidden, self.ffn),
            Linear("up_proj", self.hidden, self.ffn),
            Linear("down_proj", self.ffn, self.hidden),
        )


LLMS = {
    llm.name: llm
    for llm in (
        Llm("llama2-7b", 32, 4096, 11008, 4096),  # arXiv 2307.09288
        Llm("llama3-8b", 32, 4096, 14336, 1024),  # arXiv 2407.21783
        Llm("smollm2-135m", 30, 576, 1536, 192),  # arXiv 2502.02737
    )
}


def llm(name: str) -> Llm:
    """Look a model up; an unknown name is a :class:`UserError` that lists the known ones."""
    if name not in LLMS:
        raise UserError(f"there is no model {name!r}; the models are {', '.join(LLMS)}.")
    return LLMS[name]
