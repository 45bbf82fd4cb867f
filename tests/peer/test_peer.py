"""Two sockets and the link between them: streams from tile to tile without memory, order, independence, damage, flush."""

import numpy as np
import pytest

from bench.peer import PEER, STREAM, Pair, pipeline, transfer
from hw.agcu.program import AGCUProgram, LoadProgram, StoreProgram
from hw.common.packet import FaultCause
from hw.config import ConfigError, PeerConfig, preset
from hw.hierarchy import to_verilog
from hw.peer.link import peer_address
from hw.tln.tln import TLN

CONFIG = preset("tiny")


@pytest.fixture(scope="module")
def pair():
    return Pair(CONFIG, link_cycles=9, optimize="-O0")      # short runs: the build is what takes time


def test_a_stream_touches_no_memory_and_fills_the_link(pair):
    cycles, moved = transfer(pair, 600, (0,), False)
    assert moved == 0
    assert cycles <= 600 * pair.config.peer.beat_cycles + 60


def test_both_directions_at_once(pair):
    cycles, moved = transfer(pair, 600, (0, 1), False)
    assert moved == 0 and cycles <= 600 * pair.config.peer.beat_cycles + 80


def test_through_memory_is_right_and_slower(pair):
    fast, slow = (transfer(pair, 300, (1,), off) for off in (False, True))
    assert slow[1] == 4 * 300 * pair.config.beat_bytes and slow[0] > 2 * fast[0]


def test_pipeline_of_two_layers(pair):
    on, off = (pipeline(pair, 300, through) for through in (False, True))
    assert on[1] == 2 * 300 * pair.config.beat_bytes and off[1] == 6 * 300 * pair.config.beat_bytes and off[0] > 2 * on[0]


def start(pair, agcu: int, beats: int, *, sender: int = 0, take: bool = True):
    """A stream from AGCU ``agcu`` to the same one of the other socket, without waiting. Returns (sent, collected)."""
    here, there = pair.sockets[sender], pair.sockets[1 - sender]
    here.program(agcu, AGCUProgram(stores=(StoreProgram(segment=PEER + agcu, loops=pair.loops(beats)),)))
    there.program(agcu, AGCUProgram(loads=(LoadProgram(segment=PEER + agcu, loops=pair.loops(beats)),)))
    data = pair.vectors(beats, agcu + 5)
    pair.bench.feed(here.name(f"given[{agcu}]"), data)
    return data, pair.bench.collect(there.name(f"vector[{agcu}]")) if take else None


def execute(pair, agcus: int = 3) -> None:
    for socket in pair.sockets:
        socket.set("execute", agcus)
    pair.bench.tick()
    for socket in pair.sockets:
        socket.set("execute", 0)


def test_a_stream_that_is_not_taken_holds_up_no_other(pair):
    """AGCU 0's vectors stay where they are; AGCU 1's pass at the link's full rate, in order."""
    pair.bench.reset()
    start(pair, 0, 800, take=False)
    data, got = start(pair, 1, 500)
    execute(pair)
    cycles = pair.bench.run(4000, until={"socket[1].vector[1]": 500})
    room = 256 + pair.config.agcu.outstanding + pair.config.peer.inbox_beats         # which AGCU 0 first fills
    assert cycles <= (500 + room) * pair.config.peer.beat_cycles + 100
    assert (got.words == data).all()
    pair.bench.tick(2000)
    late = pair.bench.collect("socket[1].vector[0]", stall=0.3)
    pair.bench.run(8000, until={"socket[1].vector[0]": 800})
    assert (late.words == pair.vectors(800, 5)).all()


def test_a_reader_that_starts_late_loses_nothing(pair):
    pair.bench.reset()
    data, got = start(pair, 0, 300)
    pair.sockets[0].set("execute", 1)
    pair.bench.tick()
    pair.sockets[0].set("execute", 0)
    pair.bench.tick(1000)
    assert len(got) == 0
    pair.sockets[1].set("execute", 1)
    pair.bench.tick()
    pair.sockets[1].set("execute", 0)
    pair.bench.run(2000, until={"socket[1].vector[0]": 300})
    assert (got.words == data).all()


def test_a_damaged_beat_is_a_fault_with_its_address(pair):
    """One bit flips on the way: everything before it is right, it is not delivered, and the fault names the beat."""
    pair.bench.reset()
    data, got = start(pair, 0, 100)
    execute(pair, 1)
    pair.bench.run(1000, until={"socket[1].vector[0]": 40})
    pair.bench.set("noise", 1 << 77)
    pair.bench.tick(3)
    pair.bench.set("noise", 0)
    pair.bench.tick(500)
    fault = pair.bench.fields(f"socket[1].fault[{STREAM}]")
    assert fault.valid and fault.cause == FaultCause.POISONED and fault.segment == PEER
    assert fault.offset == len(got) * pair.config.beat_bytes and 40 <= len(got) < 60
    assert (got.words == data[:len(got)]).all()
    # Both ends are flushed, as a reset of both sockets does; then the link works again.
    for socket in pair.sockets:
        socket.set("flush", 1)
    pair.bench.tick(300)
    transfer(pair, 200, (0,), False)


def test_an_agcu_that_does_not_exist_is_a_decode_error(pair):
    pair.bench.reset()
    here = pair.sockets[0]
    segments = dict(here.segments)
    here.segments[PEER] = here.segments[PEER].__class__(base=peer_address(link=0, agcu=9), size=4096, tier=here.segments[PEER].tier)
    try:
        here.program(0, AGCUProgram(stores=(StoreProgram(segment=PEER, loops=pair.loops(5)),)))
    finally:
        here.segments = segments
    pair.bench.feed("socket[0].given[0]", pair.vectors(5, 1))
    here.set("execute", 1)
    pair.bench.tick()
    here.set("execute", 0)
    pair.bench.tick(200)
    assert pair.bench.fields("socket[0].fault[0]").cause == FaultCause.DECODE_ERROR


def test_flush_answers_what_waits(pair):
    """A reader for whom nothing comes is drained by a flush: its reads are answered, and the tile can be reset."""
    pair.bench.reset()
    there = pair.sockets[1]
    there.program(0, AGCUProgram(loads=(LoadProgram(segment=PEER, loops=pair.loops(50)),)))
    there.set("execute", 1)
    pair.bench.tick()
    there.set("execute", 0)
    pair.bench.tick(100)
    assert not pair.bench.fields("socket[1].fault[0]").valid
    there.set("flush", 1)
    pair.bench.tick(200)
    assert pair.bench.fields("socket[1].fault[0]").cause == FaultCause.DECODE_ERROR


def test_without_links_there_is_no_hardware():
    assert "peer" not in to_verilog(TLN(CONFIG)) and CONFIG.peer.links == 0


def test_impossible_links_are_refused():
    with pytest.raises(ConfigError, match="links=17"):
        PeerConfig(links=17)
    with pytest.raises(ValueError, match="agcu=16"):
        peer_address(link=0, agcu=16)
    assert np.log2(peer_address(link=1, agcu=0)) == 36
