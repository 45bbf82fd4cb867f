"""The programs of all kinds of units in one place, without building any unit: for the shell, the assembler and the tables in docs/."""

from __future__ import annotations

from amaranth.lib import data

from .agcu.layout import agcu_layout
from .common.program import program_layout
from .config import RDNConfig, RDUConfig
from .pcu.layout import pcu_layout
from .pmu.layout import pmu_layout
from .rdn.sender import sender_program

__all__ = ["GROUP_BITS", "ports_of_link", "unit_program", "unit_program_of"]

GROUP_BITS = 4


def ports_of_link(ports: int, link: int, links: int) -> list[int]:
    """The unit's ports that share local link ``link`` of ``links``, in label order: port i is on link i % links."""
    return list(range(link, ports, links))


def unit_program(core: data.Layout, rdn: RDNConfig, *, links: int, vector_outputs: int, scalar_outputs: int) -> data.Layout:
    """Program of a whole unit: when it is launched, how its output ports send, and the program ``core`` of its core."""
    return program_layout({
        "launch": data.StructLayout({"enable": 1, "group": GROUP_BITS}),
        **{f"vector_link_{link}": sender_program(rdn, len(ports_of_link(vector_outputs, link, links))) for link in range(links)},
        "scalar_link": sender_program(rdn, scalar_outputs),
        "core": core,
    })


def unit_program_of(config: RDUConfig, kind: str) -> data.Layout:
    """The program of a ``kind`` of unit ("pcu", "pmu" or "agcu") of ``config``."""
    if kind == "agcu":
        return unit_program(agcu_layout(config.agcu), config.rdn, links=1,
                            vector_outputs=config.agcu.load_engines, scalar_outputs=config.agcu.scalar_outputs)
    size, layout = {"pcu": (config.pcu, pcu_layout), "pmu": (config.pmu, pmu_layout)}[kind]
    return unit_program(layout(size), config.rdn, links=config.rdn.local_links,
                        vector_outputs=size.vector_outputs, scalar_outputs=size.scalar_outputs)
