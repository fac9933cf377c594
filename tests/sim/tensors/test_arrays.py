"""Arrays by name in files and checkpoints, and files that lie about what they hold."""

import json
import os
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.reglu.file import load as load_predictor
from nibbleforge.golden.reglu.file import save as save_predictor
from nibbleforge.sim.llm.reglu_build import make, split
from nibbleforge.sim.tensors.arrays import LISTED, nearest, open_arrays, split_name
from nibbleforge.sim.tensors.ffns import FFN_FORMAT, FfnWeights, ffn_of, load_ffn
from nibbleforge.sim.tensors.files import CAPTURE_FORMAT, Capture, load_matrix, sample_path

MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3)
INDEX = "model.safetensors.index.json"


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save(path, **arrays):
    from safetensors.numpy import save_file

    save_file({name.replace("__", "."): array for name, array in arrays.items()}, path)


def write(path, header, body=b""):
    """A ``.safetensors`` file with a header of our own."""
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)
    return 8 + len(text)


def refusal(function, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


# --- FILE:NAME ------------------------------------------------------------------------------------


def test_name_in_npz_and_safetensors():
    np.savez("two.npz", a=MATRIX, **{"größe/重み": MATRIX + 1})
    save("two.safetensors", a=MATRIX, b__weight=MATRIX + 2)
    assert (load_matrix("two.npz:größe/重み") == MATRIX + 1).all()
    assert (load_matrix("two.safetensors:b.weight") == MATRIX + 2).all()


def test_layer_of_a_capture():
    name = "layers.15.self_attn.q_proj/x"
    assert load_matrix(f"{sample_path()}:{name}").shape == (256, 576)


@pytest.mark.parametrize(
    ("there", "given", "expected"),
    [
        (["x.npy"], "x.npy", ("x.npy", None)),
        (["a:b.npz"], "a:b.npz", ("a:b.npz", None)),
        (["a:b.npz"], "a:b.npz:w", ("a:b.npz", "w")),
        (["a.npz", "a.npz:w"], "a.npz:w", ("a.npz:w", None)),
        (["a.npz", "a.npz:w"], "a.npz:w:v", ("a.npz:w", "v")),
        (["a.npz"], "a.npz:w:v", ("a.npz", "w:v")),
        (["a.npz"], "a.npz:", ("a.npz", "")),
        ([], "no.npz:w", ("no.npz", "w")),
        ([], f"c:/{INDEX}:w.npz", (f"c:/{INDEX}", "w.npz")),
        ([], "no:w", ("no:w", None)),
    ],
)
def test_where_a_path_ends(there, given, expected):
    for name in there:
        Path(name).touch()
    path, name = split_name(given)
    assert (str(path), name) == expected


def test_nothing_given():
    assert refusal(load_matrix, "") == "the name of a file of arrays must not be empty."


def test_several_arrays_say_how_to_name_one():
    np.savez("two.npz", a=MATRIX, b=MATRIX)
    assert refusal(load_matrix, "two.npz") == (
        "two.npz holds several arrays; name one of a, b, as in two.npz:a."
    )


def names_of_a_checkpoint(layers):
    kinds = ("self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj", "mlp.up_proj")
    return [f"model.layers.{n}.{kind}.weight" for n in range(layers) for kind in kinds]


@pytest.mark.parametrize("layers", [10, 10_000])
def test_a_wrong_name_is_answered_by_the_nearest(layers):
    names = names_of_a_checkpoint(layers)
    found = nearest("layers.7.mlp.gate_porj.weight", names)
    assert found.startswith(f"nearest of {len(names):,} are model.layers.7.mlp.gate_proj.weight, ")
    assert found.count(", ") == 2


def test_names_that_are_like_none():
    names = names_of_a_checkpoint(10)
    assert nearest("???", names).endswith(", ... (40 in all)")
    assert nearest("up", ["a", "b"]) == "it holds a, b"


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.fixture
def shards():
    """A folder with a checkpoint of two files."""
    os.mkdir("llm")
    save("llm/one.safetensors", a=MATRIX, odd=MATRIX)
    save("llm/two.safetensors", b=MATRIX.astype(np.float16) + 1)
    files = {"a": "one.safetensors", "b": "two.safetensors"}
    Path(f"llm/{INDEX}").write_text(
        json.dumps({"metadata": {"total_size": 36}, "weight_map": files})
    )
    return files


@pytest.mark.parametrize("path", ["llm", f"llm/{INDEX}"])
def test_checkpoint_of_several_files(shards, path):
    assert (load_matrix(f"{path}:a") == MATRIX).all()
    found = load_matrix(f"{path}:b")
    assert found.dtype == np.float16
    assert (found == MATRIX + 1).all()
    assert refusal(load_matrix, path) == (
        f"{path} holds several arrays; name one of a, b, as in {path}:a."
    )
    assert refusal(load_matrix, f"{path}:c") == f"{path} has no array 'c'; it holds a, b."


def test_only_the_file_that_holds_the_tensor_is_read(shards):
    os.remove("llm/two.safetensors")
    assert (load_matrix("llm:a") == MATRIX).all()
    assert refusal(load_matrix, "llm:b") == (
        f"llm/two.safetensors does not exist, though llm/{INDEX} names it."
    )


def test_an_index_that_is_wrong_about_a_file(shards):
    shards["c"] = "one.safetensors"
    Path(f"llm/{INDEX}").write_text(json.dumps({"weight_map": shards}))
    assert refusal(load_matrix, "llm:c") == (
        f"llm/one.safetensors has no array 'c', though llm/{INDEX} says so."
    )


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"{}",
        b"null",
        b'{"weight_map": ["a"]}',
        b'{"weight_map": {"a": 1}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=range(8),
)
def test_not_an_index(content):
    Path(INDEX).write_bytes(content)
    assert refusal(load_matrix, f"{INDEX}:a") == (
        f"{INDEX} is not the index of a checkpoint: it has no 'weight_map' of file names."
    )


