"""Operands of few bits in an LLM: as golden rounds them, and the model as it was afterwards."""

from types import SimpleNamespace

import numpy as np
import pytest
from nibbleforge.golden.arithmetic.quantise import quantise_activations, quantise_weights
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.nm.pattern import Pattern
from nibbleforge.sim.llm.operands import MXINT8, Grouped, Integers, Operands, Weights, perplexity

needs_torch = pytest.mark.needs("torch")


@pytest.fixture
def network():
    """A linear layer of 48 features to 20 outputs as a model, and the input it is measured with."""
    import torch

    torch.manual_seed(3)
    layer = torch.nn.Linear(48, 20, bias=False)
    x = torch.randn(2, 5, 48)

    def measure(*, held_out, progress):
        assert held_out
        with torch.no_grad():
            return layer(x).numpy()

    model = SimpleNamespace(layers=(("qkv", None, layer),), measure=measure)
    return model, layer, x


@needs_torch
@pytest.mark.parametrize(
    "operands",
    [
        Operands(Weights(4), Integers(8)),
        Operands(Weights(3, 32), Integers(6)),
        Operands(Weights(2, 16), Integers(7)),
        Operands(None, Integers(8)),
    ],
    ids=str,
)
def test_integers_are_those_of_golden(network, operands):
    model, layer, x = network
    before = layer.weight.detach().numpy().copy()
    found = perplexity(model, operands, held_out=True)
    w = before
    if operands.weights is not None:
        group = operands.weights.group
        granularity = ("channel", 128) if group is None else ("group", group)
        w = quantise_weights(before, *granularity, bits=operands.weights.bits).dequantise()
    limit = 2 ** (operands.activations.bits - 1) - 1
    tokens = quantise_activations(x.flatten(0, 1).numpy(), limit)
    expected = (tokens.q.astype(np.float64) * tokens.scale[:, None]) @ w.T.astype(np.float64)
    np.testing.assert_allclose(found.reshape(10, 20), expected, rtol=1e-4, atol=1e-5)
    plain = x.flatten(0, 1).numpy() @ before.T
    assert np.abs(found.reshape(10, 20) - plain).max() > 1e-3
    assert len(np.unique(tokens.q)) <= 2 * limit + 1
    np.testing.assert_array_equal(layer.weight.detach().numpy(), before)
    np.testing.assert_array_equal(model.measure(held_out=True, progress=None), layer(x).detach())


@needs_torch
def test_mantissas_share_exponents(network):
    model, layer, x = network
    found = perplexity(model, Operands(None, MXINT8), held_out=True)
    groups = np.float16(x.flatten(0, 1).numpy()).astype(np.float64)
    groups = np.pad(groups, ((0, 0), (0, 16))).reshape(10, 2, 32)
    step = 2.0 ** (np.floor(np.log2(np.abs(groups).max(axis=2, keepdims=True))) - 6)
    rounded = (np.clip(np.rint(groups / step), -127, 127) * step).reshape(10, 64)[:, :48]
    expected = rounded @ layer.weight.detach().numpy().T.astype(np.float64)
    np.testing.assert_allclose(found.reshape(10, 20), expected, rtol=1e-4, atol=1e-5)


@needs_torch
def test_the_model_is_as_before_after_an_error(network):
    model, layer, _ = network
    layer.weight.data[3, 3] = float("nan")
    before = layer.weight.detach().numpy().copy()
    with pytest.raises(UserError, match=r"^weights must be finite"):
        perplexity(model, Operands(Weights(4), Integers(8)), held_out=True)
    np.testing.assert_array_equal(layer.weight.detach().numpy(), before)
    assert not layer._forward_pre_hooks


def test_names():
    assert Operands.of("w4a8") == Operands(Weights(4), Integers(8))
    assert Operands.of("w3a6", 32) == Operands(Weights(3, 32), Integers(6))
    assert Operands.of("a7") == Operands(None, Integers(7))
    assert Operands.of("m11") == Operands(None, Grouped(11))
    assert Operands.of("w4mxint8", 128) == Operands(Weights(4, 128), MXINT8)
    pruned = Weights(4, 128, True, Pattern(2, 4))
    assert Operands.of("2:4w4a8", 128, calibrated=True) == Operands(pruned, Integers(8))


NAMES = "operands must be like w4a8, 2:4w4a8, a8, m7 or mxint8"


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("4,8", {}, f"{NAMES}, got '4,8'."),
        ("w4", {}, f"{NAMES}, got 'w4'."),
        ("2:4a8", {}, f"{NAMES}, got '2:4a8'."),
        ("w1a8", {}, "integers must have 2 to 8 bits, got w1a8."),
        ("w4a9", {}, "integers must have 2 to 8 bits, got w4a9."),
        ("m17", {}, "mantissa must be in 1..16, got 17."),
        ("2:4w4a8", {"group": 64}, "weights that are pruned to 2:4 must be calibrated."),
        ("w4a8", {"calibrated": True}, "calibrated weights must have a scale a group."),
        ("5:4w4a8", {"group": 64, "calibrated": True}, "N must be in 1..4, got 5."),
    ],
)
def test_bad_names(name, options, sentence):
    with pytest.raises(UserError) as caught:
        Operands.of(name, **options)
    assert str(caught.value) == sentence
