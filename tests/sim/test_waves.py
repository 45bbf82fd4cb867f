"""Waveforms: both formats tell the same, other people's reader finds the protocol kept, pictures and view files are written."""

from itertools import pairwise

import numpy as np
import pytest
from vcdvcd import VCDVCD

from sim.toolchain import ToolchainError
from sim.unit_bench import UnitBench
from sim.waves import Waves, draw, main, telling, write_view

from .examples import Forwarder

FROM, TO = 5, 45


def dump(directory, kind, fault=""):
    file = directory / f"{fault or 'good'}.{kind}"
    with UnitBench(Forwarder(fault), trace=kind) as bench:
        bench.monitor(False)
        bench.waves(file, FROM, TO)
        out = bench.collect("o", stall="0110100", seed=3)
        bench.feed("i", np.arange(60, dtype=np.uint32), stall=0.2, seed=4)
        bench.tick(80)
        return file, out.cycles.tolist()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return dump(tmp_path_factory.mktemp("waves"), "vcd")


def stable_while_stalled(file) -> bool:
    """The stream ``o`` in a VCD, read by vcdvcd: payload and valid hold from one cycle to the next unless ready was there."""
    vcd = VCDVCD(str(file))
    names = {part: next(name for name in vcd.references_to_ids if name.startswith(f"top.o__{part}"))
             for part in ("valid", "ready", "payload")}
    cycles = [tuple(vcd[names[part]][2 * cycle] for part in names) for cycle in range(FROM, TO)]
    return all((after[0], after[2]) == ("1", payload)
               for (valid, ready, payload), after in pairwise(cycles) if (valid, ready) == ("1", "0"))


def test_dumped_stream_keeps_its_protocol_and_a_bad_one_does_not(good, tmp_path):
    assert stable_while_stalled(good[0])
    assert not stable_while_stalled(dump(tmp_path, "vcd", "changes payload")[0])


def test_window_is_exact_and_values_are_those_of_the_run(good):
    file, cycles = good
    waves = Waves(file)
    assert (waves.start, waves.end) == (FROM, TO)
    valid, ready = waves.values("top.o__valid"), waves.values("top.o__ready")
    seen = [FROM + n for n, both in enumerate(zip(valid, ready, strict=True)) if both == (1, 1)]
    assert seen == [cycle for cycle in cycles if FROM <= cycle < TO]


def test_fst_tells_the_same_as_vcd(good, tmp_path):
    try:
        file, _ = dump(tmp_path, "fst")
    except ToolchainError as error:
        pytest.skip(str(error))
    vcd, fst = Waves(good[0]), Waves(file)
    assert fst.names(r"^top\.") and all(vcd.values(name) == fst.values(name) for name in fst.names(r"^top\.[io]__"))


def test_picture_text_and_views(good, tmp_path, capsys):
    waves = Waves(good[0])
    names = telling(waves)
    assert any("valid" in name for name in names)
    draw(waves, names, tmp_path / "w.png")
    assert (tmp_path / "w.png").read_bytes()[:4] == b"\x89PNG"
    for ending in ("gtkw", "sucl"):
        write_view(waves, good[0], names, tmp_path / f"w.{ending}")
        assert "o__valid" in (tmp_path / f"w.{ending}").read_text()
    assert main(["print", str(good[0]), "o__"]) == 0
    assert "top.o__payload=" in capsys.readouterr().out


def test_not_a_waveform_is_one_line(tmp_path, capsys):
    (tmp_path / "x.vcd").write_bytes(b"\0\1nonsense")
    with pytest.raises(SystemExit) as stop:
        main(["list", str(tmp_path / "x.vcd")])
    assert stop.value.code == 1 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name, content, message", [
    ("empty.vcd", b"", "is empty: no waveform"), ("noise.fst", bytes(range(7, 250)), "is not a readable VCD or FST file"),
    ("cut.vcd", b"$date now $end\n$scope module top $end\n\xff\xfe", "is not a readable VCD or FST file"),
])
def test_damaged_files_are_refused_in_one_line(name, content, message, tmp_path, capfd):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Waves(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        Waves(tmp_path / "none.fst")
    assert capfd.readouterr().err == "", "the reader's back trace is kept back"
