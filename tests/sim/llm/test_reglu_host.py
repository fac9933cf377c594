"""Decoding on the host: what skipping gives is what dense gives."""

import numpy as np
import pytest
from nibbleforge.golden.reglu.ffn import reference
from nibbleforge.sim.llm.reglu_host import executors, synthetic, synthetic_token

BACKENDS = ["numpy", pytest.param("torch", marks=pytest.mark.needs("torch"))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_skipping_gives_what_dense_gives(backend, sparsity):
    """The predictor is exact here, so only inactive neurons are skipped."""
    ffn = synthetic(64, 3000, 16, sparsity)
    x = synthetic_token(ffn)
    ways = executors(ffn, backend)
    expected = reference(ffn.gate, ffn.up, ffn.down.T, x[None])[0]
    scale = np.abs(expected).max()
    for way in (ways.dense, ways.skipping, ways.skipping):
        np.testing.assert_allclose(way(x), expected, atol=1e-5 * scale)
    active = ways.predict(x)
    assert np.array_equal(active, np.flatnonzero(ffn.gate @ x > 0))
    assert 1 - len(active) / 3000 == pytest.approx(sparsity, abs=0.25)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_predicted_neurons_count(backend):
    ffn = synthetic(32, 200, 8, 0.5)
    x = synthetic_token(ffn)
    half = ffn._replace(bias=np.where(np.arange(200) < 100, np.inf, -np.inf).astype(np.float32))
    kept = slice(100, 200)
    expected = reference(ffn.gate[kept], ffn.up[kept], ffn.down[kept].T, x[None])[0]
    found = executors(half, backend).skipping(x)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    nothing = ffn._replace(bias=np.full(200, np.inf, np.float32))
    assert not executors(nothing, backend).skipping(x).any()
