"""Dynamic packets on a mesh with real senders and receivers: XY routes, order, latency, and virtual circuits beside them."""

import random

import pytest

from hw.config import ConfigError, RDNConfig, preset
from hw.rdn.dynamic import destination_layout
from hw.rdn.ends import MeshWithEnds
from hw.rdn.node import EAST, LOCAL, WEST
from hw.rdn.program import SwitchProgram
from sim.unit_bench import UnitBench

ROWS, COLUMNS, USED = 2, 3, 2
RDN = RDNConfig(lanes=2, labels=2, dynamic_slots=3, coordinate_bits=2, local_links=1)
NODES = [(row, column) for row in range(ROWS) for column in range(COLUMNS)]
DESTINATION = destination_layout(RDN.coordinate_bits, RDN.labels)


@pytest.fixture(scope="module")
def bench():
    with UnitBench(MeshWithEnds(ROWS, COLUMNS, RDN, USED), optimize="-O0") as made:
        yield made


def word(node: int, label: int) -> int:
    """The destination as a packet's first word holds it."""
    row, column = NODES[node]
    return DESTINATION.const({"row": row, "column": column, "port": LOCAL, "label": label}).as_bits()


def set_senders(bench, node: int, **ports) -> None:
    """``ports``: port0=..., port1=...: fields of a port's program."""
    bench.set(f"sender[{node}]", [ports.get(f"port{port}", {}) for port in range(USED)])


def identify(value: int) -> tuple[int, int]:
    """(source, number) from a packet's second word."""
    second = value >> 32 & 0xFFFFFFFF
    return second >> 16, second & 0xFFFF


@pytest.mark.parametrize("seed,source,sink", [(0, 0, 0), (1, 0.5, 0), (2, 0, 0.6), (3, 0.3, 0.4), (4, "0011", "0110")])
def test_random_destinations(bench, seed, source, sink):
    """Every node sends to random inputs of random nodes: everything arrives where it should, in the order of each flow."""
    bench.reset()
    draw, expected = random.Random(seed), {}
    for node in range(len(NODES)):
        set_senders(bench, node, port0={"dynamic": {"enable": 1, "by_data": 1}})
        ends = [(draw.randrange(len(NODES)), draw.randrange(USED)) for _ in range(200)]
        for number, end in enumerate(ends):
            expected.setdefault(end, {}).setdefault(node, []).append(number)
        bench.feed(f"source[{node * USED}]", [(node << 16 | number) << 32 | word(*end) for number, end in enumerate(ends)],
                   stall=source, seed=node)
    taken = {end: bench.collect(f"sink[{end[0] * USED + end[1]}]", stall=sink, seed=end[0]) for end in expected}
    bench.run(20_000, until={f"sink[{node * USED + port}]": sum(map(len, numbers.values()))
                             for (node, port), numbers in expected.items()}, progress_limit=300)
    for end, packets in taken.items():
        came = {}
        for value in packets.ints():
            assert value & 0xFFFFFFFF == word(*end)
            came.setdefault(identify(value)[0], []).append(identify(value)[1])
        assert came == expected[end], f"at {end}, seed {seed}"


def test_latency_is_hops_plus_a_constant_and_rate_is_one(bench):
    for begin in range(len(NODES)):
        for end in range(len(NODES)):
            bench.reset()
            row, column = NODES[end]
            destination = {"row": row, "column": column, "port": LOCAL, "label": 1}
            set_senders(bench, begin, port0={"dynamic": {"enable": 1, "destination": destination}})
            taken = bench.collect(f"sink[{end * USED + 1}]")
            bench.feed(f"source[{begin * USED}]", range(30))
            bench.run(200, until={f"sink[{end * USED + 1}]": 30})
            hops = sum(abs(a - b) for a, b in zip(NODES[begin], NODES[end], strict=True))
            sent = list(bench.sent(f"source[{begin * USED}]").cycles)
            assert sent == list(range(sent[0], sent[0] + 30))
            assert list(taken.cycles) == [cycle + hops + 2 for cycle in sent]


def test_virtual_circuits_and_dynamic_packets_share_a_link_in_turns(bench):
    """A circuit from node 0 to node 2 and dynamic packets from node 0's other port: half the link each; alone, all of it."""
    def run(dynamic: bool):
        bench.reset()
        ways = [{(LOCAL, 1): {(EAST, 0)}}, {(WEST, 0): {(EAST, 1)}}, {(WEST, 1): {(LOCAL, 0)}}]
        for node, way in enumerate(ways):
            program = SwitchProgram(vector={end: frozenset(branches) for end, branches in way.items()})
            bench.set(f"program[{node}]", program.pack(RDN))
        end = {"row": 0, "column": 2, "port": LOCAL, "label": 1}
        # From node 1, so that the two meet on the link between nodes 1 and 2 only.
        set_senders(bench, 1, port0={"dynamic": {"enable": 1, "destination": end}})
        bench.feed("source[1]", range(300))
        circuit, packets = bench.collect("sink[4]"), bench.collect("sink[5]")
        if dynamic:
            bench.feed(f"source[{USED}]", range(300))
        bench.run(1000, until={"sink[4]": 300})
        assert [value & 0xFFFFFFFF for value in circuit.ints()] == list(range(300))
        return circuit.cycles, packets
    alone, _ = run(False)
    assert alone[-1] - alone[0] == 299
    shared, packets = run(True)
    assert abs(shared[-1] - shared[0] - 598) <= 2 and abs(len(packets) - 300) <= 2


def test_a_blocked_destination_holds_up_no_virtual_circuit(bench):
    """Nobody takes the dynamic packets; they fill the slots on their way; the circuit over the same links runs at full rate."""
    bench.reset()
    ways = [{(LOCAL, 1): {(EAST, 0)}}, {(WEST, 0): {(EAST, 1)}}, {(WEST, 1): {(LOCAL, 0)}}]
    for node, way in enumerate(ways):
        bench.set(f"program[{node}]", SwitchProgram(vector={end: frozenset(to) for end, to in way.items()}).pack(RDN))
    end = {"row": 0, "column": 2, "port": LOCAL, "label": 1}
    set_senders(bench, 0, port0={"dynamic": {"enable": 1, "destination": end}})
    bench.feed("source[0]", range(100))
    bench.tick(60)
    bench.feed("source[1]", range(300))
    circuit = bench.collect("sink[4]")
    bench.run(1000, until={"sink[4]": 300})
    assert circuit.cycles[-1] - circuit.cycles[0] == 299
    assert bench.transfers("source[0]") == 3 * RDN.dynamic_slots + RDN.buffer_depth


def test_configuration():
    with pytest.raises(ConfigError, match=r"rdn.dynamic_slots=1 must be 0 or from 2"):
        RDNConfig(dynamic_slots=1)
    with pytest.raises(ConfigError, match="coordinate_bits=2 cannot name every switch of 8x8"):
        from dataclasses import replace
        config = preset("medium")
        replace(config, rdn=replace(config.rdn, dynamic_slots=2, coordinate_bits=2))
