"""Timing diagrams as text."""

import pytest

from sim.diagram import diagram
from sim.waves import Waves

VCD = """$timescale 1ns $end
$scope module top $end
$var wire 1 ! clk $end
$var wire 1 " valid $end
$var wire 8 # data $end
$upscope $end
$enddefinitions $end
#4
0!
0"
b00000000 #
#5
1!
#6
0!
1"
b00101010 #
#7
1!
#8
0!
#9
1!
"""


@pytest.fixture
def waves(tmp_path):
    (tmp_path / "a.vcd").write_text(VCD)
    return Waves(tmp_path / "a.vcd")


def test_a_line_for_a_bit_and_values_where_they_change(waves):
    assert diagram(waves, {"v": "top.valid", "d": "top.data"}, 2, 4).splitlines() == [
        "cycle 2   3   4",
        "v     ____▔▔▔▔▔▔▔▔",
        "d     |0  |2a"]


def test_cycles_outside_the_window_are_refused(waves):
    with pytest.raises(ValueError, match="cycles 2 to 5 are not all in the window, 2 to 4"):
        diagram(waves, {"v": "top.valid"}, 2, 5)
