"""The model of time: requests of engines, the busiest unit, and predictions that follow the programs."""

import pytest

from compiler.fabric.netlist import Netlist
from compiler.timing.cost import predict
from compiler.timing.measure import Busiest
from compiler.timing.work import MEMORY, requests, work_by_unit
from hw.agcu.program import Access, Index, LoadProgram, Loop, StoreProgram
from hw.config import preset
from hw.pcu.program import Input, SimdProgram, Stage, vector

CONFIG = preset("small")
BEAT = CONFIG.beat_bytes


@pytest.mark.parametrize("program, count", [
    (LoadProgram(loops=(Loop(10, BEAT),)), 10),
    (LoadProgram(loops=(Loop(3, BEAT), Loop(5, 0))), 15),                           # three beats again and again
    (LoadProgram(loops=(Loop(1, BEAT), Loop(5, 0))), 1),                            # one vector, repeated
    (LoadProgram(loops=(Loop(16, 4),), access=Access.WORD), 2),                     # words of a beat
    (LoadProgram(loops=(Loop(16, 64),), access=Access.WORD), 16),
    (LoadProgram(base=4, loops=(Loop(10, BEAT),), access=Access.UNALIGNED), 11),
    (LoadProgram(loops=(Loop(2, BEAT), Loop(4, 40)), access=Access.UNALIGNED), 6),  # rows of 10 words: neighbours share beats
    (LoadProgram(loops=(Loop(60_000, BEAT), Loop(3, 60_000 * BEAT))), 180_000),
    (LoadProgram(base=7, loops=(Loop(9, BEAT),), access=Access.FILL), 0),
    (LoadProgram(loops=(Loop(2, BEAT), Loop(8)), index=Index(0, 4 * BEAT, 1)), 16),
    (StoreProgram(loops=(Loop(2, BEAT), Loop(4, 40)), tail_bytes=8, access=Access.UNALIGNED), 5),
])
def test_requests(program, count):
    assert requests(program, BEAT) == count


def mapped(beats: int, steps: int = 1) -> Netlist:
    net = Netlist(CONFIG, "map")
    load = net.load("x", LoadProgram(loops=(Loop(beats, BEAT),)), bytes=beats * BEAT)
    stream = load.out()
    for number in range(steps):
        unit = net.add("pcu", f"step{number}", SimdProgram(loops=(beats,), vectors={0: Input()}, stages=(Stage.add(vector(0), vector(0)),)))
        net.connect("vector", stream, unit.input(0), beats)
        stream = unit.out(0)
    store = net.store("y", StoreProgram(loops=(Loop(beats, BEAT),)), bytes=beats * BEAT)
    net.connect("vector", stream, store.input(), beats)
    return net


def test_work_is_counted_at_places():
    net = mapped(100)
    load, pcu, store = net.units
    found = work_by_unit(net, {load: ("agcu", 1, 0), pcu: ("unit", 0, 2), store: ("agcu", 1, 1)})
    assert found == {"agcu1": 200, "pcu(0,2)": 100, MEMORY: 100}
    assert work_by_unit(net)["agcu"] == 100 and work_by_unit(net)[MEMORY] == 100


def test_predictions_grow_with_work_and_with_the_way():
    small, large, long_ = (predict(net).cycles for net in (mapped(10), mapped(1000), mapped(10, steps=4)))
    assert small < long_ < large and long_ - small > 3 * 20
    assert predict(mapped(1000)).bottleneck in ("agcu", MEMORY, "pcu 1")


def test_units_that_are_equally_busy():
    busiest = Busiest("agcu0", 0.5, 64, {"agcu0": 8, "memory": 8, "pcu(0,0)": 7})
    assert busiest.is_as_busy("memory") and not busiest.is_as_busy("pcu(0,0)") and not busiest.is_as_busy("pmu(0,1)")
