"""200 requests over 20 experts while faults are injected: each is answered exactly or says why not; none disturbs another."""

import os

import numpy as np
import pytest

from coe_app.llm.serve import LanguageServer
from coe_app.llm.weights import Prompt, load_experts, load_router, many_experts
from hw.config import preset
from sim.device import VerilatedBackend
from sw_driver.device import Device

CONFIG = preset("small")
EXPERTS, RESIDENT = 20, 10
REQUESTS = int(os.environ.get("RDU_SOAK_REQUESTS", "200"))
SEED = 77


@pytest.mark.long
def test_soak_with_killed_kernels_faults_and_damaged_images():
    rng = np.random.default_rng(SEED)
    print(f"seed {SEED}")
    prompts = [Prompt(bytes(rng.integers(97, 123, int(rng.integers(2, 7))).tolist())) for _ in range(REQUESTS)]
    chosen = rng.integers(0, EXPERTS, REQUESTS)
    injected = rng.choice(["", "kill", "fault", "damage"], REQUESTS, p=[0.85, 0.05, 0.05, 0.05])
    with Device(VerilatedBackend(CONFIG)) as device:
        server = LanguageServer(device, load_router(), many_experts(load_experts(), EXPERTS), resident=RESIDENT, check_images=True)
        server.choose = lambda request, _: int(chosen[request])
        launch, current, armed = server.engine._launch, [0], [False]

        def sabotaged(kernel, **arguments):
            """One launch of the request's is killed after 300 cycles, or given an address outside the memory."""
            kind = injected[current[0]]
            if armed[0] and kernel is server.engine.attend and kind in ("kill", "fault"):
                armed[0] = False
                if kind == "fault":
                    arguments["records"] = 0xFFFF0000
                else:
                    device.launch(kernel, max_cycles=300, **arguments)       # raises DeviceTimeout; the server resets the tile
            launch(kernel, **arguments)

        server.engine._launch = sabotaged
        served = 0
        for first in range(0, REQUESTS):
            current[0], armed[0] = first, True
            expert, kind = int(chosen[first]), injected[first]
            server.choose = lambda request, _, expert=expert: expert
            stored, miss = server.stored[expert], expert not in server.cache.resident
            place = int(rng.integers(0, stored.size))
            if kind == "damage":
                device.write(stored, device.read(stored, np.uint8, (1,), place) ^ np.uint8(4), place)
            (reply,) = server.serve([prompts[first]], tokens=1)
            if kind == "damage":                                            # repaired for the others
                device.write(stored, device.read(stored, np.uint8, (1,), place) ^ np.uint8(4), place)
            if kind == "kill":
                assert "DeviceTimeout" in reply.error and "has not finished in 300 cycles" in reply.error, reply
            elif kind == "fault":
                assert "DeviceFault" in reply.error and "OUT_OF_RANGE" in reply.error, reply
            elif kind == "damage" and miss:
                assert "checksum differs" in reply.error, reply
            else:
                assert not reply.error and reply.bit_exact and len(reply.text) == 1, (first, kind, reply)
            served += 1
        assert served == REQUESTS
        print(f"{REQUESTS} requests, injected: {dict(zip(*np.unique(injected, return_counts=True), strict=True))}, "
              f"{device.cycles:,} cycles, hit rate {server.cache.hit_rate:.2f}")
