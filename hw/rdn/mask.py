"""Building blocks of control logic on bit vectors: many small counters in a few masks, and round-robin picks.

State is kept as one bit per virtual circuit in whole-vector masks, never as an array of small signals: the same behaviour
then takes a fraction of the gates and of the simulation time. The blocks are modules of their own so that their vectors
stay vectors in Verilog; a vector that is a concatenation would be spelled out bit by bit wherever it is used.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LevelCounters", "RoundRobin", "encode", "lowest"]


def lowest(value: Signal) -> Value:
    """One-hot mask of the lowest set bit of ``value`` (zero for zero)."""
    return value & (~value + 1)[:len(value)]


def encode(one_hot: Value) -> Value:
    """Binary index of a one-hot mask, as an OR of positions (zero for zero)."""
    bits = max(1, (len(one_hot) - 1).bit_length())
    ones = [sum(1 << index for index in range(len(one_hot)) if index >> bit & 1) for bit in range(bits)]
    return Cat((one_hot & mask).any() if mask else 0 for mask in ones)


class LevelCounters(wiring.Component):
    """``width`` counters of 0..``depth``, kept in thermometer form: one mask over the counters per level.

    Parameters: ``full``, whether they start at ``depth`` (credits) or at zero (packets held).
    Members: ``up``, ``down`` In, the counters that step; ``nonzero`` Out, those that are not zero (a register).
    Contract: one step up or down a cycle for any set of counters; up and down at once is no change; stepping beyond an
    end is the caller's fault.
    """

    def __init__(self, width: int, depth: int, *, full: bool):
        self.width, self.depth, self.full = width, depth, full
        self.identity = (width, depth, full)
        super().__init__({"up": In(width), "down": In(width), "nonzero": Out(width)})

    def elaborate(self, platform):
        m = Module()
        init = (1 << self.width) - 1 if self.full else 0
        self.levels = levels = [Signal(self.width, init=init, name=f"above_{level}") for level in range(self.depth)]
        rise, stay = Signal(self.width), Signal(self.width)
        m.d.comb += [rise.eq(self.up & ~self.down), stay.eq(~self.down | self.up), self.nonzero.eq(levels[0])]
        for index, level in enumerate(levels):
            kept = level & (stay | levels[index + 1]) if index + 1 < self.depth else level & stay
            m.d.sync += level.eq(kept | (rise & levels[index - 1] if index else rise))
        return m


class RoundRobin(wiring.Component):
    """Picks one of the set bits of a request mask, the next one above the last winner first.

    Members: ``requests`` In; ``pick`` Out, one-hot (zero if nothing is requested), combinational; ``done`` In: the picked request
    has been served, the turn moves on.
    Contract: a request that stays is picked after at most ``width - 1`` others have been served.
    """

    def __init__(self, width: int):
        self.width = self.identity = width
        super().__init__({"requests": In(width), "pick": Out(width), "done": In(1)})

    def elaborate(self, platform):
        m = Module()
        self.after = after = Signal(self.width)
        later, first = Signal(self.width), Signal(self.width)
        m.d.comb += [
            later.eq(self.requests & after),          # the requests above the last winner
            first.eq(Mux(later.any(), later, self.requests)),
            self.pick.eq(lowest(first)),
        ]
        with m.If(self.done):
            m.d.sync += after.eq(~(self.pick | (self.pick - 1)[:self.width]))
        return m
