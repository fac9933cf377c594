"""``nibbleforge simulate``: a user's tensors through the RTL, and every bad input."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.golden import bitmap, hybrid
from nibbleforge.golden.dense import cycles
from nibbleforge.golden.units import UNITS
from nibbleforge.sim import toolchain
from nibbleforge.sim.tensors import Capture, sample_path

TOKENS, FEATURES, OUTPUTS = 37, 300, 45
ARRAYS = {"y", "y_int", "x_q", "x_scale", "w_q", "w_scale"}
COUNTS = {
    "unit",
    "config",
    "config_hash",
    "runtime",
    "shape",
    "cycles",
    "ideal_cycles",
    "golden_cycles",
    "events",
    "mismatches",
    "sim",
    "baselines",
    "bits_per_activation",
    "bits_per_activation_padded",
    "bits_per_weight",
    "sqnr_db",
    "versions",
}


def operands(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Activations and weights of the acceptance test, outliers included."""
    rng = np.random.default_rng(5)
    if kind == "int8":
        x = rng.integers(-128, 120, (TOKENS, FEATURES), np.int8)
        return x, rng.integers(-8, 8, (OUTPUTS, FEATURES), np.int8)
    x = rng.standard_normal((TOKENS, FEATURES)) * 3
    x[3, 7], x[5] = 400, 0
    w = rng.standard_normal((OUTPUTS, FEATURES)) / 20
    return x.astype(kind), w.astype(kind)


def results(folder: Path) -> tuple[dict[str, np.ndarray], dict]:
    arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    return arrays, json.loads((folder / "counts.json").read_text())


@pytest.mark.parametrize("kind", ["float16", "float32", "int8"])
def test_a_dense_layer(run, save, tmp_path, kind):
    x, w = operands(kind)
    out = tmp_path / "out"
    done = run(
        "simulate", "dense2k", "--activations", save("a", x), "--weights", save("w", w), "-o", out
    )
    assert done.status == 0, done.err
    arrays, counts = results(out)
    assert set(arrays) == ARRAYS
    assert {path.suffix for path in out.iterdir()} == {".npy", ".json"}

    x_q, w_q = arrays["x_q"].astype(np.float64), arrays["w_q"].astype(np.float64)
    assert (arrays["x_q"].dtype, arrays["w_q"].dtype) == (np.int8, np.int8)
    np.testing.assert_array_equal(arrays["y_int"], x_q @ w_q.T)
    x_scale = arrays["x_scale"].astype(np.float64).reshape(TOKENS, 1)
    w_scale = arrays["w_scale"].astype(np.float64).reshape(1, OUTPUTS)
    exact = (x_q * x_scale) @ (w_q * w_scale.T).T
    assert arrays["y"].dtype == np.float32
    assert np.abs(arrays["y"] - exact).max() <= 1e-6 * np.abs(exact).max()
    if kind == "int8":
        np.testing.assert_array_equal(arrays["x_q"], x)
        np.testing.assert_array_equal(arrays["y"], arrays["y_int"])
        assert counts["sqnr_db"] is None
    else:
        assert np.abs(x_q * x_scale - x).max() <= np.abs(x).max() / 127
        assert counts["sqnr_db"] > 15

    assert set(counts) == COUNTS | {"utilisation"}
    assert counts["shape"] == {
        "tokens": TOKENS,
        "in_features": FEATURES,
        "out_features": OUTPUTS,
    }
    golden = cycles(UNITS["dense2k"].presets["paper"], TOKENS, FEATURES, OUTPUTS)
    assert counts["cycles"] == counts["golden_cycles"] == golden.cycles
    assert counts["events"] == golden.events
    assert counts["mismatches"] == 0
    assert counts["versions"]["verilator"] == toolchain.require("verilator").version
    assert [row["unit"] for row in counts["baselines"]] == ["dense", "dense2k"]
    assert f"{golden.cycles:,}" in done.out
    assert done.out.endswith(f"results in {out}\n")


