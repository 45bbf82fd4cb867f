"""The language decoder: its numpy model against float64, and its kernels on the RTL against the model, bit for bit."""

import numpy as np
import pytest

from coe_app.llm import decoder, shape
from coe_app.llm.decoder import Expert, KeyValues
from coe_app.llm.engine import Engine
from coe_app.llm.reference import float_logits, widened
from coe_app.llm.serve import LanguageServer, RequestError
from coe_app.llm.streams import expert_image
from coe_app.llm.weights import Prompt, load_experts, load_prompts, load_router, many_experts
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


@pytest.fixture(scope="module")
def device():
    with Device(VerilatedBackend(CONFIG)) as device:
        yield device


def test_the_router_picks_the_authors_domain():
    router, experts, prompts = load_router(), load_experts(), load_prompts()
    chosen = router.scores([prompt.text for prompt in prompts]).argmax(axis=1)
    assert [experts[choice].name for choice in chosen] == [prompt.domain for prompt in prompts]


def test_requests_by_schedule_are_exact_and_a_broken_one_says_so(device):
    """Two prompts of two experts, prefill and greedy decode by schedules across a tile of positions; then a damaged image in DDR."""
    prompts = [Prompt(load_prompts()[1].text[-15:], "german"), Prompt(load_prompts()[6].text[-4:], "english")]
    names = ["german", "english"]
    experts = [expert for name in names for expert in load_experts() if expert.name == name]
    server = LanguageServer(device, load_router(), experts, resident=1, hardware=True, check_images=True)
    server.choose = lambda request, _: names.index(prompts[request].domain)
    first, second = server.serve(prompts, tokens=3)
    assert first.bit_exact and second.bit_exact and not first.error and not second.error
    assert (first.name, second.name, first.hit, second.hit) == ("german", "english", False, False)
    assert len(first.text) == 3 and all(first.cycles.values())
    stored = server.stored[names.index("german")]
    device.write(stored, device.read(stored, np.uint8, (1,)) ^ 1, 100)
    (broken, other) = server.serve(prompts, tokens=1)
    assert "image of expert" in broken.error and "checksum" in broken.error
    assert other.bit_exact and not other.error and other.text == second.text[:1]


def test_sampling_and_look_ahead(device):
    """Seeded sampling repeats itself; the next expert's copy runs beside the present request."""
    server = LanguageServer(device, load_router(), load_experts()[:2], resident=2, look_ahead=True)
    server.choose = lambda request, _: request
    prompts = [Prompt(b"ab"), Prompt(b"cd")]
    replies = list(server.serve(prompts, tokens=2, temperature=0.7, seed=5))
    assert all(reply.bit_exact and not reply.error for reply in replies) and [reply.hit for reply in replies] == [False, True]
    again = list(server.serve(prompts, tokens=2, temperature=0.7, seed=5))
    assert [reply.text for reply in again] == [reply.text for reply in replies]


def test_requests_that_cannot_be_served(device):
    server = LanguageServer(device, load_router(), load_experts()[:1], resident=1)
    for change, text in (({"tokens": 0}, "tokens=0 must be from 1 to 127"), ({"batch": 5}, "batch=5"),
                         ({"temperature": -1.0}, "temperature=-1.0"), ({"prompts": [Prompt(b"")]}, "a prompt is empty")):
        arguments = {"prompts": [Prompt(b"a")], "tokens": 1} | change
        with pytest.raises(RequestError, match=text):
            list(server.serve(arguments.pop("prompts"), **arguments))


def test_perturbed_experts_are_marked_and_different():
    experts = many_experts(load_experts()[:2], 5)
    assert [expert.perturbed for expert in experts] == [False, False, True, True, True]
    assert experts[2].name == "python~2" and (experts[2].tensors["up0"] != experts[0].tensors["up0"]).any()
