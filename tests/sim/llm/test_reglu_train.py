import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.llm import reglu_train
from nibbleforge.sim.llm.model import Corpus
from nibbleforge.sim.llm.reglu_model import forward
from nibbleforge.sim.llm.reglu_network import losses
from nibbleforge.sim.llm.reglu_perplexity import Prepared, perplexity
from nibbleforge.sim.llm.reglu_train import (
    TrainConfig,
    bigram_perplexity,
    english,
    evaluate,
    learning_rate,
    split,
    train,
    unigram_perplexity,
    write_sample,
)
from nibbleforge.sim.tensors.ffns import FfnSample

needs_torch = pytest.mark.needs("torch")
TINY = TrainConfig(
    width=32, hidden=64, layers=2, heads=2, context=16, batch=8, steps=80, learning_rate=0.01
)


def text(repeats):
    return Corpus("".join(f"line {n % 7} of a text, " for n in range(repeats)), "made up")


# --- text -------------------------------------------------------------------------------------


def test_no_paragraph_twice(monkeypatch, tmp_path):
    (tmp_path / "a.py").write_text('"""Module.\n\nShared."""\ndef f():\n    """Shared."""\n')
    (tmp_path / "b.py").write_text("def broken(:\n")
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    monkeypatch.setattr(reglu_train, "_modules", lambda: files)
    monkeypatch.setattr(reglu_train, "read_text", lambda _: Corpus("\n\nTopic.\n\nShared.", "t"))
    assert english().text == "Topic.\n\nShared.\n\nModule."


def test_the_end_is_held_out():
    corpus = text(100)
    data, held_out = split(corpus)
    assert (data.tobytes() + held_out.tobytes()).decode() == corpus.text
    assert len(held_out) == round(0.05 * len(corpus.text))


# --- what it is compared with -----------------------------------------------------------------


def test_counting_models_by_hand():
    data = np.frombuffer(b"abacab", np.uint8)
    windows = np.frombuffer(b"abaabc", np.uint8).reshape(2, 3)
    singles, pairs = Counter(b"abacab"), Counter(pairwise(b"abacab"))
    single = {byte: (singles[byte] + 1) / (6 + 256) for byte in b"abc"}
    unigram, bigram = [], []
    for window in windows.tolist():
        for last, byte in pairwise(window):
            seen = sum(count for (first, _), count in pairs.items() if first == last)
            unigram.append(math.log(single[byte]))
            bigram.append(math.log((pairs[last, byte] + single[byte]) / (seen + 1)))
    assert unigram_perplexity(data, windows) == pytest.approx(math.exp(-sum(unigram) / 4))
    assert bigram_perplexity(data, windows) == pytest.approx(math.exp(-sum(bigram) / 4))


def test_learning_rate():
    config = TrainConfig(steps=100, learning_rate=1.0)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert rates[5] == pytest.approx(1)
    assert all(a >= b for a, b in pairwise(rates[5:]))
    assert 0.1 <= rates[-1] < 0.102


# --- training ---------------------------------------------------------------------------------


@needs_torch
def test_training_is_deterministic_and_learns(tmp_path):
    corpus = text(400)
    data, held_out = split(corpus)
    files = []
    for name in ("a.npz", "b.npz"):
        network = train(TINY, data)
        found = evaluate(TINY, network, data, held_out)
        write_sample(tmp_path / name, TINY, network, corpus, found)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert found.model < 0.7 * found.unigram
    sample = FfnSample.open(tmp_path / "a.npz")
    gate, up, down, x, x_held_out = sample.layer(1)
    assert (gate.shape, up.shape, down.shape) == ((64, 32), (64, 32), (32, 64))
    assert (x.shape, x_held_out.shape) == ((16 * 16, 32), (8 * 16, 32))
    assert sample.meta["quality"]["sparsity"] == found.sparsity
    assert sample.meta["config"] == TINY.model_dump()
    layers = [Prepared.of(sample.layer(number)).exact for number in range(sample.layers)]
    inference = losses(sample.network(), layers, sample.held_out())
    assert perplexity(inference) == pytest.approx(found.model, rel=2e-3)  # weights are rounded


@needs_torch
def test_the_penalty_makes_it_sparse():
    data, held_out = split(text(400))
    shares = []
    for penalty in (0.0, 0.5):
        config = TINY.replace(penalty=penalty)
        found = evaluate(config, train(config, data), data, held_out)
        shares.append(np.mean(found.sparsity))
    assert shares[0] + 0.1 < shares[1] < 1


@needs_torch
def test_the_future_is_not_seen():
    """Logits of a position do not depend on later bytes."""
    import torch

    network = train(TINY.replace(steps=1), split(text(50))[0])
    ids = torch.arange(12)[None]
    changed = ids.clone()
    changed[0, 8:] = 99
    with torch.no_grad():
        one, other = forward(network, ids).logits, forward(network, changed).logits
    assert torch.equal(one[:, :8], other[:, :8])
    assert not torch.allclose(one[:, 8:], other[:, 8:])


@needs_torch
@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (TINY.replace(width=18), "width must be a multiple of 2 * heads = 4, got 18."),
        (
            TINY.replace(context=500),
            "the text must have more than 500 bytes to train on, got 100.",
        ),
    ],
)
def test_bad_input(config, sentence):
    with pytest.raises(UserError) as error:
        train(config, np.zeros(100, np.uint8))
    assert str(error.value) == sentence
