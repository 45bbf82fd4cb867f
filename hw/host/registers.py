"""The host's register map, declared once. No HDL: the RTL, the driver, the C header and the tables in docs/ all read it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["ADDRESS_BITS", "ID_VALUE", "REGISTERS", "VERSION_VALUE", "Access", "Field", "LauncherError", "Register", "register"]

ADDRESS_BITS = 12                  # of the AXI4-Lite port, in bytes
ID_VALUE = 0x5544524F              # "ORDU" in memory order
VERSION_VALUE = 0x0001_0003        # major in the high half: a driver refuses another major


class Access(enum.Enum):
    """What the host may do with a register."""

    RO = "read only"
    RW = "read and write"
    WO = "write only: the write is the command"
    W1C = "read; writing 1 clears a bit"


class LauncherError(enum.IntEnum):
    """Why the launcher halted (register ERROR)."""

    NONE = 0
    MEMORY = 1             # a memory error in an image or a schedule
    TRUNCATED = 2          # the image's length was used up before its end record
    MISALIGNED = 3         # an image or schedule address that is no multiple of 4
    ILLEGAL = 4            # an instruction or operand that does not exist
    RUNAWAY = 5            # a schedule ran past its end


@dataclass(frozen=True)
class Field:
    """Bits [lsb + width - 1 : lsb] of a register."""

    name: str
    lsb: int
    width: int
    description: str

    @property
    def mask(self) -> int:
        return ((1 << self.width) - 1) << self.lsb


@dataclass(frozen=True)
class Register:
    """One 32-bit register at byte ``address``, or ``count`` of them, 4 bytes apart.

    ``reset``: value after reset (RW only). ``read_effect``: reading does something (the RTL gets a strobe). ``may_stall``: a
    read may wait some cycles.
    """

    name: str
    address: int
    access: Access
    description: str
    fields: tuple[Field, ...] = ()
    count: int = 1
    reset: int = 0
    read_effect: bool = False
    may_stall: bool = False

    def __post_init__(self):
        used = 0
        for field in self.fields:
            if field.lsb + field.width > 32 or used & field.mask:
                raise ValueError(f"register {self.name}: field {field.name} overlaps another or leaves the word")
            used |= field.mask

    def field(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"register {self.name} has no field {name!r}; fields: {[f.name for f in self.fields]}")

    def pack(self, **values: int) -> int:
        """The register's value with the named fields set and all others 0. Refuses a value that does not fit."""
        word = 0
        for name, value in values.items():
            field = self.field(name)
            if not 0 <= value < 1 << field.width:
                raise ValueError(f"register {self.name}: {name}={value} does not fit in {field.width} bits")
            word |= value << field.lsb
        return word

    def unpack(self, word: int) -> dict[str, int]:
        """Every field's value in ``word``."""
        return {field.name: (word & field.mask) >> field.lsb for field in self.fields}


def _events() -> tuple[Field, ...]:
    return (
        Field("group_done", 0, 16, "bit g: a kernel of group g has finished"),
        Field("load_done", 16, 1, "a program load has ended well"),
        Field("fault", 17, 1, "an AGCU or PMU has recorded a fault"),
        Field("error", 18, 1, "the launcher has halted, see ERROR"),
        Field("reset_done", 19, 1, "the sequence begun by TILE_RESET is complete"),
        Field("schedule_done", 20, 1, "a schedule has reached its END"),
        Field("signal", 21, 1, "a schedule has executed SIGNAL, see DOORBELL"),
    )


RO, RW, WO, W1C = Access.RO, Access.RW, Access.WO, Access.W1C

