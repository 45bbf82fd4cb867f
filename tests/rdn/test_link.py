"""Sender and receiver joined by one link: order, isolation of labels, throughput, throttle, sequence IDs."""

import pytest

from hw.common.packet import scalar_packet
from hw.config import RDNConfig
from hw.rdn.receiver import RdnReceiver
from hw.rdn.sender import RdnSender, sender_program

from .harness import Join, feeder, simulate, taker

PACKET = scalar_packet(8)


def run(count: int, *, ports: int = 3, rates=(1.0, 1.0, 1.0), takers=(1.0, 1.0, 1.0), cycles: int, program: int = 0,
        depth: int = 2, restart_at: int | None = None):
    config = RDNConfig(buffer_depth=depth)
    sender, receiver = RdnSender(PACKET, config, ports), RdnReceiver(PACKET, config, ports)
    sent, received = [[] for _ in range(ports)], [[] for _ in range(ports)]
    events = {"forwarded": 0, "throttled": 0, "blocked": 0, "lost": 0}

    async def program_it(ctx):
        ctx.set(sender.program.as_value(), program)
        cycle = 0
        while True:
            ctx.set(sender.restart, cycle == restart_at)
            _, _, sample, waiting = await ctx.tick().sample(sender.events, *[port.valid for port in sender.streams][:1])
            counted = 0
            for name in events:
                assert counted & sample[name] == 0, "a packet was counted twice"
                counted |= sample[name]
                events[name] += sample[name].bit_count()
            assert counted & 1 == waiting
            cycle += 1

    processes = [program_it]
    for port in range(ports):
        values = [port << 16 | index for index in range(count)]
        processes.append(feeder(sender.streams[port], values, sent[port], rate=rates[port], seed=port))
        processes.append(taker(receiver.streams[port], received[port], lambda p: (p.data, p.sequence), rate=takers[port],
                               seed=port + 9))
    simulate(Join(sender, receiver), *processes, cycles=cycles)
    return sent, received, events


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("rates,takers", [((1, 1, 1), (1, 1, 1)), ((1, 0.3, 0.8), (0.5, 1, 0.2)), ((0.1, 1, 1), (1, 0.3, 1))])
def test_nothing_lost_or_reordered(rates, takers, depth):
    _, received, events = run(60, rates=rates, takers=takers, cycles=900, depth=depth)
    for port in range(3):
        assert [data for _, (data, _) in received[port]] == [port << 16 | index for index in range(60)]
    assert events["forwarded"] == 180 and events["throttled"] == 0


def test_one_packet_a_cycle_and_latency_of_one():
    sent, received, _ = run(50, ports=1, cycles=70)
    assert [cycle for cycle, _ in sent[0]] == list(range(sent[0][0][0], sent[0][0][0] + 50))
    assert [cycle for cycle, _ in received[0]] == [cycle + 1 for cycle, _ in sent[0]]


def test_a_stalled_label_holds_up_no_other():
    _, received, events = run(50, takers=(0, 1, 1), cycles=130)
    assert received[0] == [] and len(received[1]) == len(received[2]) == 50
    assert max(cycle for cycle, _ in received[1] + received[2]) < 110
    assert events["blocked"] > 100


def test_equal_shares():
    _, received, _ = run(60, cycles=100)
    counts = [sum(cycle < 90 for cycle, _ in port) for port in received]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("rate,burst", [(64, 1), (64, 4), (200, 2), (3, 15), (64, 0)])
def test_throttle_bound_and_rate(rate, burst):
    program = sender_program(RDNConfig(), 1).const([{"rate": rate, "burst": burst}]).as_value().value
    sent, _, events = run(400, ports=1, cycles=600, program=program)
    cycles = [cycle for cycle, _ in sent[0]]
    for first in range(len(cycles)):
        for last in range(first, min(len(cycles), first + 40)):
            assert last - first + 1 <= max(1, burst) + (cycles[last] - cycles[first]) * rate / 256
    assert len(cycles) >= min(400, int(590 * rate / 256) + max(1, burst) - 1)
    assert events["throttled"] > 0


def test_sequence_ids():
    layout = sender_program(RDNConfig(), 3)
    program = layout.const([{}, {"stride": 1, "modulo": 5}, {"base": 7, "stride": 4, "modulo": 3}]).as_value().value
    _, received, _ = run(20, cycles=200, program=program)
    ids = [[sequence for _, (_, sequence) in port] for port in received]
    assert ids[0] == [0] * 20
    assert ids[1] == [n % 5 for n in range(20)]
    assert ids[2] == [7 + 4 * (n % 3) for n in range(20)]


def test_restart_begins_the_sequence_anew():
    program = sender_program(RDNConfig(), 1).const([{"stride": 1}]).as_value().value
    _, received, _ = run(30, ports=1, cycles=60, program=program, restart_at=10)
    ids = [sequence for _, (_, sequence) in received[0]]
    cut = ids.index(0, 1)
    assert ids == list(range(cut)) + list(range(30 - cut))
