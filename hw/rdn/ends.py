"""Switches whose unit links end in senders and receivers: streams in, streams out, as the units of a tile see the network."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..common.packet import vector_packet
from ..hierarchy import instantiate
from .mesh import Mesh
from .node import LOCAL, link_of, switch_program
from .receiver import RdnReceiver
from .sender import RdnSender, sender_program
from .switch import Switch

__all__ = ["MeshWithEnds", "NodeWithEnds"]


class MeshWithEnds(wiring.Component):
    """The vector fabric of ``rows`` x ``columns`` switches, ``used`` ports at every unit link each way.

    Members (n = row * columns + column, k = local link, e = (n * local_links + k) * used + port): ``program[n]`` In, of the switches;
    ``sender[n * local_links + k]`` In, of the senders; ``source[e]`` In, streams of plain data; ``sink[e]`` Out, streams of packets.

    Contract: a packet is on its sink n + 1 cycles after it was taken from its source, if it passes n switches and meets nobody.
    """

    def __init__(self, rows: int, columns: int, config, used: int = 1):
        self.rows, self.columns, self.config, self.used = rows, columns, config, used
        self.packet = vector_packet(config.lanes, config.sequence_bits)
        links = rows * columns * config.local_links
        super().__init__({
            "program": In(switch_program(config)).array(rows * columns),
            "sender": In(sender_program(config, used)).array(links),
            "source": In(stream.Signature(self.packet["data"].shape)).array(links * used),
            "sink": Out(stream.Signature(self.packet)).array(links * used),
        })

    def elaborate(self, platform):
        m = Module()
        mesh = Mesh(self.rows, self.columns, self.config)
        mesh.identity = (self.rows, self.columns, self.config)
        m.submodules.mesh = instantiate(platform, mesh)
        m.d.comb += [inner.eq(outer) for inner, outer in zip(mesh.program, self.program, strict=True)]
        for link, program in enumerate(self.sender):
            sender, receiver = (kind(self.packet, self.config, self.used) for kind in (RdnSender, RdnReceiver))
            m.submodules[f"sender_{link}"] = instantiate(platform, sender)
            m.submodules[f"receiver_{link}"] = instantiate(platform, receiver)
            wiring.connect(m, sender.link, mesh.vector_in[link])
            wiring.connect(m, mesh.vector_out[link], receiver.link)
            m.d.comb += sender.program.eq(program)
            for port in range(self.used):
                wiring.connect(m, wiring.flipped(self.source[link * self.used + port]), sender.streams[port])
                wiring.connect(m, receiver.streams[port], wiring.flipped(self.sink[link * self.used + port]))
        return m


class NodeWithEnds(wiring.Component):
    """One vector switch with a unit's sender and receiver of one port each, for dynamic packets: what a mesh of any size is made of.

    Parameters: ``config``, an RDNConfig with one local link.
    Members: ``position`` In; ``inputs[p]`` In, ``outputs[p]`` Out, links north to west; ``sender`` In, the sender's program; ``source``
    In, plain data; ``sink`` Out, packets.
    """

    def __init__(self, config):
        self.config = config
        self.packet = vector_packet(config.lanes, config.sequence_bits)
        self.switch = Switch(self.packet, LOCAL + 1, config.labels, config.buffer_depth, slots=config.dynamic_slots,
                             coordinate_bits=config.coordinate_bits)
        link = link_of(self.packet, config)
        super().__init__({
            "position": In(self.switch.position_layout), "inputs": In(link).array(LOCAL), "outputs": Out(link).array(LOCAL),
            "sender": In(sender_program(config, 1)), "source": In(stream.Signature(self.packet["data"].shape)),
            "sink": Out(stream.Signature(self.packet)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.switch = switch = self.switch
        m.submodules.sender = sender = RdnSender(self.packet, self.config, 1)
        m.submodules.receiver = receiver = RdnReceiver(self.packet, self.config, 1)
        m.d.comb += [switch.position.eq(self.position), sender.program.eq(self.sender)]
        for port in range(LOCAL):
            wiring.connect(m, wiring.flipped(self.inputs[port]), switch.inputs[port])
            wiring.connect(m, switch.outputs[port], wiring.flipped(self.outputs[port]))
        wiring.connect(m, sender.link, switch.inputs[LOCAL])
        wiring.connect(m, switch.outputs[LOCAL], receiver.link)
        wiring.connect(m, wiring.flipped(self.source), sender.streams[0])
        wiring.connect(m, receiver.streams[0], wiring.flipped(self.sink))
        return m