REGISTERS: tuple[Register, ...] = (
    Register("ID", 0x000, RO, f"Always {ID_VALUE:#010x} (`ORDU` in memory order)."),
    Register("VERSION", 0x004, RO, "Version of this register map.",
             (Field("minor", 0, 16, "additions"), Field("major", 16, 16, "incompatible changes"))),
    Register("CONFIG_HASH", 0x008, RO, "Digest of every size of the device; kernel images carry the same number."),
    Register("GEOMETRY", 0x00C, RO, "The tile.",
             (Field("rows", 0, 8, "of switches"), Field("columns", 8, 8, "of switches"), Field("agcus", 16, 8, "number of AGCUs"),
              Field("groups", 24, 8, "sets of units that can be launched independently"))),
    Register("UNIT_SIZE", 0x010, RO, "The units.",
             (Field("lanes", 0, 8, "words in a vector"), Field("stages", 8, 8, "of a PCU"),
              Field("labels", 16, 8, "virtual circuits per link"),
              Field("segments", 24, 7, "entries of an AGCU's segment table"),
              Field("shadow", 31, 1, "programs have shadows"))),
    Register("HBM_MEGABYTES", 0x014, RO, "Capacity of the HBM tier."),
    Register("DDR_MEGABYTES", 0x018, RO, "Capacity of the DDR tier."),
    Register("CYCLES_LO", 0x020, RO, "Cycles since reset, low half. Reading it holds CYCLES_HI.", read_effect=True),
    Register("CYCLES_HI", 0x024, RO, "High half of the cycle count, as of the last read of CYCLES_LO."),
    Register("STATUS", 0x028, RO, "What the device does now.",
             (Field("running", 0, 16, "bit g: a kernel of group g runs"),
              Field("launcher_busy", 16, 1, "a command is queued or under way"),
              Field("schedule_busy", 17, 1, "a schedule runs"), Field("resetting", 18, 1, "the TILE_RESET sequence is under way"),
              Field("fault", 19, 1, "FAULT is valid"),
              Field("halted", 20, 1, "the launcher met an error and drops commands until TILE_RESET"),
              Field("queue_free", 24, 8, "free places in the command queue"))),
    Register("IMAGE_LO", 0x030, RW, "Byte address of a kernel image, bits 31..0; a multiple of 4."),
    Register("IMAGE_HI", 0x034, RW, "The rest of the image's address.",
             (Field("address", 0, 8, "bits 39..32"), Field("tier", 8, 2, "0 HBM, 1 DDR"))),
    Register("IMAGE_WORDS", 0x038, RW, "Length of the image in words, its end record included: the load never reads beyond.",
             (Field("words", 0, 24, ""),)),
    Register("LOAD", 0x03C, WO, "Queues a Program Load of the image.",
             (Field("after", 0, 16, "groups that must be idle before it begins"),
              Field("shadow", 16, 1, "into the shadows of the units, which arms them"))),
    Register("ARGUMENT_SELECT", 0x040, RW, "Which program word the next ARGUMENT replaces; as a record header of an image.",
             (Field("word", 8, 10, "index within the unit's program; + 512: in its shadow"),
              Field("unit", 18, 14, "number on the config network"))),
    Register("ARGUMENT", 0x044, WO, "Queues an Argument Load of this value; ARGUMENT_SELECT.word then advances by one."),
    Register("EXECUTE", 0x048, WO, "Queues Execute. It waits until these groups are idle.",
             (Field("groups", 0, 16, "bit g: start group g"),
              Field("exchange", 16, 1, "first exchange the programs of all armed units with their shadows"))),
    Register("TILE_RESET", 0x04C, WO,
             "Any value: empties the queue, drains the AGCUs, resets the tile (programs too) and clears faults and errors."),
    Register("IRQ_STATUS", 0x050, W1C, "Events since they were last cleared.", _events()),
    Register("IRQ_ENABLE", 0x054, RW, "The interrupt line is high while (IRQ_STATUS & IRQ_ENABLE) is not 0.", _events()),
    Register("FAULT", 0x060, RO, "The first fault since the last reset of the tile.",
             (Field("valid", 0, 1, ""), Field("cause", 1, 4, "hw.common.packet.FaultCause"),
              Field("segment", 5, 4, "of the virtual address"),
              Field("unit", 16, 14, "number of the AGCU or PMU on the config network"))),
    Register("FAULT_OFFSET", 0x064, RO, "Byte offset in the segment of the access that failed; of a PMU: in its SRAMs (hw/pmu/ecc.py)."),
    Register("ERROR", 0x068, RO, "Why the launcher has halted.",
             (Field("code", 0, 4, "hw.host.registers.LauncherError"),
              Field("position", 8, 24, "index of the word in the image or schedule"))),
    Register("COUNTER_SELECT", 0x070, RW, "An event counter of a unit, a memory channel or a link to another socket.",
             (Field("index", 0, 8, "order of the unit's event list"),
              Field("unit", 16, 14, "number on the config network; channels and links follow the last AGCU"))),
    Register("COUNTER_VALUE", 0x074, RO, "The selected counter; COUNTER_SELECT.index then advances by one.", read_effect=True,
             may_stall=True),
    Register("INTERLEAVE", 0x078, RW,
             "How addresses spread over the channels (hw.tln.interleave). Change it only while nothing is in memory.",
             (Field("hbm_granularity", 0, 3, "log2 of the beats that lie together in one channel"),
              Field("hbm_hash", 3, 1, "spread strides of a power of two"),
              Field("ddr_granularity", 4, 3, ""), Field("ddr_hash", 7, 1, "")), reset=0xFF),
    Register("SCHEDULE_LO", 0x080, RW, "Byte address of a schedule, bits 31..0; a multiple of 4."),
    Register("SCHEDULE_HI", 0x084, RW, "The rest of the schedule's address.",
             (Field("address", 0, 8, "bits 39..32"), Field("tier", 8, 2, "0 HBM, 1 DDR"))),
    Register("SCHEDULE_WORDS", 0x088, RW, "Length of the schedule in words.", (Field("words", 0, 24, ""),)),
    Register("SCHEDULE", 0x08C, WO, "Any value: queues the run of the schedule; what is queued after it waits for its END."),
    Register("DOORBELL", 0x090, RO, "Operand of the schedule's last SIGNAL."),
    Register("DOORBELL_COUNT", 0x094, RO, "SIGNALs since reset."),
    Register("SCHEDULE_POSITION", 0x098, RO, "Index of the first word of the schedule's instruction under way, or of its last."),
    Register("SCHEDULE_CYCLES", 0x09C, RO, "Cycles of the last schedule, from its start to its END; counts while it runs."),
    Register("SCHEDULE_STEPS", 0x0A0, RO, "Instructions that the schedule has begun; a step that stays the same waits."),
    Register("KERNEL_CYCLES", 0x100, RO, "Per group: cycles from Execute to finished of its last kernel; counts while it runs.",
             count=16),
    Register("KERNEL_COUNT", 0x140, RO, "Per group: kernels finished since reset.", count=16),
    Register("KERNEL_TOTAL", 0x180, RO, "Per group: cycles in which a kernel ran, since reset.", count=16),
)

_BY_NAME = {item.name: item for item in REGISTERS}


def register(name: str) -> Register:
    """The register called ``name``. Raises ``KeyError`` naming it."""
    if name not in _BY_NAME:
        raise KeyError(f"no register {name!r}; registers: {', '.join(_BY_NAME)}")
    return _BY_NAME[name]
