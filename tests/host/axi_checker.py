"""A checker of the AXI4 protocol on the channels that a slave drives. Knows no simulator: fed once a cycle with signal values."""

from __future__ import annotations

from collections import deque

__all__ = ["AxiChecker", "AxiProtocolError"]


class AxiProtocolError(AssertionError):
    """A rule of the AXI4 specification was broken; the message names the rule and the cycle."""


class AxiChecker:
    """Rules of IHI 0022 for a slave: A3.2.1 (valid and payload hold until ready), A3.2.2 (one B per burst, not before its last
    W; no R without AR),
    A3.4 (RLAST exactly on a burst's last beat), A5.3 (responses of one id in order), and known responses.

    ``step(values)`` takes the port values of one cycle before its clock edge, by signal name without prefix. ``lite``: no ids,
    bursts of one.
    """

    def __init__(self, name: str, *, lite: bool = False, limit: int = 5000):
        self.name, self.lite, self.limit = name, lite, limit
        self.held: dict[str, tuple] = {}
        self.cycle = 0
        self.addresses: deque[int] = deque()          # ids of write bursts whose data is not complete
        self.data_done = 0                             # bursts of data that are complete but have no address yet
        self.answerable: dict[int, int] = {}           # id -> complete write bursts without response
        self.reads: dict[int, deque[int]] = {}         # id -> beats left of each read burst
        self.transfers = dict.fromkeys(("aw", "w", "b", "ar", "r"), 0)

    def step(self, v: dict[str, int]) -> None:
        for channel, payload in (("b", ("id", "resp")), ("r", ("id", "data", "resp", "last"))):
            self._hold(channel, v, payload)
        if v["awvalid"] and v["awready"]:
            self.transfers["aw"] += 1
            self.addresses.append(v.get("awid", 0))
        if v["wvalid"] and v["wready"]:
            self.transfers["w"] += 1
            self.data_done += self.lite or v["wlast"]
        while self.data_done and self.addresses:
            self.data_done -= 1
            identity = self.addresses.popleft()
            self.answerable[identity] = self.answerable.get(identity, 0) + 1
        if v["bvalid"] and v["bready"]:
            self.transfers["b"] += 1
            self._need(self.answerable.get(v.get("bid", 0), 0) > 0, "a write response without a complete burst of this id")
            self.answerable[v.get("bid", 0)] -= 1
        if v["rvalid"]:
            queue = self.reads.get(v.get("rid", 0))
            self._need(bool(queue), "read data without a read address of this id")
            self._need(self.lite or v["rlast"] == (queue[0] == 0), "RLAST is not exactly on the last beat")
            if v["rready"]:
                self.transfers["r"] += 1
                queue[0] -= 1
                if queue[0] < 0:
                    queue.popleft()
        if v["arvalid"] and v["arready"]:
            self.transfers["ar"] += 1
            self.reads.setdefault(v.get("arid", 0), deque()).append(v.get("arlen", 0))
        self.cycle += 1

    def _hold(self, channel: str, v: dict[str, int], payload) -> None:
        now = tuple(v.get(channel + name) for name in payload)
        if channel in self.held:
            self._need(bool(v[channel + "valid"]), f"{channel.upper()}VALID fell before {channel.upper()}READY")
            self._need(now == self.held.pop(channel), f"the payload of channel {channel.upper()} changed while it waited")
        if v[channel + "valid"] and not v[channel + "ready"]:
            self.held[channel] = now
        if v[channel + "valid"]:
            self._need(v[channel + "resp"] != 1, "EXOKAY without an exclusive access")

    def finish(self) -> None:
        """At the end of a test: everything was answered."""
        self._need(not self.addresses and not any(self.answerable.values()), "a write burst has no response")
        self._need(not any(self.reads.values()), "a read burst is not complete")

    def _need(self, condition: bool, rule: str) -> None:
        if not condition:
            raise AxiProtocolError(f"{self.name}, cycle {self.cycle}: {rule}")
