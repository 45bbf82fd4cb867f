"""``compile(throttle=, bank_bits=)``: what the settings change in the programs of units, and that they change nothing else."""

from compiler.compile import compile
from compiler.fabric.netlist import Netlist
from compiler.fabric.place import build_kernel
from hw.agcu.program import LoadProgram, StoreProgram
from hw.agcu.program import Loop as MemoryLoop
from hw.config import preset
from hw.pmu.bank_bits import banked
from hw.pmu.program import Loop, PMUProgram, Read, Write
from hw.pmu.traffic import simulate
from hw.programs import unit_program_of
from sw_driver.kernel import Kernel

from .graphs import perceptron

CONFIG = preset("small")
KINDS = {CONFIG.agcu_id(index): "agcu" for index in range(len(CONFIG.agcu_ports))} | {
    CONFIG.unit_id(*point): "pcu" if CONFIG.is_pcu(*point) else "pmu" for point in CONFIG.grid}


def kernels(**settings) -> list[Kernel]:
    """A kernel per operator: flows share links in some of them, whatever the compiler fuses."""
    return [record.kernel for record in compile(perceptron(33, (64, 70, 10)), CONFIG, fuse="none", **settings).kernels]


def programs(kernel: Kernel) -> dict:
    """Unit number -> its program as fields."""
    return {unit: unit_program_of(CONFIG, KINDS[unit]).from_bits(sum(value << 32 * word for word, value in words.items()))
            for unit, words in kernel.programs.items() if unit in KINDS}


def changed(before: list[Kernel], after: list[Kernel]) -> set[tuple[str, str]]:
    """(kind of unit, field at the top of its program) that differ."""
    found = set()
    for one, other in zip(before, after, strict=True):
        for (unit, fields), others in zip(programs(one).items(), programs(other).values(), strict=True):
            found |= {(KINDS[unit], name) for name, _ in fields.shape() if fields[name] != others[name]}
    return found


def test_throttling_sets_senders_and_nothing_else():
    found = changed(kernels(), kernels(throttle=True))
    assert found and all("link" in name for _, name in found)


def test_bank_bits_change_programs_of_pmus_and_nothing_else():
    """Tiles that are written column by column and read row by row: engines that meet with the lowest bits, and never with chosen ones."""
    fixed = PMUProgram(write=Write(loops=(Loop(16, 16), Loop(2, 8), Loop(4)), handover=2, vectors=(0,)),
                       reads=(Read(loops=(Loop(2, 8), Loop(16, 16), Loop(4)), handover=2),), buffers=2, buffer_stride=256)
    assert simulate(fixed, CONFIG.pmu).stall_cycles > 0 and simulate(banked(fixed, CONFIG.pmu), CONFIG.pmu).stall_cycles == 0
    net, memory = Netlist(CONFIG, "tiles"), (MemoryLoop(128, CONFIG.beat_bytes),)
    tiles, source = net.add("pmu", "tiles", fixed), net.load("x", LoadProgram(loops=memory))
    net.connect("vector", source.out(), tiles.input(), 128)
    net.connect("vector", tiles.out(), net.store("y", StoreProgram(loops=memory)).input(), 128)
    assert changed([build_kernel(net, bank_bits=False)], [build_kernel(net)]) == {("pmu", "core")}
