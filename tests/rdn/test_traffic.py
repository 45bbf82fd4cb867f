"""Meshes under synthetic traffic, every packet checked: latency to the cycle, throughput beyond the published networks'."""

import json
from pathlib import Path

import pytest

import bench.rdn_traffic
import hw.rdn.switch
from bench.rdn_traffic import PATTERNS, MeshTraffic, TrafficError, mesh_size

from .known_bad import NoElders

FLOONOC = next(network for network in json.loads((Path(bench.rdn_traffic.__file__).parent / "baselines/rdn.json").read_text())["networks"]
               if network["name"].startswith("FlooNoC"))


@pytest.mark.parametrize("size", ["4x4", "8x8"])
def test_two_slots_beat_an_open_network_of_two_deep_fifos(size):
    with MeshTraffic(*mesh_size(size), slots=2) as mesh:
        flooded = mesh.run("uniform", 1.0, measured=3000, drain=0)
        assert flooded.accepted > FLOONOC["accepted_rate_overdriven"][size]
        assert flooded.fairness > 0.2                       # nobody starves
        assert mesh.run("uniform", 0.01).mean_latency < FLOONOC["zero_load_latency_cycles"][size]


def test_zero_load_latency_is_hops_and_a_constant():
    """Bit-complement on 2x8: the mean of the distances, two cycles for entry and exit, and next to nothing for meeting others."""
    rows, columns = 2, 8
    with MeshTraffic(rows, columns, slots=2) as mesh:
        point = mesh.run("bit-complement", 0.002, measured=20_000)
    hops = [abs(rows - 1 - 2 * row) + abs(columns - 1 - 2 * column) for row in range(rows) for column in range(columns)]
    assert point.mean_latency == pytest.approx(sum(hops) / len(hops) + 2, abs=0.15)
    assert point.drained and point.worst_latency < max(hops) + 2 + 6


@pytest.mark.parametrize("pattern", PATTERNS)
def test_all_patterns_arrive(pattern):
    with MeshTraffic(4, 4, slots=2) as mesh:
        point = mesh.run(pattern, 0.2, measured=1000)
        assert point.drained and point.accepted == pytest.approx(0.2, abs=0.03)


def test_packets_out_of_order_are_caught(monkeypatch):
    monkeypatch.setattr(hw.rdn.switch, "DynamicInput", NoElders)
    with MeshTraffic(4, 4, slots=3) as mesh, pytest.raises(TrafficError, match="out of order, lost or came twice"):
        mesh.run("transpose", 0.5)


def test_bad_options_are_named():
    for call, text in ((lambda: mesh_size("4"), "mesh=4 must be ROWSxCOLUMNS"), (lambda: mesh_size("1x40"), "each from 2 to 16")):
        with pytest.raises(ValueError, match=text):
            call()
    with MeshTraffic(2, 3, slots=2) as mesh:
        for pattern, rate, text in (("tornado", 0.1, "pattern=tornado must be one of"), ("transpose", 0.1, "as many rows as columns"),
                                    ("uniform", 0.0, "rate=0.0")):
            with pytest.raises(ValueError, match=text):
                mesh.run(pattern, rate)
