"""The router: trees that reach everyone, labels nobody shares, messages that name the culprit."""

import random

import pytest

from compiler.fabric import OPPOSITE, STEPS
from compiler.route import Flow, RouteError, Router
from hw.config import preset
from hw.rdn.node import LOCAL
from hw.rdn.program import SwitchProgram, SwitchProgramError

CONFIG = preset("small")


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
        assert resident.words()[0].keys() - routes.words()[0].keys(), "the resident kernel's entry must not be rewritten"
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
    config = preset("paper_unit")          # one row: there is no way around
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
