"""Kernels and schedules as text and back; the commands for them; files that are damaged."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from coe_app.kernels import copy_kernel, network_kernel
from hw.config import preset
from hw.host.instructions import INSTRUCTIONS, ScheduleError, disassemble, encode
from sw_driver.assembly import AssemblyError, assemble_kernel, assemble_schedule, kernel_text, schedule_text
from sw_driver.cli import app
from sw_driver.kernel import Kernel, KernelError

CONFIG = preset("small")


@pytest.mark.parametrize("build", [copy_kernel, network_kernel])
def test_a_kernel_survives_its_text(build):
    kernel = build(CONFIG)
    again = assemble_kernel(kernel_text(kernel, CONFIG))
    assert (again.name, again.group, again.config_digest) == (kernel.name, kernel.group, kernel.config_digest)
    assert again.arguments == kernel.arguments
    for unit, words in kernel.programs.items():
        assert {word: value for word, value in again.programs[unit].items() if value} == {w: v for w, v in words.items() if v}


@pytest.mark.parametrize("text, message", [
    ("", "no kernel in it"), ("unit agcu0", "line 1: the first line must be"),
    ('kernel "k" preset huge group 0', "line 1: unknown preset 'huge'"),
    ('kernel "k" preset small group 0\n\nunit agcu9', "line 3: no unit 'agcu9'"),
    ('kernel "k" preset small group 0\nunit agcu0\n  core.load7.base = 1', "line 3: program has no field"),
    ('kernel "k" preset small group 0\nunit agcu0\n  launch.enable = 2', "line 3: launch.enable=2 does not fit in 1 bits"),
    ('kernel "k" preset small group 0\nunit agcu0\n  launch.enable = x', "line 3: 'x' is no integer"),
    ('kernel "k" preset small group 9\nunit agcu0', "group 9 does not exist: preset small has 2"),
    ('kernel "k" preset small group 0\nunit agcu0\nargument a = agcu0.core', "line 3: agcu0.core is no field of its own"),
    ('kernel "k" preset small group 0\nunit agcu0\nargument a = agcu1.launch.enable', "argument a: it is in a unit, or a part of one"),
    ('kernel "k" preset small group 0\nwhat', "line 2: cannot read 'what'"),
    ('kernel "k" preset small group 0\nargument a = pcu(9,9).core', r"line 2: no unit 'pcu\(9,9\)'"),
])
def test_bad_kernel_text_names_the_line(text, message):
    with pytest.raises(AssemblyError, match=message):
        assemble_kernel(text)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(sorted(INSTRUCTIONS)), st.integers(0)), min_size=1, max_size=20))
def test_a_schedule_survives_its_text(choices):
    words = []
    for opcode, seed in choices:
        rng = random.Random(seed)
        values = {name: rng.randrange(4 if name == "compare" else 1 << field.width)
                  for name, (_, field) in INSTRUCTIONS[opcode].fields.items()}
        words += encode(opcode, **values)
    assert assemble_schedule(schedule_text(words)).tolist() == words


def test_bad_schedule_text():
    for text, message in (("JUMP", "line 1: no instruction 'JUMP'"), ("END\nLOOP r=16", "line 2: LOOP: r=16 does not fit"),
                          ("LOOP q=1", "has no field 'q'"), ("LOOP r=x", "line 1: 'x' is no integer"),
                          ("END 3", "line 1: cannot read '3'"), ("", "no instruction in it")):
        with pytest.raises(AssemblyError, match=message):
            assemble_schedule(text)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 0xFFFF_FFFF), max_size=30))
def test_any_words_are_a_schedule_or_refused(words):
    try:
        lines = disassemble(words)
    except ScheduleError:
        return
    assert sum(line.instruction.words for line in lines) == len(words)


def test_fuzzed_files_are_refused_in_one_line(tmp_path):
    """Bytes changed, cut off, added; and bodies that are whole by their hash and make no sense."""
    path, rng = tmp_path / "k.rdu", random.Random(1)
    kernel = copy_kernel(CONFIG)
    kernel.save(path)
    whole = path.read_bytes()
    for _ in range(150):
        raw = bytearray(whole)
        match rng.randrange(3):
            case 0:
                raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            case 1:
                del raw[rng.randrange(len(raw)):]
            case 2:
                raw += rng.randbytes(rng.randrange(1, 9))
        path.write_bytes(raw)
        with pytest.raises(KernelError):
            Kernel.load(path, CONFIG)
    refused = 0
    for _ in range(300):
        body = bytearray(whole[40:])
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(4 + struct.unpack_from("<I", body)[0] + 20 if rng.random() < 0.8 else len(body))
            body[place % len(body)] = rng.randrange(256)
        path.write_bytes(_signed(bytes(body)))
        try:
            assert isinstance(Kernel.load(path, CONFIG), Kernel)
        except KernelError:
            refused += 1
    assert refused > 100
    with pytest.raises(KernelError, match="build it for this preset"):
        kernel.save(path)
        Kernel.load(path, preset("tiny"))


def _signed(body: bytes) -> bytes:
    import hashlib
    return struct.pack("<4sI32s", b"RDU\x01", len(body), hashlib.sha256(body).digest()) + body


def test_commands(tmp_path):
    runner, kernel, files = CliRunner(), copy_kernel(CONFIG), {name: tmp_path / name for name in ("k.rdu", "k.txt", "s.sched", "s.bin")}
    kernel.save(files["k.rdu"])
    shown = runner.invoke(app, ["disasm", str(files["k.rdu"])])
    assert shown.exit_code == 0 and 'kernel "copy" preset small group 1\n' in shown.output
    files["k.txt"].write_text(shown.output)
    assert runner.invoke(app, ["asm", str(files["k.txt"]), "-o", str(tmp_path / "again.rdu")]).exit_code == 0
    assert Kernel.load(tmp_path / "again.rdu", CONFIG).arguments == kernel.arguments
    files["s.sched"].write_text("COMPUTE r=1 value=7   # seven\nSIGNAL r=1\nEND\n")
    assert runner.invoke(app, ["asm", str(files["s.sched"]), "-o", str(files["s.bin"])]).exit_code == 0
    assert np.frombuffer(files["s.bin"].read_bytes(), np.uint32).tolist() == [0x14, 7, 0x17, 0, 0]
    assert runner.invoke(app, ["disasm", str(files["s.bin"])]).output == "COMPUTE r=1 value=7\nSIGNAL r=1\nEND\n"
    assert "#define ORDU_SCHEDULE 0x08cu" in runner.invoke(app, ["regs", "--form", "c"]).output
    assert "| `DOORBELL` |" in runner.invoke(app, ["regs", "--form", "markdown"]).output
