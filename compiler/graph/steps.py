"""What the steps of a MAP refer to, for the references that execute them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .ir import Argument

__all__ = ["operand"]


def operand(argument: Argument, inputs: Sequence[np.ndarray], results: Sequence[np.ndarray], shape: Sequence[int], index: type,
            constant: Callable[[float | int], np.ndarray]) -> np.ndarray:
    """The value of ``argument`` in a MAP of ``shape``: an input, the result of a step, ``constant(value)``, or a position of type
    ``index``."""
    match argument.kind:
        case "input":
            return inputs[argument.value]
        case "step":
            return results[argument.value]
        case "index":
            return np.arange(shape[argument.value], dtype=index).reshape(
                [-1 if axis == argument.value else 1 for axis in range(len(shape))])
    return constant(argument.value)
