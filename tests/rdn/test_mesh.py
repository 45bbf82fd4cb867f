"""Routed flows on a mesh of switches: the router's programs and the switches together."""

import pytest

from compiler.fabric.route import Flow, Router
from hw.config import RDNConfig, RDUConfig, _sized
from hw.rdn.mesh import Mesh
from hw.rdn.node import WEST
from sim.unit_bench import UnitBench
from tests.compiler.test_route import random_flows

CONFIG: RDUConfig = _sized("mesh", 2, 3, 4, 2, agcus_per_edge=1, pcu={"broadcast_depth": 32})
RDN: RDNConfig = CONFIG.rdn
COUNT = 40


@pytest.fixture(scope="module")
def bench():
    with UnitBench(Mesh(CONFIG.rows, CONFIG.columns, RDN), optimize="-O0") as made:
        yield made


def port_name(attachment, fabric: str, direction: str) -> str:
    """The mesh's link at the end of a flow."""
    row, column = attachment.point
    node = row * CONFIG.columns + column
    if attachment.port < 4:
        return f"{'west' if attachment.port == WEST else 'east'}_{direction}[{row}]"
    return f"{fabric}_{direction}[{node * RDN.local_links + attachment.port - 4 if fabric == 'vector' else node}]"


def run(bench, flows, *, source=0.0, sink=0.0, count=COUNT):
    """Routes and runs ``flows``; returns, for each (flow, destination), (data, cycles of arrival), and the cycles of sending."""
    bench.reset()
    router = Router(CONFIG)
    routes = router.route(flows)
    for number, point in enumerate(CONFIG.grid):
        program = routes.programs.get(point)
        bench.set(f"program[{number}]", program.pack(RDN) if program else 0)
    expected, sinks, begun = {}, {}, {}
    for number, flow in enumerate(flows):
        fabric = router.fabrics[flow.fabric]
        entry = fabric.source(flow.source, flow.name)
        begun[flow.name] = port_name(entry, flow.fabric, "in")
        values = [number << 16 | index for index in range(count)]
        bench.feed(begun[flow.name], values, label=entry.label, stall=source, seed=number)
        for destination in flow.destinations:
            end = fabric.destination(destination, flow.name)
            name = port_name(end, flow.fabric, "out")
            expected[name] = expected.get(name, 0) + count
            sinks.setdefault(name, {})[end.label] = (flow.name, destination)
    taken = {name: bench.collect(name, stall=sink, seed=index) for index, name in enumerate(sinks)}
    bench.run(20_000, until=expected, progress_limit=500)
    arrived = {end: ([], []) for labels in sinks.values() for end in labels.values()}
    for name, packets in taken.items():
        for label, data, cycle in zip(packets.labels, packets.ints(), packets.cycles, strict=True):
            end = arrived[sinks[name][int(label)]]
            end[0].append(data & 0xFFFFFFFF)
            end[1].append(int(cycle))
    return routes, arrived, {name: bench.sent(link).cycles for name, link in begun.items()}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("source,sink", [(0.0, 0.0), (0.4, 0.5)])
def test_random_flows(bench, seed, source, sink):
    flows = random_flows(CONFIG, seed, 7)
    _, arrived, _ = run(bench, flows, source=source, sink=sink)
    for number, flow in enumerate(flows):
        for destination in flow.destinations:
            assert arrived[flow.name, destination][0] == [number << 16 | index for index in range(COUNT)], f"{flow}, seed {seed}"


@pytest.mark.parametrize("fabric", ["vector", "scalar"])
def test_zero_load_latency_and_full_rate(bench, fabric):
    """One cycle a switch; a multicast to all units at once keeps one packet a cycle."""
    everyone = tuple(("unit", row, column, 0) for row, column in CONFIG.grid)
    flow = Flow(name="all", source=("unit", 0, 1, 0), destinations=everyone, fabric=fabric)
    routes, arrived, sent = run(bench, [flow])
    begun = [int(cycle) for cycle in sent["all"]]
    assert begun == list(range(begun[0], begun[0] + COUNT))
    for destination in everyone:
        # The mesh has no receivers: a packet on the last link is one cycle before it is on the unit's stream.
        latency = routes.latency("all", destination) - 1
        assert latency == 1 + abs(destination[1] - 0) + abs(destination[2] - 1)
        assert arrived["all", destination][1] == [cycle + latency for cycle in begun]


def test_control_pulse_takes_one_cycle_a_switch(bench):
    bench.reset()
    flow = Flow(name="go", source=("unit", 0, 0, 1), destinations=(("unit", 1, 2, 3), ("unit", 0, 0, 0)), fabric="control")
    routes = Router(CONFIG).route([flow])
    for number, point in enumerate(CONFIG.grid):
        bench.set(f"program[{number}]", routes.programs[point].pack(RDN) if point in routes.programs else 0)
    bench.set("control_in[0]", 1 << 1)
    seen = []
    for _ in range(8):
        bench.tick()
        bench.set("control_in[0]", 0)
        seen.append((bench.get("control_out[0]"), bench.get("control_out[5]")))
    far = routes.latency("go", ("unit", 1, 2, 3))
    assert far == 4
    assert seen == [(int(cycle == 1), 8 * (cycle == far)) for cycle in range(1, 9)]
