import json

import numpy as np
import pytest
from nibbleforge.golden.arithmetic.quantise import quantise_weights
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.nm.format import dense, quantise_sparse, unpack
from nibbleforge.golden.nm.pattern import Pattern
from nibbleforge.golden.nm.prune import METHODS, Calibration, prune
from nibbleforge.sim.llm.prune import Outcome, Perplexities, measure, report_of, write_weights

needs_llm = pytest.mark.needs("torch", "transformers")

two_of_four = Pattern(2, 4)


def weights_of(model):
    return {
        linear.name: module.weight.numpy(force=True).copy() for _, linear, module in model.layers
    }


def same(some, others):
    return some.keys() == others.keys() and all(np.array_equal(some[n], others[n]) for n in some)


def layers_after(model, pattern, method):
    """The INT4 weights that are left, by layer."""
    left = {}
    measure(model, pattern, [method], on_pruned=lambda _, layers: left.update(layers))
    return left


def put(model, weights):
    import torch

    for _, linear, module in model.layers:
        module.weight.data = torch.from_numpy(weights[linear.name].copy())


class Inputs:
    """What goes into every layer while the model runs, by a pass of its own per window."""

    def __init__(self, model):
        self.model = model

    def of_first_piece(self, context):
        import torch

        seen = {linear.name: [] for _, linear, _ in self.model.layers}
        hooks = [
            module.register_forward_pre_hook(
                lambda _, args, name=linear.name: seen[name].append(args[0][0].numpy().copy())
            )
            for _, linear, module in self.model.layers
        ]
        ids = self.model.pieces[0]
        with torch.no_grad():
            for first in range(0, len(ids) - context + 1, context):
                self.model.network(ids[None, first : first + context], use_cache=False)
        for hook in hooks:
            hook.remove()
        return seen


@needs_llm
class TestModel:
    def test_figures_are_those_of_models_made_by_hand(self, opened):
        """Magnitude needs no calibration: put the weights in and measure."""
        model = opened()
        before = weights_of(model)
        outcome = measure(model, two_of_four, ["magnitude"], group=32)
        pruned = {name: prune(w, two_of_four) for name, w in before.items()}
        variants = {
            "dense": before,
            "dense int4": {
                name: quantise_weights(w, "group", 32).dequantise() for name, w in before.items()
            },
            "pruned": {name: p.weights for name, p in pruned.items()},
            "pruned int4": {
                name: quantise_sparse(*p, group=32).weights.dequantise()
                for name, p in pruned.items()
            },
        }
        by_hand = []
        for weights in variants.values():
            put(model, weights)
            by_hand.append(model.perplexity(None, held_out=True))
        put(model, before)
        found = [outcome.dense, outcome.pruned["magnitude"]]
        assert [p for pair in found for p in (pair.unquantised, pair.int4)] == by_hand
        assert len(set(by_hand)) == 4

    def test_the_model_is_left_as_it_was(self, opened):
        model = opened()
        before, perplexity = weights_of(model), model.perplexity(None)
        outcome = measure(model, two_of_four, METHODS)
        assert list(outcome.pruned) == list(METHODS)
        assert len({found.int4 for found in outcome.named().values()}) == 4
        assert same(weights_of(model), before)
        assert model.perplexity(None) == perplexity

    def test_the_model_is_left_as_it_was_by_ctrl_c(self, opened):
        model = opened()
        before = weights_of(model)

        def stop(stage, done, total):
            if (stage, done) == ("prune wanda", 1):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            measure(model, two_of_four, METHODS, progress=stop)
        assert same(weights_of(model), before)
        assert not any(module._forward_pre_hooks for module in model.network.modules())

    @pytest.mark.parametrize("method", METHODS)
    def test_blocks_see_pruned_blocks_before_them(self, opened, method):
        """Prune a block by hand, run everything again, prune the next one."""
        model = opened(tokens=70, context=32)  # six tokens too many for whole windows
        before = weights_of(model)
        left = layers_after(model, two_of_four, method)
        expected = {}
        for block in range(2):
            seen = Inputs(model).of_first_piece(32)
            assert {len(pieces) for pieces in seen.values()} == {2}
            weights = weights_of(model)
            for name in [name for name in before if name.startswith(f"layers.{block}.")]:
                calibration = Calibration.empty(before[name].shape[1])
                for piece in seen[name]:
                    calibration.add(piece)
                pruned = prune(before[name], two_of_four, method, calibration)
                expected[name] = quantise_sparse(*pruned)
                weights[name] = pruned.weights
            put(model, weights)
        put(model, before)
        assert expected.keys() == left.keys()
        for name, layer in expected.items():
            differing = np.mean(layer.weights.q != left[name].weights.q)
            assert differing < 0.01, name  # windows in one batch round a little differently

    def test_dense_pattern_costs_nothing_more(self, opened):
        outcome = measure(opened(), Pattern(8, 8), METHODS)
        for found in outcome.pruned.values():
            assert found == outcome.dense

    def test_progress(self, opened):
        steps = []
        measure(opened(), two_of_four, ["wanda"], progress=lambda *step: steps.append(step))
        stages = list(dict.fromkeys(stage for stage, _, _ in steps))
        assert stages == ["perplexity", "prune wanda"]
        assert [step[1:] for step in steps if step[0] == "prune wanda"] == [(0, 2), (1, 2), (2, 2)]

    def test_refuses_layers_outside_of_blocks(self, opened, network):
        import torch

        network.fc1 = torch.nn.Linear(2, 2)
        try:
            with pytest.raises(UserError) as caught:
                measure(opened(), two_of_four, METHODS)
        finally:
            del network.fc1
        sentence = "linear layers must be in numbered blocks to be pruned, got fc1."
        assert str(caught.value) == sentence


# --- results --------------------------------------------------------------------------------------


def test_report():
    outcome = Outcome(Perplexities(20.0, 21.0), {"wanda": Perplexities(30.0, float("inf"))})
    report = report_of({"model": "m"}, Pattern(8, 16), 64, outcome)
    assert report == {
        "settings": {"model": "m"},
        "pattern": "8:16",
        "metadata": "bitmap",
        "group": 64,
        "calibration": "block by block, inputs from the pruned blocks before",
        "bits_per_weight": {"dense_int4": 4.25, "pruned_int4": 3.25},
        "held_out_perplexity": {
            "dense": {"unquantised": 20.0, "int4": 21.0},
            "wanda": {"unquantised": 30.0, "int4": None},
        },
    }


def test_packed_weights_read_back(tmp_path):
    rng = np.random.default_rng(1)
    shapes = {"layers.0.a": (6, 37), "layers.1.b": (3, 128)}
    layers = {
        name: quantise_sparse(*prune(rng.normal(size=shape), two_of_four))
        for name, shape in shapes.items()
    }
    write_weights(tmp_path, "second-order", layers, two_of_four)
    with np.load(tmp_path / "weights-second-order.npz") as file:
        meta = json.loads(str(file["meta"]))
        assert meta == {
            "pattern": "2:4",
            "metadata": "index",
            "beat_bits": 8,
            "group": 128,
            "shapes": {name: list(shape) for name, shape in shapes.items()},
        }
        for name, (_, in_features) in shapes.items():
            stored = unpack(file[f"{name}/packed"], two_of_four, 8, in_features)
            q = dense(*stored, two_of_four, in_features)
            assert np.array_equal(q, layers[name].weights.q)
            assert np.array_equal(file[f"{name}/scale"], layers[name].weights.scale)
