"""One switch against a queue model: every flow arrives whole, once and in order on each of its branches."""

import random

import pytest

from hw.common.packet import scalar_packet
from hw.rdn.switch import Switch
from sim.unit_bench import UnitBench

PORTS, LABELS, DEPTH = 5, 4, 2
COUNT = 60


@pytest.fixture(scope="module")
def bench():
    with UnitBench(Switch(scalar_packet(8), PORTS, LABELS, DEPTH), link_depth=DEPTH) as made:
        yield made


def random_flows(seed: int) -> dict[tuple[int, int], set[tuple[int, int]]]:
    """(input, label) -> set of (output, next label); each (output, label) belongs to one flow; all of them are used."""
    draw = random.Random(seed)
    ends = [(port, label) for port in range(PORTS) for label in range(LABELS)]
    flows = {}
    for end in ends:
        flows.setdefault(draw.choice(ends), set()).add(end)
    return flows


def load(bench, flows) -> None:
    for index in range(PORTS * LABELS):
        ends = flows.get(divmod(index, LABELS), ())
        bench.set(f"flows[{index}]", sum(1 << output * LABELS + label for output, label in ends))


def value(port: int, label: int, index: int) -> int:
    return (port << 8 | label) << 16 | index


def run(bench, flows, *, source, sink, seed, count=COUNT, cycles=30_000):
    """Feeds every flow: ({(output, label): [data]}, cycles, what each output's sink took)."""
    bench.reset()
    load(bench, flows)
    for port, label in flows:
        values = [value(port, label, index) for index in range(count)]
        bench.feed(f"inputs[{port}]", values, label=label, stall=source, seed=seed + label)
    taken = [bench.collect(f"outputs[{port}]", stall=sink, seed=seed + port) for port in range(PORTS)]
    expected = [sum(end[0] == port for ends in flows.values() for end in ends) * count for port in range(PORTS)]
    used = bench.run(cycles, until={f"outputs[{port}]": expected[port] for port in range(PORTS)}, progress_limit=500)
    arrived = {}
    for port, packets in enumerate(taken):
        for label, data in zip(packets.labels, packets.ints(), strict=True):
            arrived.setdefault((port, int(label)), []).append(int(data) & 0xFFFFFFFF)
    return arrived, used, taken


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("source,sink", [(0, 0), (0.5, 0), (0, 0.7), (0.6, 0.4), ("0111", "1110"), ("0000000011111111", 0.2)])
def test_random_multicast_traffic(bench, seed, source, sink):
    flows = random_flows(seed)
    arrived, _, _ = run(bench, flows, source=source, sink=sink, seed=seed)
    for (port, label), ends in flows.items():
        for end in ends:
            expected = [value(port, label, index) for index in range(COUNT)]
            assert arrived.pop(end) == expected, f"flow {(port, label)} at {end}, seed {seed}"
    assert not arrived


def test_latency_and_full_throughput(bench):
    """Five inputs to five outputs, one packet per link per cycle, each one cycle after it came; U-turns included."""
    for shift in range(PORTS):
        flows = {(port, 1): {((port + shift) % PORTS, 2)} for port in range(PORTS)}
        _, used, taken = run(bench, flows, source=0, sink=0, seed=0, count=200)
        assert used <= 200 + 3
        for port in range(PORTS):
            came, went = bench.sent(f"inputs[{port}]").cycles, taken[(port + shift) % PORTS].cycles
            assert list(went) == [cycle + 1 for cycle in came]
