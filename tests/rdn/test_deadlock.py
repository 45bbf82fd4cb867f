"""Random graphs that fork and join always drain; with one FIFO for all labels some hang, and the circle is named."""

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.fabric.route import Flow, RouteError, Router
from hw.config import PCUConfig, PMUConfig, RDNConfig, preset
from hw.rdn.switch import Switch
from sim.unit_bench import UnitBench

from .deadlock import JoinMesh, SharedFifoInput, Stuck, drain

PORTS = 3
RDN = RDNConfig(lanes=4, labels=3, local_links=1)
CONFIG = dataclasses.replace(preset("tiny"), rows=2, columns=3, rdn=RDN,
                             pcu=PCUConfig(lanes=4, stages=2, broadcast_depth=32, vector_inputs=3, vector_outputs=3),
                             pmu=PMUConfig(lanes=4, banks=4, bank_rows=32, vector_inputs=3, vector_outputs=3, scalar_outputs=3))
STEPS = 60


def made(**changes):
    return UnitBench(JoinMesh(CONFIG.rows, CONFIG.columns, RDN, PORTS), optimize="-O0", **changes)


@pytest.fixture(scope="module")
def bench():
    with made() as found:
        yield found


@st.composite
def graphs(draw) -> list[Flow]:
    """Units in a random order; each sends to some of those after it, in one or more flows with one or more ends."""
    order = draw(st.permutations(CONFIG.grid))
    free = {point: list(range(PORTS)) for point in order}
    flows = []
    for position, point in enumerate(order[:-1]):
        for port in range(draw(st.integers(1, 2))):
            later = [other for other in order[position + 1:] if free[other]]
            if later:
                ends = draw(st.lists(st.sampled_from(later), min_size=1, max_size=3, unique=True))
                flows.append(Flow(name=f"f{len(flows)}", source=("unit", *point, port), rate=0.3,
                                  destinations=tuple(("unit", *end, free[end].pop(0)) for end in ends)))
    return flows


@settings(max_examples=40)
@given(flows=graphs(), lazy=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_forks_that_join_drain(bench, flows, lazy):
    try:
        Router(CONFIG).route(flows)
    except RouteError:
        return
    drain(bench, CONFIG, flows, steps=STEPS, lazy=lazy)


def reconvergent() -> list[Flow]:
    """The last unit joins what comes straight from the first with what went through all the others and then over the same links."""
    path = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    flows = [Flow(name="straight", source=("unit", *path[0], 0), destinations=(("unit", *path[-1], 0),), rate=0.3)]
    flows += [Flow(name=f"step {number}", source=("unit", *begin, 1), destinations=(("unit", *end, 1),), rate=0.3)
              for number, (begin, end) in enumerate(pairwise(path))]
    return flows


def test_reconvergent_paths_drain(bench):
    assert drain(bench, CONFIG, reconvergent(), steps=STEPS, lazy=[0] * 6) < 1200


def test_a_shared_fifo_hangs_and_the_circle_is_named(monkeypatch):
    """The same graphs on the known-bad switch, until one hangs."""
    monkeypatch.setattr(Switch, "input_port", SharedFifoInput)
    hung = []

    with made() as bad:
        @settings(max_examples=40)
        @given(flows=graphs(), lazy=st.lists(st.integers(0, 3), min_size=6, max_size=6))
        def search(flows, lazy):
            try:
                Router(CONFIG).route(flows)
                drain(bad, CONFIG, flows, steps=STEPS, lazy=lazy)
            except RouteError:
                pass
            except Stuck as stuck:
                hung.append(stuck)
        search()
    assert hung
    text = str(next(stuck for stuck in hung if stuck.circle))
    print(text)
    assert "unit (" in text and "flow f" in text
