"""The accuracy table of docs/fp.md, from the model (RTL equals it bit for bit): ``python -m tests.fp.accuracy``.

Largest relative error over all BF16 operands and every 8191st FP32 operand; share of correctly rounded results among the finite
operands of every 9973rd.
"""

import numpy as np

from hw.fp.tail_model import tail
from tests.fp.reference import FUNCTIONS, relative_error


def main() -> None:
    bf16 = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    coarse, fine = (np.arange(0, 1 << 32, step, dtype=np.uint64).astype(np.uint32) for step in (8191, 9973))
    a = np.concatenate([bf16, coarse])
    b = fine[np.isfinite(fine.view(np.float32))]
    for name, function in FUNCTIONS.items():
        error = relative_error(name, a, tail(name, a))
        worst = error.argmax()
        with np.errstate(all="ignore"):
            true = function(b.view(np.float32).astype(np.float64)).astype(np.float32)
        result = tail(name, b)
        right = (true.view(np.uint32) == result) | (np.isnan(true) & np.isnan(result.view(np.float32)))
        print(f"| {name} | 2^{np.log2(error[worst]):.1f} | {a[worst:worst + 1].view(np.float32)[0]:.6g} | {right.mean():.2%} |")


if __name__ == "__main__":
    main()
