"""A tile: the grid of switches with a PCU or a PMU on each, and the AGCUs at its edges."""

from __future__ import annotations

import functools

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .agcu.agcu import AGCU
from .common.event_counters import EventCounters, counter_select
from .common.packet import MemoryPort, fault_layout
from .common.program import ALL_UNITS, ConfigWrite, tile_fault_layout
from .config import RDUConfig
from .hierarchy import instantiate
from .pcu.pcu import PCU
from .pmu.pmu import PMU
from .rdn.node import EAST, LOCAL, NORTH, SOUTH, WEST
from .shell import UnitShell
from .switch_shell import SwitchShell

__all__ = ["Tile", "agcu_shell", "counter_names", "unit_shell"]


def unit_shell(config: RDUConfig, row: int, column: int) -> UnitShell:
    """The PCU or PMU at a grid point, in its shell."""
    core = PCU(config.pcu) if config.is_pcu(row, column) else PMU(config.pmu)
    return UnitShell(core, config.rdn, groups=config.groups, links=config.rdn.local_links, shadow=config.shadow)


def agcu_shell(config: RDUConfig) -> UnitShell:
    """An AGCU in its shell."""
    return UnitShell(AGCU(config.agcu), config.rdn, groups=config.groups, links=1, shadow=config.shadow)


@functools.cache
def counter_names(config: RDUConfig) -> dict[str, list[str]]:
    """The event counters of each kind of unit ("pcu", "pmu", "agcu", "switch") in index order."""
    shells = [UnitShell(PCU(config.pcu), config.rdn, groups=config.groups, links=config.rdn.local_links),
              UnitShell(PMU(config.pmu), config.rdn, groups=config.groups, links=config.rdn.local_links), agcu_shell(config)]
    switch = SwitchShell(config.rdn)
    for shell in (*shells, switch):
        shell._MustUse__silence = True       # made for their signatures only
    return {shell.core_name: shell.event_names for shell in shells} | {"switch": switch.event_names}


