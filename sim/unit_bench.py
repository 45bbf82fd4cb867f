"""A bench for one component: Verilated, clocked in C++, with sources, sinks and a monitor on every stream.

    bench = UnitBench(MyUnit(config))
    bench.set("program", MyUnit.layout.const({...}))
    bench.feed("vector_in[0]", words, stall=0.3, seed=1)
    out = bench.collect("vector_out[0]", stall=0.2, seed=2)
    bench.pulse("execute")
    bench.run(10_000, until={"vector_out[0]": len(words), "busy": 0})
    assert (out.words[:, :8] == expected).all()
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from pathlib import Path

from amaranth.lib import wiring

from hw.hierarchy import to_verilog

from .bench_library import CPP, Collected, Condition, as_int, declare, glue, load, pack, storage_bytes
from .build import build
from .ports import Ports

__all__ = ["BenchTimeout", "Collected", "ModelError", "ProtocolError", "UnitBench"]

SLICE_SECONDS = 0.05                     # longest time in C++ without a chance for Ctrl-C
DONE, LIMIT, AGAIN, BROKEN, STUCK, FINISHED = range(6)


class ModelError(AssertionError):
    """The design or a device model stopped the simulation ($fatal, a timing check)."""


class ProtocolError(AssertionError):
    """A stream or a link broke its protocol; the message names the cycle, the stream and the rule."""


class BenchTimeout(AssertionError):
    """A run ended without what it waited for, or nothing moved for too long; the message tells every stream's state."""


