"""Element-wise kernels: constants in their steps, chains of maps in one PCU, and long ones dealt to the HBM channels."""

import numpy as np
import pytest

from compiler.compile import compile
from compiler.fabric.netlist import Netlist
from compiler.frontend.immediates import immediates
from compiler.graph.ir import Core, DType
from compiler.mapping.peephole import join_units
from compiler.mapping.woven import CHUNK, woven
from compiler.program import KernelRecord
from compiler.timing.cost import predict
from hw.agcu.program import LoadProgram, Loop, StoreProgram
from hw.config import preset
from hw.pcu.layout import Op
from hw.pcu.program import Input, SimdProgram, Stage, constant, stage, vector
from hw.pmu.program import PMUProgram

from .graphs import Builder, X

CONFIG = preset("small")
BEAT = CONFIG.beat_bytes


def doubled(beats: int, stride: int = BEAT, **changes) -> Netlist:
    """y = 2 x, from memory to memory."""
    net = Netlist(CONFIG, "doubled")
    load = net.load("x", LoadProgram(segment=0, base=512, loops=(Loop(beats, stride),)), bytes=beats * BEAT)
    program = {"loops": (beats,), "vectors": {0: Input()}, "constants": (0x40000000,), "stages": (Stage.mul(vector(0), constant(0)),)}
    pcu = net.add("pcu", "twice", SimdProgram(**{**program, **changes}), work=beats)
    store = net.store("y", StoreProgram(segment=0, base=0, loops=(Loop(beats, BEAT),)), bytes=beats * BEAT)
    net.connect("vector", load.out(), pcu.input(0), beats)
    net.connect("vector", pcu.out(0), store.input(), beats)
    return net


def addresses(program) -> np.ndarray:
    """Bytes that an engine visits, in order."""
    found = np.array([program.base])
    for loop in reversed(program.loops):
        found = (found[:, None] + np.arange(loop.bound) * loop.stride).ravel()
    return found


