"""Matrix products, and the additions behind them that are their biases."""

from __future__ import annotations

import numpy as np

from .emit import Emitter
from .operators import Call, lowers

__all__: list[str] = []


@lowers("MatMul")
def _matmul(e: Emitter, call: Call) -> str:
    a, b = call[0], call[1]
    left, right = e.shape(a), e.shape(b)
    if len(left) == 1:
        a = e.reshape(a, (1, *left))
    if len(right) == 1:
        b = e.reshape(b, (*right, 1))
    if len(right) == 2 and len(left) > 2:              # one product with all rows, as the weights have no batch
        a = e.reshape(a, (int(np.prod(left[:-1])), left[-1]))
    return e.reshape(e.matmul(a, b), call.output().shape)


@lowers("Gemm")
def _gemm(e: Emitter, call: Call) -> str:
    a, b, dtype = call[0], call[1], call.output_dtype()
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    if call.get("transA", 0):
        a = e.swap(a)
    if call.get("transB", 0):
        b = e.swap(b)
    features = e.shape(b)[-1]
    if alpha != 1.0:
        value = e.tensors[b].value
        b = (e.constant((value * np.float32(alpha)).astype(value.dtype)) if value is not None
             else e.map(lambda x: x * alpha, b, dtype=dtype))
    if not call.has(2) or beta == 0.0:
        return e.matmul(a, b)
    c = call[2]
    if beta != 1.0:
        value = e.tensors[c].value
        c = (e.constant((value * np.float32(beta)).astype(value.dtype)) if value is not None
             else e.map(lambda x: x * beta, c, dtype=dtype))
    if e.shape(c) in ((features,), (1, features)):
        return e.matmul(a, b, e.reshape(c, (features,)))
    return e.map(lambda x, y: x + y, e.matmul(a, b), c, dtype=dtype)


@lowers("Einsum")
def _einsum(e: Emitter, call: Call) -> str:
    """Products of two tensors: letters in both and in the result are batch, in both only are summed."""
    equation = call.get("equation").replace(" ", "")
    terms, _, result = equation.partition("->")
    terms = terms.split(",")
    if len(terms) != 2 or not result or "." in equation or any(len(set(term)) != len(term) for term in (*terms, result)):
        raise call.error(f"equation {equation!r}: two different terms without repeated letters or '...', and a result, are there")
    left, right = terms
    sizes = dict(zip(left, call.shape(0), strict=True)) | dict(zip(right, call.shape(1), strict=True))
    batch = [letter for letter in result if letter in left and letter in right]
    inner = [letter for letter in left if letter in right and letter not in result]
    rows, columns = ([letter for letter in term if letter not in batch and letter not in inner] for term in terms)
    if not set(rows + columns) <= set(result):
        raise call.error(f"equation {equation!r} sums over a letter of one term alone")

    def ordered(number: int, term: str, first: list[str], second: list[str]) -> str:
        turned = e.transpose(call[number], [term.index(letter) for letter in (*batch, *first, *second)])
        return e.reshape(turned, [sizes[letter] for letter in batch] + [int(np.prod([sizes[letter] for letter in group]))
                                                                          for group in (first, second)])

    product = e.matmul(ordered(0, left, rows, inner), ordered(1, right, inner, columns))
    letters = [*batch, *rows, *columns]
    whole = e.reshape(product, [sizes[letter] for letter in letters])
    return e.transpose(whole, [letters.index(letter) for letter in result])
