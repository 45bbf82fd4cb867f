"""The control fabric of one grid point: single-bit wires, switched like a patch panel."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..common.program import program_layout

__all__ = ["ControlSwitch", "control_selects"]


def control_selects(ports: int, wires: int) -> data.ArrayLayout:
    """Program: for each output port ``select[w]``: 0 = wire off, 1 + p * wires + w = follows wire w of input port p."""
    return data.ArrayLayout(program_layout({"select": data.ArrayLayout(ceil_log2(ports * wires + 1), wires)}), ports)


class ControlSwitch(wiring.Component):
    """Joins each outgoing control wire to one incoming wire.

    Parameters: ``ports``, ``wires`` per port and direction.
    Members: ``selects`` In, see :func:`control_selects`; ``inputs[p]`` In, ``outputs[p]`` Out.
    Contract: every output is a register: one cycle a hop; any number of outputs may follow one input.
    """

    def __init__(self, ports: int, wires: int):
        self.ports, self.wires = ports, wires
        self.identity = (ports, wires)
        super().__init__({
            "selects": In(control_selects(ports, wires)),
            "inputs": In(wires).array(ports),
            "outputs": Out(wires).array(ports),
        })

    def elaborate(self, platform):
        m = Module()
        # Bit 0 is the wire that is always off.
        sources = Signal(1 + self.ports * self.wires)
        m.d.comb += sources.eq(Cat(0, *(self.inputs[port] for port in range(self.ports))))
        for port in range(self.ports):
            select = self.selects[port].select
            m.d.sync += self.outputs[port].eq(Cat(sources.bit_select(select[wire], 1) for wire in range(self.wires)))
        return m
