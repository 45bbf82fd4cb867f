"""Random legal programs of a PMU, with data for their inputs (hypothesis strategies)."""

from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from hw.config import PMUConfig
from hw.pmu.address import Scalar, Sequence, Shard, index_times, modulo, within
from hw.pmu.checks import check_program
from hw.pmu.geometry import BankMap, Geometry
from hw.pmu.program import Element, Loop, PMUProgram, ProgramError, Read, Write
from hw.pmu.selectors import allowed_selectors, completed, selectors_to_map


@dataclass
class Case:
    """A program and what arrives at its inputs."""

    program: PMUProgram
    vectors: dict = field(default_factory=dict)
    scalars: dict = field(default_factory=dict)
    sequences: dict = field(default_factory=dict)


@st.composite
def bank_maps(draw, config: PMUConfig) -> BankMap:
    g = Geometry(config)
    positions = draw(st.lists(st.integers(0, g.vector_bits - 1), min_size=g.bank_bits, max_size=g.bank_bits, unique=True))
    folds = draw(st.lists(st.integers(0, (1 << g.row_bits) - 1), min_size=g.bank_bits, max_size=g.bank_bits))
    return BankMap(tuple(sorted(positions)), tuple(folds))


@st.composite
def nests(draw, rows: int, columns: int, step: int, pitch: int) -> tuple[Loop, ...]:
    """Some of the rows and columns of a buffer, in some order, perhaps several times; never below its first address."""
    loops = [Loop(draw(st.integers(1, columns)), step), Loop(draw(st.integers(1, rows)), pitch)]
    if draw(st.booleans()):
        loops.append(Loop(draw(st.integers(2, 3)), 0))
    return tuple(draw(st.permutations(loops)))


