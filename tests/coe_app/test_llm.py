"""The language decoder: its numpy model against float64, and its kernels on the RTL against the model, bit for bit."""

import numpy as np
import pytest

from coe_app.llm import decoder, shape
from coe_app.llm.decoder import Expert, KeyValues
from coe_app.llm.engine import Engine
from coe_app.llm.reference import float_logits, widened
from coe_app.llm.streams import expert_image
from coe_app.network import WeightFileError
from hw.config import preset
from hw.fp import model as fp
from sim.device import VerilatedBackend
from sw_driver.device import HBM, Device

CONFIG = preset("small")


def random_expert(seed: int) -> Expert:
    rng = np.random.default_rng(seed)
    return Expert("random", {
        name: fp.fp32_to_bf16((rng.standard_normal(size) * (0.5 if name == "embedding" else size[0] ** -0.5)).astype(np.float32))
        for name, size in decoder.SHAPES.items()})


def test_model_is_close_to_float64_and_the_same_in_any_pieces():
    expert, tokens = random_expert(3), np.random.default_rng(4).integers(0, shape.VOCABULARY, 40)
    whole = expert.logits(tokens)
    exact = float_logits(widened(expert), tokens)
    assert np.abs(whole - exact).max() < 0.03 * np.abs(exact).max()
    state = KeyValues.empty()
    pieces = [expert.logits(tokens[start:start + size], state) for start, size in ((0, 1), (1, 7), (8, 30), (38, 2))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_expert_of_another_shape_is_refused_by_name():
    tensors = random_expert(3).tensors | {"up1": np.zeros((64, 100), dtype=np.uint16)}
    with pytest.raises(WeightFileError, match=r"up1 is uint16\[64, 100\], expected uint16\[64, 192\]"):
        Expert("short", tensors)


def test_prefill_and_decode_on_the_rtl_equal_the_model():
    """Seven tokens of prefill (passes of four and three, of two and one), then decode fed by the device's own argmax. In every cycle no
    unit may have a combinational path from an input to an output: the units are simulated apart."""
    expert, tokens = random_expert(5), np.random.default_rng(6).integers(0, shape.VOCABULARY, 7)
    image, layout = expert_image(expert, CONFIG)
    with Device(VerilatedBackend(CONFIG)) as device:
        device.backend.check_units(True)
        weights = device.upload(HBM, image)
        engine, state = Engine(device, layout), KeyValues.empty()
        expected = expert.logits(tokens, state)[-1]
        engine.prefill(weights, tokens)
        for _ in range(2):
            np.testing.assert_array_equal(engine.read_logits(), expected)
            assert engine.read_best() == expected.argmax()
            expected = expert.logits([expected.argmax()], state)[-1]
            engine.step(weights)
        np.testing.assert_array_equal(engine.read_logits(), expected)
