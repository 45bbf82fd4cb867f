"""What an instruction of a schedule waits for, in words."""

from __future__ import annotations

from hw.config import RDUConfig
from hw.host.instructions import Decoded, Opcode, ScheduleError, decode

from .units import counter_units, event_names

__all__ = ["waits_for", "where_it_is"]

TIERS = ("HBM", "DDR")
COMPARISONS = ("==", "!=", "<", ">=")


def where_it_is(config: RDUConfig, words: list[int], position: int) -> str:
    """The instruction at ``position`` of a schedule and what it waits for; damaged schedules too."""
    try:
        step = decode(words, position)
    except ScheduleError as error:
        return str(error)
    reason = waits_for(config, step)
    return f"word{step}" + (f", which waits for {reason}" if reason else "")


def waits_for(config: RDUConfig, step: Decoded) -> str:
    """What ends the wait of an instruction; "" for one that never waits long."""
    value, opcode = step.values, step.instruction.opcode
    if opcode in (Opcode.EXECUTE, Opcode.LOAD, Opcode.WAIT_IDLE):
        groups = [str(group) for group in range(config.groups) if value["groups"] >> group & 1]
        return f"the kernel of group {' and '.join(groups)} to finish" if groups else ""
    if opcode == Opcode.WAIT_MEMORY:
        return (f"the {_word(value)} to be {COMPARISONS[value['compare']]} {_sum(value['b'], value['value'])}")
    if opcode == Opcode.WAIT_COUNTER:
        names = {number: name for name, number in counter_units(config).items()}
        unit = names.get(value["unit"], f"unit {value['unit']}, which does not exist")
        events = event_names(config, unit) if value["unit"] in names else []
        event = events[value["index"]] if value["index"] < len(events) else f"counter {value['index']}, which does not exist"
        return f"{event} of {unit} to be {COMPARISONS[value['compare']]} {value['value']}"
    if opcode == Opcode.WAIT_TOKEN:
        return f"a token on the last control wire into agcu{value['agcu']}"
    return "the program load under way" if opcode == Opcode.END else ""


def _word(value: dict[str, int]) -> str:
    tier = TIERS[value["tier"]] if value["tier"] < len(TIERS) else f"tier {value['tier']}"
    moved = f" + (R[{value['a']}] {'>>' if value['right'] else '<<'} {value['shift']})" if value["a"] else ""
    return f"word at {tier} {value['high'] << 32 | value['address']:#x}{moved}"


def _sum(register: int, constant: int) -> str:
    return f"R[{register}] + {constant:#x}" if register else f"{constant:#x}"