@st.composite
def buffered(draw, config: PMUConfig, *, readers: int = 2, accesses: int = 60) -> PMUProgram:
    """A write engine and synchronised readers, one to three buffers; linear, unaligned, by word, or striped and transposed."""
    element = draw(st.sampled_from(list(Element)))
    width = config.lanes * (2 if element is Element.HALF else 1)
    capacity = config.lanes * config.banks * config.bank_rows * width // config.lanes
    buffers = draw(st.integers(1, 3))
    striped = draw(st.booleans())
    if striped:
        pitch = width << draw(st.integers(0, 1))
        rows, columns = width * draw(st.integers(1, 2)), pitch // width
    else:
        rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 4))
        pitch = columns * width + draw(st.sampled_from([0, 0, 2, width]))
    size = rows * pitch if striped else (rows - 1) * pitch + columns * width
    stride = size + draw(st.sampled_from([0, 0, 2 if not striped else width, width]))
    stride = stride + -stride % (width if striped else 2)
    if striped or draw(st.booleans()):
        stride = 1 << (stride - 1).bit_length()
    buffers = max(min(buffers, (capacity - size) // stride + 1), 1)
    count = draw(st.integers(1, 5))
    engines = [Write(loops=(*draw(nests(rows, columns, width, pitch)), Loop(count)), handover=-1, vectors=(draw(st.integers(0, 3)),))]
    for _ in range(draw(st.integers(1, readers))):
        if striped and draw(st.booleans()):
            loops, changes = draw(nests(rows // width, pitch, 1, width * pitch)), {"transposed": True}
        elif not striped and draw(st.integers(0, 3)) == 0:
            loops = draw(nests(rows, columns * config.lanes, width // config.lanes, pitch))
            changes = {"word": True, "scalar": draw(st.booleans())}
        else:
            loops, changes = draw(nests(rows, columns, width, pitch)), {}
        if draw(st.integers(0, 3)) == 0:
            changes["permute"] = tuple(draw(st.lists(st.integers(0, config.lanes - 1), min_size=config.lanes,
                                                     max_size=config.lanes)))
        engines.append(Read(loops=(*loops, Loop(count)), handover=-1, **changes))
    engines = [replace(engine, handover=len(engine.loops) - 1) for engine in engines]
    short = [replace(engine, loops=tuple(replace(loop, bound=1) if loop is not engine.loops[-1] else loop for loop in engine.loops))
             if engine.accesses > accesses else engine for engine in engines]
    reads = tuple(draw(st.permutations([*short[1:], None]))) if len(short) == 2 else tuple(short[1:])
    program = PMUProgram(write=short[0], reads=reads[:config.vector_outputs], buffers=buffers, buffer_stride=stride, element=element,
                         pitch=pitch if striped else 0)
    return _with_map(draw, program, config)


def _with_map(draw, program: PMUProgram, config: PMUConfig) -> PMUProgram:
    """Any bank map, if it suits the program's transposed reads; else one that does."""
    program = replace(program, bank_map=draw(bank_maps(config)))
    try:
        check_program(program, config)
    except ProgramError as error:
        if "different banks" not in str(error):
            raise
        allowed, g = allowed_selectors(program, config), Geometry(config)
        wanted = [int(allowed[draw(st.integers(0, len(allowed) - 1))]) for _ in range(g.bank_bits)]
        program = replace(program, bank_map=selectors_to_map(completed(wanted, allowed, g), config))
    return program


@st.composite
def tables(draw, config: PMUConfig) -> Case:
    """Readers of what is there: gathers by scalars, circular windows, predicates, shards."""
    lanes, rng = config.lanes, np.random.default_rng(draw(st.integers(0, 1 << 30)))
    reads, scalars = [], {}
    for port in range(config.vector_outputs):
        kind = draw(st.sampled_from(["gather", "window", "predicate", "shard"]))
        word = draw(st.booleans())
        loops = (Loop(draw(st.integers(1, 5)), draw(st.integers(0, lanes))), Loop(draw(st.integers(1, 8)), draw(st.integers(0, 9))))
        common = {"loops": loops, "base": draw(st.integers(0, 40)), "word": word, "scalar": word and draw(st.booleans()),
                  "synchronised": False}
        if kind == "gather":
            serves = draw(st.integers(0, 2))
            count = [loops[0].bound * loops[1].bound, loops[1].bound, 1][serves]
            scalars[port] = rng.integers(0, 50, count, dtype=np.uint32)
            common |= {"index": Scalar(port, serves), "stages": (index_times(2 * draw(st.integers(0, 9))),)}
        elif kind == "window":
            common["stages"] = modulo(2 * draw(st.integers(1, 100)), 8)
        elif kind == "predicate":
            divisor = draw(st.integers(1, 4))
            common["stages"] = (*modulo(2 * divisor, 9), within(0, 1 + draw(st.integers(0, 20))))[:4 - 2 * port]
        else:
            lower = draw(st.integers(0, 60))
            common["shard"] = Shard(lower, draw(st.integers(1, 60)), draw(st.integers(0, 99)))
        reads.append(Read(**common))
    while sum(len(read.stages) for read in reads) > config.address_stages:
        reads[-1] = replace(reads[-1], stages=reads[-1].stages[:-1])
    return Case(PMUProgram(reads=tuple(reads), bank_map=draw(bank_maps(config))), scalars=scalars)


@st.composite
def many_to_one(draw, config: PMUConfig) -> Case:
    """Up to four producers whose packets are in any order, put in place by their sequence IDs, or dropped by a shard."""
    count = draw(st.integers(1, 60))
    order = draw(st.permutations(range(count)))
    ports = draw(st.permutations(range(config.vector_inputs)))[:draw(st.integers(1, config.vector_inputs))]
    owner = draw(st.lists(st.sampled_from(ports), min_size=count, max_size=count))
    parts = {port: [number for number, at in zip(order, owner, strict=True) if at == port] for port in ports}
    data = np.random.default_rng(draw(st.integers(0, 1 << 30))).integers(0, 1 << 32, (count, config.lanes), dtype=np.uint32)
    lower = draw(st.integers(0, count - 1))
    shard = draw(st.sampled_from([None, Shard(lower * config.lanes, (count - lower) * config.lanes, 0)]))
    program = PMUProgram(
        write=Write(loops=(Loop(count),), vectors=tuple(ports), index=Sequence(), stages=(index_times(2 * config.lanes),), shard=shard),
        reads=(Read(loops=(Loop(count, config.lanes),)),), bank_map=draw(bank_maps(config)))
    return Case(program, {port: data[ids] for port, ids in parts.items()}, sequences=parts)


@st.composite
def cases(draw, config: PMUConfig) -> Case:
    """Any of the above with its data; legal."""
    case = draw(_any_case(config))
    try:
        case.program.check(config)
    except ProgramError as error:
        assert "leave the scratchpad" in str(error), error      # a shard's place or a table's end: rare
        assume(False)
    return case


@st.composite
def _any_case(draw, config: PMUConfig) -> Case:
    kind = draw(st.sampled_from(["buffered", "buffered", "buffered", "tables", "many"]))
    if kind != "buffered":
        return draw(tables(config) if kind == "tables" else many_to_one(config))
    program = draw(buffered(config))
    count = program.write.accesses * program.write.handovers
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    return Case(program, {program.write.vectors[0]: rng.integers(0, 1 << 32, (count, config.lanes), dtype=np.uint32)})
