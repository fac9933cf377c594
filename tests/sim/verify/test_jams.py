"""Closed ports: every waiting cycle is counted by the events that are meant to, and by no other."""

import pytest
from nibbleforge.golden import dense
from nibbleforge.golden.anda.compressed import COMPRESSED
from nibbleforge.golden.anda.config import AndaConfig
from nibbleforge.golden.dense import DenseConfig
from nibbleforge.golden.dequantizer import DequantizerConfig
from nibbleforge.golden.grouped import GroupScales
from nibbleforge.golden.nm import unit as nm
from nibbleforge.golden.nm.config import NMConfig
from nibbleforge.golden.sparqle import unit as sparqle
from nibbleforge.golden.sparqle.config import SparqleConfig
from nibbleforge.golden.units import UNITS
from nibbleforge.sim.run.native import Model
from nibbleforge.sim.verify.jams import check_jams, declared

DESIGNS = {
    design.name: (design, config)
    for unit in UNITS.values()
    for config in (unit.presets["tiny"],)
    for design in unit.designs(config)
}
CASES = [
    *(case for case in DESIGNS.values() if declared(*case)),
    (
        DESIGNS["anda_array"][0],
        AndaConfig(group=16, rows=1, columns=2, fp_share=1, sign_plane="serial", asymmetric=True),
    ),
    (
        DESIGNS["anda_array"][0],
        AndaConfig(group=32, rows=4, columns=4, weight_beat=4, add_latency=1, output="fp16"),
    ),
    (DESIGNS["dequantizer"][0], DequantizerConfig(rows=1, columns=2)),
    (DESIGNS["dequantizer"][0], DequantizerConfig(rows=4, columns=2, asymmetric=True)),
    (
        DESIGNS["sparqle_array"][0],
        SparqleConfig(rows=4, columns=2, group=32, chunk=8, max_k=200, weight_banks=3),
    ),
]
GROUPS = GroupScales(weight_group=64)
HYBRID = SparqleConfig(rows=4, columns=2, group=8, chunk=8, sharing=2, max_k=384, dequant=GROUPS)
JOINED = [
    (dense.GROUPED, DenseConfig(rows=4, columns=2, dequant=GROUPS)),
    (dense.GROUPED_2K, DenseConfig(passes=1, rows=4, columns=2, dequant=GROUPS)),
    (sparqle.GROUPED, HYBRID),
    (sparqle.GROUPED, HYBRID.replace(asymmetric=True, sharing=1)),
    (nm.GROUPED, NMConfig(rows=4, columns=2, span=2, dequant=GROUPS)),
    (COMPRESSED, AndaConfig(group=32, rows=2, columns=4, output="anda")),
]
CASES += JOINED
QUICK, DEEP = (*DESIGNS.values(), JOINED[0]), (JOINED[-1],)


def mark(case):
    """The mark of a case that is not quick."""
    return () if case in QUICK else pytest.mark.deep if case in DEEP else pytest.mark.slow


@pytest.mark.parametrize(
    ("design", "config"),
    [pytest.param(*case, marks=mark(case), id=case[0].name) for case in CASES],
)
def test_waiting_cycles_are_counted_one_for_one(design, config):
    model = Model(design, config, optimise="quick")
    found = check_jams(design, config, lambda s, gates: model.run(s.beats, gates=gates).seen)
    assert not found, found[0]


@pytest.mark.parametrize(("design", "config"), JOINED, ids=lambda value: getattr(value, "name", ""))
def test_every_port_of_a_joined_design_is_waited_for(design, config):
    waited = {port for event in design.events(config) for port in event.waits_for}
    assert waited == {port.name for port in design.ports(config)}
