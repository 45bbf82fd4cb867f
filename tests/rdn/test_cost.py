"""What a switch costs is as recorded; dynamic slots that are not there cost nothing. After a change that is meant: ``rdu bench cost
--unit switch --preset tiny --full``."""

import dataclasses

import pytest

from bench.cost import CASES, cost, recorded
from hw.common.packet import vector_packet
from hw.config import preset
from hw.hierarchy import to_verilog
from hw.rdn.node import vector_ports
from hw.rdn.switch import Switch

TINY = preset("tiny")


@pytest.mark.parametrize("case", [pytest.param(case, marks=pytest.mark.long) for case in CASES["switch"](TINY)])
def test_cost_is_as_recorded(case):
    """To the flip-flop and the memory bit; the number of cells within 1 %, for other versions of Yosys."""
    found, expected = cost(CASES["switch"](TINY)[case](), "switch"), recorded("switch")[case]
    assert dataclasses.replace(found, cells=0) == dataclasses.replace(expected, cells=0)
    assert found.cells == pytest.approx(expected.cells, rel=0.01)


def test_every_size_costs_and_slots_are_apart():
    costs = recorded("switch")
    plain = costs["as it is"]
    assert costs["2 labels"].cells < plain.cells < costs["8 labels"].cells
    assert costs["2 dynamic slots"].register_file_bits == plain.register_file_bits     # places of their own, none of the circuits'
    assert plain.cells < costs["2 dynamic slots"].cells < costs["4 dynamic slots"].cells


def test_without_slots_there_is_nothing_dynamic():
    rdn = TINY.rdn
    packet = vector_packet(rdn.lanes, rdn.sequence_bits)
    text = to_verilog(Switch(packet, vector_ports(rdn), rdn.labels, rdn.buffer_depth), "switch")
    assert "dynamic" not in text and "position" not in text and "destination" not in text
    assert "dynamic" in to_verilog(Switch(packet, vector_ports(rdn), rdn.labels, rdn.buffer_depth, slots=2), "switch")
