import json
import math
from dataclasses import dataclass, field

import pytest
from nibbleforge.golden.anda.search import BopsWeights
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.llm import Linear, llm
from nibbleforge.sim.llm.model import Source
from nibbleforge.sim.llm.perplexity import read
from nibbleforge.sim.llm.search import (
    RECORD,
    RESULT,
    anda_settings,
    perplexity_of,
    prefill_cycles,
    search,
    state_of,
    weights_of,
)

KIND_OF = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "o_proj": "o", "down_proj": "d"}
SMOLLM2 = llm("smollm2-135m")
LINEARS = [(KIND_OF.get(x.name, "u"), x) for x in SMOLLM2.linears] * SMOLLM2.blocks
SETTINGS = {"loss": 0.01, "tokens": 4, "text": "a", "model_sha256": {"m": "0"}}
LEAST = (7, 6, 5, 8)
REFERENCE = 20.0


@dataclass
class Fake:
    """A model that bears some mantissa lengths and nothing below; stops after some evaluations."""

    stop: float = math.inf
    bad: float = 40.0
    evaluated: list = field(default_factory=list)
    linears: tuple = tuple(LINEARS)

    def perplexity(self, mantissas, *, held_out=False, progress=None):
        if len(self.evaluated) >= self.stop:
            raise KeyboardInterrupt
        self.evaluated.append((mantissas, held_out))
        good = mantissas is None or all(m >= x for m, x in zip(mantissas, LEAST, strict=True))
        perplexity = REFERENCE if mantissas is None else 20.1 if good else self.bad
        return perplexity + 5 * held_out


def run(folder, fake, settings=SETTINGS, **options):
    """The outcome, and the rounds shown."""
    shown = []
    outcome = search(
        settings,
        lambda: fake,
        folder,
        on_round=lambda done, reference: shown.append((done, reference)),
        **{"max_rounds": 200} | options,
    )
    return outcome, shown


def refusal(*args, **options):
    with pytest.raises(UserError) as caught:
        run(*args, **options)
    return str(caught.value)


# --- a whole search -------------------------------------------------------------------------------


def test_outcome(tmp_path):
    fake = Fake()
    outcome, shown = run(tmp_path / "new" / "out", fake)
    assert outcome.reference == REFERENCE
    assert outcome.best == LEAST
    assert outcome.saving == pytest.approx(16 * 32 / (5 * 7 + 3 * 6 + 16 * 5 + 8 * 8))
    assert outcome.held_out == [25.0, 25.1]
    assert outcome.cycles[0] / outcome.cycles[1] == pytest.approx(outcome.saving)
    assert shown == [(done, REFERENCE) for done in outcome.rounds]
    assert {state_of(done) for done in outcome.rounds} == {"accepted", "rejected", "dropped"}
    assert fake.evaluated[0] == (None, False)
    assert fake.evaluated[-2:] == [(None, True), (LEAST, True)]


def test_result_file(tmp_path):
    outcome, _ = run(tmp_path, Fake())
    result = json.loads((tmp_path / RESULT).read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, RESULT]
    assert result["settings"] == SETTINGS
    assert result["best"] == list(LEAST)
    assert result["held_out_perplexity"] == {"fp16": 25.0, "best": 25.1}
    assert result["prefill"]["cycles"] == dict(zip(("fp16", "best"), outcome.cycles, strict=True))
    assert result["weights"]["qkv"] / result["weights"]["o"] == 5 / 3
    assert len(result["rounds"]) == len(outcome.rounds)
    assert result["rounds"][0] == {
        "mantissas": [4] * 4,
        "saving": 4.0,
        "perplexity": 40.0,
        "outcome": "rejected",
    }


def test_nothing_passes(tmp_path):
    outcome, _ = run(tmp_path, Fake(), max_rounds=3)
    assert outcome.best is None
    assert (outcome.held_out, outcome.saving) == ([25.0], 1)
    result = json.loads((tmp_path / RESULT).read_text())
    assert result["best"] is None
    assert result["held_out_perplexity"] == {"fp16": 25.0}


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_perplexity_that_is_no_number_fails(tmp_path, bad):
    outcome, _ = run(tmp_path, Fake(bad=bad))
    again, shown = run(tmp_path, Fake(bad=bad))
    assert outcome.best == again.best == LEAST
    assert outcome.rounds == again.rounds == tuple(done for done, _ in shown)
    assert json.loads((tmp_path / RESULT).read_text())["rounds"][0]["perplexity"] is None
    assert len((tmp_path / RECORD).read_text().splitlines()) == 1 + len(outcome.rounds)


