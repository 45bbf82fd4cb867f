"""Prefill and decode as schedules that the device walks by itself: hardware-orchestrated launch."""

from __future__ import annotations

from sw_driver.schedule import Schedule

from . import kernels
from .engine import Engine
from .shape import CONTEXT, LAYERS, VOCABULARY

__all__ = ["decode_schedule", "prefill_schedule"]


def _launch(schedule: Schedule, launches: list) -> None:
    for kernel, arguments in launches:
        schedule.launch(kernel, **arguments)


def decode_schedule(engine: Engine) -> Schedule:
    """Greedy decode. Values to begin with: ``weights`` (HBM address of the expert), ``position`` of the next token, ``full`` =
    position // TILE, ``column`` = position % TILE, ``count`` of steps. The token that the prefill found and each step's, count + 1 in
    all, are written to ``engine.tokens``, word by word, and ring the doorbell.

    A token is read when the next step's first kernel runs already, so that its program was loaded while the head ran.
    """
    schedule = Schedule("decode")
    weights = schedule.value("weights")
    position = schedule.value("position", most=CONTEXT - 1)
    full = schedule.value("full", most=CONTEXT // kernels.TILE - 1)
    column = schedule.value("column", most=kernels.TILE)
    count = schedule.value("count", most=CONTEXT)
    token = schedule.value("token", most=VOCABULARY - 1)
    place = schedule.value("place", most=CONTEXT)

    def tell() -> None:
        schedule.read(token, engine.best, settled=False)
        schedule.write(engine.tokens, token, place * 4, settled=False)
        schedule.signal(token, interrupt=False, settled=False)
        schedule.set(place, place + 1)

    _launch(schedule, engine.supply_launches(weights, count, position))
    with schedule.loop(count):
        launches = engine.step_launches(weights, position, full + 1)
        _launch(schedule, launches[:2])
        tell()                                               # the head has finished long since; this kernel runs for long enough
        _launch(schedule, launches[2:])
        schedule.set(position, position + 1)
        schedule.set(column, column + 1)
        with schedule.loop(1):                               # if column == TILE
            schedule.leave_if(column, "<", kernels.TILE)
            schedule.set(column, 0)
            schedule.set(full, full + 1)
    schedule.wait()
    tell()
    return schedule


def prefill_schedule(engine: Engine, count: int) -> Schedule:
    """``count`` tokens from position 0, whose words are in ``engine.tokens``. Value to begin with: ``weights``."""
    schedule = Schedule(f"prefill of {count}")
    weights = schedule.value("weights")
    row = schedule.value("row", most=CONTEXT)
    tiles = schedule.value("tiles", most=CONTEXT // kernels.TILE + 1)
    schedule.launch(engine.embedding, **engine.embedding_arguments(weights, count))
    for layer in range(LAYERS):
        whole, rest = divmod(count, kernels.ENTER_ROWS)
        if whole:
            schedule.set(row, 0)
            with schedule.loop(whole):
                _launch(schedule, engine.enter_launches(weights, layer, row, kernels.ENTER_ROWS))
                schedule.set(row, row + kernels.ENTER_ROWS)
        if rest:
            _launch(schedule, engine.enter_launches(weights, layer, whole * kernels.ENTER_ROWS, rest))
        _attend(schedule, engine, (weights, row, tiles), layer, count)
    _launch(schedule, engine.head_launches(weights, count - 1))
    return schedule


def _attend(schedule: Schedule, engine: Engine, values: tuple, layer: int, count: int) -> None:
    """All passes of the attend kernel: those that fill tiles, then the rest, then an odd row."""
    weights, row, tiles = values
    rows = kernels.ATTEND_ROWS
    passes, odd = divmod(count, rows)
    full, rest = divmod(passes, kernels.TILE // rows)
    schedule.set(row, 0)
    schedule.set(tiles, 1)

    def passes_of(number: int) -> None:
        with schedule.loop(number):
            _launch(schedule, engine.attend_launches(weights, layer, row, rows, row, tiles))
            schedule.set(row, row + rows)

    if full:
        with schedule.loop(full):
            passes_of(kernels.TILE // rows)
            schedule.set(tiles, tiles + 1)
    if rest:
        passes_of(rest)
    if odd:
        _launch(schedule, engine.attend_launches(weights, layer, count - 1, 1, count - 1, (count - 1) // kernels.TILE + 1))
