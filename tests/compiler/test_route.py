"""The router: trees that reach everyone, labels nobody shares, messages that name the culprit."""

import dataclasses
import random
import time
from dataclasses import replace

import pytest

from compiler.fabric.kernel import KernelBuilder
from compiler.fabric.ports import OPPOSITE, STEPS
from compiler.fabric.route import Flow, RouteError, Router
from compiler.fabric.senders import Sequence, Throttle, automatic, sender_fields
from hw.config import preset
from hw.rdn.dynamic import destination_layout
from hw.rdn.node import LOCAL
from hw.rdn.program import SwitchProgram, SwitchProgramError

CONFIG = preset("small")
DYNAMIC = replace(CONFIG, rdn=replace(CONFIG.rdn, dynamic_slots=2))


def follow(programs, fabric, point, port, label):
    """Where packets end that enter ``point`` by ``port`` with ``label``: a sorted list of (point, port, label)."""
    ends, queue = [], [(point, (port, label))]
    while queue:
        at, source = queue.pop()
        for out, following in getattr(programs[at], fabric)[source]:
            step = STEPS.get(out)
            there = (at[0] + step[0], at[1] + step[1]) if step else None
            if there in programs and step:
                queue.append((there, (OPPOSITE[out], following)))
            else:
                ends.append((at, out, following))
    return sorted(ends)


def check(routes, router):
    """Every flow arrives at its destinations and nowhere else; no two of them share a label on a link."""
    taken = set()
    for route in routes.routes:
        flow, fabric = route.flow, router.fabrics[route.flow.fabric]
        for edge, label in route.labels.items():
            assert (fabric.name, edge, label) not in taken
            taken.add((fabric.name, edge, label))
        if fabric.name == "control":
            continue
        entry = fabric.source(flow.source, "")
        ends = [fabric.destination(end, "") for end in flow.destinations]
        reached = follow(routes.programs, fabric.name, entry.point, entry.port, entry.label)
        assert reached == sorted((end.point, end.port, end.label) for end in ends)


def random_flows(config, seed: int, count: int) -> list[Flow]:
    draw = random.Random(seed)
    outs = [("unit", r, c, p) for r, c in config.grid for p in range(1 if config.is_pcu(r, c) else 2)]
    outs += [("agcu", a, e) for a in range(len(config.agcu_ports)) for e in range(2)]
    ins = [("unit", r, c, p) for r, c in config.grid for p in range(4)]
    ins += [("agcu", a, e) for a in range(len(config.agcu_ports)) for e in range(2)]
    draw.shuffle(outs)
    draw.shuffle(ins)
    flows = []
    for number in range(count):
        ends = tuple(ins.pop() for _ in range(draw.choice([1, 1, 1, 2, 3])))
        flows.append(Flow(name=f"flow {number}", source=outs.pop(), destinations=ends, rate=draw.choice([0.1, 0.25, 0.5])))
    return flows


@pytest.mark.parametrize("seed", range(12))
def test_random_flows_arrive(seed):
    router = Router(CONFIG)
    routes = router.route(random_flows(CONFIG, seed, 22))
    check(routes, router)
    assert routes.describe() and len(routes.words()) == 16
    for point, program in routes.programs.items():
        words = routes.words()[CONFIG.switch_id(*point)]
        assert SwitchProgram.unpack(CONFIG.rdn, sum(value << 32 * index for index, value in words.items())) == program


def test_neighbour_takes_one_link_and_unit_port_mapping():
    routes = Router(CONFIG).route([Flow(name="f", source=("unit", 0, 1, 1), destinations=(("unit", 0, 2, 3),))])
    assert routes.programs[0, 1].vector == {(LOCAL + 1, 0): {(1, 0)}}
    assert routes.programs[0, 2].vector == {(3, 0): {(LOCAL + 1, 1)}}
    assert routes.latency("f", ("unit", 0, 2, 3)) == 3


def test_agcu_u_turn():
    routes = Router(CONFIG).route([Flow(name="copy", source=("agcu", 0, 1), destinations=(("agcu", 0, 0),))])
    assert routes.programs == {(0, 0): SwitchProgram(vector={(3, 1): frozenset({(3, 0)})})}


