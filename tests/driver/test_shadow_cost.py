"""A device without shadows pays nothing for them: not a flip-flop, and no register address."""

import pytest
from amaranth.hdl import Shape

from bench.cost import CASES, cost
from hw.common.program import shadow_words
from hw.config import preset
from hw.programs import unit_program_of
from hw.rdn.node import switch_program

TINY = preset("tiny")
LAYOUTS = {kind: unit_program_of(TINY, kind) for kind in ("pcu", "pmu", "agcu")} | {"switch": switch_program(TINY.rdn)}


@pytest.mark.parametrize("kind", ["agcu", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("pcu", "pmu", "switch"))])
def test_flip_flops(kind):
    """Without shadow exactly the program's own bits; with it those of the shadowed words again, and one bit that arms the unit."""
    layout = LAYOUTS[kind]
    width = Shape.cast(layout).width
    plain, shadowed = (cost(CASES["program"](TINY)[f"{kind}, {case}"](), "program") for case in ("no shadow", "shadow"))
    assert plain.flip_flops == width
    assert shadowed.flip_flops == width + min(32 * shadow_words(layout), width) + 1
    assert plain.cells < shadowed.cells and plain.sram_bits == plain.register_file_bits == 0