def test_folder_with_one_file():
    os.mkdir("llm")
    save("llm/weights.safetensors", a=MATRIX)
    assert (load_matrix("llm") == MATRIX).all()
    save("llm/consolidated.safetensors", b=MATRIX)
    assert refusal(load_matrix, "llm:a") == (
        "llm is a directory with several files of tensors;"
        " give one of consolidated.safetensors, weights.safetensors."
    )
    save("llm/model.safetensors", c=MATRIX + 1)
    assert (load_matrix("llm:c") == MATRIX + 1).all()


def test_a_folder_of_links():
    """So Hugging Face's cache keeps models: files are links to others that bear a hash."""
    os.mkdir("blobs")
    os.makedirs("snapshots/main")
    save("blobs/0123abcd", a=MATRIX)
    os.symlink("../../blobs/0123abcd", "snapshots/main/model.safetensors")
    assert (load_matrix("snapshots/main:a") == MATRIX).all()


def test_one_tensor_of_a_big_file():
    """4 GB that hold nothing but a small tensor at the end."""
    size, raw = 1 << 32, np.array([[0x3F80, 0xC000]], "<u2")
    header = {
        "big": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]},
        "bf": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [size, size + 4]},
        "f16": {"dtype": "F16", "shape": [1, 2], "data_offsets": [size + 4, size + 8]},
    }
    start = write("big.safetensors", header)
    with open("big.safetensors", "r+b") as stream:
        stream.seek(start + size)
        stream.write(raw.tobytes() + np.array([3, -4], "<f2").tobytes())
    tracemalloc.start()
    assert load_matrix("big.safetensors:bf").tolist() == [[1, -2]]
    assert load_matrix("big.safetensors:f16").tolist() == [[3, -4]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_every_bfloat16_is_exact():
    raw = np.arange(1 << 16, dtype="<u2")
    write(
        "all.safetensors",
        {"w": {"dtype": "BF16", "shape": [256, 256], "data_offsets": [0, 1 << 17]}},
        raw.tobytes(),
    )
    found = load_matrix("all.safetensors")
    assert (found.dtype, found.shape) == (np.float32, (256, 256))
    sign = np.where(raw >> 15, -1.0, 1.0)
    exponent, fraction = (raw >> 7 & 255).astype(int), raw & 127
    with np.errstate(over="ignore"):
        normal = (1 + fraction / 128) * 2.0 ** (exponent - 127)
    value = np.where(exponent == 0, fraction / 128 * 2.0**-126, normal)
    special = np.where(fraction == 0, np.inf, np.nan)
    expected = sign * np.where(exponent == 255, special, value)
    np.testing.assert_array_equal(found.ravel(), expected.astype(np.float32))


# --- FFNs -----------------------------------------------------------------------------------------

PARTS = {
    "gate": np.full((4, 3), 1, np.float32),
    "up": np.full((4, 3), 2, np.float32),
    "down": np.full((3, 4), 3, np.float32),
}


def ffns(layout, *stems):
    return {
        f"{stem}{layout.format(part)}": array + number
        for number, stem in enumerate(stems)
        for part, array in PARTS.items()
    }


@pytest.mark.parametrize(
    ("arrays", "given"),
    [
        (ffns("{}", ""), "f.npz"),
        (ffns("{}_proj.weight", ""), "f.npz"),
        (ffns("{}.weight", "a."), "f.npz:a"),
        (ffns("{}_proj.weight", "layers.0.mlp.", "layers.1.mlp."), "f.npz:layers.0.mlp"),
        (ffns("{}", "layers.0/", "layers.1/"), "f.npz:layers.0"),
        (ffns("{}", "", "layers.1/"), "f.npz"),
        (ffns("{}_proj.weight", "layers.0.mlp.") | {"norm.weight": np.ones(1)}, "f.npz"),
    ],
    ids=range(7),
)
def test_ffn_of_a_file(arrays, given):
    np.savez("f.npz", **arrays)
    for found, expected in zip(load_ffn(given), PARTS.values(), strict=True):
        assert (found == expected).all()


def test_ffn_of_a_checkpoint_in_bfloat16():
    header, body = {}, b""
    for part, array in PARTS.items():
        start, body = len(body), body + (array.view(np.uint32) >> 16).astype("<u2").tobytes()
        header[f"model.layers.3.mlp.{part}_proj.weight"] = {
            "dtype": "BF16",
            "shape": list(array.shape),
            "data_offsets": [start, len(body)],
        }
    os.mkdir("llm")
    write("llm/one.safetensors", header, body)
    Path(f"llm/{INDEX}").write_text(
        json.dumps({"weight_map": dict.fromkeys(header, "one.safetensors")})
    )
    found = load_ffn("llm:model.layers.3.mlp")
    assert all((one == array).all() for one, array in zip(found, PARTS.values(), strict=True))


@pytest.mark.parametrize(
    ("config", "gate"),
    [
        ({"hidden_act": "relu"}, None),
        ({"hidden_act": "silu"}, "silu"),
        ({"hidden_activation": "gelu_pytorch_tanh", "hidden_act": None}, "gelu_pytorch_tanh"),
        ({"text_config": {"hidden_act": "silu"}}, "silu"),
        ({"text_config": 3}, None),
        ([1], None),
    ],
    ids=range(6),
)
def test_a_checkpoint_that_says_what_gates_its_ffns(config, gate):
    os.mkdir("llm")
    save("llm/model.safetensors", **ffns("{}_proj__weight", ""))
    Path("llm/config.json").write_text(json.dumps(config))
    for given in ("llm", "llm/model.safetensors"):
        if gate is None:
            assert (load_ffn(given).up == PARTS["up"]).all()
        else:
            sentence = f"the FFNs in {given} must be gated by relu, got {gate}."
            assert refusal(load_ffn, given) == sentence


@pytest.mark.parametrize(
    ("arrays", "given", "sentence"),
    [
        (
            ffns("{}_proj.weight", "layers.0.mlp.", "layers.1.mlp."),
            "f.npz",
            "f.npz holds several FFNs; name one of layers.0.mlp, layers.1.mlp,"
            " as in f.npz:layers.0.mlp.",
        ),
        (
            ffns("{}_proj.weight", "layers.0.mlp.", "layers.1.mlp."),
            "f.npz:layers.2.mlp",
            "f.npz has no FFN 'layers.2.mlp'; it holds layers.0.mlp, layers.1.mlp.",
        ),
        ({"gate": MATRIX, "up": MATRIX}, "f.npz", "f.npz has no array 'down'; it holds gate, up."),
        (
            {"moe.gate.weight": MATRIX},  # a router
            "f.npz",
            "f.npz has no array 'gate'; it holds moe.gate.weight.",
        ),
    ],
    ids=range(4),
)
def test_ffns_that_are_not_there(arrays, given, sentence):
    np.savez("f.npz", **arrays)
    assert refusal(load_ffn, given) == sentence


# --- files that lie -------------------------------------------------------------------------------


def npy(shape, body=b"", version=(1, 0), descr="<f4"):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + length + header + body


LYING = {
    "huge": (npy((1 << 30, 1 << 20)), "its header declares 4,503,599,627,370,496 bytes of data, "),
    "beyond 64 bits": (npy((1 << 40, 1 << 40)), "its header declares 4,835,703,278,458,516,698,"),
    "negative": (npy((-1, 6), bytes(48)), "its header declares the shape (-1, 6)."),
    "cut short": (npy((2, 6), bytes(47)), "declares 48 bytes of data, the file holds 47."),
    "version 3": (npy((2, 6), bytes(48), (3, 0)), "version 3.0 of the format is not read."),
    "version 9": (npy((2, 6), bytes(48), (9, 0)), "version 9.0 of the format is not read."),
    "code": (b"\x93NUMPY\x01\x00\x12\x00__import__('os')" + bytes(9), ""),
    "nested": (b"\x93NUMPY\x01\x00\x28\x23" + b"(" * 8999 + b"\n", ""),
    "long header": (npy((1,), bytes(4), descr="<f4" + " " * 20_000), ""),
}


@pytest.mark.parametrize(("content", "reason"), LYING.values(), ids=LYING)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_headers_that_lie(kind, content, reason):
    if kind == "npy":
        Path("x.npy").write_bytes(content)
    else:
        with zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("w.npy", content)
    sentence = refusal(load_matrix, f"x.{kind}")
    what = "x.npy" if kind == "npy" else "array 'w' of x.npz"
    assert sentence.startswith(f"{what} is not a valid .npy array: ")
    assert reason in sentence


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros(2, [("a", "f4"), ("b", "i4")]), "[('a', '<f4'), ('b', '<i4')]."),
        (np.zeros(2, "M8[s]"), "datetime64[s]."),
        (np.zeros(2, "V2"), "2 bytes of no type; bfloat16 loses its type in numpy's files, so gi"),
    ],
    ids=["structured", "dates", "bfloat16 of ml_dtypes"],
)
def test_not_numbers(array, got):
    np.save("x.npy", array)
    sentence = refusal(load_matrix, "x.npy")
    assert sentence.startswith(f"x.npy must hold integers or floating-point numbers, got {got}")


