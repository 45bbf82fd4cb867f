"""Matrix products, and the additions behind them that are their biases."""

from __future__ import annotations

from math import prod
from string import ascii_letters

import numpy as np

from ..graph.emit import Emitter
from ..graph.ir import Reduction
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
    """Term by term: letters that nothing else has are summed, letters that both have and something later needs are batch, those
    that both alone have are the inner axis of a product."""
    terms, result = _terms(call)
    value, letters = _prepared(e, call, 0, terms[0], [*terms[1:], result])
    for number, term in enumerate(terms[1:], 1):
        later = [*terms[number + 1:], result]
        other, columns = _prepared(e, call, number, term, [*later, letters])
        value, letters = _contracted(e, value, letters, other, columns, "".join(later))
        value, letters = _summed(e, value, letters, "".join(later))
    return e.transpose(value, [letters.index(letter) for letter in result])


def _terms(call: Call) -> tuple[list[str], str]:
    """The terms and the result, dots written out as capital letters that the equation does not have."""
    equation = call.get("equation").replace(" ", "")
    left, arrow, result = equation.partition("->")
    free = [letter for letter in ascii_letters[::-1] if letter not in equation]
    terms, most = [], 0
    for number, term in enumerate(left.split(",")):
        dots = len(call.shape(number)) - len(term.replace("...", "")) if "..." in term else 0
        most = max(most, dots)
        terms.append(term.replace("...", "".join(free[:dots][::-1])))
    if not arrow:
        result = "..." + "".join(sorted(letter for letter in set(left) - set(".,") if left.count(letter) == 1))
    result = result.replace("...", "".join(free[:most][::-1]))
    if any(len(term) != len(call.shape(number)) for number, term in enumerate(terms)) or len(set(result)) != len(result) \
            or not set(result) <= set("".join(terms)):
        raise call.error(f"equation {equation!r} does not fit the shapes {[list(call.shape(number)) for number in range(len(terms))]}")
    return terms, result


def _prepared(e: Emitter, call: Call, number: int, term: str, others: list[str]) -> tuple[str, str]:
    """Input ``number`` and its letters: a diagonal where one is repeated, summed over those that no other term has."""
    value = call[number]
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first, second = term.index(letter), term.rindex(letter)
            value, term = e.diagonal(value, first, second), term[:second] + term[second + 1:]
    return _summed(e, value, term, "".join(others))


def _summed(e: Emitter, value: str, letters: str, kept: str) -> tuple[str, str]:
    lost = [place for place, letter in enumerate(letters) if letter not in kept]
    value = e.reduce(Reduction.SUM, value, lost, keepdims=False) if lost else value
    return value, "".join(letter for letter in letters if letter in kept)


def _contracted(e: Emitter, a: str, left: str, b: str, right: str, later: str) -> tuple[str, str]:
    """A product over the letters that both have and nothing ``later`` needs; sizes of 1 are broadcast."""
    sizes: dict[str, int] = {}
    for letter, size in [*zip(left, e.shape(a), strict=True), *zip(right, e.shape(b), strict=True)]:
        sizes[letter] = max(size, sizes.get(letter, 1))
    a, b = (e.expand(x, [sizes[letter] for letter in term]) for x, term in ((a, left), (b, right)))
    inner = [letter for letter in left if letter in right and letter not in later]
    batch = [letter for letter in left if letter in right and letter in later]
    rows, columns = ([letter for letter in term if letter not in batch and letter not in inner] for term in (left, right))

    def ordered(x: str, term: str, first: list[str], second: list[str]) -> str:
        turned = e.transpose(x, [term.index(letter) for letter in (*batch, *first, *second)])
        joined = [prod(sizes[letter] for letter in group) for group in (first, second)]
        return e.reshape(turned, [sizes[letter] for letter in batch] + joined)

    whole = [*batch, *rows, *columns]
    product = (e.matmul(ordered(a, left, rows, inner), ordered(b, right, inner, columns)) if inner else
               e.map(lambda x, y: x * y, ordered(a, left, rows, []), ordered(b, right, [], columns), dtype=e.dtype(a)))
    return e.reshape(product, [sizes[letter] for letter in whole]), "".join(whole)
