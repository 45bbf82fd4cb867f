"""The unit bench: it moves data faithfully, and its monitors bite."""

import numpy as np
import pytest

from sim.unit_bench import BenchTimeout, ProtocolError, UnitBench

from .examples import CreditBuffer, Forwarder, VectorBuffer

WORDS = np.random.default_rng(1).integers(0, 2**32, (200, 8), dtype=np.uint32)
STALLS = [0.0, 0.4, "0110", "after valid"]


@pytest.fixture(scope="module")
def buffer():
    with UnitBench(VectorBuffer()) as bench:
        yield bench


@pytest.mark.parametrize("sink_stall", STALLS)
@pytest.mark.parametrize("source_stall", STALLS[:3])
def test_vectors_arrive_in_order(buffer, source_stall, sink_stall):
    buffer.reset()
    outs = [buffer.collect(f"sink[{i}]", stall=sink_stall, seed=i) for i in range(2)]
    buffer.feed("source[0]", WORDS, stall=source_stall, seed=3)
    buffer.feed("source[1]", WORDS[::-1], stall=source_stall, seed=4)
    buffer.run(5_000, until={"sink[0]": 200, "sink[1]": 200, "count": 200})
    assert (outs[0].words[:, :8] == WORDS).all()
    assert (outs[1].words[:, :8] == WORDS[::-1]).all()
    assert (np.diff(outs[0].cycles) >= 1).all() and (outs[0].cycles > buffer.sent("source[0]").cycles).all()


def test_full_speed_is_a_packet_a_cycle_and_runs_repeat(buffer):
    seen = []
    for _ in range(2):
        buffer.reset()
        start, out = buffer.cycle, buffer.collect("sink[0]", stall=0.3, seed=9)
        buffer.feed("source[0]", WORDS)
        buffer.run(5_000, until={"sink[0]": 200})
        seen.append((out.cycles - start).tolist())
    assert seen[0] == seen[1]
    buffer.reset()
    out = buffer.collect("sink[0]")
    buffer.feed("source[0]", WORDS)
    buffer.run(5_000, until={"sink[0]": 200})
    assert (np.diff(out.cycles) == 1).all()


def test_payload_kinds_are_the_same_bits(buffer):
    buffer.reset()
    out = buffer.collect("sink[0]")
    buffer.feed("source[0]", [{"data": list(range(8)), "sequence": 5}, 7 << 256 | 1, -1])
    buffer.feed("source[0]", np.arange(8, dtype=np.float32).reshape(1, 8))
    buffer.run(100, until={"sink[0]": 4})
    assert out.words[0].tolist() == [*range(8), 5]
    assert out.ints()[1:3] == [7 << 256 | 1, (1 << 264) - 1]
    assert out.floats[3, :8].tolist() == list(range(8))


def test_ports_of_any_width(buffer):
    for value in (0, 1, (1 << 99) + 12345, (1 << 100) - 1, -1):
        buffer.set("wide", value)
        assert buffer.get("sum") == (value + 1) % (1 << 100)
    with pytest.raises(KeyError, match=r"no port 'wied'; ports: .*wide"):
        buffer.set("wied", 1)
    with pytest.raises(ValueError, match="sum is an output"):
        buffer.set("sum", 1)


def test_timeout_and_standstill_tell_each_stream(buffer):
    buffer.reset()
    buffer.feed("source[0]", WORDS)
    with pytest.raises(BenchTimeout, match=r"nothing moved .* for 50 cycles.*\n.*source\[0\]: valid, not ready, 4 of 200 sent"):
        buffer.run(5_000, until={"sink[0]": 1}, progress_limit=50)
    with pytest.raises(BenchTimeout, match=r"not finished by cycle"):
        buffer.run(20, until={"sink[0]": 1})


@pytest.mark.parametrize(("fault", "message"), [
    ("drops valid", "o: valid dropped before ready came"), ("changes payload", "o: payload changed while valid and not ready"),
])
def test_stream_monitor_bites(fault, message):
    for kind in ("", fault):
        with UnitBench(Forwarder(kind)) as bench:
            out = bench.collect("o", stall="01110")
            bench.feed("i", np.arange(50, dtype=np.uint32))
            if kind:
                with pytest.raises(ProtocolError, match=message):
                    bench.run(1_000, until={"o": 50})
            else:
                bench.run(1_000, until={"o": 50})
                assert out.ints() == list(range(50))


@pytest.mark.parametrize("fault", ["waits for ready", "never ready"])
def test_standstill_bites(fault):
    with UnitBench(Forwarder(fault)) as bench:
        bench.collect("o", stall="after valid")
        bench.feed("i", [1, 2, 3])
        with pytest.raises(BenchTimeout, match="nothing moved on any stream for 100 cycles"):
            bench.run(1_000, until={"o": 3}, progress_limit=100)


def test_own_bad_stimulus_is_caught():
    with UnitBench(Forwarder()) as bench:
        bench.set("i.valid", 1)
        bench.tick(2)
        bench.set("i.valid", 0)
        with pytest.raises(ProtocolError, match="i: valid dropped"):
            bench.tick()


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_link_carries_each_label_in_order(stall):
    with UnitBench(CreditBuffer(), link_depth=2) as bench:
        out = bench.collect("o", stall=stall, seed=1)
        for label in range(3):
            bench.feed("i", np.arange(40, dtype=np.uint32) + 100 * label, label=label, stall=stall, seed=label)
        bench.run(5_000, until={"o": 120})
        for label in range(3):
            assert out.words[out.labels == label, 0].tolist() == list(range(100 * label, 100 * label + 40))


@pytest.mark.parametrize(("fault", "message"), [
    ("ignores credits", "o: packet of label 0 sent without a credit"), ("extra credit", "i: credit of label 2 returned beyond"),
    ("wrong label", "o: label 3 does not exist"),
])
def test_link_monitor_bites(fault, message):
    with UnitBench(CreditBuffer(fault), link_depth=2) as bench:
        bench.collect("o", stall=0.7, seed=1)
        bench.feed("i", np.arange(40, dtype=np.uint32))
        with pytest.raises(ProtocolError, match=message):
            bench.run(5_000, until={"o": 40})


def test_speed_is_measured(buffer):
    buffer.reset()
    assert 1 < buffer.nanoseconds_per_cycle(2_000) < 100_000
    assert buffer.cycles_per_second > 1_000


def test_closed_bench_says_so():
    bench = UnitBench(Forwarder())
    out = bench.collect("o")
    bench.close()
    with pytest.raises(ValueError, match="closed"):
        len(out)


def test_benches_open_at_once_share_nothing():
    benches = [kind() for _ in range(3) for kind in (lambda: UnitBench(Forwarder()), lambda: UnitBench(CreditBuffer()))]
    assert len({bench.lib._handle for bench in benches}) == 6
    for bench in benches:
        bench.close()
