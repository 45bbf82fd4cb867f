"""Windows of waveforms that a kernel or a fault opens."""

from pathlib import Path

import pytest

from hw.host.registers import register
from sim.triggers import TriggeredWaves, parse_trigger

EXECUTE, FAULT = register("EXECUTE").address, register("FAULT").address


class Recorder:
    """A backend that only keeps which windows were asked for, and writes their first cycle into the file."""

    def __init__(self):
        self.cycles, self.windows, self.fault = 0, [], 0

    def reg_write(self, address, value):
        self.cycles += 4

    def reg_read(self, address):
        self.cycles += 4
        return self.fault if address == FAULT else 0

    def run_until_interrupt(self, max_cycles):
        self.cycles += max_cycles
        return False

    def run(self, cycles):
        self.cycles += cycles

    def waves(self, file, *window):
        Path(file).write_text(str(self.cycles))
        self.windows.append(self.cycles)

    def waves_window(self, file, cycles):
        self.windows.append((self.cycles, cycles))

    def end_waves(self):
        self.windows.append("end")


def test_the_nth_launch_opens_the_window():
    recorder = Recorder()
    waves = TriggeredWaves(recorder, *parse_trigger("run.fst:kernel=3+50"))
    for number in range(5):
        waves.run(100)
        waves.reg_write(EXECUTE, 1)
        assert len(recorder.windows) == (number >= 2)
    assert recorder.windows == [(308, 50)]


def test_a_fault_keeps_the_last_two_windows(tmp_path):
    recorder = Recorder()
    waves = TriggeredWaves(recorder, *parse_trigger(f"{tmp_path}/run.vcd:fault+100"))
    waves.run_until_interrupt(430)
    recorder.fault = 1
    waves.reg_read(FAULT)
    waves.run_until_interrupt(1000)
    assert [(tmp_path / name).read_text() for name in ("run.vcd", "run.before.vcd")] == ["400", "300"]
    assert recorder.windows[-1] == "end"


@pytest.mark.parametrize("text", ["run.fst:kernel=0", "run.fst:fault+0"])
def test_nothing_is_counted_from_0(text):
    with pytest.raises(ValueError, match="counted from 1"):
        parse_trigger(text)


def test_other_texts_are_no_triggers():
    assert parse_trigger("run.fst:1-2") is None and parse_trigger("run.fst") is None and parse_trigger("run.txt:fault") is None