def test_resident_flows_keep_their_labels():
    copy = [Flow(name="copy", source=("agcu", 0, 0), destinations=(("agcu", 2, 0),))]
    router = Router(CONFIG)
    resident = router.route(copy)
    flows = [Flow(name=f"f{row}{p}", source=("unit", row, 1 - row % 2, p), destinations=(("unit", row, 3, p),), rate=0.2)
             for row in range(4) for p in range(2) if not CONFIG.is_pcu(row, 1 - row % 2)]
    for reserved in ([resident], copy):
        routes = router.route(flows, reserved=reserved)
        used = {(edge, label) for route in routes.routes for edge, label in route.labels.items()}
        assert not used & set(resident.routes[0].labels.items())
        assert resident.words()[0].items() <= routes.words()[0].items(), "programs that come from the shadows replace the whole switch's"
    with pytest.raises(RouteError, match=r"'again'.*already sends flow 'copy'"):
        router.route([Flow(name="again", source=("agcu", 0, 0), destinations=(("unit", 0, 0, 0),))], reserved=copy)


def test_control_selects_of_a_resident_kernel_stay():
    router = Router(CONFIG)
    resident = router.route([Flow(name="a", source=("unit", 0, 0, 0), destinations=(("unit", 0, 1, 2),), fabric="control")])
    flow = Flow(name="b", source=("unit", 0, 0, 1), destinations=(("unit", 0, 1, 1),), fabric="control")
    routes = router.route([flow], reserved=[resident])
    for point in ((0, 0), (0, 1)):
        words = routes.words()[CONFIG.switch_id(*point)]
        whole = SwitchProgram.unpack(CONFIG.rdn, sum(value << 32 * index for index, value in words.items()))
        assert whole.control == {**resident.programs[point].control, **routes.programs[point].control}
        assert len(whole.control) == 2


def test_rates_spread_over_links():
    flows = [Flow(name=f"f{p}", source=("unit", 0, 1, p), destinations=(("unit", 0, 2, p),), rate=1.0) for p in range(2)]
    assert max(Router(CONFIG).route(flows).loads().values()) == 1.0


def test_labels_run_out_with_everyone_named():
    config = dataclasses.replace(preset("paper_unit"), pcu_parity=0)          # one row: there is no way around
    flows = [Flow(name=f"f{p}", source=("agcu", 0, p), destinations=(("unit", 0, 2, p),)) for p in range(2)]
    flows += [Flow(name=f"g{p}", source=("unit", 0, 1, p), destinations=(("unit", 0, 2, 2 + p),)) for p in range(2)]
    flows += [Flow(name="h", source=("unit", 0, 0, 0), destinations=(("agcu", 1, 0),))]
    with pytest.raises(RouteError, match=r"link \(0, 1\) -> \(0, 2\).*4 labels, wanted by f0, f1, g0, g1, h"):
        Router(config).route(flows)


@pytest.mark.parametrize("change,message", [
    ({"source": ("unit", 0, 0, 1)}, r"port 1 of \('unit', 0, 0\) must be below pcu.vector_outputs=1"),
    ({"source": ("unit", 9, 0, 0)}, r"\('unit', 9, 0, 0\) does not exist"),
    ({"destinations": (("agcu", 0, 2),)}, "agcu.store_engines=2"),
    ({"destinations": ()}, "at least one"),
    ({"fabric": "optical"}, "fabrics are: vector, scalar, control"),
    ({"rate": 1.5}, "rate=1.5"),
])
def test_bad_flows_are_named(change, message):
    values = {"name": "bad", "source": ("unit", 0, 0, 0), "destinations": (("unit", 1, 1, 0),)} | change
    with pytest.raises(RouteError, match=f"flow 'bad': .*{message}"):
        Router(CONFIG).route([Flow(**values)])


