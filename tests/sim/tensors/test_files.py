import hashlib
import json
import re
import struct
import zipfile

import numpy as np
import pytest
from nibbleforge.golden.arithmetic.quantise import quantise_activations
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.tensors.files import (
    CAPTURE_FORMAT,
    Capture,
    load_matrix,
    pack_nibbles,
    sample_path,
    unpack_nibbles,
)

Q, OUT, GATE, DOWN = SAMPLE = (
    "layers.15.self_attn.q_proj",
    "layers.15.self_attn.o_proj",
    "layers.15.mlp.gate_proj",
    "layers.15.mlp.down_proj",
)

# SHA-256 of module.weight (float32) in transformers 5.23, which unpacks the GGUF file itself.
HUGGING_FACE_WEIGHTS = {
    Q: "3949ae23f2336f9f70076380dd98b9026395b563985f02238feb8e8a22cd7a32",
    OUT: "c0b7216d9279f4db6ca2d8126441b0d7d772e8d1a77e098e2ab6f8ea701ade4e",
    GATE: "2f8a2379b7ba56cb06bf169597cab402425fe52f045684e01c7ef676e4c218e2",
    DOWN: "21fbbb46ff2b699d1c581fdf92b2feb3ab620f273d573de5e03909e105fd4188",
}


@pytest.fixture(scope="module")
def sample():
    return Capture.open(sample_path())


