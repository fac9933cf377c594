"""``nibbleforge capture``: what it prints; no model is run."""

import json

import numpy as np
from nibbleforge.scripts.commands import capture as module
from nibbleforge.sim.tensors.files import CAPTURE_FORMAT, Capture


def test_says_what_is_left_out(run, tmp_path, monkeypatch):
    left = [
        {"kind": "Experts", "count": 3, "first": "layers.0.experts", "why": "no [matrix]"},
        {"kind": "Embedding", "count": 1, "first": "wte", "why": "its rows are looked up"},
    ]

    def fake(model, layers, tokens, *, output, **_):
        meta = np.array(json.dumps({"format": CAPTURE_FORMAT, "left_out": left}))
        np.savez(output, meta=meta, **{"q/x": np.ones((4, 6)), "q/w": np.ones((3, 6))})
        return Capture.open(output)

    monkeypatch.setattr(module, "capture", fake)
    done = run("capture", "--model", "m", "--layer", "*", "-o", tmp_path / "c.npz")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[-3:-1] == [
        "left out: 3 Experts (layers.0.experts and 2 more): no [matrix]",
        "left out: 1 Embedding (wte): its rows are looked up",
    ]
