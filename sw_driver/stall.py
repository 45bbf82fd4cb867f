"""Why nothing moves: the graph of units that wait for one another."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from hw.config import RDUConfig

from .kernel import Kernel

__all__ = ["StallReport", "find_stall", "flows_of", "unit_of"]


@dataclass(frozen=True)
class StallReport:
    """``states``: unit -> what it does; ``waits``: (unit, what it waits for, unit that it waits for); ``cycle``: units that wait in a
    ring, or none; ``roots``: units that others wait for and that wait for nobody. ``str()`` is the explanation."""

    states: dict[str, str]
    waits: tuple[tuple[str, str, str], ...]
    cycle: tuple[str, ...]
    roots: tuple[str, ...]

    def __str__(self) -> str:
        if not self.waits and not self.roots:
            return "no unit waits: nothing is launched, or all of them move"
        lines = [f"{unit} waits for {what}" for unit, what, _ in self.waits]
        if self.cycle:
            lines.append("these wait in a ring: " + " -> ".join([*self.cycle, self.cycle[0]]))
        lines += [f"{unit} is where it begins: {self.states[unit]}" for unit in self.roots]
        return "\n".join(lines)


def unit_of(config: RDUConfig, endpoint: tuple) -> str:
    """The name of the unit at a flow's end."""
    if endpoint[0] == "agcu":
        return f"agcu{endpoint[1]}"
    row, column = endpoint[1:3]
    return f"{'pcu' if config.is_pcu(row, column) else 'pmu'}({row},{column})"


def flows_of(config: RDUConfig, kernel: Kernel) -> list[tuple[str, str, str]]:
    """(source unit, destination unit, text) of each flow of a kernel that keeps its flows (symbol "flows")."""
    found = []
    for fabric, source, destinations in kernel.symbols.get("flows", ()):
        for destination in destinations:
            start, end = unit_of(config, source), unit_of(config, destination)
            found.append((start, end, f"{fabric} flow {start}.{source[-1]} -> {end}.{destination[-1]}"))
    return found


def find_stall(config: RDUConfig, moved: dict[str, dict[str, int]], enabled: set[str], kernels: list[Kernel]) -> StallReport:
    """``moved``: counters that advance; ``enabled``: units that the loaded ``kernels`` use.

    A starved unit waits for the sources of its flows that do not send, a back-pressured one for the destinations of its flows
    that do not take. A unit that does neither and is not busy has done what it was programmed to.
    """
    states = {unit: _state(moved.get(unit, {})) for unit in sorted(enabled)}
    waits, graph = [], nx.DiGraph()
    for start, end, text in (flow for kernel in kernels for flow in flows_of(config, kernel)):
        source, target = states.get(start, ""), states.get(end, "")
        if target.startswith("starved") and not source.startswith(("moves", "back-pressured")):
            waits.append((end, text, start))
        if source.startswith("back-pressured") and not target.startswith("moves") and not target.startswith("starved"):
            waits.append((start, f"room in {text}", end))
    graph.add_edges_from((unit, other) for unit, _, other in waits)
    try:
        cycle = tuple(edge[0] for edge in nx.find_cycle(graph))
    except nx.NetworkXNoCycle:
        cycle = ()
    roots = tuple(unit for unit in graph if not graph.out_degree(unit))
    if not waits:
        roots = tuple(unit for unit, state in states.items() if state.startswith(("starved", "back-pressured", "busy")))
    return StallReport(states, tuple(waits), cycle, roots)


def _state(events: dict[str, int]) -> str:
    if any(events.get(event) for event in ("packets_out", "packets_in", "iterations", "mac_cycles", "beats_read", "beats_written",
                                           "read0_vectors", "read1_vectors", "write_vectors")):
        return "moves"
    causes = ", ".join(sorted(event for event in events if event.startswith(("starved_", "memory_", "slot_")) or event == "bank_conflict"))
    causes = f" ({causes})" if causes else ""
    if events.get("back_pressured"):
        return f"back-pressured{causes}: nobody takes what it sends"
    if events.get("starved"):
        return f"starved{causes}: an input does not come"
    if events.get("busy"):
        return f"busy{causes}, and neither starved nor blocked: it waits for a token, for memory, or computes"
    return "idle: it has done all that it was programmed to do"