GROUPED = [
    ("dense", "q4_0", {"y_sums"}),
    ("dense2k", "q4_0", {"y_sums"}),
    ("sparqle", "q4_1", {"y_sums", "order", "w_min"}),
]


@pytest.mark.parametrize(("unit", "preset", "more"), GROUPED)
@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_weights_with_group_scales(run, save, tmp_path, unit, preset, more, kind):
    x, w = operands(kind)
    out = tmp_path / "out"
    given = ("--activations", save("a", x), "--weights", save("w", w), "--int8-policy", "saturate")
    small = ("--preset", preset, "--set", "rows=4", "--set", "columns=4")
    done = run("simulate", unit, *small, *given, "-o", out)
    assert done.status == 0, done.err
    arrays, counts = results(out)
    assert set(arrays) == ARRAYS - {"y_int"} | more
    assert (counts["mismatches"], counts["shape"]["in_features"]) == (0, FEATURES)
    assert counts["bits_per_weight"] == (5.0 if "w_min" in more else 4.5)

    sums = np.zeros((TOKENS, OUTPUTS), np.float32)  # every operation rounded once, groups in order
    for g, start in enumerate(range(0, FEATURES, 32)):
        q = arrays["x_q"][:, start : start + 32].astype(np.int64)
        u = arrays["w_q"][:, start : start + 32].astype(np.int64)
        if "w_min" in more:
            u = u + 8
        sums += (q @ u.T).astype(np.float32) * arrays["w_scale"][:, g].astype(np.float32)
        if "w_min" in more:
            ones = q.sum(axis=1, keepdims=True).astype(np.float32)
            sums += ones * arrays["w_min"][:, g].astype(np.float32)
    assert arrays["y_sums"].tobytes() == sums.tobytes()
    assert arrays["y"].tobytes() == (sums * arrays["x_scale"][:, None]).tobytes()


@pytest.mark.slow
def test_blocks_of_a_capture_are_taken_as_they_are(run, tmp_path):
    options = ("--capture", sample_path(), "--layer", "layers.15.self_attn.q_proj")
    done = run("simulate", "sparqle", "--preset", "q4_1", *options, "-o", tmp_path / "out")
    assert done.status == 0, done.err
    arrays, _ = results(tmp_path / "out")
    blocks = Capture.open(sample_path()).quantised_weights("layers.15.self_attn.q_proj")
    np.testing.assert_array_equal(arrays["w_q"], blocks.q)
    np.testing.assert_array_equal(arrays["w_min"], blocks.minimum)


@pytest.mark.parametrize("sort", ["true", "false"])
def test_a_hybrid_layer(run, save, tmp_path, sort):
    x, w = operands("int8")
    x[0, 0] = 127
    out = tmp_path / "out"
    given = ("--activations", save("a", x), "--weights", save("w", w), "--int8-policy", "twos")
    settings = ("--set", "sharing=4", "--set", f"sort={sort}")
    done = run("simulate", "sparqle", *given, *settings, "-o", out)
    assert done.status == 0, done.err
    arrays, counts = results(out)
    np.testing.assert_array_equal(arrays["y_int"], x.astype(int) @ w.astype(int).T)
    assert counts["config"]["recode"] == "twos"
    assert counts["mismatches"] == 0
    in_order = arrays["order"].tolist() == list(range(TOKENS))
    assert in_order == (sort == "false")


SMALL_ANDA = ("--set", "rows=4", "--set", "columns=4", "--set", "mantissa=6")


