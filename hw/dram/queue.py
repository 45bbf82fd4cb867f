"""The requests that wait in a controller, in order of age, kept as bit planes."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RequestQueue", "index_of", "oldest"]


def oldest(vector):
    """The lowest set bit alone: position 0 is the oldest entry."""
    width = len(vector)
    return (vector & (~vector + 1))[:width]


def index_of(onehot):
    """The number of the one set bit."""
    width = len(onehot)
    return Cat((onehot & sum(1 << at for at in range(width) if at >> bit & 1)).any() for bit in range((width - 1).bit_length()))


class RequestQueue(wiring.Component):
    """Up to ``depth`` entries; position is age. Bit p of every vector belongs to the p-th oldest entry.

    Parameters: ``depth``; ``entry``, the layout of an entry, with fields ``bank``, ``row``, ``column``, ``write``.
    Members
    -------
    ``insert`` In, ``incoming`` In, ``incoming_hit`` In: a new youngest entry, and whether its row is open;
    ``remove`` In: one-hot or zero, the entry that leaves.
    ``opened_bank``, ``opened_row``, ``opened`` In: an activate took place: the waiting entries of that row are hits from the
    next cycle on;
    ``closed``, ``closed_bank``, ``closed_all`` In: one bank or all were closed: their entries are no hits from the next cycle on;
    ``valid``, ``write``, ``hit`` Out; ``of_bank[b]`` Out: the entries of bank b; ``with_oldest`` Out: those of the bank of
    the oldest entry;
    ``pick`` In one-hot, ``picked`` Out: a second pick for the row bus is ``row_pick``, ``row_picked``;
    ``conflict`` Out: a waiting entry has the address of ``incoming`` and one of the two is a write.
    ``full`` Out.

    Contract: entries keep their order of age; insert and remove may come in one cycle. All outputs are functions of registers,
    of the picks and of ``incoming``. Every bit of all entries is one signal, so that shifting and comparing cost a few vector
    operations.
    """

    def __init__(self, depth: int, entry: data.StructLayout, banks: int):
        self.depth, self.entry, self.banks = depth, entry, banks
        super().__init__({
            "insert": In(1), "incoming": In(entry), "incoming_hit": In(1), "remove": In(depth),
            "opened": In(1), "opened_bank": In(entry["bank"].shape), "opened_row": In(entry["row"].shape),
            "closed": In(1), "closed_bank": In(entry["bank"].shape), "closed_all": In(1),
            "valid": Out(depth), "write": Out(depth), "hit": Out(depth), "of_bank": Out(depth).array(banks),
            "with_oldest": Out(depth),
            "pick": In(depth), "picked": Out(entry), "row_pick": In(depth), "row_picked": Out(entry),
            "conflict": Out(1), "full": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self.depth
        keep, place = Signal(depth), Signal(depth)
        tail, tail_next = Signal(depth + 1, init=1), Signal(depth + 1)
        removing = self.remove.any()
        m.d.comb += [
            keep.eq(self.remove - 1),                      # the entries older than the one that leaves; all if none does
            tail_next.eq(Mux(removing, tail >> 1, tail)),
            place.eq(tail_next[:depth] & self.insert.replicate(depth)),
            self.full.eq(tail[-1]),
        ]
        with m.If(self.insert):
            m.d.sync += tail.eq(Cat(Const(0, 1), tail_next))
        with m.Else():
            m.d.sync += tail.eq(tail_next)

        def shifted(plane):
            return (plane & keep) | ((plane >> 1) & ~keep)

        planes = {}
        for name, _ in self.entry:
            bits = Value.cast(self.incoming[name])
            planes[name] = [Signal(depth, name=f"{name}_{bit}") for bit in range(len(bits))]
            for plane, bit in zip(planes[name], bits, strict=True):
                m.d.sync += plane.eq(shifted(plane) | (place & bit.replicate(depth)))
        self._drive_hits(m, planes, shifted, place)
        m.d.comb += [self.write.eq(planes["write"][0]), self.valid.eq(tail - 1)]
        self._drive_picks(m, planes)
        return m

    def _match(self, planes, value):
        """The entries whose field is ``value``."""
        differ = 0
        for plane, bit in zip(planes, Value.cast(value), strict=True):
            differ = differ | (plane ^ bit.replicate(self.depth))
        return ~differ

    def _drive_hits(self, m: Module, planes, shifted, place) -> None:
        depth = self.depth
        for bank in range(self.banks):
            match = self.valid
            for bit, plane in enumerate(planes["bank"]):
                match = match & (plane if bank >> bit & 1 else ~plane)
            m.d.comb += self.of_bank[bank].eq(match)
        lost = ((self._match(planes["bank"], self.closed_bank) & self.closed.replicate(depth)) | self.closed_all.replicate(depth))
        m.d.comb += self.with_oldest.eq(self.valid & self._match(planes["bank"], Cat(plane[0] for plane in planes["bank"])))
        gained, now = Signal(depth), Signal(depth)
        m.d.comb += [
            gained.eq(self._match(planes["bank"], self.opened_bank) & self._match(planes["row"], self.opened_row)
                      & self.valid & self.opened.replicate(depth)),
            now.eq((self.hit & ~lost) | gained),
        ]
        m.d.sync += self.hit.eq(shifted(now) | (place & self.incoming_hit.replicate(depth)))

    def _drive_picks(self, m: Module, planes) -> None:
        for pick, picked in ((self.pick, self.picked), (self.row_pick, self.row_picked)):
            bits = Cat((plane & pick).any() for name, _ in self.entry for plane in planes[name])
            m.d.comb += Value.cast(picked).eq(bits)
        same = self.valid
        for name in ("bank", "row", "column"):
            same = same & self._match(planes[name], self.incoming[name])
        m.d.comb += self.conflict.eq((same & (planes["write"][0] ^ self.incoming.write.replicate(self.depth))).any())
