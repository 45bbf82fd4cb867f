"""The device host loop on a small device: buses, interrupt, errors, Ctrl-C."""

import os
import signal
import threading

import numpy as np
import pytest

from sim.unit_bench import ModelError
from sim.verilated import VerilatedHost

from .host_example import HostExample


@pytest.fixture(scope="module")
def host():
    with VerilatedHost(HostExample(), "host_example", optimize="-O1", timeout=1_000) as host:
        yield host


def test_registers_keep_what_is_written(host):
    for index in range(2, 16):
        host.reg_write(4 * index, 0x12345678 * index)
    assert [host.reg_read(4 * index) for index in range(2, 16)] == [0x12345678 * index & 0xFFFFFFFF for index in range(2, 16)]


def test_interrupt_comes_in_its_cycle(host):
    host.reg_write(0, 500)
    assert not host.run_until_interrupt(100)
    start = host.cycles
    assert host.run_until_interrupt(1_000) and 395 <= host.cycles - start <= 401
    host.reg_write(4, 0)
    assert not host.run_until_interrupt(10)


def test_window_takes_any_address_and_length(host):
    rng = np.random.default_rng(5)
    shadow = np.zeros(8192, np.uint8)
    host.window_write(0, shadow)
    for _ in range(60):
        start = int(rng.integers(0, 8192))
        values = rng.integers(0, 256, int(rng.integers(1, min(5_000, 8193 - start))), np.uint8)
        host.window_write(start, values)
        shadow[start:start + values.size] = values
        begin = int(rng.integers(0, 8192))
        length = int(rng.integers(1, 8193 - begin))
        assert (host.window_read(begin, length) == shadow[begin:begin + length]).all()
    assert (host.window_read(0, 8192) == shadow).all()


def test_bus_errors_and_silence_are_named(host):
    with pytest.raises(ModelError, match="bus error: register write at address 0x44 answered SLVERR"):
        host.reg_write(0x44, 1)
    with pytest.raises(ModelError, match="register write at address 0x80 was not answered within 1000 cycles"):
        host.reg_write(0x80, 1)
    host.reg_write(8, 7)
    assert host.reg_read(8) == 7


def test_ctrl_c_stops_a_long_run_and_the_device_goes_on(host):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):          # also if it comes before the run has begun
        timer.start()
        host.run(10**12)
    timer.join()
    host.reg_write(8, 9)
    assert host.reg_read(8) == 9


def test_speed_is_that_of_c_plus_plus(host):
    host.run(200_000)
    assert host.cycles_per_second > 20_000
