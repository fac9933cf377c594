"""``nibbleforge predictor build``."""

import numpy as np
import pytest
from nibbleforge.golden.reglu.file import load
from nibbleforge.sim.tensors.ffns import FfnSample, sample_path

D, FEATURES = 40, 12
BUILD = ("predictor", "build", "--rank", 4, "-o", "p.npz")


@pytest.fixture
def ffn(tmp_path, monkeypatch):
    """``ffn(**changes)``: files of an FFN whose gates are often negative, and of inputs."""
    monkeypatch.chdir(tmp_path)

    def writer(**changes):
        rng = np.random.default_rng(1)
        gate, up, down = (rng.normal(size=size) for size in ((D, FEATURES),) * 2 + ((FEATURES, D),))
        x = rng.normal(size=(300, FEATURES)) + gate.mean(axis=0)
        arrays = {"gate": gate - gate.mean(axis=0), "up": up, "down": down, "x": x} | changes
        np.save("x.npy", arrays.pop("x"))
        np.savez("ffn.npz", **{name: array for name, array in arrays.items() if array is not None})
        return ("--weights", "ffn.npz", "--activations", "x.npy")

    return writer


def figures(out):
    rows = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    return {name.strip(): float(value) for name, value in rows}


def test_of_the_sample(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("predictor", "build", "--layer", 2, "--share", 0.5, "-o", "p.npz")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "predictor in p.npz"
    found, predictor = figures(done.out), load("p.npz")
    assert predictor.info.rank == 32
    natural = found["natural sparsity"]
    assert f"the target was {natural / 2:.3f}." in done.out
    assert found["neurons dropped"] == pytest.approx(natural / 2, abs=0.01)
    assert found["recall"] > 0.99
    assert found["AUC"] > 0.97
    assert found["output error"] < 0.02
    x = FfnSample.open(sample_path()).layer(2).x
    x_q = np.rint(x / np.float32(predictor.info.x_scale)).astype(np.int8)
    assert 1 - predictor.predict(x_q[1024:]).mean() == pytest.approx(
        found["neurons dropped"], abs=1e-3
    )


def test_of_files(run, ffn):
    files = ffn()
    assert run(*BUILD, *files, "--share", 0.6).status == 0
    first = load("p.npz")
    x = np.load("x.npy")
    np.save("x.npy", x[:150])
    np.save("x2.npy", x[150:])
    done = run(*BUILD, *files, "--share", 0.6, "--held-out", "x2.npy", "-o", "q.npz")
    assert done.status == 0
    assert "factors from 150 tokens, thresholds from 150, figures from 150 of these" in done.out
    other = load("q.npz")
    assert other.info == first.info
    assert np.array_equal(other.thresholds, first.thresholds)
    done = run(*BUILD, *files, "--double-relu")
    assert figures(done.out)["natural sparsity"] > first.info.natural_sparsity + 0.05


def test_of_one_ffn_of_several(run, ffn):
    files = ffn()
    assert run(*BUILD, *files).status == 0
    expected = load("p.npz")
    with np.load("ffn.npz") as archive:
        parts = {f"model.layers.3.mlp.{name}_proj.weight": archive[name] for name in archive}
    np.savez("llm.npz", **parts, **{"model.norm.weight": np.ones(3)})
    x = np.load("x.npy")
    np.savez("x.npz", x=x[:150], x2=x[150:])
    named = ("--weights", "llm.npz:model.layers.3.mlp", "--activations", "x.npz:x")
    assert run(*BUILD, *named, "--held-out", "x.npz:x2").status == 0
    found = load("p.npz")
    assert found.info == expected.info
    assert np.array_equal(found.thresholds, expected.thresholds)


def test_int8_inputs_are_taken_as_they_are(run, ffn):
    x = np.random.default_rng(1).integers(-127, 128, (100, FEATURES), np.int8)
    assert run(*BUILD, *ffn(x=x)).status == 0
    assert load("p.npz").info.x_scale == 1


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        (
            {},
            ("--rank", 13),
            "the rank must be in 1..12, which is what these 150 calibration tokens and the gate"
            " support, got 13.",
        ),
        ({}, ("--rank", 0), "the rank must be at least 1, got 0."),
        ({}, ("--share", -0.1), "the share of the natural sparsity must be in 0..1, got -0.1."),
        ({}, ("--share", "nan"), "the share of the natural sparsity must be in 0..1, got nan."),
        ({}, ("-o", "p.txt"), "the output file must end in .npz, got p.txt."),
        ({}, ("--layer", 0), "--layer goes with --capture, --model or the embedded sample."),
        ({}, ("--model", "m"), "--weights and --model exclude each other."),
        (
            {"x": np.ones((7, FEATURES))},
            (),
            "rank 4 needs at least 4 tokens for its factors and 2 others for thresholds,"
            " got 3 and 4.",
        ),
        ({"up": None}, (), "ffn.npz has no array 'up'; it holds gate, down."),
        (
            {"up": np.ones((D, 3))},
            (),
            f"gate and up must be (D, d) and down (d, D), got {(D, FEATURES)}, {(D, 3)} and"
            f" {(FEATURES, D)}.",
        ),
        (
            {"x": np.full((20, FEATURES), np.nan)},
            (),
            "activations must be finite, got nan in row 0, column 0.",
        ),
        ({"x": np.ones((20, 5))}, (), f"activations must have {FEATURES} in_features, got 5."),
    ],
)
def test_what_is_refused(refused, ffn, changes, options, sentence):
    assert refused(*BUILD, *ffn(**changes), *options) == sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            (),
            "give --layer N of the embedded sample, of --capture F.npz or of --model M,"
            " or --weights FFN.npz with --activations X.npy.",
        ),
        (
            ("--layer", 4),
            f"{sample_path()} has no layer 'layers.4'; its layers are"
            " layers.0, layers.1, layers.2, layers.3.",
        ),
        (("--weights", "ffn.npz"), "--weights and --activations go together."),
        (
            ("--layer", 0, "--tokens", 9),
            "--tokens, --text, --offset and --context go with --model.",
        ),
        (
            ("--weights", "ffn.npz", "--activations", "x.npy"),
            "ffn.npz does not exist.",
        ),
        (
            ("--capture", sample_path().with_name("smollm2.npz"), "--layer", 15),
            f"{sample_path().with_name('smollm2.npz')} has no layer 'layers.15.mlp.up_proj', which"
            " an FFN needs; its layers are layers.15.self_attn.q_proj, layers.15.self_attn.o_proj,"
            " layers.15.mlp.gate_proj, layers.15.mlp.down_proj.",
        ),
    ],
)
def test_sources_that_are_refused(refused, options, sentence):
    assert refused(*BUILD, *options) == sentence


def test_a_folder_in_the_way(refused, ffn, tmp_path):
    files = ffn()
    (tmp_path / "p.npz").mkdir()
    assert refused(*BUILD, *files) == "p.npz is a directory, so it cannot be written as a file."
