"""The SECDED code that guards each 64-bit word with 8 check bits, and its numpy model. No HDL is imported here.

An odd-weight-column code: each data bit has a column of odd weight, at least 3, each check bit a unit column. A single error
gives the column of the bit that is wrong, two errors a syndrome of even weight, which is no column.
Source: M. Y. Hsiao, A Class of Optimal Minimum Odd-weight-column SEC-DED Codes, IBM J. Res. Dev. 14 (1970).
"""

import numpy as np

__all__ = ["CHECK_BITS", "COLUMNS", "DATA", "PARITY_MASKS", "SINGLE", "SYNDROMES", "UNCORRECTABLE", "WORD_BITS", "encode"]

WORD_BITS, CHECK_BITS = 64, 8
COLUMNS = sorted((c for c in range(256) if c.bit_count() % 2 and c.bit_count() > 1), key=lambda c: (c.bit_count(), c))[:WORD_BITS]
PARITY_MASKS = [sum(1 << bit for bit, column in enumerate(COLUMNS) if column >> check & 1) for check in range(CHECK_BITS)]
# What a syndrome means: bit 8 uncorrectable, bit 7 a single error, bit 6 in data bit (bits 5:0); a wrong check bit needs no
# repair.
SINGLE, DATA, UNCORRECTABLE = 0x80, 0x40, 0x100
SYNDROMES = [UNCORRECTABLE] * 256
SYNDROMES[0] = 0
for _bit, _column in enumerate(COLUMNS):
    SYNDROMES[_column] = SINGLE | DATA | _bit
for _check in range(CHECK_BITS):
    SYNDROMES[1 << _check] = SINGLE


def encode(words: np.ndarray) -> np.ndarray:
    """Check bytes of 64-bit words."""
    check = np.zeros(words.shape, np.uint8)
    for bit, column in enumerate(COLUMNS):
        check ^= ((words >> np.uint64(bit)) & np.uint64(1)).astype(np.uint8) * np.uint8(column)
    return check
