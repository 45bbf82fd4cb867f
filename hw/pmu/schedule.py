"""When a program's engines want which vectors, as long as no bank conflict holds any of them up. No HDL is imported.

Without conflicts each engine makes one access a cycle from the moment it owns a buffer to that buffer's end, so a run is known from
the times at which buffers begin. A bank map has no conflict at full rate exactly if no two vectors that are wanted in one cycle of
*this* schedule share a bank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.config import PMUConfig

from .address import Counter, Scalar, Sequence
from .geometry import Geometry
from .program import Engine, PMUProgram, Read

__all__ = ["Schedule", "Track", "differences", "schedule", "track"]

CONTENTS = 1 << 16           # accesses looked at of an engine whose addresses change from buffer to buffer


@dataclass(frozen=True)
class Track:
    """One engine. ``addresses`` [contents, accesses of a buffer]: half-words in buffer 0, -1 if dropped; one row if every buffer
    has the same. ``begins``: cycle of the first request of each buffer, as far as the run was followed."""

    addresses: np.ndarray
    rotating: bool
    latency: int
    straddling: bool
    begins: list[int]

    def vectors(self, config: PMUConfig, stride: int, content: int, buffer: int, begin: int, end: int) -> list[np.ndarray]:
        """Vector numbers wanted by accesses ``begin`` to ``end - 1`` of a buffer (-1: none): one array, or for unaligned vectors
        two."""
        g = Geometry(config)
        base = self.addresses[content, begin:end]
        moved = base + stride * buffer & (1 << g.address_bits) - 1
        vector = np.where(base < 0, -1, moved >> g.lane_bits)
        if not self.straddling:
            return [vector]
        beyond = (base >= 0) & (moved & g.half_lanes - 1 != 0)
        return [vector, np.where(beyond, vector + 1 & g.vectors - 1, -1)]


@dataclass(frozen=True)
class Schedule:
    """``tracks`` by engine; ``cycles`` until the last access of the whole run."""

    tracks: dict[str, Track]
    cycles: int


def track(program: PMUProgram, name: str, config: PMUConfig) -> Track:
    """The accesses of one engine, its times still open. Addresses that depend on data count as dropped."""
    g = Geometry(config)
    engine = program.engines[name]
    inner, outer = engine.loops[:engine.buffer_loops], engine.loops[engine.buffer_loops:]
    level = engine.index.level if isinstance(engine.index, Counter) else None
    fixed = all(loop.stride == 0 for loop in outer) and (level is None or level < len(inner))
    loops = inner if fixed else engine.loops
    address, counter = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for number, loop in enumerate(loops):
        if len(address) >= CONTENTS and number >= len(inner):
            break
        steps = np.arange(loop.bound, dtype=np.int64)
        address = (steps[:, None] * loop.stride + address).ravel()
        counter = np.repeat(steps, len(counter)) if number == level else np.tile(counter, loop.bound)
    x = _pipeline(program, engine, config, program.halves(engine.base) + address * program.halves(1), counter)
    if isinstance(engine.index, Sequence | Scalar):
        x = np.full(len(x), -1, np.int64)
    return Track(x.reshape(-1, max(engine.accesses, 1)) if engine.accesses else x.reshape(1, -1)[:, :0],
                 not isinstance(engine, Read) or engine.synchronised, 1 + len(engine.stages),
                 not engine.word and not program.pitch and g.half_lanes > 1, [])


def _pipeline(program: PMUProgram, engine: Engine, config: PMUConfig, address: np.ndarray, y: np.ndarray) -> np.ndarray:
    bits = Geometry(config).logical_bits
    lower = program.halves(engine.shard.lower) if engine.shard else 0
    x, keep = address - lower & (1 << bits) - 1, np.ones(len(address), bool)
    for stage in engine.stages:
        x, y, keep = stage.apply(x, y, keep, bits)
    if engine.shard:
        keep = keep & (x < program.halves(engine.shard.size))
        x = x + program.halves(engine.shard.place)
    return np.where(keep, x, -1)


def schedule(program: PMUProgram, config: PMUConfig) -> Schedule:
    """Follows the run until it repeats itself (at most 65536 buffers)."""
    tracks = {name: track(program, name, config) for name in program.engines}
    ends = [_alone(found, program.engines[name].handovers) for name, found in tracks.items()
            if name != "write" and not found.rotating]
    together = {name: found for name, found in tracks.items() if found.rotating}
    if together and all(found.addresses.shape[1] for found in together.values()):
        ends.append(_together(program, together))
    return Schedule(tracks, max(ends, default=0))


def _alone(track: Track, handovers: int) -> int:
    """An engine that waits for nobody. Returns the cycle after its last request."""
    size = track.addresses.shape[1]
    track.begins.extend(track.latency + size * buffer for buffer in range(min(handovers, 1 << 12)))
    return track.latency + size * handovers if size and handovers else 0


def _together(program: PMUProgram, tracks: dict[str, Track]) -> int:
    """The write engine and the readers that wait for it: a buffer is begun when its engine has finished the one before and the
    others have let it go, two cycles after they asked for its last access."""
    size = {name: found.addresses.shape[1] for name, found in tracks.items()}
    readers = [name for name in tracks if name != "write"]
    handovers = program.write.handovers
    varying = any(len(found.addresses) > 1 for found in tracks.values())
    write, seen, stop = tracks["write"], {}, None
    for buffer in range(min(handovers, 1 << 16)):
        # Issue times; a request follows ``latency`` cycles after its issue.
        begin = write.begins[-1] - write.latency + size["write"] if buffer else 0
        if buffer >= program.buffers:
            begin = max([begin, *(tracks[r].begins[buffer - program.buffers] + size[r] for r in readers)])
        write.begins.append(begin + write.latency)
        for name in readers:
            begins, latency = tracks[name].begins, tracks[name].latency
            free = begins[-1] - latency + size[name] if buffer else 0
            begins.append(max(free, write.begins[-1] + size["write"]) + latency)
        now = write.begins[-1]
        state = (buffer % program.buffers, *(time - now for found in tracks.values() for time in found.begins[-program.buffers:]))
        if stop is None and not varying and buffer >= program.buffers:
            if state in seen:
                stop = buffer + 2 * program.buffers + 2          # every overlap of a period is then on record
                period, advance = buffer - seen[state][0], now - seen[state][1]
            seen[state] = buffer, now
        if buffer == stop:
            break
    rest = handovers - len(write.begins)
    if rest > 0 and stop is not None:
        rounds, left = divmod(rest, period)
        last = len(write.begins) - 1 - (period - left if left else 0)
        rounds += bool(left)
        return max(found.begins[last] + size[name] for name, found in tracks.items()) + rounds * advance
    return max((found.begins[-1] + size[name] for name, found in tracks.items() if found.begins), default=0)


def differences(program: PMUProgram, config: PMUConfig, plan: Schedule, lags: dict[str, int] | None = None) -> np.ndarray:
    """Bit d of the result (an array over all vector numbers): somewhere two engines want, in one cycle, vectors that differ by
    XOR with d. ``lags``: as if these engines were so many cycles late."""
    g = Geometry(config)
    found, lags = np.zeros(g.vectors, bool), lags or {}
    stride = program.halves(program.buffer_stride)
    names = list(plan.tracks)
    for place, one in enumerate(names):
        for other in names[place + 1:]:
            for key in _overlaps(program, plan.tracks[one], plan.tracks[other], lags.get(one, 0), lags.get(other, 0)):
                (content_a, buffer_a, begin_a), (content_b, buffer_b, begin_b), count = key
                wanted_a = plan.tracks[one].vectors(config, stride, content_a, buffer_a, begin_a, begin_a + count)
                wanted_b = plan.tracks[other].vectors(config, stride, content_b, buffer_b, begin_b, begin_b + count)
                for a in wanted_a:
                    for b in wanted_b:
                        both = (a >= 0) & (b >= 0)
                        found[(a ^ b)[both]] = True
    return found


def _overlaps(program: PMUProgram, one: Track, other: Track, lag_a: int, lag_b: int) -> set:
    """Which stretches of two engines' buffers coincide: ((content, buffer, first access) of each, number of cycles)."""
    found, size_a, size_b = set(), one.addresses.shape[1], other.addresses.shape[1]
    first = 0
    for number_a, begin_a in enumerate(one.begins):
        begin_a += lag_a
        for number_b in range(first, len(other.begins)):
            begin_b = other.begins[number_b] + lag_b
            if begin_b >= begin_a + size_a:
                break
            low, high = max(begin_a, begin_b), min(begin_a + size_a, begin_b + size_b)
            if high <= low:
                first = number_b + 1 if begin_b + size_b <= begin_a else first
                continue
            found.add((_place(program, one, number_a, low - begin_a), _place(program, other, number_b, low - begin_b), high - low))
    return found


def _place(program: PMUProgram, track: Track, number: int, access: int) -> tuple[int, int, int]:
    return number % len(track.addresses), number % program.buffers if track.rotating else 0, access
