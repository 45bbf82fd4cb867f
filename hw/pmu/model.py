"""What a PMU does, in numpy: a flat scratchpad and the programs' loops. No banks, no lanes, no cycles, no HDL."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

import numpy as np

from hw.config import PMUConfig

from .address import Counter, Scalar, Sequence
from .geometry import Geometry
from .program import Engine, PMUProgram, Read, vector_elements

__all__ = ["PMUModel", "addresses"]


@dataclass(frozen=True)
class _Access:
    """One iteration of a loop nest, its address in half-words."""

    counters: tuple[int, ...]
    address: int
    done: bool
    scalar_done: bool


class PMUModel:
    """The reference for one PMU; its scratchpad outlives a program, as the hardware's does.

    ``memory``: the scratchpad as 16-bit halves in address order (``memory.view("<u4")``: as words). Valid for programs whose
    result does not depend on timing: unsynchronised engines must not read what the write engine is writing, and the addresses
    of striped programs are those of the same ``pitch``.
    """

    def __init__(self, config: PMUConfig):
        self.config = config
        self.memory = np.zeros(2 * config.words, dtype=np.uint16)

    def run(self, program: PMUProgram, vectors: dict[int, np.ndarray] | None = None, scalars: dict[int, np.ndarray] | None = None,
            *, sequences: dict[int, list[int]] | None = None) -> list[list]:
        """Executes ``program``. ``vectors[i]``: uint32 [n, lanes] at vector input i; ``scalars[i]``: uint32 [n];
        ``sequences[i]``: the sequence IDs of the packets (default: their numbers modulo 2**sequence_bits).

        Returns one list per read engine: uint32 vectors, or words of a scalar engine. Raises RuntimeError on a deadlock
        (an input ran dry).
        """
        words = {port: deque(int(word) for word in data) for port, data in (scalars or {}).items()}
        packets = self._packets(program, vectors or {}, words, sequences or {})
        walks = {name: deque(_walk(program, engine)) for name, engine in program.engines.items()}
        out: list[list] = [[] for _ in range(self.config.vector_outputs)]
        owned = {name: 0 for name in walks if name != "write"}       # buffers handed over and not yet read
        buffer = dict.fromkeys(walks, 0)
        partners = [name for name in owned if program.engines[name].synchronised]
        while any(walks.values()):
            ready = [name for name, walk in walks.items() if walk and _may_go(name, program, owned, partners)]
            if not ready:
                raise RuntimeError(f"deadlock: {[name for name, walk in walks.items() if walk]} cannot go on")
            for name in ready:
                done = False
                while walks[name] and not done:
                    access = walks[name].popleft()
                    self._perform(name, program, access, buffer[name], packets, words, out)
                    done = access.done
                for reader in partners if name == "write" else [name]:
                    owned[reader] += (1 if name == "write" else -1) * done
                if done and (name == "write" or name in partners):
                    buffer[name] = (buffer[name] + 1) % program.buffers
        return out

    def _packets(self, program, vectors, words, sequences):
        """(data as halves, sequence ID) in the order in which they are written."""
        if program.write is None:
            return deque()
        if program.write.scalars:
            if len(program.write.scalars) > 1 or program.write.vectors:
                raise ValueError("the order of packets from several inputs depends on timing")
            source = words.get(program.write.scalars[0], [])
            return deque((np.array([word], dtype=np.uint32).view(np.uint16), index & 255) for index, word in enumerate(source))
        if len(program.write.vectors) > 1 and not isinstance(program.write.index, Sequence):
            raise ValueError("the order of packets from several inputs depends on timing, unless their sequence IDs order them")
        packets = deque()
        for port in program.write.vectors:
            data = np.asarray(vectors.get(port, []), dtype=np.uint32)
            mask = (1 << self.config.sequence_bits) - 1
            ids = sequences.get(port, range(len(data)))
            packets.extend((row.view(np.uint16), sequence & mask) for row, sequence in zip(data, ids, strict=True))
        return packets

    def _perform(self, name, program, access, buffer, packets, words, out):
        engine = program.engines[name]
        rotating = not isinstance(engine, Read) or engine.synchronised
        data, sequence = (None, 0)
        if name == "write":
            if not packets:
                raise RuntimeError("deadlock: the write engine's input ran dry")
            data, sequence = packets.popleft()
        address = self._address(program, engine, access, sequence, words)
        if address is None:
            return
        halves = self._halves(program, engine, address + program.halves(program.buffer_stride) * buffer * rotating)
        if name == "write":
            self.memory[halves] = data[:len(halves)]
            return
        read = self.memory[halves].view(np.uint32)
        if engine.scalar:
            out[int(name[4:])].append(int(read[0]))
        else:
            order = list(engine.permute or range(self.config.lanes))
            out[int(name[4:])].append(np.resize(read, self.config.lanes)[order])

    def _address(self, program: PMUProgram, engine: Engine, access: _Access, sequence: int, words) -> int | None:
        """The half-word address after the pipeline and the shard; None if it is dropped."""
        y = 0
        if isinstance(engine.index, Sequence):
            y = sequence
        elif isinstance(engine.index, Counter):
            y = (access.counters + (0,) * self.config.counter_levels)[engine.index.level]
        elif isinstance(engine.index, Scalar):
            queue = words.get(engine.index.port)
            if not queue:
                raise RuntimeError(f"deadlock: scalar input {engine.index.port} ran dry")
            y = queue.popleft() if access.scalar_done else queue[0]
        return _pipeline(program, engine, self.config, access.address, y)

    def _halves(self, program: PMUProgram, engine: Engine, address: int) -> np.ndarray:
        """The half-words of one access, in the order of the vector's lanes; they wrap at the end of the scratchpad."""
        if engine.word:
            return (address + np.arange(2)) % len(self.memory)
        size = program.halves(1)
        elements = np.arange(vector_elements(program, self.config))
        step = program.pitch if isinstance(engine, Read) and engine.transposed else 1
        starts = address + elements * step * size
        return (starts[:, None] + np.arange(size)).ravel() % len(self.memory)


