"""``nibbleforge simulate``: a user's tensors through the RTL."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.golden import bitmap
from nibbleforge.golden.contract.workload import Workload
from nibbleforge.golden.dense import cycles
from nibbleforge.golden.sparqle import format as hybrid
from nibbleforge.golden.units import UNITS
from nibbleforge.sim.tensors.files import Capture, sample_path
from nibbleforge.sim.tools import toolchain

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


def test_tensors_by_name(run, save, tmp_path, monkeypatch):
    """A checkpoint of several files in bfloat16, and one array of several."""
    monkeypatch.chdir(tmp_path)
    x, w = operands("float32")
    w = (w.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    upper = (w.view(np.uint32) >> 16).astype("<u2")
    entry = {"dtype": "BF16", "shape": list(w.shape), "data_offsets": [0, upper.nbytes]}
    header = json.dumps({"q.weight": entry}).encode()
    Path("one.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + upper.tobytes()
    )
    names = {"q.weight": "one.safetensors", "k.weight": "two.safetensors"}
    Path("model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    np.savez("x.npz", first=x, second=x + 1)
    save("x", x)
    save("w", w)
    dense = ("simulate", "dense", "--preset", "tiny", "--set", "max_k=512")
    for number, files in enumerate((("x.npz:first", ".:q.weight"), ("x.npy", "w.npy"))):
        done = run(*dense, "--activations", files[0], "--weights", files[1], "-o", str(number))
        assert done.status == 0, done.err
    named, plain = results(Path("0"))[0], results(Path("1"))[0]
    assert all(np.array_equal(named[name], plain[name]) for name in ARRAYS)


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
    golden = cycles(UNITS["dense2k"].presets["paper"], Workload(TOKENS, FEATURES, OUTPUTS))
    assert counts["cycles"] == counts["golden_cycles"] == golden.cycles
    assert counts["events"] == golden.events
    assert counts["mismatches"] == 0
    assert counts["versions"]["verilator"] == toolchain.require("verilator").version
    assert [row["unit"] for row in counts["baselines"]] == ["dense", "dense2k"]
    assert f"{golden.cycles:,}" in done.out
    assert done.out.endswith(f"results in {out}\n")


WIDTHS = [  # unit, preset, largest activation and weight, bits of each
    ("dense2k", "w4a6", (31, 7), (6, 4)),
    pytest.param("dense2k", "w4a7", (63, 7), (7, 4), marks=pytest.mark.deep),
    ("dense2k", "w3a8", (127, 3), (8, 3)),
    pytest.param("dense2k", "w2a8", (127, 1), (8, 2), marks=pytest.mark.deep),
    pytest.param("dense", "w3a8", (119, 3), (8, 3), marks=pytest.mark.deep),
]


@pytest.mark.parametrize(("unit", "preset", "largest", "bits"), WIDTHS)
def test_widths(run, save, tmp_path, unit, preset, largest, bits):
    x, w = operands("float32")
    out = tmp_path / "out"
    given = ("--activations", save("a", x), "--weights", save("w", w))
    small = ("--preset", preset, "--set", "rows=4", "--set", "columns=4")
    done = run("simulate", unit, *small, *given, "-o", out)
    assert done.status == 0, done.err
    arrays, counts = results(out)
    assert counts["mismatches"] == 0
    assert (counts["bits_per_activation"], counts["bits_per_weight"]) == bits
    for name, matrix, most in zip("xw", (x, w), largest, strict=True):
        scale = np.abs(matrix).max(axis=1, keepdims=True) / most
        found = arrays[f"{name}_q"] * scale
        assert np.abs(arrays[f"{name}_q"]).max() == most
        assert (np.abs(found - matrix) <= 0.502 * scale).all()
    x_q, w_q = (arrays[f"{name}_q"].astype(np.int64) for name in "xw")
    np.testing.assert_array_equal(arrays["y_int"], x_q @ w_q.T)


GROUPED = [
    ("dense2k", "q4_0", {"y_sums"}),
    pytest.param("dense", "q4_0", {"y_sums"}, marks=pytest.mark.deep),
    pytest.param("sparqle", "q4_1", {"y_sums", "order", "w_min"}, marks=pytest.mark.deep),
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
    pytest.param("channel", 4, 1, "float16", marks=pytest.mark.deep),
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


@pytest.mark.first(3, deep=7)
@pytest.mark.parametrize(
    ("unit", "dequant"),
    [
        ("bitmap", ""),
        *((u, d) for u in ("dense", "sparqle", "nm") for d in ("=none", ".weight_group=16")),
    ],
)
def test_results_beyond_fp32_are_infinite(run, save, tmp_path, unit, dequant):
    """What an attention mask makes of a token, -3.4e38; with weights above 1 it overflows."""
    x, w = np.ones((3, 8), np.float32), np.full((5, 8), 3, np.float32)
    x[1, :2] = np.finfo(np.float32).min
    files = ["--activations", save("a", x)]
    if unit != "bitmap":
        files += ["--weights", save("w", w), "--set", f"dequant{dequant}"]
    done = run("simulate", unit, *files, "--preset", "tiny", "-o", tmp_path / "out")
    assert done.status == 0, done.err
    arrays, counts = results(tmp_path / "out")
    assert np.isfinite(arrays["y"][[0, 2]]).all()
    if unit != "bitmap":
        assert (arrays["y"][1] == -np.inf).all()
        assert counts["sqnr_db"] is None
    assert counts["mismatches"] == 0


def test_a_difference_is_reported_and_ends_with_1(run, save, tmp_path, monkeypatch):
    """Negative control: golden of the decoder one cycle off."""

    def wrong(config, workload):
        right = bitmap.decoder_cycles(config, workload)
        return dataclasses.replace(right, cycles=right.cycles + 1)

    design = dataclasses.replace(bitmap.DECODER, cycles=wrong)
    monkeypatch.setattr("nibbleforge.sim.units.bitmap.DECODER", design)
    x = np.ones((1, 5), np.int8)
    options = ("--preset", "tiny", "-o", tmp_path / "out")
    done = run("simulate", "bitmap", "--activations", save("a", x), *options)
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("nibbleforge: RTL and golden differ: ")
    assert results(tmp_path / "out")[1]["mismatches"] == 1
