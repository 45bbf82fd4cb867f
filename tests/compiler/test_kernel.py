"""KernelBuilder: what it puts where, and what it refuses."""

import pytest

from coe_app.kernels import copy_kernel, network_kernel
from compiler.fabric.kernel import KernelBuilder, PlacementError
from hw.agcu.program import AGCUProgram, LoadProgram, Loop, StoreProgram
from hw.common.program import field_position
from hw.config import preset
from hw.pcu import library
from hw.programs import unit_program_of

CONFIG = preset("small")


def program() -> AGCUProgram:
    return AGCUProgram(loads=(LoadProgram(loops=(Loop(1, 32),)),), stores=(StoreProgram(loops=(Loop(1, 32),)),))


def test_units_carry_their_group_and_agcus_no_segments():
    kernel = copy_kernel(CONFIG)
    words = kernel.programs[CONFIG.agcu_id(3)]
    segments = field_position(unit_program_of(CONFIG, "agcu"), "core.segments")[0] // 32
    assert words[0] & 1 and words[0] >> 1 & 0xF == kernel.group == 1 and max(words) == segments - 1


def test_an_argument_replaces_its_field_everywhere():
    kernel = network_kernel(CONFIG)
    changed = kernel.argument_words(kernel.programs, rows=3)
    assert {unit for unit, _, _ in changed} == {place.unit for place in kernel.arguments["rows"]}
    for unit, word, value in changed:
        for place in kernel.arguments["rows"]:
            if (place.unit, place.word) == (unit, word):
                assert value >> place.bit & (1 << place.width) - 1 == 3


def test_kernels_that_stay_loaded_share_no_unit():
    network, copy = network_kernel(CONFIG), copy_kernel(CONFIG)
    assert not {unit for unit in network.programs if unit >= CONFIG.unit_id(0, 0)} & {
        unit for unit in copy.programs if unit >= CONFIG.unit_id(0, 0)}


def test_several_resident_kernels_keep_the_routes_they_were_loaded_with():
    """Each was routed round those before it; routed again all together they would go other ways."""
    built = []
    for row in range(3):
        kernel = KernelBuilder(CONFIG, f"k{row}", resident=tuple(built))
        for wire in range(4):
            end = ("unit", 0, 3, wire) if row == 0 else ("unit", 3, row, wire)
            kernel._flow("control", ("unit", row, 0, wire), (end,), 1)
        built.append(kernel)
    words = [kernel.routes().words() for kernel in built]
    last = KernelBuilder(CONFIG, "last", resident=tuple(built))
    last._flow("control", ("unit", 3, 3, 0), (("unit", 0, 0, 0),), 1)
    taken = [(edge, label) for kernel in (*built, last) for route in kernel.routes().routes for edge, label in route.labels.items()]
    assert len(taken) == len(set(taken))
    assert [kernel.routes().words() for kernel in built] == words


def test_refusals():
    kernel = KernelBuilder(CONFIG, "k")
    relu = library.row_max(CONFIG.pcu, rows=1, n=8)
    kernel.agcu(0, program())
    beside = KernelBuilder(CONFIG, "other", resident=(kernel,))
    for call, text in ((lambda: kernel.agcu(4, program()), "agcu 4 does not exist; preset small has 4"),
                       (lambda: kernel.pcu(0, 1, relu), r"no pcu at \(0, 1\); preset small has them at \[\(0, 0\)"),
                       (lambda: kernel.pcu(9, 9, relu), r"no pcu at \(9, 9\)"),
                       (lambda: beside.agcu(0, program()), r"agcu \(0,\) already holds a program of 'k'"),
                       (lambda: KernelBuilder(CONFIG, "g", group=2), "group=2 must be below groups=2"),
                       (lambda: network_kernel(preset("tiny")), "needs a grid of 4x4")):
        with pytest.raises(PlacementError, match=text):
            call()
    with pytest.raises(KeyError, match="nothing"):
        kernel.agcu(1, program()).field("load0.nothing")
