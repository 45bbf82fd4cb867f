"""Runs PMU programs on the RTL in Amaranth's simulator, with random stalls on every stream and a monitor on every output."""

import random

import numpy as np
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from hw.config import PMUConfig
from hw.pmu.pmu import PMU

CONFIG = PMUConfig(lanes=4, banks=8, bank_rows=32)


def pack_vector(words):
    return sum(int(word) << 32 * lane for lane, word in enumerate(words))


def unpack_vector(value, lanes):
    return np.array([value >> 32 * lane & 0xFFFFFFFF for lane in range(lanes)], dtype=np.uint32)


class Bench:
    """One PMU; programs run one after the other and the scratchpad stays. Counts the cycles of each event.

    With ECC: reset before each program; 60 cycles after a fault a program is given up, and ``events["fault"]`` is the fault.
    """

    def __init__(self, config=CONFIG, seed=0, stall=0.3, dut=None):
        self.config, self.random, self.stall = config, random.Random(seed), stall
        self.dut = dut or PMU(config)
        self.reset = Signal()            # drives the PMU's reset, with ECC only
        self.jobs = []

    def run(self, program, vectors=None, scalars=None, *, sequences=None, tokens=None, timeout=20000):
        """Queues a program; :meth:`finish` returns its result."""
        self.jobs.append((program, vectors or {}, scalars or {}, sequences or {}, tokens or {}, timeout))
        return self

    def finish(self):
        """Simulates everything queued: a list of (outputs per read engine, events, control pulses per wire)."""
        results = []

        async def main(ctx):
            for job in self.jobs:
                results.append(await self._job(ctx, *job))
        simulator = Simulator(ResetInserter(self.reset)(self.dut) if self.config.ecc else self.dut)
        simulator.add_clock(1e-9)
        simulator.add_testbench(main)
        simulator.run()
        return results

    def _packets(self, vectors, scalars, sequences):
        queues = []
        for port, data in vectors.items():
            ids = sequences.get(port, range(len(data)))
            packets = [{"data": [int(w) for w in row], "sequence": s % 256} for row, s in zip(data, ids, strict=True)]
            queues.append((self.dut.vector_in[port], packets))
        for port, data in scalars.items():
            queues.append((self.dut.scalar_in[port], [{"data": int(w), "sequence": i % 256} for i, w in enumerate(data)]))
        return queues

    async def _job(self, ctx, program, vectors, scalars, sequences, tokens, timeout):
        dut, lanes = self.dut, self.config.lanes
        ctx.set(dut.program.as_value(), program if isinstance(program, int) else program.pack(self.config))
        inputs = self._packets(vectors, scalars, sequences)
        outputs = [*((stream, False) for stream in dut.vector_out), *((stream, True) for stream in dut.scalar_out)]
        out = [[] for _ in dut.vector_out]
        events, pulses = dict.fromkeys(dut.event_names, 0), [0] * self.config.control_wires
        stalled = {}
        if self.config.ecc:
            ctx.set(self.reset, 1)
            await ctx.tick()
            ctx.set(self.reset, 0)
        faulty = 0
        ctx.set(dut.execute, 1)
        for cycle in range(timeout):
            for stream, packets in inputs:
                # A packet once offered stays offered.
                valid = bool(packets) and (id(stream) in stalled or self.random.random() >= self.stall)
                ctx.set(stream.valid, valid)
                if valid:
                    ctx.set(stream.payload, packets[0])
            ctx.set(dut.control_in, sum((cycle in at) << wire for wire, at in tokens.items()))
            for stream, _ in outputs:
                ctx.set(stream.ready, self.random.random() >= self.stall)
            for stream, packets in inputs:
                if ctx.get(stream.valid) and ctx.get(stream.ready):
                    packets.pop(0)
                    stalled.pop(id(stream), None)
                elif ctx.get(stream.valid):
                    stalled[id(stream)] = True
            for index, (stream, scalar) in enumerate(outputs):
                if not ctx.get(stream.valid):
                    assert id(stream) not in stalled, f"output {index} withdrew a packet in cycle {cycle}"
                    continue
                payload = ctx.get(stream.payload if scalar else stream.payload.as_value())
                assert stalled.pop(id(stream), payload) == payload, f"output {index} changed while stalled in cycle {cycle}"
                if ctx.get(stream.ready):
                    out[index % len(dut.vector_out)].append(payload if scalar else unpack_vector(payload, lanes))
                else:
                    stalled[id(stream)] = payload
            for name in dut.event_names:
                events[name] += ctx.get(getattr(dut.events, name))
            for wire in range(self.config.control_wires):
                pulses[wire] += ctx.get(dut.control_out) >> wire & 1
            await ctx.tick()
            ctx.set(dut.execute, 0)
            faulty += self.config.ecc and ctx.get(dut.fault.valid)
            if (cycle and not ctx.get(dut.busy)) or faulty > 60:
                break
        else:
            raise TimeoutError(f"the program did not finish in {timeout} cycles; outputs so far {[len(o) for o in out]}")
        for wire in range(self.config.control_wires):      # tokens leave one cycle after the access that sends them
            pulses[wire] += ctx.get(dut.control_out) >> wire & 1
        if faulty:
            events["fault"] = {name: ctx.get(getattr(dut.fault, name)) for name in ("cause", "segment", "offset")}
            events["still_busy"] = ctx.get(dut.busy)
        await ctx.tick()
        return out, events, pulses


def assert_same(got, expected):
    """Outputs of all engines agree, element by element."""
    assert [len(g) for g in got] == [len(e) for e in expected]
    for engine, (g, e) in enumerate(zip(got, expected, strict=True)):
        for index, (one, other) in enumerate(zip(g, e, strict=True)):
            assert np.array_equal(one, other), f"engine {engine}, packet {index}: RTL {one}, model {other}"


def words(seed, *shape):
    return np.random.default_rng(seed).integers(0, 1 << 32, shape, dtype=np.uint32)