@pytest.mark.parametrize("beats", [1024, 1024 + 77, 2 * 16 * CHUNK, 2 * 17 * CHUNK + 3, 40_000])
def test_pipelines_cover_the_tensors_once(beats):
    net = woven(doubled(beats))
    for kind, base in (("load", 512), ("store", 0)):
        visited = [addresses(unit.program) for unit in net.of_kind(kind)]
        assert (np.sort(np.concatenate(visited)) == base + np.arange(beats) * BEAT).all()
        for channel, part in enumerate(visited[:2]):
            assert ((part - base) // BEAT // CHUNK % 2 == channel).all(), "a pipeline keeps to its channel"
    for unit in net.of_kind("pmu"):
        assert isinstance(unit.program, PMUProgram) and unit.program.buffers == 1
        assert unit.program.write.loops[0].bound <= CONFIG.pmu.words // CONFIG.lanes
    agcus = [[unit.note["agcu"] for unit in [*net.of_kind(kind)][:2]] for kind in ("load", "store")]
    assert agcus == [[0, 2], [1, 3]], "each stream has an AGCU of its own"


def test_packed_beats_that_take_two_cycles_have_two_pipelines_a_channel():
    net = woven(doubled(4096, loops=(8192,), vectors={0: Input(packed=True)}, packed_output=True))
    assert net.used().pcu == net.used().pmu == 4
    assert [unit.program.base // BEAT // CHUNK for unit in net.of_kind("store")] == [0, 1, 2, 3]
    assert [unit.note["agcu"] for unit in net.units if unit.symbol] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_what_is_not_dealt():
    assert woven(doubled(511)) is None                         # too short
    assert woven(doubled(4096, stride=2 * BEAT)) is None       # not contiguous
    assert woven(doubled(4096, loops=(64, 64), stages=(Stage(Op.ADD, vector(0), constant(0)),), vectors={0: Input(level=1)})) is None
    assert woven(doubled(4096)) is not None


def test_it_is_chosen_where_it_is_faster():
    b = Builder("long")
    graph = b.graph(b.map([b.input("x", (256, 256))], [("FMUL", X(0), 2.0)]))
    for fuse in ("none", "full"):
        [record] = compile(graph, CONFIG, fuse=fuse).kernels
        assert record.units["pmu"] == 2
    net = doubled(4096)
    assert predict(woven(net)).cycles < predict(net).cycles


def test_constants_become_steps():
    b = Builder("constants")
    x, two, row = b.input("x", (4, 8)), b.constant(np.float32(2)), b.constant(np.ones(8, dtype=np.float32))
    nan, flat = b.constant(np.float32(np.nan)), b.constant(np.full((1, 1), 3, dtype=DType.BF16.numpy))
    graph = immediates(b.graph(b.map([two, x], [("FSUB", X(0), X(1))]), b.map([x, row], [("FMUL", X(0), X(1))]),
                               b.map([x, nan], [("FMAX", X(0), X(1))]), b.map([two, flat], [("FADD", X(0), X(1))]))).check()
    steps = [(len(node.inputs), str(node.attributes)) for node in graph.nodes if node.op is Core.MAP]
    assert steps == [(1, "%0 = fsub(2.0, x0)"), (2, "%0 = fmul(x0, x1)"), (2, "%0 = fmax(x0, x1)"), (2, "%0 = fadd(x0, x1)")]


def chain(first: SimdProgram, second: SimdProgram, port: int = 0) -> Netlist:
    net = Netlist(CONFIG, "chain")
    a, b = net.add("pcu", "a", first), net.add("pcu", "b", second)
    for unit, program in ((a, first), (b, second)):
        for index in program.vectors:
            if unit is a or index != port:
                net.connect("vector", net.load(f"{unit.name}{index}", LoadProgram(segment=0, base=0, loops=(Loop(8, BEAT),))).out(),
                            unit.input(index), 8)
    net.connect("vector", a.out(0), b.input(port), 8)
    net.connect("vector", b.out(0), net.store("y", StoreProgram(segment=0, base=0, loops=(Loop(8, BEAT),))).input(), 8)
    return net


def test_maps_that_follow_each_other_share_a_pcu():
    first = SimdProgram(loops=(4, 2), vectors={0: Input()}, constants=(7,), stages=(Stage.mul(vector(0), constant(0)),))
    second = SimdProgram(loops=(4, 2), vectors={0: Input(), 1: Input()}, constants=(9, 7),
                         stages=(Stage.add(vector(1), vector(0)), Stage.mac(stage(0), constant(0), constant(1))))
    net = chain(first, second, port=1)
    join_units(net)
    [pcu] = net.of_kind("pcu")
    assert pcu.program.constants == (7, 9) and len(pcu.program.stages) == 3 and set(pcu.program.vectors) == {0, 1}
    assert pcu.program.stages[1] == Stage.add(stage(0), vector(1)) and pcu.program.result == stage(2)
    assert pcu.program.stages[2] == Stage.mac(stage(1), constant(1), constant(0))
    KernelRecord.of(net, 0, 0, ())                       # it is balanced, placed and packed


@pytest.mark.parametrize("second", [
    SimdProgram(loops=(8,), vectors={0: Input()}, stages=(Stage.add(vector(0), vector(0)),)),                          # other rows
    SimdProgram(loops=(4, 2), vectors={0: Input()}, stages=(Stage.add(vector(0), vector(0)),) * 4),                     # too many steps
    SimdProgram(loops=(4, 2), vectors={0: Input(level=1)}, stages=(Stage.add(vector(0), vector(0)),)),                  # holds a row
])
def test_maps_that_do_not_fit_one_pcu_stay(second):
    net = chain(SimdProgram(loops=(4, 2), vectors={0: Input()}, scalars={}, stages=(Stage.mul(vector(0), vector(0)),)), second)
    join_units(net)
    assert len([*net.of_kind("pcu")]) == 2
