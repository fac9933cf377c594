"""Generated cores as the tools of a user see them."""

import json
import re

import pytest
from nibbleforge.golden.contract.errors import UserError
from nibbleforge.golden.units import core_name, unit
from nibbleforge.hw.soc.axi import signals
from nibbleforge.hw.soc.generate import generate_core
from nibbleforge.sim.run import verilator

NAMES = ["dense2k", "sparqle", "dequantizer", *(pytest.param(n, marks=pytest.mark.slow) for n in
                                 ("dense", "anda", "figna", "fp16", "fp16_int4", "nm", "reglu",
                                  "compressor", "bitmap"))]  # fmt: skip


def core(inner):
    owner = unit(core_name(inner))
    config = owner.presets["tiny"]
    return owner.designs(config)[-1], config


def generated(inner, **options):
    return generate_core(*core(inner), inner, **options)


def members(inner):
    design, config = core(inner)
    return signals(config, design.inner)


@pytest.mark.parametrize("name", NAMES)
def test_verilator_has_no_warnings(name, tmp_path):
    found = generated(name)
    found.write(tmp_path)
    sources = [tmp_path / f"{found.name}.v"]
    assert verilator.lint(sources, found.name, [tmp_path / f"{found.name}.vlt"]) == []


@pytest.mark.parametrize("name", ["dense2k", "reglu"])
def test_interfaces_have_the_names_of_axi(name):
    found, known = generated(name, name="mine"), members(name)
    top = re.search(r"^module mine\b(.*?)\);", found.verilog, re.MULTILINE | re.DOTALL)[1]
    assert set(re.findall(r"(\w+)\s*(?:,|$)", top.strip().strip("("))) == set(known)
    modules = re.findall(r"^module (\w+)", found.verilog, re.MULTILINE)
    assert all(name.startswith("mine") for name in modules)
    assert {"s_axis_tlast", "m_axis_tlast"} & set(known) == {"m_axis_tlast"}
    assert ("m_axi_arvalid" in known) == (name == "reglu")
    manifest = json.loads(found.files["mine.json"])
    assert manifest["top"] == "mine"
    assert manifest["clock"]["name"] == "axi_aclk"
    assert found.files["mine.vh"].count("(") == len(known) + 1
    assert [kind for kind in manifest["interfaces"] if kind.startswith("m_axi")] == (
        ["m_axis", "m_axi"] if name == "reglu" else ["m_axis"]
    )


def test_a_manifest_says_how_streams_are_packed():
    manifest = json.loads(generated("bitmap").files["core_bitmap_encoder.json"])
    assert [(port["port"], port["name"]) for port in manifest["packets"]] == [(0, "dense")]
    packets = manifest["result_packets"]
    assert [(port["port"], port["name"]) for port in packets] == [(0, "bitmap"), (1, "values")]
    assert [(port["bits_a_beat"], port["words_a_beat"]) for port in packets] == [(9, 1), (8, 1)]
    assert [field["name"] for field in packets[0]["fields"]] == ["mask", "last"]
    assert "results" not in manifest


def test_a_manifest_says_how_rows_lie_in_memory():
    rows = json.loads(generated("reglu").files["core_reglu_ffn.json"])["rows"]
    assert rows["bytes_a_beat"] == 4
    assert [field["name"] for field in rows["fields"]] == ["value", "word"]
    assert rows["matrices"][:2] == [
        {"name": "a", "most_beats": 5, "beats": "x_beats"},
        {"name": "b", "most_beats": 2, "beats": "b_beats"},
    ]


@pytest.mark.parametrize("name", ["reglu", "anda", "dequantizer"])
def test_every_net_of_what_surrounds_a_unit_has_a_name(name):
    verilog = generated(name).verilog
    modules = re.findall(r"^module (\w+) \((.*?)^endmodule", verilog, re.MULTILINE | re.DOTALL)
    around = [body for module, body in modules if not module.endswith(("_dequantizer", "_engine"))]
    assert len(around) > 5
    assert not [net for body in around for net in re.findall(r"\b_\d+_\b", body)]
    assert "signal" not in re.findall(r"\w+", "".join(around))


def test_states_go_by_their_names():
    verilog = generated("dense2k").verilog
    for state in ("HEADER", "CHECK", "DRAIN", "WORDS"):
        assert re.search(rf"^  localparam \[1:0\] {state} = 2'h[0-3];$", verilog, re.MULTILINE)
    assert len(re.findall(r"^ +fsm_state <= [A-Z]+;$", verilog, re.MULTILINE)) > 4
    assert re.search(r"^ +CHECK: begin$", verilog, re.MULTILINE)
    assert not re.search(r"fsm_state (?:[=!]=|<?=) \d", verilog)


def test_what_passes_between_parts_is_named_after_the_part_that_gives_it():
    verilog = generated("anda").verilog
    assert "    .read_half(tokens_side_read_half),\n" in verilog
    assert "    .below(row_1_results),\n    .results(row_0_results)\n" in verilog
    assert len(re.findall(r"\.factors\(factors\)", verilog)) > 1


def test_buffers_are_meant_for_block_ram_and_every_case_is_complete():
    verilog = generated("dense2k").verilog
    assert verilog.count('ram_style = "block"') >= 5
    assert "column_0[0] =" not in verilog
    assert not re.findall(r"\b[A-Za-z]\w*_\b", verilog)  # a keyword that became a name
    assert verilog.count("endcase") == len(re.findall(r"^\s*default:", verilog, re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a b", "a module name must be a Verilog identifier, got 'a b'."),
        ("module", "a module name must not be a keyword of Verilog, got 'module'."),
    ],
)
def test_illegal_names(name, sentence):
    with pytest.raises(UserError) as caught:
        generated("dense2k", name=name)
    assert str(caught.value) == sentence
