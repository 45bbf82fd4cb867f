"""Striped buffers: rows and columns of one buffer at one vector a cycle, for words and packed halves."""

import numpy as np
import pytest

from hw.config import PMUConfig
from hw.pmu.geometry import BankMap
from hw.pmu.model import PMUModel
from hw.pmu.program import Element, Loop, PMUProgram, ProgramError, Read, Write

from .harness import CONFIG, Bench, assert_same, words

MAP = BankMap((0, 1, 6), (0, 0, 0))     # vector-number bit 6 tells the buffers apart; bits 2..5 may differ between the lanes


def square(element, transposed, bank_map=MAP):
    """A 16 x 16 matrix of words (4 lanes: 64 vectors), or 16 x 32 halves (8 to a vector), read row by row and transposed."""
    vector, columns = (4, 16) if element is Element.WORD else (8, 32)
    rows = 16
    per_row = columns // vector
    across = (Loop(rows // vector, vector * columns), Loop(columns, 1), Loop(2))
    along = (Loop(per_row, vector), Loop(rows, columns), Loop(2))
    read = Read(loops=across, handover=2, transposed=True) if transposed else Read(loops=along, handover=2)
    return PMUProgram(
        write=Write(loops=along, handover=2, vectors=(0,)), reads=(read,), buffers=2, buffer_stride=64 * vector, pitch=columns,
        element=element, bank_map=bank_map)


@pytest.mark.parametrize("element", list(Element))
@pytest.mark.parametrize("transposed", [False, True])
def test_striped_buffer(element, transposed):
    program = square(element, transposed)
    data = words(11, 2 * 64, CONFIG.lanes)
    [(out, events, _)] = Bench(stall=0.0).run(program, {0: data}).finish()
    assert_same(out, PMUModel(CONFIG).run(program, {0: data}))
    if transposed:
        kind = np.uint32 if element is Element.WORD else np.uint16
        matrix = data[:64].view(kind).reshape(16, -1)
        assert np.array_equal(np.array(out[0][:64]).view(kind).reshape(matrix.shape[::-1]), matrix.T)
    assert events["bank_conflict"] == 0
    assert events["busy"] <= 3 * 64 + 8, "one vector a cycle in and out"


def test_columns_across_banks_are_refused():
    with pytest.raises(ProgramError, match="different banks"):
        square(Element.WORD, True, BankMap((0, 2, 6), (0, 0, 0))).pack(CONFIG)


@pytest.mark.long
@pytest.mark.parametrize("element", list(Element))
def test_transpose_of_128_by_128(element):
    """Three matrices in and out at one vector a cycle, double-buffered: the lanes and banks of `small`."""
    config = PMUConfig(lanes=8, banks=8, bank_rows=512 if element is Element.WORD else 256)
    vector = 8 if element is Element.WORD else 16
    pitch, size = 128 // vector, 128 * 128 // vector
    # The buffer bit (the highest) and two bits that neither tell the rows of one vector apart.
    bank_map = BankMap((0, 1, size.bit_length() - 1), (0, 0, 0))
    write = Write(loops=(Loop(pitch, vector), Loop(128, 128), Loop(3)), handover=2, vectors=(0,))
    read = Read(loops=(Loop(128 // vector, vector * 128), Loop(128, 1), Loop(3)), handover=2, transposed=True)
    program = PMUProgram(write=write, reads=(read,), buffers=2, buffer_stride=128 * 128, pitch=128, element=element,
                         bank_map=bank_map)
    data = words(12, 3 * size, 8)
    [(out, events, _)] = Bench(config, stall=0.0).run(program, {0: data}).finish()
    kind = np.uint32 if element is Element.WORD else np.uint16
    for matrix, got in zip(data.reshape(3, size, 8), np.array(out[0]).reshape(3, size, 8), strict=True):
        assert np.array_equal(got.view(kind).reshape(128, 128), matrix.view(kind).reshape(128, 128).T)
    assert events["bank_conflict"] == 0
    assert events["busy"] <= 4 * size + 8
