"""For the tests of the compiler."""

import zlib

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def own_values(request):
    """A module's ``RANDOM`` starts anew for every test: its values do not depend on which tests ran before in the same process."""
    random = getattr(request.module, "RANDOM", None)
    if random is not None:
        random.bit_generator.state = np.random.default_rng(zlib.crc32(request.node.name.encode())).bit_generator.state
