"""One output of a switch: the choice among the inputs."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..hierarchy import instantiate
from .mask import RoundRobin, encode, lowest

__all__ = ["OutputPort"]


class OutputPort(wiring.Component):
    """Serves one input a cycle, in turns.

    Parameters: ``payload``, layout of a packet; ``inputs``, ports of the switch; ``labels`` of the link.

    Members
    -------
    ``asked[i]`` In, labels that input i's packet may leave with; ``payloads[i]`` In, that packet; ``wanted`` Out, somebody asks;
    ``hold`` In, the link is taken by somebody else: nobody is served in this cycle; ``winner`` Out, one-hot, the
    input that is served; ``spent`` Out, one-hot, the label its packet leaves with; ``valid``, ``label``, ``payload`` Out, the
    link.

    Contract: combinational from the requests; an input that asks all the time waits for at most ``inputs - 1`` others.
    """

    def __init__(self, payload, inputs: int, labels: int):
        self.payload_layout, self.inputs, self.labels = payload, inputs, labels
        self.identity = (payload, inputs, labels)
        super().__init__({
            "asked": In(labels).array(inputs),
            "wanted": Out(1),
            "hold": In(1),
            "payloads": In(payload).array(inputs),
            "winner": Out(inputs),
            "spent": Out(labels),
            "valid": Out(1),
            "label": Out(range(labels)),
            "payload": Out(payload),
        })

    def elaborate(self, platform):
        m = Module()
        turn = RoundRobin(self.inputs)
        m.submodules.turn = instantiate(platform, turn)
        wanted = Signal(self.labels)
        m.d.comb += [
            turn.requests.eq(Cat(self.asked[index].any() for index in range(self.inputs))),
            turn.done.eq(self.valid),
            self.winner.eq(Mux(self.hold, 0, turn.pick)),
            self.wanted.eq(turn.pick.any()),
            self.valid.eq(self.winner.any()),
            self.spent.eq(lowest(wanted)),
            self.label.eq(encode(self.spent)),
        ]
        with m.Switch(self.winner):
            for index in range(self.inputs):
                with m.Case(1 << index):
                    m.d.comb += [wanted.eq(self.asked[index]), self.payload.eq(self.payloads[index])]
        return m
