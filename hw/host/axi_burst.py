"""The address arithmetic of AXI4 bursts."""

from amaranth.hdl import Cat, Module, Mux, Signal

from .axi_signature import Burst

__all__ = ["PAGE_BITS", "next_address"]

PAGE_BITS = 12          # no burst crosses 4 KiB, so the address above never changes


def next_address(m: Module, address, length, size, burst, name: str) -> Signal:
    """The byte address of the transfer after the one at ``address``, in a burst of ``length`` + 1 transfers of 2**``size`` bytes.

    INCR goes on from the next multiple of the transfer size; WRAP comes back to its container's start; FIXED stays.
    Source: AXI4 specification (IHI 0022), A3.4.1.
    """
    step, stepped, wrap = (Signal(PAGE_BITS, name=f"{name}_{part}") for part in ("step", "stepped", "wrap"))
    low = address[:PAGE_BITS]
    following = Signal(len(address), name=f"{name}_next")
    m.d.comb += [
        step.eq(1 << size),
        stepped.eq((low & ~(step - 1)) + step),
        # Bytes of the container minus one, a mask because a WRAP burst has 2, 4, 8 or 16 transfers.
        wrap.eq(((length + 1) << size) - 1),
        following.eq(Cat(Mux(burst == Burst.WRAP, (stepped & wrap) | (low & ~wrap), Mux(burst == Burst.FIXED, low, stepped)),
                         address[PAGE_BITS:])),
    ]
    return following
