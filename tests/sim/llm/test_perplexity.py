import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from nibbleforge.golden.anda.format import AndaFormat, encode
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.llm import Linear
from nibbleforge.sim.llm import perplexity as module
from nibbleforge.sim.llm.perplexity import KINDS, anda, find, open_model, read

needs_llm = pytest.mark.needs("torch", "transformers")
needs_torch = pytest.mark.needs("torch")

SHAPES = {
    "q_proj": ("qkv", 64, 64),
    "k_proj": ("qkv", 64, 32),
    "v_proj": ("qkv", 64, 32),
    "o_proj": ("o", 64, 64),
    "gate_proj": ("u", 64, 96),
    "up_proj": ("u", 64, 96),
    "down_proj": ("d", 96, 64),
}


# --- rounding ---------------------------------------------------------------------------------


def same_bits(got, expected):
    """Equal values, zeros of equal sign."""
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


@needs_torch
@pytest.mark.parametrize("mantissa", range(1, 17))
@pytest.mark.parametrize("group", [16, 32, 64])
def test_as_golden_rounds(mantissa, group):
    """Any bit pattern: NaN, infinity, subnormal numbers, zeros; and groups of similar numbers."""
    import torch

    rng = np.random.default_rng(mantissa)
    anything = rng.integers(0, 1 << 16, (16, 200), np.uint16).view(np.float16)
    exponents = rng.choice([0.0, 1e-7, 1e-5, 1e-3, 1, 500], size=(64, 1))
    similar = (rng.normal(size=(64, 200)) * exponents).astype(np.float16)
    for x in (anything, similar):
        got = anda(AndaFormat(group=group), mantissa, torch.from_numpy(x))
        assert got.dtype == torch.float32
        same_bits(got.numpy(), encode(AndaFormat(group=group), mantissa, x).decode())


@needs_torch
def test_every_fp16_number_on_its_own():
    """With 11 bits and more nothing is lost but NaN and infinity."""
    import torch

    x = np.zeros((1 << 16, 16), np.float16)
    x[:, 5] = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    got = anda(AndaFormat(group=16), 11, torch.from_numpy(x)).numpy()
    finite = np.isfinite(x[:, 5])
    same_bits(got[finite], x[finite].astype(np.float32))
    assert set(np.abs(got[~finite, 5])) == {65504}
    assert (np.signbit(got[~finite, 5]) == np.signbit(x[~finite, 5])).all()


@needs_torch
def test_rounds_to_fp16_first_and_keeps_the_shape():
    import torch

    x = torch.randn(2, 3, 70, generator=torch.Generator().manual_seed(1)) * 1e5
    expected = encode(AndaFormat(), 6, saturated(x.reshape(6, 70).numpy())).decode()
    same_bits(anda(AndaFormat(), 6, x).reshape(6, 70).numpy(), expected)


def saturated(x):
    with np.errstate(over="ignore"):
        return x.astype(np.float16)


# --- a model ----------------------------------------------------------------------------------


def by_hand(network, ids, context):
    """Perplexity by a softmax of our own, a token at a time."""
    import torch

    losses = []
    for first in range(0, len(ids), context):
        window = ids[first : first + context]
        with torch.no_grad():
            logits = network(torch.tensor([window])).logits[0].double().numpy()
        for position, following in enumerate(window[1:]):
            likelihoods = np.exp(logits[position] - logits[position].max())
            losses.append(-math.log(likelihoods[following] / likelihoods.sum()))
    return math.exp(np.mean(losses))