@pytest.mark.parametrize("kind", ["float16", "float32", "int8"])
def test_a_layer_in_anda(run, save, tmp_path, kind):
    x, w = operands(kind)
    out = tmp_path / "out"
    given = ("--activations", save("a", x), "--weights", save("w", w))
    done = run("simulate", "anda", *given, *SMALL_ANDA, "-o", out)
    assert done.status == 0, done.err
    arrays, counts = results(out)
    assert set(arrays) == {"y", "x", "w_q", "w_scale"}
    assert arrays["x"].tobytes() == x.astype(np.float16).tobytes()
    assert (counts["mismatches"], counts["bits_per_weight"]) == (0, 4.125)
    assert counts["bits_per_activation"] == 6 + 1 + 5 / 64
    assert counts["cycles"] == counts["golden_cycles"]
    y = np.zeros((TOKENS, OUTPUTS), np.float32)
    for start in range(0, FEATURES, 64):  # every operation rounded once, groups in order
        group = arrays["x"][:, start : start + 64].astype(np.float64)
        exponent = np.maximum(np.frexp(np.abs(group).max(axis=1))[1] - 1, -14)  # of the largest
        step = np.ldexp(1.0, exponent - 5)[:, None]
        integers = np.trunc(group / step)
        dots = integers @ arrays["w_q"][:, start : start + 64].T.astype(np.float64)
        scale = arrays["w_scale"][:, start // 128].astype(np.float32)
        y += dots.astype(np.float32) * step.astype(np.float32) * scale
    assert arrays["y"].tobytes() == y.tobytes()


@pytest.mark.slow
def test_a_layer_from_anda_to_anda(run, save, tmp_path):
    x, w = operands("float16")
    given = ("--activations", save("a", x), "--weights", save("w", w), "--preset", "chained")
    small = ("--set", "group=64", "--set", "mantissa=6", "--set", "result_mantissa=5")
    for output in ("fp16", "anda"):
        kind = ("--set", f"output={output}")
        done = run("simulate", "anda", *given, *small, *kind, "-o", tmp_path / output)
        assert done.status == 0, done.err
    half, _ = results(tmp_path / "fp16")
    arrays, counts = results(tmp_path / "anda")
    assert (counts["mismatches"], counts["cycles"]) == (0, counts["golden_cycles"])
    assert set(arrays) - set(half) == {"y_sign", "y_magnitude", "y_exponent"}
    lost = half["y"].astype(np.float64) - arrays["y"]  # truncated towards zero
    assert (lost * np.sign(half["y"]) >= 0).all()
    _, exponent = np.frexp(np.abs(half["y"]).max(axis=1).astype(np.float64))  # a group a token
    assert (np.abs(lost) < np.ldexp(1.0, exponent - 5)[:, None]).all()
    assert arrays["y_magnitude"].max() == 31


PATTERNS = [
    ("paper", 4, 2, "float32"),
    ("paper", 4, 4, "int8"),
    pytest.param("m16", 16, 3, "float32", marks=pytest.mark.slow),
    ("channel", 4, 1, "float16"),
]


@pytest.mark.parametrize(("preset", "m", "n", "kind"), PATTERNS)
def test_a_layer_with_pruned_weights(run, save, tmp_path, preset, m, n, kind):
    x, w = operands(kind)
    out = tmp_path / "out"
    given = ("--activations", save("a", x), "--weights", save("w", w), "--preset", preset)
    small = ("--set", "rows=8", "--set", "columns=4", "--set", f"n={n}")
    done = run("simulate", "nm", *given, *small, "-o", out)
    assert done.status == 0, done.err
    arrays, counts = results(out)
    assert (counts["mismatches"], counts["cycles"]) == (0, counts["golden_cycles"])
    rest = "y_sums" if preset != "channel" else "y_int"
    assert set(arrays) == (ARRAYS - {"y_int"}) | {"w_packed", rest}

    blocks = np.pad(arrays["w_q"], ((0, 0), (0, -FEATURES % m))).reshape(OUTPUTS, -1, m)
    assert (blocks != 0).sum(axis=2).max() <= n
    size = np.abs(np.pad(w.astype(np.float64), ((0, 0), (0, -FEATURES % m)))).reshape(blocks.shape)
    pruned = np.where(blocks == 0, size, -1).max(axis=2)
    kept = np.where(blocks != 0, size, np.inf).min(axis=2)
    full = (blocks != 0).sum(axis=2) == n
    assert (pruned <= kept)[full].all()

    x_q, w_q = arrays["x_q"].astype(np.float64), arrays["w_q"].astype(np.float64)
    group = FEATURES if preset == "channel" else 128
    y = np.zeros((TOKENS, OUTPUTS), np.float32)
    for number, start in enumerate(range(0, FEATURES, group)):  # every operation rounded once
        part = slice(start, start + group)
        sums = (x_q[:, part] @ w_q[:, part].T).astype(np.float32)
        y += sums * arrays["w_scale"][:, number].astype(np.float32)
    y *= arrays["x_scale"][:, None]
    if preset == "channel":
        np.testing.assert_array_equal(arrays["y_int"], x_q @ w_q.T)
        np.testing.assert_allclose(arrays["y"], y, rtol=1e-6)
    else:
        assert arrays["y"].tobytes() == y.tobytes()


def test_weights_chosen_for_the_activations(run, save, tmp_path):
    x, w = operands("float32")
    x[:, ::4] *= 100
    given = ("--activations", save("a", x), "--weights", save("w", w), "--preset", "channel")
    small = ("--set", "rows=4", "--set", "columns=4", "--set", "n=1", "--set", "method=wanda")
    done = run("simulate", "nm", *given, *small, "-o", tmp_path / "out")
    assert done.status == 0, done.err
    arrays, _ = results(tmp_path / "out")
    kept = (arrays["w_q"] != 0).reshape(OUTPUTS, -1, 4).sum(axis=(0, 1))
    assert kept[0] > 0.9 * kept.sum()


def test_more_weights_than_a_block_has(run, save, tmp_path):
    x, w = operands("float32")
    given = ("--activations", save("a", x), "--weights", save("w", w))
    done = run("simulate", "nm", *given, "--set", "n=5", "-o", tmp_path / "out")
    assert (done.status, done.err) == (2, "nibbleforge: N must be in 1..4, got 5.\n")
    assert not (tmp_path / "out").exists()


def test_activations_through_the_compressor(run, save, tmp_path):
    x, _ = operands("float16")
    out = tmp_path / "out"
    small = ("--preset", "fpga", "--set", "mantissa=5")
    done = run("simulate", "compressor", "--activations", save("a", x), *small, "-o", out)
    assert done.status == 0, done.err
    arrays, counts = results(out)
    assert set(arrays) == {"x", "sign", "magnitude", "exponent"}
    assert (counts["mismatches"], counts["bits_per_activation"]) == (0, 5 + 1 + 5 / 32)
    assert arrays["magnitude"].max() == 31


@pytest.mark.parametrize("kind", ["float16", "float32", "int8"])
def test_activations_through_the_codec(run, save, tmp_path, kind):
    x, _ = operands(kind)
    out = tmp_path / "out"
    done = run("simulate", "bitmap", "--activations", save("a", x), "-o", out)
    assert done.status == 0, done.err
    arrays, counts = results(out)
    assert set(arrays) == {"y", "y_int", "x_q", "x_scale", "lsb", "bitmap", "values"}
    np.testing.assert_array_equal(arrays["y_int"], arrays["x_q"])
    exact = arrays["x_q"].astype(np.float64) * arrays["x_scale"][:, None]
    assert np.abs(arrays["y"] - exact).max() <= 1e-6 * np.abs(exact).max()

    assert set(counts) == COUNTS | {"designs", "msb_zero_share"}
    assert set(counts["designs"]) == {"bitmap_decoder", "bitmap_encoder"}
    for design in counts["designs"].values():
        assert design["mismatches"] == 0
        assert design["cycles"] == design["golden_cycles"]
    form = hybrid.HybridFormat(k=4, group=64)
    small = (arrays["x_q"] >= form.sparse_min) & (arrays["x_q"] <= form.sparse_max)
    assert counts["msb_zero_share"] == pytest.approx(small.mean())
    assert counts["bits_per_activation"] == pytest.approx(9 - 4 * small.mean())
    if kind == "int8":
        np.testing.assert_array_equal(arrays["y"], x)


def test_a_layer_of_a_capture(run, tmp_path):
    capture = Capture.open(sample_path())
    layer = capture.layers[0]
    options = ("--capture", sample_path(), "--layer", layer)
    done = run("simulate", "bitmap", *options, "-o", tmp_path / "out")
    assert done.status == 0, done.err
    arrays, counts = results(tmp_path / "out")
    assert arrays["y"].shape == capture.activations(layer).shape
    assert counts["mismatches"] == 0


@pytest.mark.parametrize(("policy", "most"), [("saturate", 119), ("twos", 127)])
def test_policies_for_int8_beyond_the_range(run, save, tmp_path, policy, most):
    x = np.array([[-128, 0, 119, 120, 127]], np.int8)
    options = ("--preset", "tiny", "--int8-policy", policy)
    done = run("simulate", "bitmap", "--activations", save("a", x), *options, "-o", tmp_path / "o")
    assert done.status == 0, done.err
    arrays, _ = results(tmp_path / "o")
    np.testing.assert_array_equal(arrays["y_int"], np.minimum(x, most))


def test_a_difference_is_reported_and_ends_with_1(run, save, tmp_path, monkeypatch):
    """Negative control: golden of the decoder one cycle off."""
    law = bitmap.decoder_cycles

    def wrong(config, words):
        right = law(config, words)
        return dataclasses.replace(right, cycles=right.cycles + 1)

    monkeypatch.setattr(bitmap, "decoder_cycles", wrong)
    x = np.ones((1, 5), np.int8)
    options = ("--preset", "tiny", "-o", tmp_path / "out")
    done = run("simulate", "bitmap", "--activations", save("a", x), *options)
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("RTL and golden differ: ")
    assert results(tmp_path / "out")[1]["mismatches"] == 1


# --- bad operands ---------------------------------------------------------------------------------

GOOD_X, GOOD_W = np.ones((2, 6), np.float32), np.ones((3, 6), np.float32)
RANGE = (
    "activations must be in -128..119 for the balanced recoding, got 127; choose --int8-policy "
    "saturate to clip them or --int8-policy twos to recode in two's complement."
)


@pytest.fixture
def good(save, refused):
    """Good operands in the current folder: ``a.npy`` and ``w.npy``."""
    save("a", GOOD_X)
    save("w", GOOD_W)


DENSE = ("simulate", "dense", "--preset", "tiny", "-o", "out")
BITMAP = ("simulate", "bitmap", "--preset", "tiny", "-o", "out")
OPERANDS = ("--activations", "a.npy", "--weights", "w.npy")


def with_value(shape, value, dtype=np.float32) -> np.ndarray:
    array = np.ones(shape, dtype)
    array[1, 2] = value
    return array


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("a", np.ones(6), "activations must be 2-D (tokens, in_features), got shape (6,)."),
        ("a", np.ones((1, 2, 6)), "activations must be 2-D (tokens, in_features), got shape (1,"),
        ("a", np.float64(3), "activations must be 2-D (tokens, in_features), got shape ()."),
        ("w", np.ones(6), "weights must be 2-D (out_features, in_features), got shape (6,)."),
        ("a", np.ones((0, 6)), "activations must have at least one row and one column (tokens, "),
        ("a", np.ones((2, 0)), "activations must have at least one row and one column (tokens, "),
        ("a", np.ones((0, 0)), "activations must have at least one row and one column (tokens, "),
        ("w", np.ones((0, 6)), "weights must have at least one row and one column (out_features"),
        ("w", np.ones((3, 7)), "activations and weights differ in in_features: 6 and 7."),
        (
            "a",
            with_value((2, 6), np.nan),
            "activations must be finite, got nan in row 1, column 2.",
        ),
        (
            "a",
            with_value((2, 6), np.inf),
            "activations must be finite, got inf in row 1, column 2.",
        ),
        ("w", with_value((3, 6), -np.inf), "weights must be finite, got -inf in row 1, column 2."),
        (
            "a",
            with_value((2, 6), 1e300, np.float64),
            "activations must fit float32, got 1e+300 in ",
        ),
        ("w", np.full((3, 6), 1e6), "the scale of weights in row 0, group 0 must fit FP16 "),
        ("a", with_value((2, 6), 127, np.int8), RANGE),
        ("w", with_value((3, 6), 8, np.int8), "int8 weights must hold INT4 values in -8..7, got 1"),
        ("a", np.ones((2, 6), np.int32), "activations must be float16, float32, float64 or int8, "),
        ("a", np.ones((2, 6), bool), "a.npy must hold integers or floating-point numbers, got boo"),
        ("a", np.ones((2, 6), complex), "a.npy must hold integers or floating-point numbers, got "),
        ("a", np.full((2, 6), "x"), "a.npy must hold integers or floating-point numbers, got <U1"),
        ("a", np.full((2, 6), None), "a.npy holds pickled Python objects, which are not read."),
        ("a", np.ones((2, 65)), "in_features must not exceed max_k = 64, got 65."),
    ],
    ids=str,
)
def test_bad_operands(refused, good, save, name, array, sentence):
    save(name, array)
    if "max_k" in sentence:
        save("w", np.ones((3, array.shape[1])))
    assert refused(*DENSE, *OPERANDS).startswith(sentence)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.ones(6), "activations must be 2-D (tokens, in_features), got shape (6,)."),
        (np.ones((0, 0)), "activations must have at least one row and one column (tokens, "),
        (with_value((2, 6), np.nan), "activations must be finite, got nan in row 1, column 2."),
        (with_value((2, 6), 127, np.int8), RANGE),
    ],
    ids=str,
)
def test_bad_activations_of_the_codec(refused, save, array, sentence):
    save("a", array)
    assert refused(*BITMAP, "--activations", "a.npy").startswith(sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a.npy is empty."),
        (b"1.0, 2.0\n", "a.npy is not a valid .npy array: "),
        (b"\x93NUMPY\x01\x00", "a.npy is not a valid .npy array: "),
        (b"PK\x03\x04" + bytes(40), "a.npy is not a valid .npy array: "),
    ],
)
def test_a_file_that_holds_no_array(refused, good, content, sentence):
    Path("a.npy").write_bytes(content)
    assert refused(*DENSE, *OPERANDS).startswith(sentence)


