"""The TLN against a byte-exact model: every request is answered once, with the right data, under every setting."""

import dataclasses

import numpy as np
import pytest
from amaranth.hdl import Mux

from hw.common.packet import Status, memory_request, memory_response
from hw.config import preset
from hw.tln.interleave import DEFAULT_INTERLEAVE
from hw.tln.requester import RequestPort
from hw.tln.tln import READS, RUN_BEATS, TLN, WRITES

from .bench import Bench

SMALL = preset("small")
CONFIG = dataclasses.replace(SMALL, agcu=dataclasses.replace(SMALL.agcu, outstanding=512))       # a tag for each request of a test
BEAT = CONFIG.beat_bytes
REQUEST = memory_request(BEAT, CONFIG.agcu.tag_bits)
RESPONSE = memory_response(BEAT, CONFIG.agcu.tag_bits)
REQUESTERS = len(CONFIG.agcu_ports) + 2
TAGS = 1 << CONFIG.agcu.tag_bits
SETTINGS = [DEFAULT_INTERLEAVE, *({tier: {"granularity": granularity, "hash": hashed} for tier in ("hbm", "ddr")}
                                  for granularity, hashed in ((0, 0), (3, 1), (7, 0)))]


@pytest.fixture(scope="module")
def bench():
    return Bench(CONFIG)


def request(tier, beat, *, write=0, engine=0, tag=0, mask=(1 << BEAT) - 1, data=0) -> int:
    return REQUEST.const({"tier": tier, "address": beat * BEAT, "write": write, "engine": engine, "tag": tag, "mask": mask,
                          "data": data}).as_bits()


