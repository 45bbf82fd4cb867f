"""Sizes of a device: what is refused at the door."""

import dataclasses

import pytest

from hw.config import ConfigError, RDUConfig, preset


@pytest.mark.parametrize("name", ["two words", "", "a-b", "small;", "größe", "x\n"])
def test_a_name_that_verilog_cannot_hold_is_refused(name):
    with pytest.raises(ConfigError, match=r"name=.* must be made of letters, digits and _"):
        dataclasses.replace(preset("tiny"), name=name)


@pytest.mark.parametrize(("part", "change", "message"), [
    ("rdn", {"labels": 1}, r"pcu.vector_inputs=4 exceeds rdn.local_links x rdn.labels=2"),
    ("pcu", {"scalar_inputs": 5}, r"pcu.scalar_inputs=5 exceeds rdn.labels=4"),
    ("agcu", {"load_engines": 8}, r"agcu.load_engines=8 exceeds rdn.labels=4"),
    ("pmu", {"scalar_outputs": 1}, r"pmu.vector_outputs=2 differs from pmu.scalar_outputs=1")])
def test_a_port_without_a_label_is_refused(part, change, message):
    tiny = preset("tiny")
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(tiny, **{part: dataclasses.replace(getattr(tiny, part), **change)})


def test_a_name_survives_json():
    config = dataclasses.replace(preset("tiny"), name="tiny_2")
    assert RDUConfig.from_json(config.to_json()) == config