def test_a_file_cut_short(refused, good):
    Path("a.npy").write_bytes(Path("a.npy").read_bytes()[:-5])
    assert refused(*DENSE, *OPERANDS).startswith("a.npy is not a valid .npy array: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*DENSE], "give --activations X.npy, or --capture F.npz with --layer NAME."),
        ([*DENSE, "--activations", "a.npy"], "dense needs --weights W.npy."),
        ([*BITMAP, *OPERANDS], "bitmap takes no weights."),
        (
            [*DENSE, "--activations", "absent.npy", "--weights", "w.npy"],
            "absent.npy does not exist",
        ),
        (
            [*DENSE, "--activations", "a.npy", "--weights", "absent.npy"],
            "absent.npy does not exist",
        ),
        ([*BITMAP, "--activations", "a.txt"], "a.txt must end in .npy, .npz or .safetensors."),
        ([*BITMAP, "--activations", "."], ". is a directory; give one of its files."),
        ([*BITMAP, "--activations", "folder.npy"], "folder.npy"),
        ([*DENSE, *OPERANDS, "--layer", "q"], "--layer goes with --capture."),
        ([*DENSE, "--capture", "a.npy"], "--capture goes with --layer and without --activations"),
        ([*DENSE, "--capture", "a.npy", "--layer", "q"], "a.npy is not a "),
        ([*DENSE, "--capture", "absent.npz", "--layer", "q"], "absent.npz does not exist."),
        ([*DENSE, "--capture", sample_path(), "--layer", "q"], f"{sample_path()} has no layer"),
        ([*DENSE, *OPERANDS, "--int8-policy", "wrap"], "--int8-policy must be error, saturate or "),
        (
            [*DENSE, *OPERANDS, "--set", "rows=0"],
            "rows: input should be greater than or equal to 1",
        ),
        ([*DENSE, *OPERANDS, "--set", "rows=x"], "rows: input should be a valid integer, got 'x'."),
        ([*DENSE, *OPERANDS, "--set", "lanes=2"], "dense has no parameter 'lanes'; "),
        ([*DENSE, *OPERANDS, "--preset", "huge"], "dense has no preset 'huge'; "),
        (["simulate", "sparse", "-o", "out"], "there is no unit 'sparse'; the units are "),
        (
            [*BITMAP, "--activations", "a.npy", "--set", "value_width=3"],
            "a simulation needs value_width 2, 4 or 8, half the bits of an activation, got 3.",
        ),
        ([*BITMAP, "--activations", "a.npy", "--set", "width=8"], "width must not exceed beat, "),
        (
            [*BITMAP, "--activations", "a.npy", "--set", "tau_lo=x"],
            "tau_lo: input should be a valid",
        ),
    ],
    ids=lambda value: " ".join(map(str, value[5:])) if isinstance(value, list) else "",
)
def test_bad_arguments(refused, good, arguments, sentence):
    Path("a.txt").write_text("1 2 3")
    Path("folder.npy").mkdir()
    assert refused(*arguments).startswith(sentence)


