"""Event counters: what every unit shows of itself to the host."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .program import UNIT_BITS

__all__ = ["INDEX_BITS", "EventCounters", "counter_select"]

INDEX_BITS = 8


def counter_select() -> data.StructLayout:
    """Which counter is read: a unit on the config network and an index into its list of events."""
    return data.StructLayout({"unit": UNIT_BITS, "index": INDEX_BITS})


class EventCounters(wiring.Component):
    """One 32-bit counter per event bit of a unit.

    Parameters: ``names``, the events in the order of their index.
    Members: ``unit_id`` In; ``events`` In, one bit per name; ``select`` In, see :func:`counter_select`;
    ``value`` Out, the selected counter, or 0 when another unit is selected.
    Contract: counters start at zero after reset, wrap at 2**32 and count every cycle in which their bit is set; ``value``
    follows ``select`` by one cycle, so that a tile can OR the values of all units.
    """

    def __init__(self, names: list[str]):
        self.names = names
        self.identity = tuple(names)
        super().__init__({
            "unit_id": In(UNIT_BITS), "events": In(len(names)), "select": In(counter_select()), "value": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        counters = [Signal(32, name=f"{name}_count") for name in self.names]
        for index, counter in enumerate(counters):
            with m.If(self.events[index]):
                m.d.sync += counter.eq(counter + 1)
        m.d.sync += self.value.eq(0)
        with m.If(self.select.unit == self.unit_id):
            m.d.sync += self.value.eq(Mux(self.select.index < len(counters), Array(counters)[self.select.index], 0))
        return m
