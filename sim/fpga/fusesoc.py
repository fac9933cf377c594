"""Flow ``fusesoc``: a core described for FuseSoC, with targets that check and simulate it.

Source of the format: FuseSoC's user guide, CAPI2.
"""

from ...golden.contract.design import Design
from ...golden.soc.config import ShellConfig
from ...golden.version import VERSION
from ...hw.soc.generate import GeneratedCore
from .folder import Added, Flow
from .testbench import bench_of
from .text import filled


def add(core: GeneratedCore, design: Design, config: ShellConfig) -> Added:
    """The description, and the testbench that it names."""
    top = core.name
    bench = bench_of(core, design, config, f"`--pauses` behind `{top}`")
    described = filled(
        "fusesoc.core",
        top=top,
        version=VERSION,
        summary=core.manifest["summary"],
        bench=bench.name,
        vectors="\n".join(
            f"      - {name}: {{file_type: user, copyto: {name}}}" for name in bench.vectors
        ),
    )
    run = "fusesoc --cores-root . run --target"
    return Added(
        {f"{top}.core": described, **bench.files},
        (
            f"* `{top}.core`: the core for FuseSoC; `lint` needs Verilator on PATH, `sim` Icarus.",
            *bench.notes,
        ),
        (f"{run}=lint {top}", f"{run}=sim {top}"),
    )


FLOW = Flow("fusesoc", add)
