"""A device of registers and memory in Python: what the driver sees of the host port, and a record of what it was told."""

import numpy as np

from hw.common.program import SHADOW
from hw.host.registers import ID_VALUE, REGISTERS, register

EVENTS = register("IRQ_STATUS")


class FakeBackend:
    """``run``: called at Execute with (backend, groups); returns fields of IRQ_STATUS to set, by default the end of the groups.
    ``ends``: schedules do so at once, and do nothing.

    Members: ``programs``, the words that the units hold; ``loads``, the (LOAD register, records) of every Program Load;
    ``arguments``, (unit, word, value) of every Argument Load since the last LOAD.
    """

    def __init__(self, config, run=None, ends=True, **registers):
        self.ends = ends
        self.config, self.run, self.cycles, self.closed = config, run or (lambda _, groups: {"group_done": groups}), 0, 0
        self.memory = {0: {}, 1: {}}
        self.registers = {"ID": ID_VALUE, "CONFIG_HASH": config.digest} | registers
        self.programs, self.shadows, self.armed, self.loads, self.arguments, self.status = {}, {}, set(), [], [], 0

    def reg_read(self, address):
        self.cycles += 2
        if address == register("IRQ_STATUS").address:
            return self.status
        if register("KERNEL_CYCLES").address <= address < register("KERNEL_COUNT").address:
            return 7
        return next((value for name, value in self.registers.items() if register(name).address == address), 0)

    def reg_write(self, address, value):
        self.cycles += 2
        name = next(item.name for item in REGISTERS if item.address == address)
        self.registers[name] = value
        if name == "IRQ_STATUS":
            self.status &= ~value
        elif name == "LOAD":
            self._load()
        elif name == "ARGUMENT":
            select = register("ARGUMENT_SELECT").unpack(self.registers["ARGUMENT_SELECT"])
            self._program(select["unit"], select["word"], value)
            self.arguments.append((select["unit"], select["word"], value))
            self.registers["ARGUMENT_SELECT"] += 1 << 8
        elif name == "EXECUTE":
            if value >> 16 & 1:
                for unit in self.armed:
                    self.programs[unit], self.shadows[unit] = self.shadows.get(unit, {}), self.programs.get(unit, {})
                self.armed.clear()
            self.status |= EVENTS.pack(**self.run(self, value & 0xFFFF))
        elif name == "SCHEDULE" and self.ends:
            self.end_schedule()
        elif name == "TILE_RESET":
            for state in (self.programs, self.shadows, self.armed):
                state.clear()
            self.status |= EVENTS.pack(reset_done=1, fault=1)        # a fault that came while the tile drained

    def end_schedule(self):
        self.status |= EVENTS.pack(schedule_done=1)

    def _load(self):
        words = self.mem_read(0, self.registers["IMAGE_LO"], 4 * self.registers["IMAGE_WORDS"]).view(np.uint32).tolist()
        position, records = 0, {}
        while count := words[position] & 0xFF:
            unit, first = words[position] >> 18, words[position] >> 8 & 0x3FF
            for index in range(count):
                records.setdefault(unit, {})[first + index] = words[position + 1 + index]
            position += 1 + count
        for unit, values in records.items():
            for word, value in values.items():
                self._program(unit, word + SHADOW * (self.registers["LOAD"] >> 16 & 1), value)
        self.loads.append((self.registers["LOAD"], records))
        self.arguments.clear()
        self.status |= EVENTS.pack(load_done=1)

    def _program(self, unit, word, value):
        if word & SHADOW:
            self.shadows.setdefault(unit, {})[word - SHADOW] = value
            self.armed.add(unit)
        else:
            self.programs.setdefault(unit, {})[word] = value

    def mem_read(self, tier, address, length):
        return np.array([self.memory[tier].get(address + index, 0) for index in range(length)], np.uint8)

    def mem_write(self, tier, address, values):
        self.memory[tier].update(zip(range(address, address + len(values)), values.tolist(), strict=True))

    def run_until_interrupt(self, max_cycles):
        if not self.status & self.registers.get("IRQ_ENABLE", 0):
            self.cycles += max_cycles
            return False
        return True

    def close(self):
        self.closed += 1