def test_merging_must_be_asked_for():
    flows = [Flow(name=f"f{c}", source=("unit", 0, c, 0), destinations=(("unit", 3, 3, 0),), rate=0.3) for c in (0, 2)]
    with pytest.raises(RouteError, match=r"'f2': destination .* already takes flow 'f0'"):
        Router(CONFIG).route(flows)
    merged = [Flow(name=f.name, source=f.source, destinations=f.destinations, rate=f.rate, merge=True) for f in flows]
    check(Router(CONFIG).route(merged), Router(CONFIG))


def test_program_checks_limits():
    with pytest.raises(SwitchProgramError, match="vector: label=4 at port east must be below 4"):
        SwitchProgram(vector={(0, 0): frozenset({(1, 4)})}).pack(CONFIG.rdn)
    with pytest.raises(SwitchProgramError, match="scalar: port=5 must be below 5"):
        SwitchProgram(scalar={(5, 0): frozenset({(1, 0)})}).pack(CONFIG.rdn)


def test_forty_flows_on_medium_take_no_time():
    """The compiler routes in a loop: the best of three, so that a busy machine does not fail it."""
    router, seconds = Router(preset("medium")), []
    for seed in range(3):
        flows = random_flows(preset("medium"), seed, 40)
        begin = time.process_time()
        router.route(flows).words()
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 0.3


def dynamic_flow(name, source, destination, **more):
    return Flow(name=name, source=source, destinations=(destination,), dynamic=True, **more)


def test_a_dynamic_flow_goes_along_the_row_first_and_takes_no_label():
    flow = dynamic_flow("d", ("unit", 3, 0, 1), ("unit", 1, 2, 3), rate=0.5)
    routes = Router(DYNAMIC).route([flow])
    assert routes.routes[0].edges == [((3, 0), (3, 1)), ((3, 1), (3, 2)), ((3, 2), (2, 2)), ((2, 2), (1, 2))]
    assert not routes.programs and routes.latency("d", ("unit", 1, 2, 3)) == 6
    assert "(3, 1) -> (3, 2) dynamic" in routes.describe()
    assert sender_fields(DYNAMIC, routes.routes, {}) == {("unit", 3, 0): {
        "vector_link_1[0].dynamic.enable": 1, "vector_link_1[0].dynamic.destination.row": 1,
        "vector_link_1[0].dynamic.destination.column": 2, "vector_link_1[0].dynamic.destination.port": LOCAL + 1,
        "vector_link_1[0].dynamic.destination.label": 1}}


def test_dynamic_flows_that_cannot_be_are_named():
    flow = dynamic_flow("d", ("unit", 0, 1, 0), ("unit", 0, 2, 0))
    with pytest.raises(RouteError, match=r"'d': preset small has no dynamic packets \(rdn.dynamic_slots=0\)"):
        Router(CONFIG).route([flow])
    two = Flow(name="two", source=("unit", 0, 1, 0), destinations=(("unit", 0, 2, 0), ("unit", 0, 3, 0)), dynamic=True)
    with pytest.raises(RouteError, match="'two': a dynamic flow is of packets and has one destination, not 2"):
        Router(DYNAMIC).route([two])
    with pytest.raises(RouteError, match="'two': by_data=True needs dynamic=True"):
        Router(DYNAMIC).route([replace(two, dynamic=False, by_data=True)])


def test_a_flow_by_data_knows_the_ways_to_all_that_its_packets_may_name():
    ends = (("unit", 0, 2, 0), ("unit", 1, 3, 2), ("agcu", 1, 0))
    flow = Flow(name="d", source=("unit", 3, 0, 1), destinations=ends, dynamic=True, by_data=True)
    routes = Router(DYNAMIC).route([flow])
    assert [routes.latency("d", end) for end in ends] == [7, 7, 3]
    assert sender_fields(DYNAMIC, routes.routes, {}) == {("unit", 3, 0): {
        "vector_link_1[0].dynamic.enable": 1, "vector_link_1[0].dynamic.by_data": 1}}
    layout = destination_layout(DYNAMIC.rdn.coordinate_bits, DYNAMIC.rdn.labels)
    assert KernelBuilder(DYNAMIC, "k").destination(ends[1]) == layout.const({"row": 1, "column": 3, "port": LOCAL, "label": 1}).as_bits()
    # The unit answers by the same links: only one of the ways can wait in a circle, and that is found.
    back = Flow(name="back", source=("unit", 1, 3, 0), destinations=(("unit", 3, 0, 0),), dynamic=True)
    other = Flow(name="e", source=("unit", 3, 0, 0), destinations=(ends[0], ends[1]), dynamic=True, by_data=True)
    with pytest.raises(RouteError, match="circle"):
        Router(DYNAMIC).route([other, back])
    Router(DYNAMIC).route([replace(other, destinations=ends[:1]), back])


