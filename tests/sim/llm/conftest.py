"""A tiny random LLM and a text to run it on."""

from types import SimpleNamespace

import numpy as np
import pytest
from nibbleforge.sim.llm import perplexity
from nibbleforge.sim.llm.perplexity import LanguageModel, open_model, read

TOKENS = 150  # of the text below


def tiny_network():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


class Characters:
    """A tokeniser: a token is a character."""

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [ord(c) for c in text]}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    letters = np.random.default_rng(2).integers(97, 123, TOKENS)
    path.write_text(bytes(letters.astype(np.uint8)).decode())
    return path


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture
def opened(text, network, monkeypatch):
    """``opened(offset, tokens, context)``: the tiny model on the text."""
    loaded = SimpleNamespace(network=network, tokeniser=Characters())
    monkeypatch.setattr(perplexity, "load", lambda source: loaded)

    def opener(offset=10, tokens=50, context=32) -> LanguageModel:
        return open_model(None, read(text, offset, tokens, context))

    return opener