@needs_llm
class TestModel:
    def test_perplexity_of_fp16_by_hand(self, opened, text, network):
        """The network rounds next to nothing, so that it is its own reference."""
        ids = list(text.read_bytes())
        found = opened().perplexity(None)
        assert found == pytest.approx(by_hand(network, ids[10:60], 32), rel=1e-2)
        there = opened().perplexity(None, held_out=True)
        assert there == pytest.approx(by_hand(network, ids[-50:], 32), rel=1e-2)
        assert found != there

    def test_layers_by_kind(self, opened):
        expected = [
            (kind, Linear(f"layers.{block}.{part}.{name}", ins, outs))
            for block in range(2)
            for name, (kind, ins, outs) in SHAPES.items()
            for part in ["mlp" if kind in "ud" else "self_attn"]
        ]
        assert list(opened().linears) == expected

    @pytest.mark.parametrize("position", range(4))
    def test_every_kind_takes_its_own_mantissas(self, opened, network, position, monkeypatch):
        """The inputs seen by a layer are those golden rounds, the others are FP16."""
        mantissas = [16, 16, 16, 16]
        mantissas[position] = 3
        model, raw, seen = opened(), {}, {}
        rounded = module._rounded

        def watched(format, mantissa, x):
            y = rounded(format, mantissa, x)
            raw.setdefault(mantissa, []).append((x.numpy(), y.numpy()))
            return y

        monkeypatch.setattr(module, "_rounded", watched)
        hooks = [
            layer.register_forward_hook(
                lambda _, inputs, __, name=linear.name: seen.update({name: inputs[0].numpy()})
            )
            for _, linear, layer in model.layers
        ]
        model.perplexity(tuple(mantissas))
        for hook in hooks:
            hook.remove()
        kind = list(KINDS)[position]
        chosen = [name for k, linear in model.linears for name in [linear.name] if k == kind]
        assert len(raw[3]) == len(chosen) * 2  # windows
        for x, y in raw[3]:
            half = x.reshape(-1, x.shape[-1]).astype(np.float16)
            same_bits(y.reshape(half.shape), encode(AndaFormat(), 3, half).decode())
        last = raw[3][-len(chosen) :]
        for name, (_, y) in zip(chosen, last, strict=True):
            np.testing.assert_array_equal(seen[name], y)

    def test_short_mantissas_harm_and_leave_no_trace(self, opened):
        model = opened()
        before = model.perplexity(None)
        assert model.perplexity((16,) * 4) == pytest.approx(before, rel=0.01)
        assert abs(model.perplexity((2,) * 4) / before - 1) > 0.02
        assert model.perplexity(None) == before

    def test_progress(self, opened):
        steps = []
        opened().perplexity((8,) * 4, progress=lambda *step: steps.append(step))
        assert steps == [("perplexity", done, 50) for done in (0, 32, 50)]

    def test_a_last_window_of_one_token_predicts_nothing(self, opened, text, network):
        ids = list(text.read_bytes())
        found = opened(tokens=33).perplexity(None)
        assert found == pytest.approx(by_hand(network, ids[10:42], 32), rel=1e-2)

    def test_overflow_is_infinite(self, opened, network, monkeypatch):
        monkeypatch.setattr(network.lm_head.weight, "data", network.lm_head.weight.data * 1e4)
        assert opened().perplexity(None) == math.inf

    def test_pieces_do_not_overlap(self, opened, text):
        ids = list(text.read_bytes())
        searched, held_out = opened(offset=0, tokens=75).pieces
        assert [*searched, *held_out] == ids

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            (
                {"offset": 1, "tokens": 75},
                "the text has 150 tokens, too few for 75 from token 1 on and as many held out at"
                " its end.",
            ),
            (
                {"offset": 0, "tokens": 70, "context": 65},
                "context must be at most 64 for this model, got 65.",
            ),
        ],
    )
    def test_refuses_texts(self, opened, changes, sentence):
        refuses(sentence, lambda: opened(**changes))

    def test_refuses_mantissas(self, opened):
        refuses("mantissa must be in 1..16, got 17.", lambda: opened().perplexity((8, 8, 17, 8)))

    def test_refuses_unknown_layers(self, opened, network):
        import torch

        network.extra = torch.nn.Linear(2, 2)
        try:
            refuses(
                "linear layers must be named q_proj, k_proj, v_proj, qkv_proj, o_proj, out_proj,"
                " gate_proj, up_proj, gate_up_proj, fc1, down_proj, fc2, got extra.",
                opened,
            )
        finally:
            del network.extra

    def test_refuses_a_model_without_a_kind(self, text, monkeypatch):
        import torch

        network = torch.nn.ModuleDict({"q_proj": torch.nn.Linear(2, 2)})
        monkeypatch.setattr(module, "load", lambda source: SimpleNamespace(network=network))
        refuses(
            "the model must have linear layers named o_proj or out_proj.",
            lambda: open_model(None, read(text, 0, 20, 10)),
        )

    def test_refuses_unknown_models(self):
        refuses(
            "the model must be smollm2, a local Hugging Face directory or a .gguf file, got x.",
            lambda: find("x"),
        )


def refuses(sentence, function):
    with pytest.raises(UserError) as caught:
        function()
    assert str(caught.value) == sentence


def test_defaults_of_the_text(text):
    assert read(None, None, 2, 2).offset == 20_000
    assert read(text, None, 2, 2).offset == 0
    assert read(text, None, 2, 2).corpus.text == text.read_text()


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ((0, 1, 32), "tokens must be at least 2, got 1."),
        ((-1, 50, 32), "offset must be at least 0, got -1."),
        ((0, 50, 1), "context must be at least 2, got 1."),
    ],
)
def test_illegal_numbers(text, numbers, sentence):
    refuses(sentence, lambda: read(text, *numbers))


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    refuses(
        "running an LLM needs the package torch: pip install nibbleforge[llm].",
        lambda: find("smollm2"),
    )