class TestSample:
    def test_holds_four_layers(self, sample):
        assert sample.layers == SAMPLE

    @pytest.mark.parametrize(
        ("layer", "shape"),
        [(Q, (576, 576)), (OUT, (576, 576)), (GATE, (1536, 576)), (DOWN, (576, 1536))],
    )
    def test_shapes(self, sample, layer, shape):
        x, w = sample.activations(layer), sample.weights(layer)
        assert (x.dtype, x.shape) == (np.float16, (256, shape[1]))
        assert (w.dtype, w.shape) == (np.float32, shape)
        assert np.isfinite(x).all()

    @pytest.mark.parametrize("layer", SAMPLE)
    def test_weights_are_those_of_hugging_face(self, sample, layer):
        weights = sample.weights(layer).tobytes()
        assert hashlib.sha256(weights).hexdigest() == HUGGING_FACE_WEIGHTS[layer]

    @pytest.mark.parametrize("layer", SAMPLE)
    def test_blocks_are_int4_in_groups_of_32(self, sample, layer):
        blocks = sample.quantised_weights(layer)
        rows, columns = sample.weights(layer).shape
        assert blocks.group == 32
        assert blocks.q.dtype == np.int8
        assert (blocks.q.min(), blocks.q.max()) == (-8, 7)
        assert blocks.scale.shape == blocks.minimum.shape == (rows, columns // 32)
        assert blocks.scale.dtype == blocks.minimum.dtype == np.float16

    @pytest.mark.parametrize(
        ("layer", "share"), [(Q, 0.966), (OUT, 0.554), (GATE, 0.725), (DOWN, 0.725)]
    )
    def test_share_of_zero_msbs(self, sample, layer, share):
        q = quantise_activations(sample.activations(layer), 119).q.astype(int)
        assert np.mean(q + 8 >> 4 == 0) == pytest.approx(share, abs=5e-4)

    def test_says_where_it_comes_from(self, sample):
        meta = sample.meta
        assert meta["model"] == "smollm2"
        assert meta["licence"] == "apache-2.0"
        assert meta["tokens"] == {"first": 20_000, "count": 256, "context": 512}
        assert set(meta["layers"].values()) == {"q4_1"}
        assert meta["command"].startswith("capture('smollm2', ")
        assert meta["versions"].keys() >= {"nibbleforge", "numpy", "torch", "transformers", "gguf"}

    def test_readme_is_about_this_file(self, sample):
        readme = sample_path().with_name("README.md").read_text("utf-8")
        content = sample_path().read_bytes()
        assert hashlib.sha256(content).hexdigest() in readme
        assert f"{len(content):,} bytes" in readme
        for digest in sample.meta["source_sha256"].values():
            assert digest in readme
        assert len(content) <= 4_000_000

    def test_carries_no_dates(self):
        with zipfile.ZipFile(sample_path()) as archive:
            assert {member.date_time[0] for member in archive.infolist()} == {1980}

    @pytest.mark.parametrize("method", ["activations", "weights", "quantised_weights"])
    def test_unknown_layer(self, sample, method):
        with pytest.raises(
            UserError, match=re.escape(f"has no layer 'q_proj'; its layers are {Q}, ")
        ):
            getattr(sample, method)("q_proj")


class TestNibbles:
    def test_first_is_low(self):
        assert pack_nibbles(np.array([[1, 2, 3, 15]], np.uint8)).tolist() == [[0x21, 0xF3]]

    def test_round_trip(self):
        u = np.random.default_rng(0).integers(0, 16, (5, 64), np.uint8)
        assert (unpack_nibbles(pack_nibbles(u)) == u).all()


class TestLoadMatrix:
    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i4", "u1"])
    def test_npy(self, tmp_path, dtype):
        matrix = np.arange(12).astype(dtype).reshape(3, 4)
        np.save(tmp_path / "x.npy", matrix)
        loaded = load_matrix(tmp_path / "x.npy")
        assert loaded.dtype == matrix.dtype
        assert (loaded == matrix).all()

    @pytest.mark.parametrize("shape", [(), (3,), (0, 4), (2, 3, 4)])
    def test_leaves_the_shape_to_the_caller(self, tmp_path, shape):
        np.save(tmp_path / "x.npy", np.zeros(shape))
        assert load_matrix(str(tmp_path / "x.npy")).shape == shape

    def test_normalises_memory_order(self, tmp_path):
        matrix = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
        np.save(tmp_path / "x.npy", matrix)
        loaded = load_matrix(tmp_path / "x.npy")
        assert loaded.flags.c_contiguous
        assert loaded.dtype == np.float32
        assert loaded.dtype.isnative
        assert (loaded == matrix).all()

    def test_npz(self, tmp_path):
        np.savez(tmp_path / "ffn.npz", gate=np.zeros((2, 3)), up=np.ones((2, 3)))
        assert load_matrix(tmp_path / "ffn.npz", "up").tolist() == [[1, 1, 1], [1, 1, 1]]

    def test_only_array_needs_no_name(self, tmp_path):
        np.savez(tmp_path / "x.npz", np.eye(2))
        assert load_matrix(tmp_path / "x.npz").tolist() == [[1, 0], [0, 1]]

    def test_layer_of_a_capture(self):
        assert load_matrix(sample_path(), f"{Q}/x").shape == (256, 576)

    def test_safetensors(self, tmp_path):
        matrix = np.arange(6, dtype=np.float16).reshape(2, 3)
        save_safetensors(tmp_path / "x.safetensors", b=matrix, a=np.zeros(1))
        loaded = load_matrix(tmp_path / "x.safetensors", "b")
        assert loaded.dtype == np.float16
        assert (loaded == matrix).all()

    def test_bfloat16_becomes_float32(self, tmp_path):
        raw = np.array([[0x3F80, 0xC000], [0x7F7F, 0x0001]], "<u2")
        write_safetensors(tmp_path / "x.safetensors", {"pad": ("U8", b"123"), "w": ("BF16", raw)})
        loaded = load_matrix(tmp_path / "x.safetensors", "w")
        assert loaded.dtype == np.float32
        assert loaded.tolist() == [[1, -2], [float.fromhex("0x1.fep127"), 2.0**-133]]


def save_safetensors(path, **arrays):
    from safetensors.numpy import save_file

    save_file(arrays, path)


def write_safetensors(path, tensors):
    """Write types that numpy has not: ``{name: (dtype, array or bytes)}``."""
    header, body = {}, b""
    for name, (dtype, data) in tensors.items():
        shape = [len(data)] if isinstance(data, bytes) else list(data.shape)
        start, body = len(body), body + bytes(data)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, len(body)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def whole(path):
    """The bytes of a valid file."""
    np.save(path, np.arange(100.0))
    return path.read_bytes()


def file_of_bytes(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def npy(array):
    return lambda folder: np.save(folder / "x.npy", array)


def npz(**arrays):
    return lambda folder: np.savez(folder / "x.npz", **arrays)


def npz_member(name, content):
    def make(folder):
        with zipfile.ZipFile(folder / "x.npz", "w") as archive:
            archive.writestr(name, content)

    return make


def broken_crc(folder):
    np.savez(folder / "x.npz", w=np.zeros(1000))
    content = bytearray((folder / "x.npz").read_bytes())
    content[1000] ^= 1
    (folder / "x.npz").write_bytes(content)


def float8(folder):
    write_safetensors(folder / "x.safetensors", {"w": ("F8_E4M3", b"1234")})


BAD_FILES = {
    "missing": ("x.npy", None, lambda folder: None, "x.npy does not exist."),
    "missing folder": ("no/x.npz", None, lambda folder: None, "no/x.npz does not exist."),
    "unreadable": ("x" * 300 + ".npy", None, lambda folder: None, " cannot be read: File name too"),
    "directory": (
        "data",
        None,
        lambda folder: (folder / "data").mkdir(),
        "data is a directory; give one of its files.",
    ),
    "directory with suffix": (
        "x.npy",
        None,
        lambda folder: (folder / "x.npy").mkdir(),
        "x.npy is a directory; give one of its files.",
    ),
    "suffix": (
        "x.csv",
        None,
        file_of_bytes("x.csv", b"1,2"),
        "x.csv must end in .npy, .npz, .safetensors or .safetensors.index.json.",
    ),
    "empty npy": ("x.npy", None, file_of_bytes("x.npy", b""), "x.npy is empty."),
    "empty npz": ("x.npz", None, file_of_bytes("x.npz", b""), "x.npz is empty."),
    "empty safetensors": (
        "x.safetensors",
        None,
        file_of_bytes("x.safetensors", b""),
        "x.safetensors is empty.",
    ),
    "not npy": (
        "x.npy",
        None,
        file_of_bytes("x.npy", b"1.0 2.0 3.0\n4.0 5.0 6.0\n"),
        "x.npy is not a valid .npy array: the magic string is not correct",
    ),
    "pickle": (
        "x.npy",
        None,
        file_of_bytes("x.npy", b"\x80\x04K\x01."),
        "x.npy is not a valid .npy array: ",
    ),
    "header cut": (
        "x.npy",
        None,
        lambda folder: (folder / "x.npy").write_bytes(whole(folder / "y.npy")[:40]),
        "x.npy is not a valid .npy array: ",
    ),
    "data cut": (
        "x.npy",
        None,
        lambda folder: (folder / "x.npy").write_bytes(whole(folder / "y.npy")[:-9]),
        "x.npy is not a valid .npy array: ",
    ),
    "objects": (
        "x.npy",
        None,
        npy(np.array([{}, None])),
        "x.npy holds pickled Python objects, which are not read.",
    ),
    "text": (
        "x.npy",
        None,
        npy(np.array(["a", "b"])),
        "x.npy must hold integers or floating-point numbers, got <U1.",
    ),
    "complex": ("x.npy", None, npy(np.zeros(2, complex)), "numbers, got complex128."),
    "boolean": ("x.npy", None, npy(np.zeros(2, bool)), "numbers, got bool."),
    "name for npy": (
        "x.npy",
        "up",
        npy(np.zeros(2)),
        "x.npy holds one array without a name; drop the name 'up'.",
    ),
    "not npz": (
        "x.npz",
        None,
        file_of_bytes("x.npz", b"PK\x03\x04 and no more"),
        "x.npz is not a valid .npz file.",
    ),
    "no arrays": ("x.npz", None, npz_member("readme.txt", "hello"), "x.npz holds no arrays."),
    "several arrays": (
        "x.npz",
        None,
        npz(gate=np.zeros(1), up=np.zeros(1)),
        "x.npz holds several arrays; name one of gate, up, as in {folder}/x.npz:gate.",
    ),
    "no such array": (
        "x.npz",
        "down",
        npz(gate=np.zeros(1), up=np.zeros(1)),
        "x.npz has no array 'down'; it holds gate, up.",
    ),
    "many arrays": (
        "x.npz",
        None,
        npz(**{f"w{n}": np.zeros(1) for n in range(9)}),
        "name one of w0, w1, w2, w3, w4, w5, w6, w7, ... (9 in all), as in {folder}/x.npz:w0.",
    ),
    "objects in npz": (
        "x.npz",
        None,
        npz(w=np.array([{}])),
        "array 'w' of {folder}/x.npz holds pickled Python objects, which are not read.",
    ),
    "broken member": (
        "x.npz",
        None,
        npz_member("w.npy", b"no array"),
        "array 'w' of {folder}/x.npz is not a valid .npy array: ",
    ),
    "broken checksum": (
        "x.npz",
        None,
        broken_crc,
        "array 'w' of {folder}/x.npz is not a valid .npy array: Bad CRC-32",
    ),
    "not safetensors": (
        "x.safetensors",
        None,
        file_of_bytes("x.safetensors", b"nothing of the kind"),
        "x.safetensors is not a valid .safetensors file: ",
    ),
    "no such tensor": (
        "x.safetensors",
        "v",
        lambda folder: save_safetensors(folder / "x.safetensors", w=np.zeros(1)),
        "x.safetensors has no array 'v'; it holds w.",
    ),
    "type that numpy has not": (
        "x.safetensors",
        None,
        float8,
        "array 'w' of {folder}/x.safetensors has dtype F8_E4M3, which is not read.",
    ),
}


@pytest.mark.parametrize(("file", "name", "make", "sentence"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file(tmp_path, file, name, make, sentence):
    make(tmp_path)
    with pytest.raises(UserError, match=re.escape(sentence.format(folder=tmp_path))) as caught:
        load_matrix(tmp_path / file, name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


META = {"format": CAPTURE_FORMAT, "model": "tiny"}


def save_capture(path, **arrays):
    np.savez(path, **{"meta": np.array(json.dumps(META)), **arrays})
    return path


class TestCapture:
    def test_float16_weights(self, tmp_path):
        x, w = np.ones((4, 8), np.float16), np.eye(3, 8, dtype=np.float16)
        path = save_capture(tmp_path / "c.npz", **{"a.b/x": x, "a.b/w": w})
        capture = Capture.open(str(path))
        assert capture.layers == ("a.b",)
        assert capture.meta["model"] == "tiny"
        assert capture.quantised_weights("a.b") is None
        assert capture.weights("a.b").dtype == np.float32
        assert (capture.weights("a.b") == w).all()
        assert (capture.activations("a.b") == x).all()

    def test_blocks(self, tmp_path):
        u = np.random.default_rng(1).integers(0, 16, (2, 64), np.uint8)
        d = np.array([[0.5, 0], [6e-8, 2]], np.float16)
        m = np.array([[-3, 1], [0, -65504]], np.float16)
        blocks = {"a/w.u": pack_nibbles(u), "a/w.d": d, "a/w.m": m}
        capture = Capture.open(save_capture(tmp_path / "c.npz", **{"a/x": d}, **blocks))
        expected = u * np.repeat(d.astype(float), 32, 1) + np.repeat(m.astype(float), 32, 1)
        assert (capture.weights("a") == expected.astype(np.float32)).all()
        assert (capture.quantised_weights("a").q == u.astype(int) - 8).all()

    @pytest.mark.parametrize(
        ("arrays", "sentence"),
        [
            ({"a/x": np.zeros(1)}, "c.npz is not a capture: it has no array 'meta'."),
            ({"meta": np.array(json.dumps(META))}, "c.npz is not a capture: it holds no layers."),
            ({"meta": np.array("{}")}, f"its 'meta' is not that of {CAPTURE_FORMAT}."),
            ({"meta": np.array("[1]")}, f"its 'meta' is not that of {CAPTURE_FORMAT}."),
            ({"meta": np.array("tiny")}, f"its 'meta' is not that of {CAPTURE_FORMAT}."),
            ({"meta": np.zeros(2)}, f"its 'meta' is not that of {CAPTURE_FORMAT}."),
            ({"meta": np.array({})}, "c.npz holds pickled Python objects, which are not read."),
        ],
    )
    def test_not_a_capture(self, tmp_path, arrays, sentence):
        np.savez(tmp_path / "c.npz", **arrays)
        with pytest.raises(UserError, match=re.escape(sentence)):
            Capture.open(tmp_path / "c.npz")

    def test_layer_without_weights(self, tmp_path):
        path = save_capture(tmp_path / "c.npz", **{"a/x": np.zeros(1)})
        with pytest.raises(UserError, match=r"has no array 'a/w'; it holds meta, a/x\."):
            Capture.open(path).weights("a")

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda path: None, "does not exist"),
            (lambda path: path.mkdir(), "is a directory"),
            (lambda path: path.touch(), "is empty"),
            (lambda path: path.write_bytes(b"x"), "is not a valid .npz file"),
        ],
    )
    def test_unreadable(self, tmp_path, make, sentence):
        make(tmp_path / "c.npz")
        with pytest.raises(UserError, match=sentence):
            Capture.open(tmp_path / "c.npz")
