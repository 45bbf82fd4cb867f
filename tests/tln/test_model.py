"""The map of the TLN is one-to-one for every setting."""

import numpy as np
import pytest

from hw.tln.interleave import TURN_ROUNDS
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


@pytest.mark.parametrize("channels", [2, 8])
@pytest.mark.parametrize("chunks", [1, 2, 8, 32, 128])
def test_hash_spreads_strides(channels, chunks):
    """A stride of a power of two uses every channel in the long run; without the hash it uses one."""
    beats = np.arange(1024) * chunks * channels << 7
    uses = {hashed: np.bincount(Interleave(channels=channels, beats_per_channel=1 << 30, hash=hashed).locate(beats)[0],
                                minlength=channels) for hashed in (True, False)}
    assert uses[True].min() >= 1024 // channels * 3 // 4 and uses[False][0] == 1024


def test_streams_go_round_in_one_order():
    """Within a turn every stream visits the channels one after the other, wherever it begins."""
    channel = Interleave(channels=4, beats_per_channel=1 << 16).locate(np.arange(0, 1 << 18, 128))[0].reshape(-1, 4 * TURN_ROUNDS)
    assert (np.diff(channel, axis=1) % 4 == 1).all() and len(np.unique(channel[:, 0])) == 4


def test_split_and_join():
    interleave = Interleave(channels=4, beats_per_channel=64, granularity=1)
    image = np.random.default_rng(1).integers(0, 256, (100, 16), dtype=np.uint8)
    storage = [np.zeros((64, 16), dtype=np.uint8) for _ in range(4)]
    for channel, (local, content) in zip(storage, interleave.split(image, first=20), strict=True):
        channel[local] = content
    assert (interleave.join(storage, 20, 100) == image).all()