class UnitBench:
    """The bench of one component.

    Parameters
    ----------
    component:
        any ``wiring.Component`` in the ``sync`` domain. Foreign modules: an ``Instance`` in it, their text in ``sources``.
    sources:
        Verilog, SystemVerilog and C++ files beside the component's own Verilog; C++ functions are reached through ``bench.lib``.
    trace:
        None, "vcd" or "fst": built able to write waveforms (see :meth:`waves`).
    link_depth:
        credits per label that the two ends of every ``Link`` port start with.
    optimize, flags, assertions:
        see :func:`sim.build.build`.

    Names: ``"vector_in[0].valid"`` is port ``vector_in__0__valid``. A stream or link is named without its member.
    After construction the design has been reset. Time is counted in clock cycles from the first one ever (:attr:`cycle`).
    Every stream and link is monitored in both directions: payload stable and valid kept until ready, no packet without a
    credit, no credit that was not spent; a broken rule raises :class:`ProtocolError`. Ctrl-C works within 50 ms.
    """

    def __init__(self, component: wiring.Component, *, sources: Sequence[Path | str] = (), trace: str | None = None,
                 link_depth: int = 2, optimize: str = "-O2", flags: Sequence[str] = (), assertions: bool = False,
                 progress_limit: int = 10_000):
        top = _module_name(component)
        verilog = to_verilog(component, top)
        self.ports = Ports(component, verilog, top)
        self.progress_limit = progress_limit
        library = build(verilog, top, sources=[CPP / "bench.cpp", *sources], generated={"glue.cpp": glue(self.ports)},
                        optimize=optimize, flags=flags, trace=trace, assertions=assertions)
        self.lib = load(library)
        declare(self.lib)
        self._handle = ctypes.c_void_p(self.lib.bench_new())
        self._data = {port.name: ctypes.c_char_p(None) for port in self.ports.ports}
        for number, port in enumerate(self.ports.ports):
            size = storage_bytes(port.width)
            self._data[port.name] = (ctypes.c_uint8 * size).from_address(self.lib.bench_port(self._handle, number))
        self._endpoints: dict[str, int] = {}
        self._declare_endpoints(link_depth)
        self.seconds = 0.0
        self.cycles_run = 0
        self.reset()

    def _declare_endpoints(self, link_depth: int) -> None:
        index = {None: -1} | self.ports.index
        for s in self.ports.streams.values():
            self._endpoints[s.name] = len(self._endpoints)
            self.lib.bench_stream(self._handle, s.name.encode(), index[s.valid], index[s.ready], index[s.payload], s.input)
        for k in self.ports.links.values():
            self._endpoints[k.name] = len(self._endpoints)
            self.lib.bench_link(self._handle, k.name.encode(), index[k.valid], index[k.label], index[k.payload], index[k.credit],
                                 k.input, k.labels, link_depth)

    # Ports ----------------------------------------------------------------------------------------------------------------
    def set(self, name: str, value) -> None:
        """Drives an input port: an int of any width (negative: two's complement), a ``data.Const``, an enum member, or a
        dict for a port with a layout. It holds until changed."""
        port = self._port(name)
        if not port.input:
            raise ValueError(f"{name} is an output of the design")
        number = as_int(value, port.shape) & (1 << port.width) - 1
        self._data[name][:] = number.to_bytes(len(self._data[name]), "little")
        self.lib.bench_touch(self.handle)

    def get(self, name: str) -> int:
        """The settled value of a port in the current cycle, unsigned."""
        self._port(name)
        self._check(self.lib.bench_settle(self.handle))
        return int.from_bytes(bytes(self._data[name]), "little")

    def fields(self, name: str):
        """The value of a port with a layout, as ``data.Const`` (``bench.fields("events").busy``)."""
        return self._port(name).shape.from_bits(self.get(name))

    def _port(self, name: str):
        if name not in self.ports.index:
            raise KeyError(f"no port {name!r}; ports: {', '.join(self.ports.index)}")
        return self.ports.ports[self.ports.index[name]]

    def _endpoint(self, name: str, input: bool) -> int:
        if name not in self._endpoints:
            raise KeyError(f"no stream or link {name!r}; there are: {', '.join(self._endpoints)}")
        found = self.ports.streams.get(name) or self.ports.links[name]
        if found.input != input:
            raise ValueError(f"{name} is an {'input' if found.input else 'output'} of the design")
        return self._endpoints[name]

    @property
    def handle(self) -> ctypes.c_void_p:
        """The bench on the C side, for C++ of one's own behind :attr:`lib`."""
        if self._handle is None:
            raise ValueError("this bench is closed")
        return self._handle

    # Time -----------------------------------------------------------------------------------------------------------------
    @property
    def cycle(self) -> int:
        return self.lib.bench_cycle(self.handle)

    def reset(self) -> None:
        """All inputs zero, sources and sinks detached, then one cycle of reset (if the design has a reset)."""
        for port in self.ports.ports:
            if port.input:
                ctypes.memset(self._data[port.name], 0, len(self._data[port.name]))
        self._check(self.lib.bench_reset(self.handle))

    def tick(self, cycles: int = 1) -> None:
        """Exactly ``cycles`` cycles, sources and sinks at work."""
        self._run(self.cycle + cycles, [], 0)

    def pulse(self, name: str, value=1) -> None:
        """Drives a port for one cycle, then zero."""
        self.set(name, value)
        self.tick()
        self.set(name, 0)

    def run(self, max_cycles: int, until: dict[str, int] | None = None, progress_limit: int | None = None) -> int:
        """Clocks until everything in ``until`` holds at once; returns the number of cycles it took.

        ``until`` maps a stream or link to its number of transfers since reset, a port (up to 64 bits) to its value. Left
        out: until every source has sent everything. Raises :class:`BenchTimeout` after ``max_cycles``, or when nothing moved
        on any stream for ``progress_limit`` cycles (default: the bench's; 0: no limit), with each stream's state in the message.
        """
        start = self.cycle
        conditions = [Condition(2, 0, 0)] if until is None else []
        for name, value in (until or {}).items():
            if name in self._endpoints:
                conditions.append(Condition(0, self._endpoints[name], value))
            else:
                self._port(name)
                conditions.append(Condition(1, self.ports.index[name], int(value)))
        self._run(start + max_cycles, conditions, self.progress_limit if progress_limit is None else progress_limit)
        return self.cycle - start

    def _run(self, end: int, conditions: list[Condition], limit: int) -> None:
        array = (Condition * max(len(conditions), 1))(*conditions)
        begin, first = time.perf_counter(), self.cycle
        try:
            status = AGAIN
            while status == AGAIN:
                status = self.lib.bench_run(self.handle, end, SLICE_SECONDS, limit, array, len(conditions))
        finally:
            self.seconds += time.perf_counter() - begin
            self.cycles_run += self.cycle - first
        self._check(status)

    def _check(self, status: int) -> None:
        if status == DONE:
            return
        message = self.lib.bench_message(self.handle).decode()
        if status == FINISHED:
            raise ModelError(f"the design called $finish in cycle {self.cycle}")
        if status == BROKEN:
            raise (ProtocolError if message.startswith("cycle ") else ModelError)(message)
        raise BenchTimeout(message)

    # Streams and links ------------------------------------------------------------------------------------------------------
    def feed(self, name: str, payloads, *, label: int = 0, stall: float | str | Sequence[int] = 0.0, seed: int = 0) -> None:
        """Gives an input stream or link ``payloads`` to send, after what it already has; ``label`` for links.

        ``payloads``: ints, dicts or ``data.Const`` (one each); a 1-D integer or float32 array (32-bit words); or a 2-D one,
        one row per payload from bit 0 up (missing high words are zero: sequence ID 0 for vector packets).
        ``stall``: a probability per cycle of holding back, or a repeated pattern of "0" (go) and "1" (hold), as text or list.
        """
        endpoint = self._endpoint(name, True)
        found = self.ports.streams.get(name) or self.ports.links[name]
        size = self.lib.bench_bytes(self.handle, endpoint)
        raw = pack(payloads, size, self._port(found.payload) if found.payload else None)
        self._attach(endpoint, stall, seed)
        self.lib.bench_feed(self.handle, endpoint, label, raw.tobytes(), len(raw))

    def collect(self, name: str, *, stall: float | str | Sequence[int] = 0.0, seed: int = 0) -> Collected:
        """Takes what comes out of a stream or link, from now on. ``stall`` as in :meth:`feed`; also "after valid": ready only in
        the cycle after valid, which a design whose valid waits for ready does not survive."""
        endpoint = self._endpoint(name, False)
        self._attach(endpoint, stall, seed)
        found = self.ports.streams.get(name) or self.ports.links[name]
        return Collected(self, endpoint, self._port(found.payload).width if found.payload else 0)

    def sent(self, name: str) -> Collected:
        """When (``.cycles``) the payloads of an input stream were taken by the design."""
        return Collected(self, self._endpoint(name, True), 0)

    def transfers(self, name: str) -> int:
        """Transfers on a stream or link since reset."""
        return self.lib.bench_transfers(self.handle, self._endpoints[name])

    def pending(self, name: str) -> int:
        """Payloads that a source has still to send."""
        return self.lib.bench_pending(self.handle, self._endpoints[name])

    def _attach(self, endpoint: int, stall, seed: int) -> None:
        kind, probability, pattern = 0, 0.0, b""
        if isinstance(stall, str) and stall == "after valid":
            kind = 3
        elif isinstance(stall, int | float):
            if not 0 <= stall < 1:
                raise ValueError(f"stall={stall} must be at least 0 and below 1")
            kind, probability = int(stall > 0), float(stall)
        else:
            kind, pattern = 2, bytes(int(bit) for bit in stall)
            if all(pattern):
                raise ValueError(f"stall={stall!r} never lets anything through")
        self.lib.bench_attach(self.handle, endpoint, kind, probability, pattern, len(pattern), seed)

    # Measuring and looking ----------------------------------------------------------------------------------------------------
    def monitor(self, on: bool) -> None:
        """Switches the protocol monitors (a known-bad stimulus on purpose)."""
        self.lib.bench_monitor(self.handle, on)

    def nanoseconds_per_cycle(self, cycles: int = 20_000, repeat: int = 5) -> float:
        """Cost of a cycle in the present state (feed endless work first to measure it busy): the best of ``repeat`` runs."""
        best = float("inf")
        for _ in range(repeat):
            begin = time.perf_counter()
            self._run(self.cycle + cycles, [], 0)
            best = min(best, time.perf_counter() - begin)
        return best / cycles * 1e9

    @property
    def cycles_per_second(self) -> float:
        """Speed of all runs so far."""
        return self.cycles_run / self.seconds if self.seconds else 0.0

    def waves(self, file: Path | str, start: int = 0, end: int = 2**63) -> None:
        """Writes cycles [start, end) to ``file``, whose folder is made; closed by :meth:`close`. Needs a bench made with ``trace``."""
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        self.lib.bench_trace(self.handle, str(file).encode(), start, end)

    def close(self) -> None:
        if getattr(self, "_handle", None):
            self._data.clear()
            self.lib.bench_trace_close(self._handle)
            self.lib.bench_delete(self._handle)
            self._handle = None

    def __enter__(self) -> UnitBench:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __del__(self):
        self.close()


def _module_name(component: wiring.Component) -> str:
    return "".join(c if c.isalnum() else "_" for c in type(component).__name__).lower()