class Tile(wiring.Component):
    """All units of one tile and the wires between them.

    Members
    -------
    ``reset`` In, resets all units and switches; ``write`` In(ConfigWrite), the config network; ``execute`` In, pulse per
    group; ``busy`` Out, bit g: a unit of group g works (3 cycles after ``execute`` at the latest); ``select`` In and ``value``
    Out: counter readout (2 cycles); ``memory[i]`` Out(MemoryPort) of AGCU i; ``fault`` Out, of the first AGCU or PMU
    that has one; ``quiesce`` In and ``drained`` Out: AGCUs issue nothing more, none has a request outstanding; ``token[i]`` Out:
    a token on the last control wire into AGCU i, for a schedule that waits for it.

    Contract: ``write`` reaches a unit one cycle before an ``execute`` of the next cycle does; resetting the tile clears
    every program, and is safe while ``drained``.
    """

    def __init__(self, config: RDUConfig):
        self.config, self.identity = config, config
        port = MemoryPort(beat_bytes=config.beat_bytes, tag_bits=config.agcu.tag_bits)
        super().__init__({
            "reset": In(1),
            "write": In(ConfigWrite()),
            "execute": In(config.groups),
            "busy": Out(config.groups),
            "select": In(counter_select()),
            "value": Out(32),
            "memory": Out(port).array(len(config.agcu_ports)),
            "fault": Out(tile_fault_layout()),
            "quiesce": In(1),
            "drained": Out(1),
            "token": Out(len(config.agcu_ports)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        switches = {point: SwitchShell(config.rdn, shadow=config.shadow) for point in config.grid}
        units = {point: unit_shell(config, *point) for point in config.grid}
        agcus = [agcu_shell(config) for _ in config.agcu_ports]
        for (row, column), switch in switches.items():
            switch.instance_name = f"switch_{row}_{column}"
            m.submodules[switch.instance_name] = instantiate(platform, switch, reset=self.reset)
            m.d.comb += switch.unit_id.eq(config.switch_id(row, column))
            if config.rdn.dynamic_slots:
                m.d.comb += [switch.position.row.eq(row), switch.position.column.eq(column)]
        for (row, column), unit in units.items():
            unit.instance_name = f"{unit.core_name}_{row}_{column}"
            m.submodules[unit.instance_name] = instantiate(platform, unit, reset=self.reset)
            m.d.comb += unit.unit_id.eq(config.unit_id(row, column))
            self._attach(m, switches[row, column], unit)
        for index, agcu in enumerate(agcus):
            agcu.instance_name = f"agcu_{index}"
            m.submodules[agcu.instance_name] = instantiate(platform, agcu, reset=self.reset)
            m.d.comb += [agcu.unit_id.eq(config.agcu_id(index)), agcu.quiesce.eq(self.quiesce)]
            connect(m, agcu.memory, flipped(self.memory[index]))
        self._mesh(m, switches)
        self._edges(m, switches, agcus)
        self._launch(m, [*units.values(), *agcus], [*switches.values()])
        self._count(m, [*units.values(), *agcus, *switches.values()], platform)
        self._faults(m, units, agcus)
        return m

    def _attach(self, m: Module, switch: SwitchShell, unit: UnitShell) -> None:
        """A PCU or PMU to the local ports of its switch."""
        for link in range(self.config.rdn.local_links):
            connect(m, switch.vector_out[LOCAL + link], unit.vector_in[link])
            connect(m, unit.vector_out[link], switch.vector_in[LOCAL + link])
        connect(m, switch.scalar_out[LOCAL], unit.scalar_in)
        connect(m, unit.scalar_out, switch.scalar_in[LOCAL])
        m.d.comb += [unit.control_in.eq(switch.control_out[LOCAL]), switch.control_in[LOCAL].eq(unit.control_out)]

    def _mesh(self, m: Module, switches: dict) -> None:
        """Neighbouring switches, both ways; the links that leave the grid stay idle."""
        for (row, column), switch in switches.items():
            for there, out, back in (((row, column + 1), EAST, WEST), ((row + 1, column), SOUTH, NORTH)):
                if there not in switches:
                    continue
                neighbour = switches[there]
                for fabric_out, fabric_in in (("vector_out", "vector_in"), ("scalar_out", "scalar_in")):
                    connect(m, getattr(switch, fabric_out)[out], getattr(neighbour, fabric_in)[back])
                    connect(m, getattr(neighbour, fabric_out)[back], getattr(switch, fabric_in)[out])
                m.d.comb += [neighbour.control_in[back].eq(switch.control_out[out]),
                             switch.control_in[out].eq(neighbour.control_out[back])]

    def _edges(self, m: Module, switches: dict, agcus: list) -> None:
        """AGCUs to the outer ports of the first and the last column."""
        for index, ((row, edge), agcu) in enumerate(zip(self.config.agcu_ports, agcus, strict=True)):
            column, port = (0, WEST) if edge == "west" else (self.config.columns - 1, EAST)
            switch = switches[row, column]
            connect(m, switch.vector_out[port], agcu.vector_in[0])
            connect(m, agcu.vector_out[0], switch.vector_in[port])
            connect(m, switch.scalar_out[port], agcu.scalar_in)
            connect(m, agcu.scalar_out, switch.scalar_in[port])
            m.d.comb += [agcu.control_in.eq(switch.control_out[port]), self.token[index].eq(agcu.control_in[-1]),
                         switch.control_in[port].eq(agcu.control_out)]

    def _launch(self, m: Module, units: list, switches: list) -> None:
        """The config network, execute, busy and the counter readout, a register on each way (the way out: in every shell)."""
        write = self.write
        for unit in [*units, *switches]:       # a word moves only the wires of the unit that it is for
            with m.If(write.valid & ((write.unit == unit.unit_id) | (write.unit == ALL_UNITS))):
                m.d.comb += [unit.write.valid.eq(1), unit.write.unit.eq(write.unit), unit.write.word.eq(write.word),
                             unit.write.data.eq(write.data)]
        for unit in units:
            m.d.comb += unit.execute.eq(self.execute)
        m.d.sync += self.busy.eq(_any(unit.busy for unit in units))

    def _count(self, m: Module, shells: list, platform) -> None:
        """The event counters of every shell, beside it: a unit that waits for something then changes nothing in itself."""
        values = []
        for shell in shells:
            counters = EventCounters(shell.event_names)
            counters.verilog_name, counters.instance_name = f"{shell.verilog_name}_counters", f"{shell.instance_name}_counters"
            m.submodules[counters.instance_name] = instantiate(platform, counters, reset=self.reset)
            m.d.comb += [counters.unit_id.eq(shell.unit_id), counters.select.eq(self.select), counters.events.eq(shell.events)]
            values.append(counters.value)
        m.d.sync += self.value.eq(_any(values))

    def _faults(self, m: Module, units: dict, agcus: list) -> None:
        sources = [(agcu, self.config.agcu_id(index)) for index, agcu in enumerate(agcus)]
        if self.config.pmu.ecc:
            sources += [(unit, self.config.unit_id(*point)) for point, unit in units.items() if not self.config.is_pcu(*point)]
        for unit, number in reversed(sources):
            with m.If(unit.fault.valid):
                m.d.comb += [getattr(self.fault, name).eq(getattr(unit.fault, name)) for name in fault_layout().members]
                m.d.comb += self.fault.unit.eq(number)
        m.d.comb += self.drained.eq(Cat(agcu.drained for agcu in agcus).all())


def _any(values):
    """Bitwise OR of equally wide values."""
    total, *rest = values
    for value in rest:
        total = total | value
    return total
