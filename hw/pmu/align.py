"""Data alignment: moving whole vectors across half-lanes, written as a few wide operations."""

from amaranth.hdl import Cat, Module, Signal, Value

__all__ = ["aligned"]


def _rotated(m: Module, value: Value, amount: Value, lanes: int, name: str) -> Value:
    """``out[i] = value[(i + amount) mod lanes]``."""
    for bit in range(len(amount)):
        stage = Signal(16 * lanes, name=f"{name}_rotate_{bit}")
        m.d.comb += stage.eq(value)
        with m.If(amount[bit]):
            m.d.comb += stage.eq(value.rotate_right(16 << bit))
        value = stage
    return value


def _exchanged(m: Module, value: Value, amount: Value, lanes: int, name: str) -> Value:
    """``out[i] = value[i ^ amount]``: one stage of swaps for each bit."""
    for bit in range(len(amount)):
        stage = Signal(16 * lanes, name=f"{name}_exchange_{bit}")
        m.d.comb += stage.eq(value)
        with m.If(amount[bit]):
            m.d.comb += stage.eq(Cat(value.word_select(lane ^ 1 << bit, 16) for lane in range(lanes)))
        value = stage
    return value


def aligned(m: Module, value: Value, *, turn: Value, rotate: Value, back: bool, name: str) -> Signal:
    """Lanes of memory to lanes of a vector: rotated by ``turn`` if ``rotate``, else XOR-exchanged by it.

    ``back``: the opposite direction (vector to memory); an exchange is its own inverse.
    """
    lanes = 1 << len(turn)
    out = Signal(16 * lanes, name=name)
    m.d.comb += out.eq(value)
    with m.If(rotate):
        m.d.comb += out.eq(_rotated(m, value, (-turn)[:len(turn)] if back else turn, lanes, name))
    with m.Elif(turn.any()):
        m.d.comb += out.eq(_exchanged(m, value, turn, lanes, name))
    return out
