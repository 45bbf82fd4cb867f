"""Damaged kernel files, register writes and schedules: whatever they are, the driver answers with one of its own errors in a bounded
time, and after a reset the device works.

    python -m tests.driver.fuzz [files|registers|schedules] [--size tiny_soak|small] [--rounds 1000] [--seed 1]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import sw_driver.orchestrate
from coe_app.kernels import copy_kernel
from hw.config import preset
from hw.host.instructions import INSTRUCTIONS, Opcode
from hw.host.registers import REGISTERS
from sim.device import VerilatedBackend
from sw_driver.assembly import kernel_text
from sw_driver.device import BusError, Device, DeviceError, DeviceFault, DeviceHang, DeviceTimeout
from sw_driver.kernel import Kernel, KernelError
from sw_driver.schedule import Schedule
from sw_driver.schedule_compiler import compile_schedule

from .fake import FakeBackend
from .soak import MASK, SIZES, Soak

HEADER = struct.Struct("<4sI32s")
LONGEST = 20_000                 # cycles that a damaged schedule may run
BOUND = 400_000                  # cycles that a whole round may take


# Files --------------------------------------------------------------------------------------------------------------------
def damaged_file(rng: random.Random, blob: bytes) -> bytes:
    """``blob`` with bytes changed, cut or added; or with a body that makes no sense under a header that is right."""
    body = bytearray(blob[HEADER.size:])
    match rng.randrange(5):
        case 0:                                           # anywhere, header and all
            raw = bytearray(blob)
            for _ in range(rng.randint(1, 8)):
                raw[rng.randrange(len(raw))] = rng.randrange(256)
            return bytes(raw)
        case 1:
            return blob[:rng.randrange(len(blob))] + rng.randbytes(rng.randrange(40))
        case 2:
            for _ in range(rng.randint(1, 8)):
                body[rng.randrange(len(body))] = rng.randrange(256)
        case 3:
            body = bytearray(rng.randbytes(rng.randrange(200)))
        case 4:
            size, = struct.unpack_from("<I", body)
            text = json.dumps(damaged_value(rng, json.loads(body[4:4 + size]), 4)).encode()
            body = bytearray(struct.pack("<I", len(text)) + text + body[4 + size:])
    return HEADER.pack(blob[:4], len(body), hashlib.sha256(body).digest()) + bytes(body)


def damaged_value(rng: random.Random, value, depth: int):
    """A JSON value with something in it replaced, left out or of another type."""
    if isinstance(value, dict) and value and depth and rng.random() < 0.9:
        name = rng.choice([*value])
        kept = {key: item for key, item in value.items() if key != name or rng.random() < 0.8}
        return kept | ({name: damaged_value(rng, value[name], depth - 1)} if name in kept else {})
    if isinstance(value, list) and value and depth and rng.random() < 0.9:
        index = rng.randrange(len(value))
        return [*value[:index], damaged_value(rng, value[index], depth - 1), *value[index + rng.randrange(2):]]
    return rng.choice([None, True, 0, -1, 1.5, 0.0, 1 << 70, "", "copy", "\n\0", [], {}, [[]], {"a": 1}, float("inf")])


def fuzz_files(rounds: int, seed: int, report: Callable[[str], None] | None = None) -> Counter[str]:
    """Every file is refused with KernelError, or is a kernel that loads, launches and prints."""
    rng, config, outcome = random.Random(seed), preset("tiny"), Counter()
    kernel = copy_kernel(config)
    with TemporaryDirectory() as folder:
        good, path = Path(folder) / "good.rdu", Path(folder) / "damaged.rdu"
        kernel.save(good)
        blob = good.read_bytes()
        for number in range(rounds):
            path.write_bytes(damaged_file(rng, blob))
            try:
                found = Kernel.load(path, config)
                kernel_text(found, config)
                with Device(FakeBackend(config)) as device:
                    device.launch(found, **{name: 1 for name in found.arguments})
                    device.explain_stall()
                outcome["a kernel"] += 1
            except KernelError as error:
                outcome[type(error).__name__] += 1
            except BaseException as error:
                error.add_note(f"file {number} of seed {seed}: {path.read_bytes()[HEADER.size:][:400]!r}")
                raise
            if report and number % 10_000 == 9_999:
                report(f"{number + 1} files: {dict(outcome)}")
    return outcome


# Registers ----------------------------------------------------------------------------------------------------------------
class Rounds:
    """A soak's device; ``one`` does something to it, after which it must recover in a bounded time."""

    def __init__(self, device: Device, seed: int):
        self.soak, self.device, self.rng, self.outcome = Soak(device, seed), device, random.Random(seed), Counter()

    def one(self) -> str:
        raise NotImplementedError

    def run(self, rounds: int, report: Callable[[str], None] | None = None) -> Counter[str]:
        device, begin = self.device, time.monotonic()
        for number in range(rounds):
            first = device.backend.cycles
            try:
                self.outcome[self.one()] += 1
                self.restore()
                assert device.backend.cycles - first < BOUND, f"{device.backend.cycles - first} cycles"
            except BaseException as error:
                error.add_note(f"round {number}")
                raise
            if report and number % 100 == 99:
                report(f"{number + 1} rounds, {device.backend.cycles:,} cycles, {time.monotonic() - begin:.0f} s: {dict(self.outcome)}")
        return self.outcome

    def restore(self) -> None:
        """A reset, the map of memory as it was, and the data that damaged programs may have overwritten."""
        device, soak = self.device, self.soak
        device.reset()
        device.write_register("INTERLEAVE", 0xFF)
        for buffer, values in ((soak.source, soak.values), (soak.staged, soak.values), *soak.guards):
            device.write(buffer, values)
        device.resident.begin()
        while device.resident.give_back():                # images too
            pass
        soak.compare = False
        soak.recover()


