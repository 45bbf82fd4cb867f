"""A PCU's program as bits: enumerations and the layout that hardware, assembler and model read."""

from amaranth.lib import data, enum

from hw.common.program import program_layout
from hw.config import PCUConfig
from hw.fp.function import TailFunction

__all__ = ["CONSTANTS", "SCALE_INPUT", "SLOTS", "Initial", "Mode", "Op", "Reduce", "Source", "levels", "pcu_layout"]

SLOTS = 4            # vectors that travel with an iteration from stage to stage; slot i holds vector input i at first
CONSTANTS = 4        # argument words that every stage can use
SCALE_INPUT = 3      # vector input of the scales of INT8 weights (systolic mode)


class Mode(enum.Enum, shape=2):
    """What the body does."""

    UNUSED = 0
    SYSTOLIC = 1
    SIMD = 2


class Initial(enum.Enum, shape=2):
    """What the sums of a systolic tile start from."""

    ZERO = 0
    BIAS = 1         # one vector per feature block, the same for every row
    PARTIAL = 2      # one vector per row and feature block, row-major


class Op(enum.Enum, shape=5):
    """What one ALU stage computes from operands a, b, c. Comparisons give 1 or 0."""

    NOP = 0
    MAC = 1          # fp32(fp32(a * b) + c); add, sub and mul are MACs with a constant operand
    ADD = 2
    SUB = 3
    MUL = 4          # low word
    AND = 5
    OR = 6
    XOR = 7
    SHL = 8          # by b modulo 32
    SHR = 9
    SAR = 10
    MIN = 11         # signed
    MAX = 12
    FMIN = 13        # IEEE minimum: -0 < +0, NaN if either is
    FMAX = 14
    EQ = 15
    LT = 16          # signed
    LE = 17
    FEQ = 18         # false if either is NaN
    FLT = 19
    FLE = 20
    SELECT = 21      # a if c != 0 else b
    TO_INT = 22      # FP32 to INT32 toward zero, saturating; NaN gives 0
    TO_FP = 23       # INT32 to FP32, nearest even
    TO_BF16 = 24     # FP32 rounded to BF16 (nearest even), as FP32


class Source(enum.Enum, shape=5):
    """Where an operand comes from. The second line of names is what the systolic mode and the fixed-function MACs use; LOW and HIGH: the
    weight vector is packed BF16 and the stage takes that half of it."""

    SLOT0, SLOT1, SLOT2, SLOT3 = 0, 1, 2, 3
    WEIGHT, BROADCAST, ACCUMULATOR = 4, 5, 6      # ACCUMULATOR: operand c only
    SCALAR0, SCALAR1, SCALAR2, SCALAR3 = 8, 9, 10, 11
    CONSTANT0, CONSTANT1, CONSTANT2, CONSTANT3 = 12, 13, 14, 15
    COUNTER0, COUNTER1, COUNTER2, COUNTER3, COUNTER4, COUNTER5, COUNTER6, COUNTER7 = range(16, 24)
    LANE = 24        # lane number
    ELEMENT = 25     # counter of the mask's level x lanes + lane number
    WEIGHT_LOW, WEIGHT_HIGH = 26, 27              # operand a only
    ZERO, ONE, MINUS_ONE, NEGATIVE_ZERO = 28, 29, 30, 31      # FP32 constants; ZERO is the integer 0 as well


class Reduce(enum.Enum, shape=3):
    """Reduction over the lanes and over the iterations below the output's level."""

    NONE = 0
    SUM = 1
    MAX = 2          # FP32, IEEE maximum
    MIN = 3
    ARGMAX = 4       # INT32 index of the first largest element; NaN is larger than everything


def levels(config: PCUConfig) -> int:
    """Loops of the counter chain: the systolic mode needs six."""
    return max(config.counter_levels, 6)


def pcu_layout(config: PCUConfig) -> data.FlexibleLayout:
    """The program of a PCU. Bounds, rows, the mask's bound, the seed and the constants are arguments (fields on half words or words)."""
    level = levels(config).bit_length()
    stage = data.StructLayout({"op": Op, "a": Source, "b": Source, "c": Source, "slot": range(SLOTS), "reserved": 10})
    port = data.StructLayout({"used": 1, "packed": 1, "int8": 1, "level": level, "reserved": 8 - 3 - level})
    return program_layout({
        "mode": Mode,
        "function": TailFunction,
        "initial": Initial,
        "reuse": 1,              # systolic: a half of the broadcast buffer serves all column tiles of its rows
        "reduce": Reduce,
        "result": range(SLOTS),
        "produce": level,
        "mask_used": 1,
        "mask_level": level,
        "to_vector": 1,
        "to_scalar": 1,
        "output_packed": 1,
        "accumulate_used": 1,
        "accumulate": level,
        "stochastic": 1,         # packed results are rounded up or down by chance, from ``seed``
        "stage_pairs": 1,        # systolic: two stages share a row; bounds[1] counts pairs of feature blocks
        "vector_input": data.ArrayLayout(port, config.vector_inputs),
        "scalar_input": data.ArrayLayout(port, config.scalar_inputs),
        "bounds": data.ArrayLayout(config.counter_bits, levels(config)),
        "rows": 16,
        "last_rows": 16,
        "row_vectors": 16,
        "mask_bound": 16,
        "seed": 32,
        "constants": data.ArrayLayout(32, CONSTANTS),
        "stages": data.ArrayLayout(stage, config.stages),
    })