def shape_of_size(dtype, size):
    return {"w": {"dtype": dtype, "shape": [size], "data_offsets": [0, size]}}


@pytest.mark.parametrize(
    ("header", "body", "start"),
    [
        (shape_of_size("U8", 1 << 40), b"1234", "x.safetensors is not a valid .safetensors file: "),
        (shape_of_size("U8", 8), b"1234", "x.safetensors is not a valid .safetensors file: "),
        (shape_of_size("WEIRD", 4), b"1234", "x.safetensors is not a valid .safetensors file: "),
        (shape_of_size("F8_E5M2", 4), b"1234", "array 'w' of x.safetensors has dtype F8_E5M2, "),
        (shape_of_size("BOOL", 4), bytes(4), "array 'w' of x.safetensors must hold integers or"),
        ({}, b"", "x.safetensors holds no arrays."),
        ([], b"", "x.safetensors is not a valid .safetensors file: "),
    ],
    ids=["huge", "cut short", "no such type", "8-bit float", "boolean", "nothing", "no object"],
)
def test_safetensors_that_lie(header, body, start):
    write("x.safetensors", header, body)
    assert refusal(load_matrix, "x.safetensors").startswith(start)


# --- what is no file ------------------------------------------------------------------------------

SUFFIXES = (".npy", ".npz", ".safetensors", ".safetensors.index.json")
READERS = {
    "load_matrix": load_matrix,
    "load_ffn": load_ffn,
    "Capture": Capture.open,
    "ffn_of": lambda path: ffn_of(path, "0"),
    "predictor": load_predictor,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (os.mkfifo, "{} is not a regular file."),
        (lambda path: os.symlink("/dev/null", path), "{} is not a regular file."),
        (lambda path: os.symlink("/dev/zero", path), "{} is not a regular file."),
        (lambda path: os.symlink("nowhere", path), "{} is a broken link."),
        (lambda path: os.symlink(path, path), "{} cannot be read: Too many levels of symbolic "),
        (lambda path: Path(path).touch(), "{} is empty."),
        (os.mkdir, "{} is a directory; give one of its files."),
        (lambda path: None, "{} does not exist."),
    ],
    ids=["pipe", "/dev/null", "/dev/zero", "broken", "loop", "empty", "directory", "missing"],
)
def test_what_is_no_file(read, suffix, make, sentence):
    path = f"x{suffix}"
    make(path)
    assert refusal(read, path).startswith(sentence.format(path))