class RegisterRounds(Rounds):
    """Every register, random values, in random order, while a kernel or a schedule runs."""

    def one(self) -> str:
        rng, soak, device, image = self.rng, self.soak, self.device, self.soak.copy.image()
        match rng.randrange(3):
            case 0:
                soak.start(*soak.some_launch())
            case 1:
                device.start_schedule(soak.two_in_turn(100))
        refused = 0
        for _ in range(rng.choice([5, 40, 150])):
            item = rng.choice(REGISTERS)
            address = item.address + 4 * rng.randrange(item.count)
            try:
                if rng.random() < 0.2:
                    device.backend.reg_read(rng.choice([address, 4 * rng.randrange(1024)]))
                else:
                    fields = sum(rng.randrange(1 << field.width) << field.lsb for field in item.fields)
                    device.backend.reg_write(address, rng.choice([0, 1, MASK, rng.randrange(1 << 32), fields, fields,
                                                                  int(rng.choice(image))]))      # a word that a program could hold
            except BusError:
                refused += 1
            if rng.random() < 0.1:
                device.backend.run(rng.randrange(200))
        return "some accesses refused" if refused else "all accesses answered"


# Schedules ----------------------------------------------------------------------------------------------------------------
class ScheduleRounds(Rounds):
    """Schedules with bits turned over, words replaced, left out or doubled; of nothing but random words; that never end."""

    def one(self) -> str:
        device = self.device
        compiled = compile_schedule(self.schedule(), device.config, device._held)
        compiled.words[:] = self.damaged(compiled.words)
        compiled.patches = [patch for patch in compiled.patches if patch[0] + 2 < len(compiled.words)]
        sw_driver.orchestrate.compile_schedule = lambda *_, **__: compiled
        try:
            device.run_schedule(Schedule("damaged"), max_cycles=LONGEST)
            return "it ended"
        except (DeviceFault, DeviceHang, DeviceTimeout) as error:
            assert "schedule 'damaged'" in str(error) and "the schedule is at " in str(error), error
            return type(error).__name__
        except BusError:
            raise
        except DeviceError as error:
            assert "the launcher halted with error " in str(error), error
            return "halted: " + str(error).split("error ")[1].split(" ")[0]
        finally:
            sw_driver.orchestrate.compile_schedule = compile_schedule

    def schedule(self) -> Schedule:
        soak, schedule = self.soak, Schedule("whole")
        value = schedule.value("v", most=15)
        with schedule.loop(self.rng.randint(1, 5)) as loop:
            schedule.launch(soak.copy, **soak.copy_arguments(vectors=loop.index + 1))
            schedule.launch(*[soak.pair[0]], **soak.buffer_launch()[1])
            schedule.read(value, soak.guards[0][0], loop.index * 4)
            schedule.write(soak.scratch, value + 1, loop.index * 8)
            schedule.leave_if(value, ">=", 1 << 31)
            schedule.signal(value)
        schedule.wait_memory(soak.staged, "!=", 0x1234_5678)
        schedule.wait_counter("agcu0", "busy", ">=", 1)
        return schedule

    def damaged(self, words: list[int]) -> list[int]:
        rng = self.rng
        match rng.randrange(6):
            case 0:                                       # bits turned over
                for _ in range(rng.randint(1, 6)):
                    words[rng.randrange(len(words))] ^= 1 << rng.randrange(32)
            case 1:                                       # words replaced
                for _ in range(rng.randint(1, 4)):
                    words[rng.randrange(len(words))] = rng.choice([0, MASK, rng.randrange(1 << 32), rng.randrange(16)])
            case 2:                                       # left out or doubled
                at = rng.randrange(len(words))
                words[at:at + 1] = [words[at]] * rng.choice([0, 2])
            case 3:                                       # of instructions that exist, with any operands
                words = []
                for _ in range(rng.randint(1, 40)):
                    item = INSTRUCTIONS[rng.choice(list(Opcode))]
                    words += [rng.randrange(1 << 32) & ~15 | item.opcode, *(rng.randrange(1 << 32) for _ in item.operands)]
            case 4:                                       # endless: of computing, of reading, of launching nothing
                body = rng.choice([[Opcode.COMPUTE, 0], [Opcode.READ | 2 << 4, 0], [Opcode.EXECUTE], [Opcode.SIGNAL | 1 << 8, 0]])
                words = [int(Opcode.LOOP) | (len(body) + 1) << 8, MASK, *map(int, body), int(Opcode.NEXT), int(Opcode.END)]
            case 5:                                       # wild addresses
                op = rng.choice([Opcode.READ, Opcode.WRITE, Opcode.WAIT_MEMORY, Opcode.LOAD])
                wild = [int(op) | rng.randrange(1 << 28) << 4, rng.randrange(1 << 30) * 4, rng.randrange(1 << 32)]
                words[:0] = wild[:INSTRUCTIONS[op].words]
        return words[:300] or [0]


def fuzz_device(kind: type[Rounds], size: str, rounds: int, seed: int, report: Callable[[str], None] | None = None) -> Counter[str]:
    with Device(VerilatedBackend(SIZES[size])) as device:
        return kind(device, seed).run(rounds, report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["files", "registers", "schedules"])
    parser.add_argument("--size", choices=SIZES, default="tiny_soak")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    def report(text: str) -> None:
        print(text, flush=True)

    if options.what == "files":
        print(dict(fuzz_files(options.rounds, options.seed, report)))
    else:
        kind = {"registers": RegisterRounds, "schedules": ScheduleRounds}[options.what]
        print(dict(fuzz_device(kind, options.size, options.rounds, options.seed, report)))


if __name__ == "__main__":
    main()
