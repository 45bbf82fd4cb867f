"""All three fabrics of one grid point."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..common.packet import scalar_packet, vector_packet
from ..common.program import program_layout
from ..hierarchy import instantiate
from .control import ControlSwitch, control_selects
from .dynamic import EAST, LOCAL, NORTH, SOUTH, WEST, destination_layout, extended, position_layout
from .link import Link
from .switch import SWITCH_EVENTS, Switch, flow_table

__all__ = ["EAST", "LOCAL", "NORTH", "PORT_NAMES", "SCALAR_PORTS", "SOUTH", "WEST", "SwitchNode", "link_of", "scalar_link",
           "switch_events", "switch_program", "vector_link", "vector_ports"]

SCALAR_PORTS = 5                                    # the control fabric's too
PORT_NAMES = ("north", "east", "south", "west", "local0", "local1")


def vector_ports(config) -> int:
    """Ports of the vector switch: north, east, south, west and the local links."""
    return LOCAL + config.local_links


def link_of(packet: data.StructLayout, config) -> Link:
    """The link of ``config``, an RDNConfig, for the packets of a unit."""
    destination = destination_layout(config.coordinate_bits, config.labels) if config.dynamic_slots else None
    return Link(extended(packet, destination), config.labels, config.dynamic_slots)


def vector_link(config) -> Link:
    """A link of the vector fabric; ``config`` is an RDNConfig."""
    return link_of(vector_packet(config.lanes, config.sequence_bits), config)


def scalar_link(config) -> Link:
    """A link of the scalar fabric."""
    return link_of(scalar_packet(config.sequence_bits), config)


def switch_program(config) -> data.Layout:
    """Program of a :class:`SwitchNode`: ``vector`` and ``scalar`` flow tables, ``control`` selects."""
    return program_layout({
        "vector": flow_table(vector_ports(config), config.labels),
        "scalar": flow_table(SCALAR_PORTS, config.labels),
        "control": control_selects(SCALAR_PORTS, config.control_wires),
    })


def switch_events(config) -> data.StructLayout:
    """Events of a :class:`SwitchNode`: for each fabric, masks over the ports."""
    return data.StructLayout({
        fabric: data.StructLayout({name: ports for name in SWITCH_EVENTS})
        for fabric, ports in (("vector", vector_ports(config)), ("scalar", SCALAR_PORTS))
    })


class SwitchNode(wiring.Component):
    """The switches of one grid point: vector, scalar and control.

    Parameters: ``config``, an :class:`~hw.config.RDNConfig`.

    Members (ports in the order north, east, south, west, local 0, local 1)
    -------
    ``program`` In, see :func:`switch_program`; ``position`` In (with ``dynamic_slots`` only), a constant;
    ``vector_in[p]``, ``scalar_in[p]`` In(Link), ``vector_out[p]``, ``scalar_out[p]`` Out(Link);
    ``control_in[p]`` In, ``control_out[p]`` Out, wires; ``events`` Out, see :func:`switch_events`.

    Contract: that of :class:`~hw.rdn.switch.Switch` and :class:`~hw.rdn.control.ControlSwitch`. A local "in" comes from the unit.
    """

    def __init__(self, config):
        self.config, self.identity = config, config
        vector, scalar, wires = vector_link(config), scalar_link(config), config.control_wires
        position = {"position": In(position_layout(config.coordinate_bits))} if config.dynamic_slots else {}
        super().__init__({
            **position,
            "program": In(switch_program(config)),
            "vector_in": In(vector).array(vector_ports(config)),
            "vector_out": Out(vector).array(vector_ports(config)),
            "scalar_in": In(scalar).array(SCALAR_PORTS),
            "scalar_out": Out(scalar).array(SCALAR_PORTS),
            "control_in": In(wires).array(SCALAR_PORTS),
            "control_out": Out(wires).array(SCALAR_PORTS),
            "events": Out(switch_events(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        vector, scalar = (Switch(packet, ports, config.labels, config.buffer_depth, slots=config.dynamic_slots,
                                 coordinate_bits=config.coordinate_bits)
                          for packet, ports in ((vector_packet(config.lanes, config.sequence_bits), vector_ports(config)),
                                                (scalar_packet(config.sequence_bits), SCALAR_PORTS)))
        control = ControlSwitch(SCALAR_PORTS, config.control_wires)
        for name, switch in (("vector", vector), ("scalar", scalar)):
            m.submodules[name] = instantiate(platform, switch)
            for index in range(switch.ports):
                wiring.connect(m, switch.inputs[index], wiring.flipped(getattr(self, f"{name}_in")[index]))
                wiring.connect(m, switch.outputs[index], wiring.flipped(getattr(self, f"{name}_out")[index]))
            m.d.comb += self.events[name].eq(switch.events)
            if config.dynamic_slots:
                m.d.comb += switch.position.eq(self.position)
            m.d.comb += [entry.eq(self.program[name][index].branches) for index, entry in enumerate(switch.flows)]
        m.submodules.control = instantiate(platform, control)
        m.d.comb += control.selects.eq(self.program.control)
        for index in range(SCALAR_PORTS):
            m.d.comb += [control.inputs[index].eq(self.control_in[index]), self.control_out[index].eq(control.outputs[index])]
        return m
