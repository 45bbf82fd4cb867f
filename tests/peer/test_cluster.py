"""Two whole sockets and their links through the driver: an all-reduce with PCUs in the loop, streams, faults and what comes after."""

import dataclasses

import numpy as np
import pytest

from bench.peer_layer import Layer, Placed, run_off, run_on
from bench.peer_ring import Ring, all_reduce
from compiler.fabric.kernel import KernelBuilder
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.config import PeerConfig, preset
from sim.device import open_sockets
from sim.dram import inject
from sw_driver.cluster import Cluster
from sw_driver.device import HBM, DeviceError, DeviceFault, peer_segment

TINY = preset("tiny")
CONFIG = dataclasses.replace(TINY, hbm=dataclasses.replace(TINY.hbm, ecc=True), peer=PeerConfig(links=2, beat_cycles=3))
LAYER = Layer(CONFIG, tokens=6, width=16, hidden=64, mlp=False)


@pytest.fixture(scope="module")
def cluster():
    with Cluster.open(CONFIG, link_cycles=9) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def placed(cluster):
    return Placed(cluster, LAYER)


class Counted:
    """How far the counters of a channel or link have gone on each socket since this was made."""

    def __init__(self, cluster, name: str):
        self.cluster, self.name, self.before = cluster, name, [device.counters([name])[name] for device in cluster]

    def __call__(self, event: str) -> list[int]:
        return [device.counters([self.name], (event,))[self.name][event] - before[event]
                for device, before in zip(self.cluster, self.before, strict=True)]


def stream(sends: bool, agcu: int, segment: int, beats: int):
    """``address`` in HBM to another socket, or what comes from there to ``address``."""
    kernel, loops = KernelBuilder(CONFIG, "send" if sends else "take"), (Loop(beats, CONFIG.beat_bytes),)
    unit = kernel.agcu(agcu, AGCUProgram(loads=(LoadProgram(loops=loops, segment=0 if sends else segment),),
                                         stores=(StoreProgram(loops=loops, segment=segment if sends else 0),)))
    kernel.vector(unit.out(0), unit.input(0))
    kernel.argument("address", unit.field("load0.base" if sends else "store0.base"))
    return kernel.build()


def test_all_reduce_by_pcus_without_memory(placed):
    """The sum is bit-exact on both sockets; memory moves the operands and y, no partial sums; faster than both ways through memory."""
    cycles, moved = run_on(placed)
    operands = sum(values.nbytes for socket in (0, 1) for name, values in LAYER.part(socket).items() if name == "x")
    weights = sum(LAYER.part(socket)["w2"].nbytes for socket in (0, 1)) * LAYER.passes
    results = 2 * LAYER.out_vectors * CONFIG.beat_bytes
    assert moved == operands + weights + results
    for host in (False, True):
        slow, more = run_off(placed, host)
        assert slow > 1.2 * cycles and more >= moved + 2 * results


def test_the_comparison_bites(cluster, placed):
    run_on(placed)
    y = placed.buffers[1]["y"]
    cluster[1].write(y, cluster[1].read(y, np.uint8, (1,), 100) ^ 1, 100)
    with pytest.raises(RuntimeError, match="socket 1: y differs"):
        placed.check()


def test_a_stream_to_another_agcu(cluster):
    data = np.random.default_rng(3).integers(0, 256, 300 * CONFIG.beat_bytes, dtype=np.uint8)
    source, target = cluster[0].upload(HBM, data), cluster[1].allocate(HBM, data.size)
    cluster.route(0, 0, 4, link=0, to_agcu=1)
    link, memory = Counted(cluster, "link0"), Counted(cluster, "hbm0")
    run = cluster.launch(stream(True, 0, 4, 300), stream(False, 1, peer_segment(), 300),
                         arguments=({"address": source.address}, {"address": target.address}))
    assert (cluster[1].read(target, np.uint8, data.shape) == data).all()
    assert 300 * CONFIG.peer.beat_cycles <= run.cycles <= 300 * CONFIG.peer.beat_cycles + 300
    assert (link("sent"), link("received"), link("damaged")) == ([300, 0], [0, 300], [0, 0])
    assert link("requests") == [300, 300] and memory("requests")[0] >= 300 and memory("activate")[0] > 0
    with pytest.raises(DeviceError, match="to_agcu=2"):
        cluster.route(0, 0, 4, link=0, to_agcu=2)
    with pytest.raises(DeviceError, match="number=8"):
        cluster[0].set_segment(0, 8, cluster[0]._segments[0][0])
    cluster[0].free(source)
    cluster[1].free(target)


