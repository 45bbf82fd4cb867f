"""The register map is consistent; the AXI checker bites."""

import pytest

from hw.host.registers import REGISTERS, Access, Field, Register, register

from .axi_checker import AxiChecker, AxiProtocolError


def test_addresses_do_not_overlap():
    used = [item.address + 4 * index for item in REGISTERS for index in range(item.count)]
    assert len(set(used)) == len(used) and all(address % 4 == 0 and address < 1 << 12 for address in used)


def test_fields():
    select = register("ARGUMENT_SELECT")
    assert select.unpack(select.pack(unit=33, word=5)) == {"unit": 33, "word": 5}
    with pytest.raises(ValueError, match="word=1024 does not fit in 10 bits"):
        select.pack(word=1024)
    with pytest.raises(KeyError, match="no register 'NONE'"):
        register("NONE")
    with pytest.raises(ValueError, match="overlaps"):
        Register("BAD", 0, Access.RW, "", (Field("a", 0, 4, ""), Field("b", 3, 4, "")))


def test_generated_files_are_those_of_the_declarations():
    from sw_driver.register_map import generated
    for path, content in generated().items():
        assert path.read_text() == content, f"{path}: run python -m sw_driver.register_map"


IDLE = {**{c + s: 0 for c in ("aw", "w", "b", "ar", "r") for s in ("valid", "ready")}, "awid": 0, "awlen": 0, "wlast": 0,
        "bid": 0,
        "bresp": 0, "arid": 0, "arlen": 0, "rid": 0, "rdata": 0, "rresp": 0, "rlast": 0}
AW, AR = {"awvalid": 1, "awready": 1}, {"arvalid": 1, "arready": 1}
W, B = {"wvalid": 1, "wready": 1, "wlast": 1}, {"bvalid": 1, "bready": 1}
R = {"rvalid": 1, "rready": 1, "rlast": 1}


@pytest.mark.parametrize("cycles, rule", [
    ([AW, W, B, AR, R], None),
    ([AW, W, {"bvalid": 1}, {}], "BVALID fell"),
    ([AW, W, {"bvalid": 1}, {"bvalid": 1, "bresp": 2}], "payload of channel B changed"),
    ([AR, {"rvalid": 1, "rlast": 1, "rdata": 1}, R], "payload of channel R changed"),
    ([AW, B], "without a complete burst"),
    ([AW, W, B, B], "without a complete burst"),
    ([AW, W, {**B, "bid": 3}], "without a complete burst"),
    ([R], "without a read address"),
    ([{**AR, "arlen": 1}, R], "RLAST"),
    ([AR, {**R, "rlast": 0}], "RLAST"),
    ([AR, {**R, "rresp": 1}], "EXOKAY"),
    ([AW, W], "has no response"),
    ([{**AR, "arlen": 1}, {**R, "rlast": 0}], "not complete"),
])
def test_the_axi_checker_bites(cycles, rule):
    checker = AxiChecker("slave")

    def run():
        for cycle in cycles:
            checker.step(IDLE | cycle)
        checker.finish()

    if rule is None:
        run()
    else:
        with pytest.raises(AxiProtocolError, match=rule):
            run()
