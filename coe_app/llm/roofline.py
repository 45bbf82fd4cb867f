"""What memory bandwidth alone would allow: cycles that a decode step and an expert switch take at the peak of their tier."""

from __future__ import annotations

from hw.config import DRAMConfig, RDUConfig
from hw.dram.timing import dram_timing

from .shape import DIM, HEAD_DIM, HIDDEN, LAYERS, QKV, VOCABULARY

__all__ = ["decode_bound", "decode_bytes", "peak_bytes_per_cycle", "switch_bound"]


def peak_bytes_per_cycle(config: RDUConfig, tier: DRAMConfig) -> float:
    """All channels' data buses busy in every cycle; refresh and turnarounds not counted."""
    return tier.channels * config.beat_bytes / dram_timing(tier, config.beat_bytes).beat_cycles


def decode_bytes(position: int) -> int:
    """Bytes that one step at ``position`` must read: every weight once (of the embedding one row), keys and values of the positions
    up to its own; BF16."""
    weights = LAYERS * (DIM * (QKV + 2 * HIDDEN) + (DIM + HIDDEN) * DIM) + DIM * VOCABULARY + DIM
    return 2 * (weights + LAYERS * 2 * HEAD_DIM * (position + 1))


def decode_bound(config: RDUConfig, position: int) -> float:
    """Cycles of a decode step at the HBM's peak."""
    return decode_bytes(position) / peak_bytes_per_cycle(config, config.hbm)


def switch_bound(config: RDUConfig, size: int) -> float:
    """Cycles to read ``size`` bytes at the DDR's peak."""
    return size / peak_bytes_per_cycle(config, config.ddr)
