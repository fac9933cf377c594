"""The embedded ReGLU model, and files of FFNs."""

import hashlib
import json

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.reglu.ffn import quantise_ffn, reference, run
from nibbleforge.golden.reglu.predictor import SignPredictor, build
from nibbleforge.golden.reglu.quality import quality
from nibbleforge.sim.tensors.ffns import FFN_FORMAT, FfnSample, load_ffn, sample_path


def refuses(sentence, function, *args):
    with pytest.raises(UserError) as error:
        function(*args)
    assert str(error.value) == sentence


@pytest.fixture(scope="module")
def sample():
    return FfnSample.open(sample_path())


def test_what_the_sample_says_of_itself(sample):
    """Its README quotes the same figures."""
    assert sample.layers == 4
    assert sample_path().stat().st_size < 5e6
    found = sample.meta["quality"]
    assert found["model"] < 0.3 * found["bigram"] < 0.3 * found["unigram"]
    for number, share in enumerate(found["sparsity"]):
        layer = sample.layer(number)
        assert layer.gate.shape == layer.up.shape == layer.down.T.shape == (512, 128)
        assert (layer.x.shape, layer.x_held_out.shape) == ((2048, 128), (1024, 128))
        assert (layer.x_held_out @ layer.gate.T <= 0).mean() == pytest.approx(share, abs=0.02)
    readme = " ".join((sample_path().parent / "README.md").read_text().split())
    assert f"perplexity per byte {found['model']:.2f}" in readme
    assert ", ".join(f"{share:.3f}" for share in found["sparsity"]) in readme
    content = sample_path().read_bytes()
    assert f"{len(content):,} bytes, SHA-256 `{hashlib.sha256(content).hexdigest()}`" in readme


@pytest.mark.parametrize("number", range(4))
def test_the_predictor_on_a_trained_model(sample, number):
    """Held-out inputs: the integer FFN is close to float, the predictor to it."""
    gate, up, down, x, held_out = sample.layer(number)
    ffn = quantise_ffn(gate, up, down, x)
    x_q = ffn.take(held_out)
    exact = reference(gate, up, down, held_out)
    error = np.linalg.norm(ffn.dequantise(run(ffn, x_q).y) - exact) / np.linalg.norm(exact)
    assert error < 0.05
    predictor, thresholds = build(ffn, (gate, up, down), x[:1024], x[1024:], 32, 0.7)
    assert thresholds.reached >= thresholds.target
    found = quality(ffn, predictor, x_q)
    assert found.dropped == pytest.approx(0.7 * found.natural, abs=0.03)
    assert found.auc > 0.97
    assert found.recall > 0.97
    assert found.error < 0.1
    assert quality(ffn, SignPredictor.of(ffn), x_q).auc > 0.85


def test_files_that_are_not_samples(tmp_path, sample):
    refuses(
        f"{sample.path} has layers 0..3, got 4.",
        sample.layer,
        4,
    )
    path = tmp_path / "a.npz"
    refuses(f"{path} does not exist.", FfnSample.open, path)
    path.write_bytes(b"nonsense")
    refuses(f"{path} does not hold FFNs with a 'meta'.", FfnSample.open, path)
    np.savez(path, x=np.zeros(3))
    refuses(f"{path} does not hold FFNs with a 'meta'.", FfnSample.open, path)
    np.savez(path, meta=np.array(json.dumps({"format": "other"})))
    refuses(
        f"{path} does not hold FFNs: its 'meta' is not that of {FFN_FORMAT}.", FfnSample.open, path
    )


def test_weights_of_an_ffn(tmp_path):
    path = tmp_path / "ffn.npz"
    rng = np.random.default_rng(0)
    gate, up, down = (rng.standard_normal(shape) for shape in ((5, 3), (5, 3), (3, 5)))
    np.savez(path, gate=gate, up=up, down=down)
    found = load_ffn(path)
    assert found.gate.dtype == np.float32
    np.testing.assert_array_equal(found.down, down.astype(np.float32))
    np.savez(path, gate=gate, up=up)
    refuses(f"{path} has no array 'down'; it holds gate, up.", load_ffn, path)
    np.savez(path, gate=gate, up=up, down=gate)
    refuses(
        "gate and up must be (D, d) and down (d, D), got (5, 3), (5, 3) and (5, 3).",
        load_ffn,
        path,
    )
