"""``nibbleforge simulate reglu``: an FFN from files, with its predictor."""

import json

import numpy as np
import pytest
from nibbleforge.golden.reglu.ffn import reference
from nibbleforge.sim.tensors.files import CAPTURE_FORMAT

FEATURES, NEURONS, RANK = 19, 23, 6


@pytest.fixture
def files(tmp_path):
    """An FFN whose gate has a low rank, inputs to calibrate on and others."""
    rng = np.random.default_rng(0)
    gate = rng.standard_normal((NEURONS, RANK)) @ rng.standard_normal((RANK, FEATURES))
    up, down = rng.standard_normal((NEURONS, FEATURES)), rng.standard_normal((FEATURES, NEURONS))
    np.savez(tmp_path / "ffn.npz", gate=gate, up=up, down=down)
    np.save(tmp_path / "calibration.npy", rng.standard_normal((64, FEATURES)))
    np.save(tmp_path / "x.npy", rng.standard_normal((5, FEATURES)))
    return tmp_path


def test_build_a_predictor_and_simulate(run, files):
    weights = ("--weights", files / "ffn.npz")
    built = run(
        *("predictor", "build", *weights, "--activations", files / "calibration.npy"),
        *("--rank", RANK, "--share", 0.8, "-o", files / "p.npz"),
    )
    assert built.status == 0, built.err
    given = ("--activations", files / "x.npy", *weights)
    out = files / "out"
    done = run(
        *("simulate", "reglu", *given, "--predictor", files / "p.npz", "--preset", "tiny"),
        *("--set", "latency=30", "-o", out),
    )
    assert done.status == 0, done.err
    assert "reglu: tokens 5, in_features 19, out_features 19, neurons 23, rank 6" in done.out
    counts = json.loads((out / "counts.json").read_text())
    assert counts["mismatches"] == 0
    assert counts["runtime"] == {"latency": 30}
    x_q, y_int = (np.load(out / f"{name}.npy").astype(np.int64) for name in ("x_q", "y_int"))
    assert (x_q.shape, y_int.shape) == ((5, FEATURES), (5, FEATURES))
    assert counts["events"]["predicted"] == np.load(out / "predicted.npy").sum()


def test_of_a_capture(run, refused, files):
    """Gate, up and down are layers of their own there; a number names the FFN as well."""
    with np.load(files / "ffn.npz") as archive:
        weights = {f"layers.3.mlp.{name}_proj": archive[name] for name in archive.files}
    inputs = dict.fromkeys(weights, np.load(files / "x.npy"))
    inputs["layers.3.mlp.down_proj"] = np.ones((5, NEURONS))
    arrays = {f"{name}/w": w for name, w in weights.items()}
    arrays |= {f"{name}/x": x.astype(np.float16) for name, x in inputs.items()}
    meta = {"format": CAPTURE_FORMAT, "activation": "relu"}
    np.savez(files / "captured.npz", meta=json.dumps(meta), **arrays)
    capture = ("--capture", files / "captured.npz")
    options = ("--preset", "tiny", "--set", "predictor=false", "-o")
    found = []
    for name in (3, "layers.3.mlp", "model.layers.3.mlp"):
        done = run("simulate", "reglu", *capture, "--layer", name, *options, files / "out")
        assert done.status == 0, done.err
        assert json.loads((files / "out" / "counts.json").read_text())["mismatches"] == 0
        found.append(np.load(files / "out" / "y.npy"))
    exact = reference(*weights.values(), inputs["layers.3.mlp.gate_proj"])
    assert np.linalg.norm(found[0] - exact) < 0.1 * np.linalg.norm(exact)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    missing = refused("simulate", "reglu", *capture, "--layer", 2, *options, "other")
    assert "has no layer 'layers.2.mlp.gate_proj', which an FFN needs; its layers are" in missing


def test_what_is_missing(refused, files):
    x, weights = ("--activations", files / "x.npy"), ("--weights", files / "ffn.npz")
    unit = ("simulate", "reglu", "-o", "out")
    needs_weights = "reglu needs --weights FFN.npz with arrays gate, up and down."
    assert refused(*unit, *x) == needs_weights
    assert refused(*unit, *weights).startswith("give --activations X.npy")
    assert refused(*unit, *x, *weights).startswith("this unit has a predictor: give --predictor")
    missing = files / "none.npz"
    assert refused(*unit, *x, *weights, "--predictor", missing) == f"{missing} does not exist."
    other = ("simulate", "dense", "-o", "out", *x, "--predictor", missing)
    assert refused(*other) == "dense takes no --predictor."
    no_ffn = ("--weights", files / "x.npy")
    assert "holds one array without a name" in refused(*unit, *x, *no_ffn)
    policy = ("--int8-policy", "saturate")
    assert refused(*unit, *x, *weights, *policy).startswith("reglu takes no --int8-policy")
