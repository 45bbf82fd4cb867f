"""The controller beside a device that checks every rule, against a byte-exact model."""

import numpy as np
import pytest

from hw.config import ConfigError
from hw.dram.controller import ControllerPolicy
from sim.dram import commands, set_rules, violations

from .harness import Memory


@pytest.fixture(scope="module", params=["hbm2", "ddr4-3200"])
def memory(request):
    return Memory(request.param, fatal=False)


@pytest.fixture(autouse=True)
def no_rule_is_broken(request):
    yield
    if "memory" in request.fixturenames:
        assert not request.getfixturevalue("memory").violations


def share(memory: Memory, count: int, result: dict) -> float:
    """Of the peak that refresh leaves."""
    return count * memory.timing.ccd_s / result["duration"] / memory.timing.refresh_limit


def test_latency_of_an_idle_channel(memory):
    t = memory.timing
    first = memory.run([8], [0])["latency"][0]
    pair = memory.run([8, 9], [0, 0], stall_in=[0] + [1] * 99)["latency"]
    assert first == pair[0] == t.rcd + t.cl + t.beat_cycles + 5
    assert pair[1] == t.cl + t.beat_cycles + 5


def test_sequential_streams_reach_the_peak_that_refresh_leaves(memory):
    count = 30_000 if memory.timing.ccd_s == 1 else 10_000
    for write in (0, 1):
        assert share(memory, count, memory.run(np.arange(count), [write] * count, check=False)) > 0.96


def test_random_soak(memory):
    random = np.random.default_rng(7)
    for stall_in, stall_out, span in ((0, 0, len(memory.beats)), (0.5, 0.4, 4096), (0, 0.9, 256), (0.2, 0, 8)):
        count = 12_000
        mask = random.integers(0, 2, (count, memory.beat_bytes), np.uint8)
        mask[random.random(count) < 0.5] = 1
        memory.run(random.integers(0, span, count), random.integers(0, 2, count), mask=mask, stall_in=stall_in,
                   stall_out=stall_out, seed=int(random.integers(1 << 30)))


@pytest.mark.long
def test_long_soak(memory):
    random = np.random.default_rng(8)
    for _ in range(20):
        count, span = 50_000, int(random.choice([8, 1000, 20_000, len(memory.beats)]))
        memory.run(random.integers(0, span, count), random.random(count) < random.random(), stall_in=random.random() / 2,
                   stall_out=random.random() / 2, seed=int(random.integers(1 << 30)))


def test_no_request_waits_for_ever(memory):
    """One row conflict between endless hits, and one read between endless writes."""
    t, policy = memory.timing, ControllerPolicy()
    row = t.geometry.columns * t.geometry.banks
    address = np.tile(np.arange(t.geometry.columns) % 2, 300)
    address[100] = row                               # the same bank, another row: its lowest bit is not folded
    # A forced refresh pays all that is owed; after it everything may have to be opened again.
    bound = policy.age_limit + policy.postpone * t.rfc + 4 * t.rc + 64 * t.ccd_l
    assert memory.run(address, [0] * len(address))["latency"][100] < bound
    writes = np.ones(len(address))
    writes[100] = 0
    assert memory.run(np.arange(len(address)), writes)["latency"][100] < bound


def test_refreshes_are_paid_when_idle_and_under_load(memory):
    def refreshes() -> int:
        return commands(memory.bench.lib, 0)["REF"]

    memory.bench.reset()
    before = refreshes()
    memory.bench.tick(20 * memory.timing.refi + 1000)
    assert refreshes() - before == 20
    before = refreshes()
    count = 10_000
    duration = memory.run(np.arange(count), [0] * count, check=False)["duration"]
    assert abs((refreshes() - before) - duration / memory.timing.refi) <= ControllerPolicy().postpone + 1


RULES = {
    "rcd": "tRCD", "rp": "tRP", "ras": "tRAS", "rc": "tRC", "rrd_s": "tRRD_S", "rrd_l": "tRRD_L", "faw": "tFAW",
    "ccd_s": "tCCD_S", "ccd_l": "tCCD_L", "ccd_l_write": "tCCD_L_WR", "turnaround": "tRTW", "wtr_s": "tWTR_S",
    "wtr_l": "tWTR_L", "rtp": "tRTP", "wr": "tWR", "rfc": "tRFC",
}


@pytest.mark.parametrize("rule", RULES)
def test_a_controller_one_cycle_too_fast_is_caught(memory, rule):
    """To a device that needs one cycle more than the controller knows of, the controller is a bad one: the rule is named."""
    t, random = memory.timing, np.random.default_rng(3)
    set_rules(memory.bench.lib, 0, t, **{rule: getattr(t, rule) + 1})
    try:
        for span in (len(memory.beats), 256):
            memory.run(random.integers(0, span, 4000), random.random(4000) < 0.3, check=False)
        if rule in ("rtp", "wr"):                    # the last column command of a row closes it as early as allowed
            last = t.geometry.columns * t.geometry.bank_groups - 1
            for write in (0, 1):
                memory.run(np.full(40, last), [write] * 40, stall_in=[0] + [1] * 99, check=False)
        broken = memory.violations
    finally:
        set_rules(memory.bench.lib, 0, t)
    assert broken, f"nobody noticed {rule}"
    assert any(f"breaks {RULES[rule]} (" in line for line in broken), broken[:3]


def test_missing_refresh_is_caught(memory):
    set_rules(memory.bench.lib, 0, memory.timing, refi=memory.timing.refi // 8)
    memory.bench.reset()
    memory.bench.tick(20_000)
    broken = memory.violations
    set_rules(memory.bench.lib, 0, memory.timing)
    assert "lack of refresh" in broken[0] and "breaks tREFI" in broken[0]


def test_two_commands_on_one_bus_are_caught(memory):
    if memory.timing.command_buses == 1:
        pytest.skip("this controller has one command bus")
    set_rules(memory.bench.lib, 0, memory.timing, command_buses=1)
    memory.run(np.arange(2000), [0] * 2000, check=False)
    broken = violations(memory.bench.lib, 0)
    set_rules(memory.bench.lib, 0, memory.timing)
    assert broken


def test_a_bad_policy_is_refused():
    with pytest.raises(ConfigError, match="reads=12"):
        ControllerPolicy(reads=12)
    with pytest.raises(ConfigError, match="entries=16"):
        ControllerPolicy(entries=16)
    with pytest.raises(ConfigError, match="postpone=9"):
        ControllerPolicy(postpone=9)
