"""Linear layers of integers in an LLM: as golden quantises, and the model as it was afterwards."""

from types import SimpleNamespace

import numpy as np
import pytest
from nibbleforge.golden.arithmetic.quantise import quantise_activations, quantise_weights
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.llm.integers import Widths, perplexity

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
@pytest.mark.parametrize("widths", [Widths(4, 8), Widths(3, 6, 32), Widths(2, 7, 16)], ids=str)
def test_operands_are_those_of_golden(network, widths):
    model, layer, x = network
    before = layer.weight.detach().numpy().copy()
    found = perplexity(model, widths, held_out=True)
    granularity = ("channel", 128) if widths.group is None else ("group", widths.group)
    w = quantise_weights(before, *granularity, bits=widths.weights).dequantise()
    limit = 2 ** (widths.activations - 1) - 1
    tokens = quantise_activations(x.flatten(0, 1).numpy(), limit)
    expected = (tokens.q.astype(np.float64) * tokens.scale[:, None]) @ w.T.astype(np.float64)
    np.testing.assert_allclose(found.reshape(10, 20), expected, rtol=1e-4, atol=1e-5)
    plain = x.flatten(0, 1).numpy() @ before.T
    assert np.abs(found.reshape(10, 20) - plain).max() > 1e-3
    assert len(np.unique(tokens.q)) <= 2 * limit + 1
    np.testing.assert_array_equal(layer.weight.detach().numpy(), before)
    np.testing.assert_array_equal(model.measure(held_out=True, progress=None), layer(x).detach())


@needs_torch
def test_the_model_is_as_before_after_an_error(network):
    model, layer, _ = network
    layer.weight.data[3, 3] = float("nan")
    before = layer.weight.detach().numpy().copy()
    with pytest.raises(UserError, match=r"^weights must be finite"):
        perplexity(model, Widths(4, 8), held_out=True)
    np.testing.assert_array_equal(layer.weight.detach().numpy(), before)
    assert not layer._forward_pre_hooks


def test_names_of_widths():
    assert Widths.of("w4a8") == Widths(4, 8)
    assert Widths.of("w3a6", 32) == Widths(3, 6, 32)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("4,8", "widths must be like w4a8, got '4,8'."),
        ("w1a8", "widths must have 2 to 8 bits, got w1a8."),
        ("w4a9", "widths must have 2 to 8 bits, got w4a9."),
    ],
)
def test_bad_widths(name, sentence):
    with pytest.raises(UserError) as caught:
        Widths.of(name)
    assert str(caught.value) == sentence
