"""Why nothing moves: the graph of units that wait for one another."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice, product

import networkx as nx

from hw.config import RDUConfig

from .kernel import Kernel

__all__ = ["StallReport", "find_stall", "flows_of", "unit_of"]

RINGS_TRIED = 10_000                      # of each length

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
    that do not take. A flow is never both empty and full: where the counters leave open which of the two it is, the ring decides.
    A unit that does neither and is not busy has done what it was programmed to.
    """
    states = {unit: _state(moved.get(unit, {})) for unit in sorted(enabled)}
    flows = [flow for kernel in kernels for flow in flows_of(config, kernel)]
    outputs, inputs = Counter(start for start, _, _ in flows), Counter(end for _, end, _ in flows)
    waits = []                                                # (unit, what it waits for, unit that it waits for, flow)
    for start, end, text in flows:
        source, target = states.get(start, ""), states.get(end, "")
        blocked, starved = source.startswith("back-pressured"), target.startswith("starved")
        if starved and not source.startswith("moves") and not (blocked and outputs[start] == 1):
            waits.append((end, text, start, text))
        if blocked and not target.startswith("moves") and not (starved and inputs[end] == 1):
            waits.append((start, f"room in {text}", end, text))
    ring = _ring(waits)
    decided = {flow for *_, flow in ring}
    waits = [wait for wait in waits if wait in ring or wait[3] not in decided]
    waiting = {unit for unit, *_ in waits}
    roots = tuple(dict.fromkeys(other for _, _, other, _ in waits if other not in waiting))
    if not waits:
        roots = tuple(unit for unit, state in states.items() if state.startswith(("starved", "back-pressured", "busy")))
    return StallReport(states, tuple(wait[:3] for wait in waits), tuple(unit for unit, *_ in ring), roots)


def _ring(waits: list[tuple[str, str, str, str]]) -> list[tuple[str, str, str, str]]:
    """The waits of a shortest ring in which each flow is either empty or full; none if there is no such ring."""
    graph = nx.DiGraph()
    for wait in waits:
        graph.add_edge(wait[0], wait[2])
        graph.edges[wait[0], wait[2]].setdefault("waits", []).append(wait)
    for length in range(1, len(graph) + 1):
        found = []
        for units in islice(nx.simple_cycles(graph, length_bound=length), RINGS_TRIED):
            first = units.index(min(units))
            units = [*units[first:], *units[:first]]
            edges = [graph.edges[unit, other]["waits"] for unit, other in zip(units, [*units[1:], units[0]], strict=True)]
            found += [[*ring] for ring in product(*edges) if len({flow for *_, flow in ring}) == len(units)]
        if found:
            return min(found)
    return []


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
