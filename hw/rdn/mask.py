"""Building blocks of control logic on bit vectors: many small counters in a few masks, and round-robin picks.

State is kept as one bit per virtual circuit in whole-vector masks, never as an array of small signals: the same behaviour
then takes a fraction of the gates and of the simulation time.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, Value

__all__ = ["LevelCounters", "RoundRobin", "encode", "lowest"]


def lowest(value: Value) -> Value:
    """One-hot mask of the lowest set bit of ``value`` (zero for zero)."""
    return value & (~value + 1)[:len(value)]


class LevelCounters:
    """``width`` counters of 0..``depth``, in thermometer form: bit i of ``levels[k]`` says that counter i is above k.

    Parameters: ``full``, whether they start at ``depth`` (credits) or at zero (packets held).
    Contract: one step up or down a cycle for any set of counters; up and down at once is no change; stepping beyond an
    end is the caller's fault.
    """

    def __init__(self, width: int, depth: int, *, full: bool, name: str):
        init = (1 << width) - 1 if full else 0
        self.levels = [Signal(width, init=init, name=f"{name}_above_{level}") for level in range(depth)]

    @property
    def nonzero(self) -> Signal:
        """One bit a counter: it is not zero."""
        return self.levels[0]

    def update(self, m: Module, *, up: Value, down: Value) -> None:
        """Adds the counters' next-state logic: steps by the bits of ``up`` and ``down``."""
        rise, fall = up & ~down, down & ~up
        for index, level in enumerate(self.levels):
            below = self.levels[index - 1] if index else None
            above = self.levels[index + 1] if index + 1 < len(self.levels) else None
            kept = level & ~fall if above is None else level & (~fall | above)
            m.d.sync += level.eq(kept | (rise if below is None else rise & below))


class RoundRobin:
    """Picks one of the set bits of a request mask, the next one above the last winner first.

    Members: ``pick``, one-hot (zero if nothing is requested), combinational.
    Contract: the turn moves on only when :meth:`build` is told ``done``, so a picked request stays picked while it stays
    the first in turn; a request that stays is picked after at most ``width - 1`` others are done.
    """

    def __init__(self, width: int, name: str):
        self.width = width
        self.after = Signal(width, name=f"{name}_after")     # the positions above the last winner
        self.pick = Signal(width, name=f"{name}_pick")

    def build(self, m: Module, *, requests: Value, done: Value) -> Signal:
        """Adds the logic; returns ``pick``."""
        if self.width == 1:
            m.d.comb += self.pick.eq(requests)
            return self.pick
        later = requests & self.after
        m.d.comb += self.pick.eq(lowest(Mux(later.any(), later, requests)))
        with m.If(done):
            m.d.sync += self.after.eq(~(self.pick | (self.pick - 1)[:self.width]))
        return self.pick


def encode(one_hot: Value) -> Value:
    """Binary index of a one-hot mask, as an OR of positions (zero for zero)."""
    width = max(1, (len(one_hot) - 1).bit_length())
    return Cat(Cat(one_hot[i] for i in range(len(one_hot)) if i >> bit & 1).any() if len(one_hot) > 1 << bit else 0
               for bit in range(width))
