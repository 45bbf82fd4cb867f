"""The ports that every dataflow unit (PCU, PMU, AGCU) shows to the RDN and to the launch logic."""

from amaranth.hdl import Shape
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .packet import scalar_packet, vector_data, vector_packet

__all__ = ["DataflowUnit"]


class DataflowUnit(wiring.Component):
    """Base of the cores of PCU, PMU and AGCU; a :class:`hw.shell.UnitShell` joins a core to its switch.

    Parameters
    ----------
    program:
        layout of the core's program (see :func:`hw.common.program.program_layout`).
    config:
        the unit's configuration; decides the number of ports. ``identity`` for :func:`hw.hierarchy.instantiate`.
    events:
        names of the core's event bits, in order; each is counted by a 32-bit counter in the shell. The first four are
        always ``busy``, ``starved`` (an input that the program needs is empty), ``back_pressured`` (an output is full)
        and ``packets_in``.
    extra:
        further members of the signature (an AGCU's memory port).

    Members
    -------
    ``program`` In; ``execute`` In, pulse: begin; ``busy`` Out, from the cycle after ``execute`` until the program has
    finished (all outputs handed over). ``vector_in[i]``, ``scalar_in[i]`` In streams of packets (data and sequence ID);
    ``vector_out[o]``, ``scalar_out[o]`` Out streams of plain data; ``control_in`` In and ``control_out`` Out, token pulses
    by wire; ``events`` Out.

    Contract: a packet that waits at an input before ``execute`` is kept and used; outputs are registered streams (payload
    stable while stalled, valid does not wait for ready).
    """

    def __init__(self, *, config, program: data.Layout, events: list[str], vector_inputs: int, vector_outputs: int,
                 scalar_inputs: int, scalar_outputs: int, extra: dict | None = None):
        self.config, self.identity = config, config
        self.program_layout, self.event_names = program, events
        if events[:4] != ["busy", "starved", "back_pressured", "packets_in"]:
            raise ValueError(f"events={events} must begin with busy, starved, back_pressured, packets_in")
        vector_in = stream.Signature(vector_packet(config.lanes, config.sequence_bits))
        scalar_in = stream.Signature(scalar_packet(config.sequence_bits))
        members = {
            "program": In(program),
            "execute": In(1),
            "busy": Out(1),
            "vector_in": In(vector_in).array(vector_inputs),
            "vector_out": Out(stream.Signature(vector_data(config.lanes))).array(vector_outputs),
            "scalar_in": In(scalar_in).array(scalar_inputs),
            "scalar_out": Out(stream.Signature(Shape(32))).array(scalar_outputs),
            "control_in": In(config.control_wires),
            "control_out": Out(config.control_wires),
            "events": Out(data.StructLayout({name: 1 for name in events})),
        }
        super().__init__(members | (extra or {}))