def test_a_link_to_a_file():
    np.save("x.npy", MATRIX)
    os.symlink("x.npy", "link.npy")
    assert (load_matrix("link.npy") == MATRIX).all()


def test_a_name_that_is_not_utf_8():
    name = os.fsdecode(b"\xff.npy")
    np.save(Path(name), MATRIX)
    assert (load_matrix(name) == MATRIX).all()


# --- damage ---------------------------------------------------------------------------------------


def _sound_files():
    np.save("x.npy", MATRIX)
    np.savez("x.npz", a=MATRIX, b=MATRIX)
    np.savez_compressed("z.npz", a=MATRIX, b=MATRIX)
    save("x.safetensors", a=MATRIX, b=MATRIX)
    Path("x.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "good.safetensors"}})
    )
    save("good.safetensors", a=MATRIX)
    meta = np.array(json.dumps({"format": CAPTURE_FORMAT}))
    blocks = {
        "a/x": np.ones((2, 32), np.float16),
        "a/w.u": np.zeros((2, 16), np.uint8),
        "a/w.d": np.ones((2, 1), np.float16),
        "a/w.m": np.ones((2, 1), np.float16),
    }
    np.savez("c.npz", meta=meta, **blocks)
    rng = np.random.default_rng(5)
    ffn = FfnWeights(*(rng.normal(size=array.shape).astype(np.float32) for array in PARTS.values()))
    x = rng.normal(size=(64, 3)).astype(np.float32)
    save_predictor(make(split(ffn, x, None), 1, 0.5).predictor, "p.npz")
    meta = np.array(json.dumps({"format": FFN_FORMAT}))
    arrays = {f"layers.0/{kind}": array for kind, array in ffn._asdict().items()}
    np.savez("f.npz", meta=meta, **arrays, **{"layers.0/x": x, "layers.0/x_held_out": x})