@pytest.mark.parametrize(("bad", "state"), [(20.2, "accepted"), (20.2001, "rejected")])
def test_tolerates_the_loss_and_no_more(tmp_path, bad, state):
    outcome, _ = run(tmp_path, Fake(bad=bad), max_rounds=1)
    assert state_of(outcome.rounds[0]) == state
    assert perplexity_of(outcome.rounds[0], REFERENCE) == pytest.approx(bad)


def test_reference_must_be_finite(tmp_path):
    class Broken(Fake):
        def perplexity(self, mantissas, **options):
            return math.inf

    assert refusal(tmp_path / "out", Broken()) == (
        "perplexity with FP16 activations must be finite, got inf."
    )
    assert not any(tmp_path.iterdir())


# --- interruption ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [0, 1, 2, 5, 12])
def test_resumes(tmp_path, stop):
    """Nothing is evaluated twice, and the end is that of a search without interruption."""
    out, first, second = tmp_path / "out", Fake(stop), Fake()
    with pytest.raises(KeyboardInterrupt):
        run(out, first)
    if stop == 0:
        assert not out.exists()
    else:
        assert [path.name for path in out.iterdir()] == [RECORD]
    outcome, shown = run(out, second)
    whole, _ = run(tmp_path / "whole", Fake())
    assert outcome == whole
    assert [done for done, _ in shown] == list(whole.rounds)
    assert not set(first.evaluated) & set(second.evaluated)
    for name in (RECORD, RESULT):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_interrupted_write_keeps_the_record(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Fake(3))
    before = (tmp_path / RECORD).read_bytes()
    write = type(tmp_path).write_text

    def half(path, text, *args):
        write(path, text[: len(text) // 2], *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tmp_path), "write_text", half)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Fake())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {RECORD: before}


def test_goes_on_with_more_rounds(tmp_path):
    run(tmp_path, Fake(), max_rounds=5)
    fake = Fake()
    outcome, _ = run(tmp_path, fake, max_rounds=200)
    assert outcome == run(tmp_path / "whole", Fake())[0]
    assert (None, False) not in fake.evaluated


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"loss": 0.02}, "loss 0.01, not 0.02"),
        ({"text": "b"}, 'text "a", not "b"'),
        ({"model_sha256": {"m": "1"}}, 'model_sha256 {"m": "0"}, not {"m": "1"}'),
        ({"more": 1}, "more none, not 1"),
    ],
)
def test_refuses_other_settings(tmp_path, changes, difference):
    run(tmp_path, Fake(), max_rounds=1)
    before = (tmp_path / RECORD).read_bytes()
    assert refusal(tmp_path, None, settings=SETTINGS | changes) == (
        f"{tmp_path}/{RECORD} records a search with {difference}: choose another folder."
    )
    assert (tmp_path / RECORD).read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"3\n",
        b"\xff",
        b'{"settings": {}, "reference": 1}\n{"mantissas": [1]}\n',
        b'{"settings": {}, "reference": 1}\nhalf a li',
    ],
)
def test_refuses_what_is_no_record(tmp_path, content):
    (tmp_path / RECORD).write_bytes(content)
    assert refusal(tmp_path, None) == f"{tmp_path}/{RECORD} is not the record of a search."


def test_output_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    sentence = refusal(tmp_path / "file", None)
    assert sentence == f"cannot write to {tmp_path}/file: {tmp_path}/file is not a folder."


# --- figures --------------------------------------------------------------------------------------


def test_weights_of_smollm2():
    """Per block, in units of 192 x 192; keys and values are a third as wide as queries."""
    block = BopsWeights(3 * 3 + 2 * 3, 3 * 3, 2 * 3 * 8, 8 * 3)
    assert weights_of(LINEARS) == tuple(192 * 192 * 30 * w for w in block)


def test_cycles_by_hand():
    linears = [("qkv", Linear("a", 65, 17)), ("d", Linear("b", 64, 16))]
    assert prefill_cycles(linears, (5, 1, 1, 7)) == 32 * (2 * 2 * 5 + 7)
    assert prefill_cycles(linears, None) == 32 * (2 * 2 * 16 + 16)


def test_settings_are_json_and_tell_what_is_run(tmp_path):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"abc")
    source = Source(tmp_path, (file,), file.name)
    settings = anda_settings("m", source, read(None, None, 64, 32), 0.01)
    assert json.loads(json.dumps(settings)) == settings
    assert settings["model_sha256"]["m.gguf"].startswith("ba7816bf")
    assert (settings["offset"], settings["tokens"], settings["context"]) == (20_000, 64, 32)
    assert "python" in settings["versions"]