@pytest.mark.parametrize("output", ["a.npy", "a.npy/out", "a.npy/further/out"])
def test_an_output_under_a_regular_file(refused, good, output):
    sentence = refused(*DENSE[:-1], output, *OPERANDS)
    assert re.fullmatch(rf"cannot write to {output}: \S*a\.npy is not a folder\.", sentence)


def test_an_output_that_may_not_be_written(refused, good, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    assert re.fullmatch(r"cannot write to out: \S* is not writable\.", refused(*DENSE, *OPERANDS))


# --- bad machines ---------------------------------------------------------------------------------


def test_without_a_compiler(refused, good, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert refused(*DENSE, *OPERANDS) == toolchain.TOOLS["g++"].missing


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "cache"  # not among what must stay as it was
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, left: int) -> None:
    """Leave so many bytes free."""
    size = shutil.disk_usage(folder).free - left
    (folder / "ballast").write_bytes(bytes(size))


def last_sentence(done) -> str:
    """What a command said that began its work and ended with 2."""
    assert done.status == 2, done
    assert "Traceback" not in done.err
    return done.err.splitlines()[-1]


def test_no_space_left_during_a_build(run, good, small_disk, monkeypatch):
    """Verilator itself leaves its files cut short and reports success."""
    fill(small_disk, 20_000)
    monkeypatch.setenv("NIBBLEFORGE_CACHE", str(small_disk))
    assert last_sentence(run(*DENSE, *OPERANDS)) == (
        f"nibbleforge: no space left on the device while building in {small_disk}; "
        "free some space or set NIBBLEFORGE_CACHE."
    )
    assert not list(small_disk.glob("*/*.partial-*"))
    assert not Path("out").exists()


@pytest.mark.parametrize("left", [60_000, 180_000], ids=["operands", "results"])
def test_no_space_left_during_a_run(run, good, save, small_disk, monkeypatch, left):
    """Temporary files go to the simulation (about 110 kB) and come from it (130 kB)."""
    save("a", np.ones((200, 60), np.float32))
    save("w", np.ones((200, 60), np.float32))
    fill(small_disk, left)
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    assert last_sentence(run(*DENSE, *OPERANDS)) == (
        "nibbleforge: no space left on the device; free some space or set TMPDIR."
    )
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
    assert not Path("out").exists()


def test_no_space_left_for_the_results(run, good, save, small_disk):
    fill(small_disk, 20_000)
    save("a", np.ones((200, 6), np.float32))
    out = small_disk / "out"
    done = run("simulate", "dense", "--preset", "tiny", "-o", out, *OPERANDS)
    assert last_sentence(done) == (
        f"nibbleforge: no space left on the device while writing to {out}."
    )
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
