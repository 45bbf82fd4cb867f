"""The map of the TLN is one-to-one for every setting."""

import numpy as np
import pytest

from hw.tln.model import Interleave


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("granularity", range(8))
@pytest.mark.parametrize("hashed", [False, True])
def test_one_to_one(channels, granularity, hashed):
    size = 512
    interleave = Interleave(channels=channels, beats_per_channel=size, granularity=granularity, hash=hashed)
    channel, local = interleave.locate(np.arange(channels * size))
    assert (channel < channels).all() and (local < size).all()
    assert len(np.unique(channel * size + local)) == channels * size
    runs = channel.reshape(-1, 1 << granularity)
    assert (runs == runs[:, :1]).all(), "the beats of a run lie in one channel"


@pytest.mark.parametrize("stride", [2, 4, 64, 256])
def test_hash_spreads_strides(stride):
    """A stride of a power of two uses every channel; without the hash it uses one."""
    beats = np.arange(64) * stride
    hashed = Interleave(channels=2, beats_per_channel=1 << 16).locate(beats)[0]
    plain = Interleave(channels=2, beats_per_channel=1 << 16, hash=False).locate(beats)[0]
    assert abs(hashed.sum() - 32) <= 8 and plain.sum() == 0


def test_split_and_join():
    interleave = Interleave(channels=4, beats_per_channel=64, granularity=1)
    image = np.random.default_rng(1).integers(0, 256, (100, 16), dtype=np.uint8)
    storage = [np.zeros((64, 16), dtype=np.uint8) for _ in range(4)]
    for channel, (local, content) in zip(storage, interleave.split(image, first=20), strict=True):
        channel[local] = content
    assert (interleave.join(storage, 20, 100) == image).all()
