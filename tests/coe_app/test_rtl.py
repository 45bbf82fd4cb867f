"""The digits composition on the simulated socket: bit exact, with the cache of a plain LRU, and a check that can fail."""

import numpy as np
import pytest

from coe_app.network import LAYOUT, HeldOut, load_held_out, load_networks
from coe_app.serve import RequestError, Server
from hw.config import preset
from sim.device import VerilatedBackend
from sw_driver.device import DDR, Device
from sw_driver.memory import DeviceMemoryError, TierAllocator

CONFIG = preset("small")
ROUTER, EXPERTS = load_networks()
HELD_OUT = load_held_out()


def first(count: int, start: int = 0) -> HeldOut:
    part = slice(start, start + count)
    return HeldOut(HELD_OUT.pictures[part], HELD_OUT.digits[part], HELD_OUT.views[part])


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(CONFIG)) as device:
        yield device


@pytest.fixture(scope="module")
def server(device):
    return Server(device, ROUTER, EXPERTS, resident=2)


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_network_kernel_equals_the_model(server, rows):
    pictures = HELD_OUT.pictures[50 * rows:51 * rows]
    run = server._run(ROUTER, server._router, pictures)
    model = ROUTER.run(pictures, CONFIG.lanes)
    assert run.exact and len(run.answer.best) == rows
    for name in ("logits", "probabilities", "best"):
        np.testing.assert_array_equal(getattr(run.answer, name).view(np.uint32), getattr(model, name).view(np.uint32))


def test_serve_is_exact_and_the_cache_is_lru(device):
    server = Server(device, ROUTER, EXPERTS, resident=2)
    served = list(server.serve(first(12), batch=4))
    assert [request.index for request in served] == list(range(12)) and all(request.bit_exact for request in served)
    resident = []
    for request, expert in zip(served, ROUTER.run(first(12).pictures, CONFIG.lanes).best, strict=True):
        assert (request.expert, request.hit) == (expert, expert in resident)
        assert (request.cycles["switch"] == 0) == request.hit
        resident = [*(other for other in resident if other != expert), expert][-2:]
    assert {request.hit for request in served} == {True, False}


def test_a_flipped_weight_bit_is_seen(device):
    server = Server(device, ROUTER, EXPERTS, resident=1)
    expert = int(ROUTER.run(first(1).pictures, CONFIG.lanes).best[0])
    place = server._experts[expert], LAYOUT["b2"] + 1          # a bias reaches a logit whatever the picture
    value = device.read(place[0], np.uint8, (1,), offset=place[1])
    device.write(place[0], value ^ 0x80, offset=place[1])
    assert not next(server.serve(first(1))).bit_exact


def test_refusals(device, server, monkeypatch):
    for pictures in (HELD_OUT.pictures[:2, :63], HELD_OUT.pictures[0], HELD_OUT.pictures[:2].astype(np.float32)):
        with pytest.raises(RequestError, match=r"expected uint16\[n, 64\] \(8 x 8 pixels"):
            next(server.serve(HeldOut(pictures, HELD_OUT.digits, HELD_OUT.views)))
    monkeypatch.setitem(device.memory, DDR, TierAllocator("DDR", DDR, 30_000))
    with pytest.raises(DeviceMemoryError, match="DDR: 10560 bytes asked"):
        Server(device, ROUTER, EXPERTS, resident=1)