def addresses(program: PMUProgram, engine: Engine, config: PMUConfig):
    """(half-word address in buffer 0 or None, last of its buffer) of every access of an engine without data-dependent index."""
    if isinstance(engine.index, Sequence | Scalar):
        raise ValueError(f"index={engine.index}: the addresses depend on the data")
    for access in _walk(program, engine):
        y = access.counters[engine.index.level] if engine.index else 0
        yield _pipeline(program, engine, config, access.address, y), access.done


def _pipeline(program: PMUProgram, engine: Engine, config: PMUConfig, address: int, y: int) -> int | None:
    bits = Geometry(config).logical_bits
    mask = (1 << bits) - 1
    lower = program.halves(engine.shard.lower) if engine.shard else 0
    x, y, predicate = address - lower & mask, y & mask, True
    for stage in engine.stages:
        x, y, predicate = stage.apply(x, y, predicate, bits)
    if not predicate or (engine.shard and x >= program.halves(engine.shard.size)):
        return None
    return x + (program.halves(engine.shard.place) if engine.shard else 0)


def _may_go(name, program, owned, partners):
    if name == "write":
        return all(owned[reader] < program.buffers for reader in partners)
    return name not in partners or owned[name] > 0


def _walk(program: PMUProgram, engine: Engine):
    """Every access, outermost loop slowest."""
    scalar_loops = engine.index.loops if isinstance(engine.index, Scalar) else 0
    for index in itertools.product(*(range(loop.bound) for loop in reversed(engine.loops))):
        counters = index[::-1]
        at_end = [counter == loop.bound - 1 for counter, loop in zip(counters, engine.loops, strict=True)]
        address = engine.base + sum(c * loop.stride for c, loop in zip(counters, engine.loops, strict=True))
        yield _Access(counters, program.halves(address), all(at_end[:engine.buffer_loops]), all(at_end[:scalar_loops]))
