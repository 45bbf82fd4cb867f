"""Typed programs of a PCU: what a person or the compiler fills in, checked against the hardware and packed into bits."""

from hw.common.errors import ProgramError
from hw.common.program import field_position
from hw.config import PCUConfig

from .layout import pcu_layout
from .simd_program import (
    Input,
    Mask,
    Operand,
    SimdProgram,
    Stage,
    constant,
    counter,
    element,
    integer,
    lane,
    scalar,
    stage,
    vector,
)
from .systolic_program import SystolicProgram

__all__ = [
    "Input", "Mask", "Operand", "ProgramError", "SimdProgram", "Stage", "SystolicProgram", "argument", "constant", "counter",
    "element", "integer", "lane", "scalar", "stage", "vector",
]


def argument(config: PCUConfig, path: str) -> tuple[int, int, int]:
    """(word index within the core's program, shift, width) of an argument, say ``"bounds[2]"`` or ``"constants[0]"``."""
    bit, width = field_position(pcu_layout(config), path)
    return bit // 32, bit % 32, width
