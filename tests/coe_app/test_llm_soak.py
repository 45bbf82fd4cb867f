"""200 requests over 20 experts while faults are injected: each is answered exactly or says why not; none disturbs another."""

import dataclasses
import os
from collections import Counter

import numpy as np
import pytest

from coe_app.llm.serve import LanguageServer
from coe_app.llm.weights import Prompt, load_experts, load_router, many_experts
from hw.config import preset
from hw.tln.model import Interleave
from sim.device import VerilatedBackend
from sim.dram import inject
from sim.top import channel_index
from sw_driver.device import Device

SMALL = preset("small")
CONFIG = dataclasses.replace(SMALL, name="small_ecc", hbm=dataclasses.replace(SMALL.hbm, ecc=True),
                             ddr=dataclasses.replace(SMALL.ddr, ecc=True))
EXPERTS, RESIDENT = 20, 14
REQUESTS = int(os.environ.get("RDU_SOAK_REQUESTS", "200"))
SEED = 77
KINDS = {"": 0.75, "kill": 0.05, "address": 0.05, "damage": 0.05, "one bit": 0.05, "two bits": 0.05}
REASONS = {"kill": ("DeviceTimeout", "has not finished in 300 cycles"), "address": ("DeviceFault", "OUT_OF_RANGE"),
           "damage": ("RequestError", "checksum differs"), "two bits": ("DeviceFault", "UNCORRECTABLE")}


class Saboteur:
    """Does to a request what its ``kind`` says, at its first launch of a product that reads weights.

    kill: the kernel is given up after 300 cycles; address: it reads outside the memory; damage: a bit of the expert's image in DDR is
    wrong, check bits and all; one bit, two bits: so many bits of a word of its weights in HBM turn over behind the controller's back.
    """

    def __init__(self, server: LanguageServer, rng: np.random.Generator):
        self.server, self.device, self.rng = server, server.device, rng
        self.launch, server.engine._launch = server.engine._launch, self.sabotaged
        self.kind, self.expert, self.armed = "", 0, False

    def sabotaged(self, kernel, **arguments) -> None:
        if self.armed and kernel is self.server.engine.enter:
            self.armed = False
            if self.kind == "kill":
                self.device.launch(kernel, max_cycles=300, **arguments)          # raises DeviceTimeout; the server resets the tile
            elif self.kind == "address":
                arguments["records"] = 0xFFFF0000
            elif self.kind.endswith(("bit", "bits")):
                self.flip(self.server.cache.lookup(self.expert).buffer.address + self.server.engine.layout.offsets["in0"])
        self.launch(kernel, **arguments)

    def flip(self, base: int) -> None:
        config = self.device.config
        address = base + 8 * int(self.rng.integers(0, 1000))
        channel, beat = (int(value[0]) for value in Interleave.of(config, config.hbm).locate(np.array([address // config.beat_bytes])))
        for bit in self.rng.choice(8, 1 if self.kind == "one bit" else 2, replace=False):
            inject(self.device.backend.lib, channel_index(config, "hbm", channel),
                   beat * config.beat_bytes + address % config.beat_bytes, int(bit))

    def serve(self, prompt: Prompt, expert: int, kind: str) -> tuple:
        """The reply, and the kind of what really happened to it."""
        server, device, stored = self.server, self.device, self.server.stored[expert]
        self.kind, self.expert, self.armed = kind, expert, True
        server.choose = lambda request, _: expert
        hidden = expert in server.cache.resident         # of an expert in HBM the image in DDR is not looked at
        place = int(self.rng.integers(0, stored.size))

        def turn() -> None:
            if kind == "damage":
                device.write(stored, device.read(stored, np.uint8, (1,), place) ^ np.uint8(4), place)
        turn()
        (reply,) = server.serve([prompt], tokens=1)
        turn()                                           # repaired for the others
        return reply, "" if kind == "damage" and hidden else kind


@pytest.mark.long
def test_soak_with_killed_kernels_faults_ecc_errors_and_damaged_images():
    rng = np.random.default_rng(SEED)
    print(f"seed {SEED}")
    prompts = [Prompt(bytes(rng.integers(97, 123, int(rng.integers(2, 6))).tolist())) for _ in range(REQUESTS)]
    chosen = rng.integers(0, EXPERTS, REQUESTS)
    injected = rng.choice(list(KINDS), REQUESTS, p=list(KINDS.values()))
    done = Counter()
    with Device(VerilatedBackend(CONFIG)) as device:
        server = LanguageServer(device, load_router(), many_experts(load_experts(), EXPERTS), resident=RESIDENT, check_images=True)
        saboteur = Saboteur(server, rng)
        for number, (prompt, expert, kind) in enumerate(zip(prompts, chosen, injected, strict=True)):
            reply, happened = saboteur.serve(prompt, int(expert), str(kind))
            if happened in REASONS:
                assert all(text in reply.error for text in REASONS[happened]), (number, happened, reply)
                done[f"failed, {REASONS[happened][0]} ({happened})"] += 1
            else:
                assert not reply.error and reply.bit_exact and len(reply.text) == 1, (number, happened, reply)
                done[f"answered exactly{f' ({happened})' if happened else ''}"] += 1
        print(f"{REQUESTS} requests, {sum(done.values())} accounted for: {dict(done)}; "
              f"{device.cycles:,} cycles, hit rate {server.cache.hit_rate:.2f}")
        assert sum(done.values()) == REQUESTS
