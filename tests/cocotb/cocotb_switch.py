"""A switch of the network: a multicast, and two virtual circuits that share a link without holding each other up."""

import random
from collections import deque

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from .streams import reset

PORTS, LABELS, DEPTH = 3, 2, 2
COUNT = 40
# (input, label) -> the (output, next label) of each branch. The link of output 2 carries both labels.
FLOWS = {(0, 0): [(1, 1), (2, 0)], (1, 0): [(2, 1)]}


def member(dut, link: str, name: str):
    return getattr(dut, f"{link}__{name}")


async def send(dut, link: str, label: int, values) -> None:
    """Sends ``values`` with one label; a packet needs a credit, and the link has no ready."""
    valid, credit = member(dut, link, "valid"), member(dut, link, "credit")
    credits, waiting = DEPTH, deque(values)
    while True:
        sends = bool(waiting) and credits > 0
        valid.value = int(sends)
        if sends:
            member(dut, link, "label").value, member(dut, link, "payload").value = label, waiting.popleft()
            credits -= 1
        await RisingEdge(dut.clk)
        credits += int(credit.value) >> label & 1
        assert credits <= DEPTH, f"{link}: a credit came back that was not spent"


async def receive(dut, link: str, arrived: list, closed: set[int], slow: float = 0.0) -> None:
    """A receiver of DEPTH packets per label, which it frees later (with probability ``slow`` not yet) or, ``closed``, never."""
    valid, label, payload, credit = (member(dut, link, name) for name in ("valid", "label", "payload", "credit"))
    held, draw = [0] * LABELS, random.Random(link)
    while True:
        freed = [number for number in range(LABELS) if held[number] and number not in closed and draw.random() >= slow]
        for number in freed:
            held[number] -= 1
        credit.value = sum(1 << number for number in freed)
        await RisingEdge(dut.clk)
        if int(valid.value):
            arrived.append((int(label.value), int(payload.value)))
            held[int(label.value)] += 1
            assert held[int(label.value)] <= DEPTH, f"{link}: a packet without a credit"


async def start(dut, closed=(), slow=0.0):
    """Resets, sets the flow table, sends COUNT packets on each flow; returns what arrives by output."""
    await reset(dut, *(f"inputs__{port}__valid" for port in range(PORTS)), *(f"outputs__{port}__credit" for port in range(PORTS)))
    for index in range(PORTS * LABELS):
        branches = FLOWS.get(divmod(index, LABELS), [])
        getattr(dut, f"flows__{index}").value = sum(1 << output * LABELS + label for output, label in branches)
    arrived = [[] for _ in range(PORTS)]
    for port in range(PORTS):
        shut = {label for output, label in closed if output == port}
        cocotb.start_soon(receive(dut, f"outputs__{port}", arrived[port], shut, slow))
    for port, label in FLOWS:
        cocotb.start_soon(send(dut, f"inputs__{port}", label, packets(port)))
    return arrived


def packets(port: int) -> list[int]:
    return [port << 16 | index for index in range(COUNT)]


def of_label(arrived: list, label: int) -> list[int]:
    return [payload for number, payload in arrived if number == label]


@cocotb.test()
@cocotb.parametrize(("slow", [0.0, 0.6]))
async def multicast_and_shared_link(dut, slow):
    """Both copies of the multicast and the other flow arrive whole and in order."""
    arrived = await start(dut, slow=slow)
    await ClockCycles(dut.clk, 400)
    assert arrived[0] == []
    assert arrived[1] == [(1, value) for value in packets(0)]
    assert len(arrived[2]) == 2 * COUNT
    assert of_label(arrived[2], 0) == packets(0) and of_label(arrived[2], 1) == packets(1)


@cocotb.test()
async def blocked_label_holds_up_nobody(dut):
    """The receiver of label 1 at output 2 stops for good: that flow stops after DEPTH packets, the multicast beside it ends."""
    arrived = await start(dut, closed={(2, 1)})
    await ClockCycles(dut.clk, COUNT + 10)
    assert of_label(arrived[2], 1) == packets(1)[:DEPTH]
    assert of_label(arrived[2], 0) == packets(0) and len(arrived[1]) == COUNT
