"""What a PMU does, in numpy: a flat scratchpad and the programs' loops. No banks, no lanes, no cycles, no HDL."""

from __future__ import annotations

import itertools
from collections import deque

import numpy as np

from hw.config import PMUConfig

from .program import Engine, PMUProgram, Read, vector_elements

__all__ = ["PMUModel"]


class PMUModel:
    """The reference for one PMU; its scratchpad outlives a program, as the hardware's does.

    ``memory``: the scratchpad as 16-bit halves in address order (``memory.view("<u4")``: as words). Valid for programs whose
    result does not depend on timing: unsynchronised engines must not read what the write engine is writing, and the addresses
    of striped programs are those of the same ``pitch``.
    """

    def __init__(self, config: PMUConfig):
        self.config = config
        self.memory = np.zeros(2 * config.words, dtype=np.uint16)

    def run(self, program: PMUProgram, vectors: dict[int, np.ndarray] | None = None,
            scalars: dict[int, np.ndarray] | None = None) -> list[list]:
        """Executes ``program``. ``vectors[i]``: uint32 [n, lanes] at vector input i; ``scalars[i]``: uint32 [n].

        Returns one list per read engine: uint32 vectors, or words of a scalar engine. Raises RuntimeError on a deadlock
        (an input ran dry).
        """
        inputs = deque()
        if program.write:
            ports = [(vectors or {})[port] for port in program.write.vectors]
            ports += [(scalars or {})[port] for port in program.write.scalars]
            if len(ports) != 1:
                raise ValueError("the order of packets from several inputs depends on timing")
            inputs = deque(np.asarray(ports[0], dtype=np.uint32))
        walks = {name: deque(_walk(program, engine)) for name, engine in program.engines.items()}
        out: list[list] = [[] for _ in range(self.config.vector_outputs)]
        owned = {name: 0 for name in walks if name != "write"}       # buffers handed over and not yet read
        partners = [name for name in owned if program.engines[name].synchronised]
        while any(walks.values()):
            ready = [name for name, walk in walks.items() if walk and self._may_go(name, program, owned, partners)]
            if not ready:
                raise RuntimeError(f"deadlock: {[name for name, walk in walks.items() if walk]} cannot go on")
            for name in ready:
                done = False
                while walks[name] and not done:
                    address, done = walks[name].popleft()
                    self._access(name, program, address, inputs, out)
                for reader in partners if name == "write" else [name]:
                    owned[reader] += (1 if name == "write" else -1) * done
        return out

    @staticmethod
    def _may_go(name, program, owned, partners):
        if name == "write":
            return all(owned[reader] < program.buffers for reader in partners)
        return name not in partners or owned[name] > 0

    def _access(self, name, program, address, inputs, out):
        engine = program.engines[name]
        halves = self._halves(program, engine, address)
        if name == "write":
            if not inputs:
                raise RuntimeError("deadlock: the write engine's input ran dry")
            self.memory[halves] = np.atleast_1d(inputs.popleft()).view(np.uint16)[:len(halves)]
            return
        data = self.memory[halves].view(np.uint32)
        out[int(name[4:])].append(int(data[0]) if engine.scalar else self._vector(data))

    def _vector(self, words):
        return np.resize(words, self.config.lanes)

    def _halves(self, program: PMUProgram, engine: Engine, address: int) -> np.ndarray:
        """The half-words of one access, in the order of the vector's lanes."""
        size = program.halves(1)
        if engine.word:
            return address * size + np.arange(2)
        elements = np.arange(vector_elements(program, self.config))
        step = program.pitch if isinstance(engine, Read) and engine.transposed else 1
        starts = (address + elements * step) * size
        return (starts[:, None] + np.arange(size)).ravel()


def _walk(program: PMUProgram, engine: Engine):
    """(address, last of its buffer) of every access, outermost loop slowest."""
    rotating = not isinstance(engine, Read) or engine.synchronised
    buffer = 0
    for index in itertools.product(*(range(loop.bound) for loop in reversed(engine.loops))):
        counters = index[::-1]
        address = engine.base + sum(c * loop.stride for c, loop in zip(counters, engine.loops, strict=True))
        done = all(c == loop.bound - 1 for c, loop in zip(counters, engine.loops[:engine.buffer_loops], strict=False))
        yield address + buffer * program.buffer_stride * rotating, done
        if done:
            buffer = (buffer + 1) % program.buffers