def test_dynamic_flows_that_wait_in_a_circle_are_refused():
    """A sends to B and B to A over the same links: A takes nothing until it can send, and that link is full of packets for A."""
    ring = [dynamic_flow("there", ("unit", 0, 1, 0), ("unit", 0, 3, 0)), dynamic_flow("back", ("unit", 0, 3, 0), ("unit", 0, 1, 1))]
    with pytest.raises(RouteError, match=r"circle, .*link \(0, 1\) -> \(0, 2\).*flows .*there.*virtual circuit"):
        Router(DYNAMIC).route(ring)
    through = [ring[0], Flow(name="back", source=("unit", 0, 3, 0), destinations=(("unit", 0, 1, 1),))]
    with pytest.raises(RouteError, match="circle"):
        Router(DYNAMIC).route(through)
    Router(DYNAMIC).route([replace(flow, dynamic=False) for flow in ring])
    # A recurrence of one packet is always taken; an AGCU's load does not wait for its store.
    Router(DYNAMIC).route([replace(flow, window=1) for flow in ring])
    Router(DYNAMIC).route([dynamic_flow("a", ("agcu", 0, 0), ("unit", 0, 1, 0)), dynamic_flow("b", ("unit", 0, 1, 0), ("agcu", 0, 0))])


def test_automatic_throttle():
    """Two circuits of rates 0.2 and 0.6 on one link fill it in proportion; alone on a link: nothing; dynamic: little over the average."""
    config = preset("paper_unit")
    flows = [Flow(name=f"f{p}", source=("unit", 0, 0, p), destinations=(("unit", 0, 1, p),), rate=rate)
             for p, rate in enumerate((0.2, 0.6))]
    found = automatic(Router(config).route(flows))
    assert {source[-1]: round(throttle.rate, 3) for (_, source), throttle in found.items()} == {0: 0.25, 1: 0.75}
    assert automatic(Router(config).route(flows[:1])) == {}
    dynamic = replace(config, rdn=replace(config.rdn, dynamic_slots=2))
    found = automatic(Router(dynamic).route([replace(flow, dynamic=True) for flow in flows]))
    assert {source[-1]: round(throttle.rate, 4) for (_, source), throttle in found.items()} == {0: 0.2125, 1: 0.6375}


def test_a_kernel_programs_its_senders():
    from hw.agcu.program import AGCUProgram, LoadProgram, Loop
    from hw.programs import unit_program_of
    kernel = KernelBuilder(DYNAMIC, "k")
    unit = kernel.agcu(0, AGCUProgram(loads=(LoadProgram(loops=(Loop(1, 32),)),) * 2))
    kernel.vector(unit.out(1), ("unit", 1, 1, 0), dynamic=True)
    kernel.vector(unit.out(0), ("unit", 1, 1, 2))
    kernel.throttled(unit.out(0), Throttle(0.5, 3))
    kernel.numbered(unit.out(1), Sequence(stride=4, base=2, modulo=9))
    words = kernel.build().programs[unit.number]
    layout = unit_program_of(DYNAMIC, "agcu")
    program = layout.from_bits(sum(value << 32 * index for index, value in words.items()))
    first, second = program.vector_link_0
    assert second.dynamic.destination.row == 1 and second.dynamic.enable and second.rate == 0
    assert (second.stride, second.base, second.modulo) == (4, 2, 9)
    assert (first.rate, first.burst, first.dynamic.enable) == (128, 3, 0)
    kernel.numbered(unit.out(1), Sequence(base=256))
    with pytest.raises(RouteError, match=r"sequence IDs of .*: base=256 must be from 0 to 255"):
        kernel.build()
