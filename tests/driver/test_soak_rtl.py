"""Kills, faults, timeouts, hangs, bit errors, damaged schedules and register writes on the simulated socket: usable after each."""

import pytest

from .soak import KINDS, run


def test_usable_after_every_disturbance():
    seen = run("small", rounds=25, seed=1)
    assert seen.total() == 25 and len(seen) > 10


@pytest.mark.long
@pytest.mark.parametrize("size, rounds, seed", [("tiny_soak", 1000, 1), ("tiny_soak", 1000, 2), ("small", 250, 3)])
def test_soak(size, rounds, seed):
    """``tiny_soak`` has SECDED everywhere, and all of its memory is compared after every round."""
    seen = run(size, rounds, seed, print)
    assert set(seen) == {kind for kind in KINDS if "error" not in kind or size == "tiny_soak"}, "a kind never came"