def launch_fails(placed, match: str) -> None:
    """A launch of the layer in which one socket faults; then everything is usable again, and memory is as it was."""
    kernel, arguments = placed.layer.kernel(), placed.arguments(placed.layer.kernel())
    before = [device.backend.storage("ddr", 0).copy() for device in placed.cluster]
    with pytest.raises(DeviceFault, match=match):
        placed.cluster.launch(kernel, kernel, arguments=arguments)
    placed.cluster.reset()
    for device, held, old in zip(placed.cluster, placed.buffers, before, strict=True):
        assert not any(device.read_fields("IRQ_STATUS").values())
        assert (device.backend.storage("ddr", 0) == old).all()
        w2 = placed.layer.part(device is placed.cluster[1])["w2"]
        assert (device.read(held["w2"], np.uint32, w2.shape) == w2).all()


def test_a_damaged_beat_stops_its_kernel_and_is_named(cluster, placed):
    """A bit flips on the link: POISONED at the socket that reads the beat, of the right unit and address."""
    for sender in (0, 1):
        link = Counted(cluster, "link0")
        cluster[sender].backend.damage(0, 77)
        launch_fails(placed, rf"socket {1 - sender}: agcu1: POISONED at virtual address {peer_segment():#x}:0x00000000")
        assert link("damaged") == [sender, 1 - sender]
        run_on(placed)


def test_an_uncorrectable_error_stops_its_kernel_and_is_named(cluster, placed):
    """One bit of a word: corrected, the result is right. Two: UNCORRECTABLE with its address. Written again, it is gone."""
    backend, x = cluster[0].backend, placed.buffers[0]["x"]
    inject(backend.lib, backend.first_channel, x.address + 5, 3)
    memory = Counted(cluster, "hbm0")
    run_on(placed)
    assert memory("corrected")[0] >= 1 and memory("uncorrectable") == [0, 0]
    inject(backend.lib, backend.first_channel, x.address + 6, 1)
    launch_fails(placed, rf"socket 0: agcu0: UNCORRECTABLE at virtual address 0x0:{x.address:#010x}")
    assert memory("uncorrectable")[0] >= 1
    cluster[0].write(x, LAYER.part(0)["x"])
    run_on(placed)


def test_impossible_clusters_are_refused(cluster, placed):
    with pytest.raises(ValueError, match=r"peer\.links=0"):
        open_sockets(TINY)
    with pytest.raises(ValueError, match="link_cycles=0"):
        open_sockets(CONFIG, link_cycles=0)
    with pytest.raises(DeviceError, match="1 kernels with 1 sets of arguments for 2 sockets"):
        cluster.launch(placed.layer.add_kernel())


class Wrong(Ring):
    def expected(self) -> np.ndarray:
        total = super().expected()
        total[1, -1] += 1
        return total


@pytest.mark.parametrize("sockets", [3, 4])
def test_all_reduce_over_a_ring(sockets):
    """Sums of all sockets by PCUs, bit-exact, close to what the links can move; and the comparison bites."""
    with Cluster.open(CONFIG, sockets, link_cycles=9) as cluster:
        ring = Ring(CONFIG, sockets, vectors=96)
        least = (2 * sockets - 2) * ring.vectors * CONFIG.peer.beat_cycles
        for _ in range(2):
            assert least <= all_reduce(cluster, ring) <= least + 150 * sockets
        with pytest.raises(RuntimeError, match="socket 0: chunk 1 differs"):
            all_reduce(cluster, Wrong(CONFIG, sockets, vectors=96))