def random_requests(rng, requester: int, count: int, images):
    """Reads and writes to the requester's own 32 beats of HBM and DDR; (requests, what each must be answered with). Reads and writes of an
    AGCU are not ordered among each other: it reads the even beats and writes the odd ones."""
    agcu = requester < REQUESTERS - 2
    requests, answers = [], []
    for number in range(count):
        tier, beat = int(rng.integers(0, 2)), 32 * requester + int(rng.integers(0, 32))
        tag, engine = number % TAGS, int(rng.integers(0, 2))
        write = beat % 2 if agcu else int(rng.integers(0, 2))
        if rng.random() < 0.05:
            far = [(2, 0), (3, 5), (0, CONFIG.hbm.bytes // BEAT), (1, CONFIG.ddr.bytes // BEAT + beat), (0, 1 << 34)]
            tier, beat = far[rng.integers(0, len(far))]
            requests.append(request(tier, beat, write=int(rng.integers(0, 2)), tag=tag))
            answers.append((Status.DECODE_ERROR, None))
        elif write:
            data, mask = rng.integers(0, 256, BEAT, dtype=np.uint8), rng.integers(0, 2, BEAT, dtype=np.uint8)
            packed = int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")
            requests.append(request(tier, beat, write=1, tag=tag, mask=packed, data=int.from_bytes(data.tobytes(), "little")))
            images[tier][beat][mask > 0] = data[mask > 0]
            answers.append((Status.OKAY, None))
        else:
            requests.append(request(tier, beat, engine=engine, tag=tag))
            answers.append((Status.OKAY, images[tier][beat].tobytes()))
    return requests, answers


def check_answers(collected, answers) -> None:
    """Answers of one requester: one for each request, the ones of one tag in the order of its requests."""
    got: dict[int, list] = {}
    for bits in collected.ints():
        response = RESPONSE.from_bits(bits)
        got.setdefault(response.tag, []).append(response)
    assert sum(map(len, got.values())) == len(answers)
    for number, (status, data) in enumerate(answers):
        response = got[number % TAGS][number // TAGS]
        assert response.status == status
        if data is not None:
            assert response.data.to_bytes(BEAT, "little") == data, f"request {number}"


@pytest.mark.parametrize("setting", range(len(SETTINGS)))
def test_every_address_bit(bench, setting):
    """Beats far apart, one for each address bit and random ones up to the last: each lies where the map says, no two meet."""
    rng = np.random.default_rng(setting)
    bench.start(SETTINGS[setting])
    bench.unit.collect("requesters[0].response")
    places, requests = {}, []
    for tier, size in enumerate((CONFIG.hbm.bytes // BEAT, CONFIG.ddr.bytes // BEAT)):
        bits = [1 << bit for bit in range((size - 1).bit_length())]
        for beat in {0, size - 1, *bits, *(size - 1 - bit for bit in bits), *map(int, rng.integers(0, size, 200))}:
            places[tier, beat] = rng.integers(0, 256, BEAT, dtype=np.uint8)
            requests.append(request(tier, beat, write=1, data=int.from_bytes(places[tier, beat].tobytes(), "little")))
    bench.unit.feed("requesters[0].request", requests)
    bench.unit.run(10_000, until={"requesters[0].response": len(requests)})
    for (tier, beat), content in places.items():
        assert (bench.beats(("hbm", "ddr")[tier], beat, 1)[0] == content).all(), (tier, hex(beat))


@pytest.mark.parametrize("setting", range(len(SETTINGS)))
@pytest.mark.parametrize("seed", range(3))
def test_random_traffic(bench, setting, seed):
    """All requesters at once, random stalls and order: nothing lost, duplicated or misplaced."""
    rng = np.random.default_rng(seed)
    bench.start(SETTINGS[setting], seed=seed, request_stall=[0, 0.5, 0.8], response_stall=[0.5, 0, 0.3],
                latency=(1, 40), capacity=16)
    images = [rng.integers(0, 256, (32 * REQUESTERS, BEAT), dtype=np.uint8) for _ in range(2)]
    for tier, image in zip(("hbm", "ddr"), images, strict=True):
        bench.fill(tier, image)
    expected, collected = [], []
    for requester in range(REQUESTERS):
        requests, answers = random_requests(rng, requester, 500, images)
        bench.unit.feed(f"requesters[{requester}].request", requests, stall=0.2 * (requester % 3), seed=seed)
        collected.append(bench.unit.collect(f"requesters[{requester}].response", stall=0.3 * (requester % 2), seed=seed))
        expected.append(answers)
    bench.unit.run(100_000, until={f"requesters[{r}].response": 500 for r in range(REQUESTERS)})
    bench.unit.tick(100)
    for got, answers in zip(collected, expected, strict=True):
        check_answers(got, answers)
    for image, tier in zip(images, ("hbm", "ddr"), strict=True):
        assert (bench.beats(tier, 0, len(image)) == image).all()


def test_latency(bench):
    """2 cycles from a requester to its channel, 1 back; the bench's memory itself takes 2."""
    bench.start(DEFAULT_INTERLEAVE)
    bench.unit.tick(5)
    bench.unit.feed("requesters[3].request", [request(0, 0)])
    response = bench.unit.collect("requesters[3].response")
    bench.unit.run(100, until={"requesters[3].response": 1})
    assert response.cycles[0] - bench.unit.sent("requesters[3].request").cycles[0] == 5


def test_one_beat_per_channel_and_cycle(bench):
    """Two requesters that stream through the same channels keep both busy: one run apart from the second chunk on."""
    bench.start(DEFAULT_INTERLEAVE, latency=(8, 8))
    for requester in (0, 1):
        bench.unit.feed(f"requesters[{requester}].request", [request(0, 4096 * requester + beat) for beat in range(1000)])
        bench.unit.collect(f"requesters[{requester}].response")
    assert bench.unit.run(5000, until={f"requesters[{r}].response": 1000 for r in (0, 1)}) <= 1040 + RUN_BEATS


@pytest.mark.parametrize("stall", [0, 0.7])
def test_fair(bench, stall):
    """Four AGCUs overdrive one channel: after any time their counts differ by no more than one run."""
    bench.start(DEFAULT_INTERLEAVE, request_stall=stall)
    for requester in range(4):
        bench.unit.feed(f"requesters[{requester}].request", [request(1, beat) for beat in range(1000)])
        bench.unit.collect(f"requesters[{requester}].response")
    for _ in range(10):
        bench.unit.tick(100)
        counts = [bench.unit.transfers(f"requesters[{r}].response") for r in range(4)]
        assert max(counts) - min(counts) <= RUN_BEATS, counts
    assert stall or sum(counts) >= 990


def test_launcher_and_host_do_not_wait_for_runs(bench):
    """Their single requests pass between those of four streaming AGCUs; a host that overdrives the channel gets half of it."""
    bench.start(DEFAULT_INTERLEAVE)
    for requester in range(4):
        bench.unit.feed(f"requesters[{requester}].request", [request(1, beat) for beat in range(1000)])
        bench.unit.collect(f"requesters[{requester}].response")
    bench.unit.tick(40)
    for requester in (4, 5):
        bench.unit.feed(f"requesters[{requester}].request", [request(1, beat) for beat in range(8)], stall=[0] + [1] * 19)
        response = bench.unit.collect(f"requesters[{requester}].response")
        bench.unit.run(400, until={f"requesters[{requester}].response": 8})
        assert max(response.cycles - bench.unit.sent(f"requesters[{requester}].request").cycles) <= 5 + 2
    before = bench.unit.transfers("requesters[5].response"), bench.unit.cycle
    bench.unit.feed("requesters[5].request", [request(1, beat) for beat in range(100)])
    bench.unit.run(1000, until={"requesters[5].response": before[0] + 100})
    assert 200 <= bench.unit.cycle - before[1] <= 215


def test_a_full_channel_blocks_only_those_who_use_it(bench):
    """DDR takes nothing: a requester of HBM runs at full rate."""
    bench.start(DEFAULT_INTERLEAVE, request_stall=[0, 0, 1.0])
    bench.unit.feed("requesters[0].request", [request(1, beat) for beat in range(100)])
    bench.unit.feed("requesters[1].request", [request(0, beat) for beat in range(500)])
    for requester in (0, 1):
        bench.unit.collect(f"requesters[{requester}].response")
    assert bench.unit.run(1000, until={"requesters[1].response": 500}) <= 520
    assert bench.unit.transfers("requesters[0].response") == 0


def streams(order, counts) -> list[int]:
    """Reads of engines 0 and 1 and writes, mixed at random: stream s sends ``counts[s]`` requests to the tier ``order[s]``, counted by
    their tags."""
    which = np.random.default_rng(3).permutation(np.repeat(range(3), counts))
    sent = [0, 0, 0]
    requests = []
    for stream in map(int, which):
        tag = stream * 300 + sent[stream]
        requests.append(request(order[stream], sent[stream], write=int(stream == 2), engine=stream % 2, tag=tag))
        sent[stream] += 1
    return requests


def answered(collected) -> list[list[int]]:
    """How each stream's requests were numbered, in the order of the answers."""
    tags = [RESPONSE.from_bits(bits).tag for bits in collected.ints()]
    return [[tag - 300 * stream for tag in tags if tag // 300 == stream] for stream in range(3)]


def check_order(bench) -> None:
    """Three streams of one AGCU to one channel that answers in order, beside another AGCU's: each stream's answers come in order."""
    bench.start(DEFAULT_INTERLEAVE, request_stall=0.3, latency=(8, 8), ordered=True)
    bench.unit.feed("requesters[1].request", [request(1, beat) for beat in range(1000)])
    bench.unit.collect("requesters[1].response")
    bench.unit.feed("requesters[0].request", streams((1, 1, 1), (200, 150, 100)))
    collected = bench.unit.collect("requesters[0].response")
    bench.unit.run(5000, until={"requesters[0].response": 450})
    assert answered(collected) == [list(range(count)) for count in (200, 150, 100)], "out of order"


def check_independent(bench) -> None:
    """DDR takes nothing. One engine of an AGCU waits for it with all that it may have under way, and writes wait with as many as find room:
    the other engine has its beat of HBM each time it asks."""
    bench.start(DEFAULT_INTERLEAVE, request_stall=[0, 0, 1.0])
    bench.unit.feed("requesters[0].request", streams((1, 0, 1), (READS, 290, WRITES)))
    collected = bench.unit.collect("requesters[0].response")
    bench.unit.tick(READS + 290 + WRITES + 20)
    assert answered(collected) == [[], list(range(290)), []], "an engine waits for another one's channel"


def test_the_requests_of_an_engine_stay_in_order(bench):
    check_order(bench)


def test_an_engine_does_not_wait_for_another_ones_channel(bench):
    check_independent(bench)


class Shuffled(RequestPort):
    """The mistake that the test of order must find: reads go to the queue that their tag says."""

    def _queue_of(self, request):
        return super()._queue_of(request) if not self.engines else Mux(request.write, 0b100, Mux(request.tag[0], 0b10, 0b01))


class Single(RequestPort):
    """The mistake that the test of independence must find: one queue keeps the reads of all engines."""

    def _queue_of(self, request):
        return super()._queue_of(request) if not self.engines else Mux(request.write, 0b100, 0b01)


@pytest.mark.parametrize(("port", "check", "message"), [(Shuffled, check_order, "out of order"),
                                                        (Single, check_independent, "another one's channel")])
def test_the_checks_of_queues_bite(port, check, message):
    class Wrong(TLN):
        make_port = port

    with pytest.raises(AssertionError, match=message):
        check(Bench(CONFIG, Wrong))
