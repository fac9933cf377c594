"""Every output of the register list, read back against the list."""

import re
import subprocess

import pytest
from nibbleforge.golden.soc.unit import registers
from nibbleforge.golden.units import core_name, unit
from nibbleforge.hw.soc.documents import c_header, markdown, python_accessors


def map_of(name):
    core = unit(core_name(name))
    config = core.presets["tiny"]
    (design,) = core.designs(config)
    return registers(design.inner, config)


@pytest.fixture(params=["dense2k", "dequantizer", "nm", "reglu", "sparqle"])
def known(request):
    return map_of(request.param)


def mask(field):
    return ((1 << field.width) - 1) << field.lsb


def named_fields(register):
    one = len(register.fields) == 1 and register.fields[0].name == register.name
    return () if one else register.fields


def test_c_header(known, tmp_path):
    """A C++ compiler, which takes C headers, prints the value of every macro."""
    header = c_header(known)
    prefix = known.name.upper()
    names = re.findall(rf"^#define {prefix}_(\w+) \S", header, re.MULTILINE)
    prints = "".join(f'printf("{n} %lu\\n", (unsigned long){prefix}_{n});' for n in names)
    (tmp_path / "core.h").write_text(header)
    (tmp_path / "main.cpp").write_text(
        f'#include <cstdio>\n#include "core.h"\n#include "core.h"\nint main() {{ {prints} }}\n'
    )
    command = ["g++", "-Wall", "-Werror", "main.cpp", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    found = {name: int(value) for name, value in map(str.split, printed.stdout.splitlines())}
    expected = {}
    for register in known.registers:
        name = register.name.upper()
        expected[name] = register.offset
        if register.access == "constant":
            expected[f"{name}_VALUE"] = register.value
        for field in named_fields(register):
            expected[f"{name}_{field.name.upper()}"] = mask(field)
    assert found == expected


def test_python_accessors(known):
    namespace = {}
    exec(python_accessors(known), namespace)
    memory = {register.offset: 3 * register.offset + 1 for register in known.registers}
    written = []
    core = namespace["Registers"](memory.__getitem__, lambda *access: written.append(access))
    for register in known.registers:
        for field in named_fields(register):
            constant = f"{register.name.upper()}_{field.name.upper()}"
            assert getattr(core, constant) == mask(field)
        if register.access == "counter":
            continue
        assert getattr(core, register.name) == memory[register.offset]
        if register.written:
            setattr(core, register.name, 7)
            assert written.pop() == (register.offset, 7)
        else:
            with pytest.raises(AttributeError):
                setattr(core, register.name, 7)
    assert core.counters() == {
        event.name: memory[known[f"{event.name}_low"].offset]
        | memory[known[f"{event.name}_high"].offset] << 32
        for event in known.events
    }


def test_table(known):
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in markdown(known).splitlines()
        if line.startswith("| 0x")
    ]
    expected = []
    for register in known.registers:
        for field in register.fields:
            top = field.lsb + field.width - 1
            bits = str(field.lsb) if field.width == 1 else f"{top}..{field.lsb}"
            where = [f"0x{register.offset:03x}", register.name, register.access]
            expected.append([*where, bits, field.name])
    assert [row[:5] for row in rows] == expected
    assert all(row[5] for row in rows)