def _read_capture(path):
    capture = Capture.open(path)
    for layer in capture.layers:
        capture.activations(layer), capture.weights(layer)


DAMAGED = {
    "x.npy": load_matrix,
    "x.npz": lambda path: load_matrix(path, "a"),
    "z.npz": lambda path: load_matrix(path, "a"),
    "x.safetensors": lambda path: load_matrix(path, "a"),
    "x.safetensors.index.json": lambda path: load_matrix(path, "a"),
    "c.npz": _read_capture,
    "p.npz": load_predictor,
    "f.npz": lambda path: ffn_of(path, "0"),
}


@pytest.mark.parametrize(("file", "read"), DAMAGED.items(), ids=DAMAGED)
def test_damage_is_read_or_refused_in_one_sentence(tmp_path, file, read):
    """Bytes changed, cut off, doubled: 400 files of each kind."""
    _sound_files()
    read(file)
    sound = (tmp_path / file).read_bytes()
    rng = np.random.default_rng(sum(file.encode()))
    sentences = []
    for number in range(400):
        (tmp_path / file).write_bytes(_damage(sound, number, rng))
        try:
            read(file)
        except UserError as error:
            sentences.append(str(error))
    assert len(sentences) > 100
    assert all(re.fullmatch(r"[^\n]*\.", sentence) for sentence in sentences)


def _damage(sound, number, rng):
    content = bytearray(sound)
    first, last = sorted(int(place) for place in rng.integers(0, len(sound), 2))
    if number % 4 == 0:
        return content[:last]
    if number % 4 == 1:
        return content[:first] + content[first:last] + content[first:]
    for place in rng.integers(0, len(sound), 1 + number % 5):
        content[place] = rng.integers(256)
    return content


def test_blocks_of_a_capture_that_do_not_fit():
    _sound_files()
    with np.load("c.npz") as archive:
        arrays = dict(archive)
    for name, wrong in (
        ("a/w.u", np.zeros((2, 17), np.uint8)),
        ("a/w.u", np.zeros((2, 16), np.int8)),
        ("a/w.u", np.zeros(16, np.uint8)),
        ("a/w.d", np.ones((2, 2), np.float16)),
        ("a/w.m", np.ones((2, 1), np.float32)),
    ):
        np.savez("d.npz", **arrays | {name: wrong})
        sentence = refusal(Capture.open("d.npz").weights, "a")
        assert sentence == "the Q4_1 blocks of layer 'a' of d.npz are damaged."


def test_names_listed_at_most():
    assert len(open_arrays(sample_path()).names) > LISTED
