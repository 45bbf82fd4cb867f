"""The commonest programs on the RTL against the numpy model, with random stalls."""

import dataclasses

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.pmu.address import within
from hw.pmu.model import PMUModel
from hw.pmu.pmu import PMU
from hw.pmu.program import Loop, PMUProgram, ProgramError, Read, Write
from hw.pmu.recipes import fifo, stage_buffer

from .harness import CONFIG, Bench, assert_same, words


@pytest.mark.parametrize(("vectors", "count", "repeat", "buffers", "engines"), [
    (2, 5, 1, 2, (0,)), (7, 4, 3, 2, (0, 1)), (5, 6, 2, 3, (1,)), (1, 9, 1, 2, (0, 1)), (13, 2, 1, 1, (0,)),
])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_stage_buffer(vectors, count, repeat, buffers, engines, stall):
    program = stage_buffer(CONFIG, vectors=vectors, count=count, repeat=repeat, buffers=buffers, engines=engines, source=2)
    data = words(1, vectors * count, CONFIG.lanes)
    [(out, events, _)] = Bench(seed=3, stall=stall).run(program, {2: data}).finish()
    assert_same(out, PMUModel(CONFIG).run(program, {2: data}))
    assert events["write_vectors"] == events["packets_in"] == vectors * count
    assert [events["read0_vectors"], events["read1_vectors"]] == [vectors * count * repeat * (e in engines) for e in (0, 1)]


def test_one_vector_a_cycle():
    """Double-buffered, each engine does one vector a cycle: three buffers of 30 in 3 x 30 cycles and one buffer of latency."""
    program = stage_buffer(CONFIG, vectors=30, count=3)
    data = words(2, 90, CONFIG.lanes)
    [(_, events, _)] = Bench(stall=0).run(program, {0: data}).finish()
    assert events["bank_conflict"] == 0
    assert events["busy"] <= 90 + 30 + 8


def test_fifo_is_a_queue():
    program = fifo(CONFIG, vectors=60, depth=5)
    data = words(3, 60, CONFIG.lanes)
    [(out, *_)] = Bench(seed=5, stall=0.5).run(program, {0: data}).finish()
    assert_same(out, [list(data), []])


def test_scalars_become_vectors_and_vectors_become_scalars():
    """Words arrive one by one and leave as vectors, and in a second program leave word by word in a strided order."""
    gather = PMUProgram(write=Write(loops=(Loop(24, 1),), word=True, scalars=(1,)),
                        reads=(Read(loops=(Loop(6, 4),)),))
    spread = PMUProgram(reads=(None, Read(loops=(Loop(4, 5), Loop(3, 1)), word=True, scalar=True, synchronised=False)))
    data = words(4, 24)
    first, second = Bench(seed=7).run(gather, scalars={1: data}).run(spread).finish()
    model = PMUModel(CONFIG)
    assert_same(first[0], model.run(gather, scalars={1: data}))
    assert_same(second[0], model.run(spread))
    assert second[0][1] == [int(data[row * 5 + start]) for start in range(3) for row in range(4)]


def test_unaligned_reads_and_writes():
    """Vectors that start at any word, on both sides: dense rows of 7 words, read at every offset."""
    write = PMUProgram(write=Write(loops=(Loop(9, 7),), base=3, vectors=(0,)))
    read = PMUProgram(reads=(Read(loops=(Loop(60, 1),), base=1, synchronised=False),))
    data = words(5, 9, CONFIG.lanes)
    results = Bench(seed=8).run(write, {0: data}).run(read).finish()
    model = PMUModel(CONFIG)
    model.run(write, {0: data})
    assert_same(results[1][0], model.run(read))


def test_two_kernels_share_the_scratchpad_and_tokens_order_engines():
    """A read engine waits for a token before each buffer; the writer tells when a buffer is there."""
    program = PMUProgram(
        write=Write(loops=(Loop(4, 4), Loop(3)), handover=1, vectors=(0,), send_tokens=(1,)),
        reads=(Read(loops=(Loop(4, 4), Loop(3)), handover=1, wait_tokens=(2,), send_tokens=(0, 3)),),
        buffers=2, buffer_stride=16)
    data = words(6, 12, CONFIG.lanes)
    tokens = {2: {40, 90, 140}}
    [(out, events, pulses)] = Bench(stall=0).run(program, {0: data}, tokens=tokens).finish()
    assert_same(out, [list(data), []])
    assert pulses == [3, 3, 0, 3]
    assert events["busy"] > 140


def test_a_bound_of_zero_ends_at_once():
    program = PMUProgram(write=Write(loops=(Loop(0, 4),), vectors=(0,)), reads=(Read(loops=(Loop(0, 4),)),))
    [(out, *_)] = Bench().run(program, {0: words(1, 1, CONFIG.lanes)}).finish()
    assert out == [[], []]


def test_the_model_notices_a_wrong_reader():
    """The comparison bites: the model of a program with another stride differs."""
    program = stage_buffer(CONFIG, vectors=6, count=2)
    other = PMUProgram(write=program.write, reads=(Read(loops=(Loop(6, 2), Loop(1), Loop(2)), handover=2), None),
                       buffers=2, buffer_stride=program.buffer_stride, bank_map=program.bank_map)
    data = words(9, 12, CONFIG.lanes)
    [(out, *_)] = Bench().run(program, {0: data}).finish()
    with pytest.raises(AssertionError):
        assert_same(out, PMUModel(CONFIG).run(other, {0: data}))
    assert np.array_equal(np.array(out[0]), data)


def test_a_pmu_without_address_stages():
    """Plain programs run as ever, one that needs a stage is refused."""
    config = dataclasses.replace(CONFIG, address_stages=0)
    program = stage_buffer(config, vectors=5, count=3)
    data = words(7, 15, config.lanes)
    [(out, *_)] = Bench(config).run(program, {0: data}).finish()
    assert np.array_equal(np.array(out[0]), data)
    staged = dataclasses.replace(program, write=dataclasses.replace(program.write, stages=(within(0, 9),)))
    with pytest.raises(ProgramError, match="the engines use 1, the PMU has 0"):
        staged.pack(config)


def test_latency_from_the_last_packet_to_the_first_vector():
    """The timing diagram of docs/pmu.md: 5 cycles, and writing goes on while the first buffer is read."""
    dut, seen = PMU(CONFIG), {"taken": [], "written": [], "read": [], "out": []}
    program = stage_buffer(CONFIG, vectors=3, count=3).pack(CONFIG)

    async def main(ctx):
        ctx.set(dut.program.as_value(), program)
        ctx.set(dut.execute, 1)
        ctx.set(dut.vector_out[0].ready, 1)
        for cycle in range(24):
            ctx.set(dut.vector_in[0].valid, len(seen["taken"]) < 9)
            for name, happens in (("taken", dut.vector_in[0].valid & dut.vector_in[0].ready), ("written", dut.events.write_vectors),
                                  ("read", dut.events.read0_vectors), ("out", dut.vector_out[0].valid)):
                seen[name] += [cycle] * ctx.get(happens)
            await ctx.tick()
            ctx.set(dut.execute, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(main)
    simulator.run()
    assert seen == {"taken": [*range(1, 7), 9, 10, 11], "written": [*range(2, 8), 10, 11, 12],
                    "read": [*range(6, 12), 14, 15, 16], "out": [*range(8, 14), 16, 17, 18]}
