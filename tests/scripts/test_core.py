"""``core --unit``: generate and regress, and what they refuse."""

import json

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.scripts.options import configure, with_cores


def test_names_of_cores():
    assert with_cores(["core", "dense"], ["nm", "anda"]) == ["core/nm", "core/anda", "dense"]
    for names, inner in ((["core"], []), (["dense"], ["nm"])):
        with pytest.raises(UserError, match=r"^core and --unit belong together: core --unit UNIT"):
            with_cores(names, inner)


def test_parameters_of_the_unit_inside():
    assignments = ["unit.rows=2", "bus_width=64", "depths.x=128", "unit.columns=3"]
    _, config, _ = configure("core/dense2k", "fpga", None, assignments)
    assert (config.unit.rows, config.unit.columns, config.unit.max_k) == (2, 3, 4096)
    assert (config.bus_width, config.depths) == (64, {"x": 128})


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("unit.rows=0", "unit.rows: input should be greater than or equal to 1, got 0."),
        ("unit.nono=1", "unit.nono is not a parameter here; the parameters are "),
        ("nono.rows=1", "core/dense2k has no parameter 'nono'; its parameters are unit."),
    ],
)
def test_refused_parameters(assignment, sentence):
    with pytest.raises(UserError) as caught:
        configure("core/dense2k", "fpga", None, [assignment])
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("name", "buffers"), [("dense2k", "x, w"), ("bitmap", "bitmap, values, pairs, dense")]
)
def test_depths_of_buffers_that_are_not_there(name, buffers):
    owner, config, _ = configure(f"core/{name}", "tiny", None, ["depths.nono=64"])
    with pytest.raises(UserError) as caught:
        owner.designs(config)
    expected = f"depths.nono: there is no such buffer; the buffers are {buffers}."
    assert str(caught.value) == expected


def test_generate(run, tmp_path):
    out = tmp_path / "out"
    run("generate", "core", "--unit", "dense2k", "--preset", "tiny", "-o", out)
    top = "core_dense2k_array"
    names = [f"{top}{end}" for end in (".v", ".json", ".vh", ".vlt", ".h", "_registers.py")]
    assert {path.name for path in out.iterdir()} == {*names, f"{top}_registers.md"}
    manifest = json.loads((out / f"{top}.json").read_text())
    assert manifest["unit"] == "dense2k"
    assert [port["name"] for port in manifest["packets"]] == ["x", "w"]
