"""Sizes of a device: what is refused at the door."""

import dataclasses

import pytest

from hw.config import ConfigError, RDUConfig, preset


@pytest.mark.parametrize("name", ["two words", "", "a-b", "small;", "größe", "x\n"])
def test_a_name_that_verilog_cannot_hold_is_refused(name):
    with pytest.raises(ConfigError, match=r"name=.* must be made of letters, digits and _"):
        dataclasses.replace(preset("tiny"), name=name)


def test_a_name_survives_json():
    config = dataclasses.replace(preset("tiny"), name="tiny_2")
    assert RDUConfig.from_json(config.to_json()) == config
