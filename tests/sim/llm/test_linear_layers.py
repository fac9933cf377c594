"""Which modules are linear layers, on modules that look like torch's but need no torch."""

import numpy as np
import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.sim.llm.capture import choose_layers
from nibbleforge.sim.llm.linear_layers import in_words, sort_modules, summarise
from nibbleforge.sim.llm.perplexity import kinds_of


class Weight:
    """A parameter."""

    def __init__(self, *shape):
        self.values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        self.shape, self.ndim = shape, len(shape)

    def detach(self):
        return self

    def numpy(self):
        return self.values


class Module:
    def __init__(self, **parameters):
        self.__dict__ |= parameters
        self.parameters = parameters

    def named_parameters(self, recurse):
        assert not recurse
        return self.parameters.items()


class Linear(Module):
    def __init__(self, out_features, in_features):
        super().__init__(weight=Weight(out_features, in_features), bias=Weight(out_features))
        self.in_features, self.out_features = in_features, out_features


class Conv1D(Module):
    pass


class Embedding(Module):
    num_embeddings = 5


class MixtralExperts(Module):
    pass


class Router(Module):
    pass


class Norm(Module):
    pass


def experts():
    return MixtralExperts(gate_up_proj=Weight(4, 6, 2), down_proj=Weight(4, 2, 3))


NAMED = {
    "": Module(),
    "model.embed_tokens": Embedding(weight=Weight(5, 2)),
    "model.layers.0.q_proj": Linear(3, 2),
    "model.layers.0.mlp.experts": experts(),
    "model.layers.0.mlp.gate": Router(weight=Weight(4, 2)),
    "model.layers.1.c_attn": Conv1D(weight=Weight(2, 6), bias=Weight(6)),
    "model.layers.1.mlp.experts": experts(),
    "model.norm": Norm(weight=Weight(2)),
    "lm_head": Linear(5, 2),
}
UNKNOWN = "neither a torch.nn.Linear nor a Conv1D, so how it uses its weights is not known"
EXPERTS = (
    "its gate_up_proj has 3 dimensions, as the weights of experts and convolutions have:"
    " not one matrix for all tokens"
)


def modules(**others):
    return sort_modules({**NAMED, **others}.items(), Linear, Conv1D)


def test_layers_in_the_order_of_the_network():
    assert list(modules().layers) == ["layers.0.q_proj", "layers.1.c_attn", "lm_head"]


def test_conv1d_is_transposed():
    layers = modules().layers
    assert layers["layers.0.q_proj"].weights().tolist() == [[0, 1], [2, 3], [4, 5]]
    assert layers["layers.0.q_proj"].in_features == 2
    found = layers["layers.1.c_attn"]
    assert found.in_features == 2
    assert found.weights().tolist() == [[n, n + 6] for n in range(6)]
    assert found.weights().flags.c_contiguous


def test_what_is_left_out_by_kind():
    assert summarise(modules().left) == [
        {
            "kind": "Embedding",
            "why": "its rows are looked up, not multiplied",
            "count": 1,
            "first": "embed_tokens",
        },
        {
            "kind": "MixtralExperts",
            "why": EXPERTS,
            "count": 2,
            "first": "layers.0.mlp.experts",
        },
        {
            "kind": "Router",
            "why": UNKNOWN,
            "count": 1,
            "first": "layers.0.mlp.gate",
        },
    ]


def test_in_words():
    words = [in_words(entry) for entry in summarise(modules().left)]
    assert words[0] == "1 Embedding (embed_tokens): its rows are looked up, not multiplied"
    assert words[1].startswith("2 MixtralExperts (layers.0.mlp.experts and 1 more): its gate_up")


@pytest.mark.parametrize(
    ("patterns", "layers", "named", "left"),
    [
        (["*"], ["layers.0.q_proj", "layers.1.c_attn", "lm_head"], [], 4),
        (["lm_head"], ["lm_head"], ["lm_head"], 0),
        (["model.layers.1.*"], ["layers.1.c_attn"], [], 1),
        (
            ["layers.*", "layers.0.q_proj"],
            ["layers.0.q_proj", "layers.1.c_attn"],
            ["layers.0.q_proj"],
            3,
        ),
    ],
)
def test_choice(patterns, layers, named, left):
    chosen = choose_layers(modules(), patterns)
    assert list(chosen.layers) == layers
    assert chosen.named == set(named)
    assert len(chosen.left) == left


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        (
            "layers.?.mlp.experts",
            f"'layers.?.mlp.experts' matches nothing that can be captured: 2 MixtralExperts"
            f" (layers.0.mlp.experts and 1 more): {EXPERTS}.",
        ),
        (
            "head",
            "no linear layer matches 'head'; there are layers.0.q_proj, layers.1.c_attn, lm_head.",
        ),
    ],
)
def test_patterns_that_match_no_layer(pattern, sentence):
    with pytest.raises(UserError) as caught:
        choose_layers(modules(), [pattern])
    assert str(caught.value) == sentence


def test_a_wrong_layer_of_many():
    many = {f"model.layers.{n}.mlp.up_proj": Linear(1, 1) for n in range(100)}
    with pytest.raises(UserError) as caught:
        choose_layers(modules(**many), ["layers.31.mlp.upp_proj"])
    assert str(caught.value).startswith(
        "no linear layer matches 'layers.31.mlp.upp_proj'; nearest of 103 are layers.31.mlp.up_proj"
    )


def test_no_layers_at_all():
    with pytest.raises(UserError, match=r"^no linear layer matches '\*'; there are none\.$"):
        choose_layers(sort_modules([], Linear, Conv1D), ["*"])


PROJECTIONS = ("q_proj", "o_proj", "up_proj", "down_proj")
LLAMA = {
    "model.embed_tokens": Embedding(weight=Weight(5, 2)),
    **{
        f"model.layers.0.{name}": Linear(2, 2)
        for name in ("q_proj", "o_proj", "up_proj", "down_proj")
    },
    "lm_head": Linear(5, 2),
}


def kinds(**others):
    return kinds_of(sort_modules({**LLAMA, **others}.items(), Linear, Conv1D))


def test_kinds_of_linear_layers():
    assert [(kind, linear.name) for kind, linear, _ in kinds()] == [
        ("qkv", "layers.0.q_proj"),
        ("o", "layers.0.o_proj"),
        ("u", "layers.0.up_proj"),
        ("d", "layers.0.down_proj"),
    ]


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        (
            {"model.layers.0.mlp.experts": experts()},
            f"all weights must be in linear layers, got 1 MixtralExperts (layers.0.mlp.experts):"
            f" {EXPERTS}.",
        ),
        (
            {"transformer.c_attn": Conv1D(weight=Weight(2, 2))},
            "linear layers must be named q_proj, k_proj, v_proj, qkv_proj, o_proj, out_proj,"
            " gate_proj, up_proj, gate_up_proj, fc1, down_proj, fc2, got transformer.c_attn.",
        ),
    ],
)
def test_a_model_whose_weights_would_stay_is_refused(others, sentence):
    """The search and pruning would otherwise measure a model of which they change a part."""
    with pytest.raises(UserError) as caught:
        kinds(**others)
    assert str(caught.value) == sentence
