"""Fourier transforms as products of small matrices (Monarch): N = N1 x N2 points, index n = N2 n1 + n2, frequency k = k1 + N1 k2."""

from __future__ import annotations

import numpy as np

from compiler.graph.builder import Builder, Value

__all__ = ["convolution", "monarch"]


def monarch(b: Builder, *, batch: int = 8, size: int = 32) -> dict[str, np.ndarray]:
    """x[batch, size, size] -> Gemm - Mul - Transpose - Gemm, the real part of the scheme, as in the paper's figure."""
    angles = 2 * np.pi / size * np.outer(np.arange(size), np.arange(size))
    x = b.input("x", (batch, size, size))
    first = b.constant(np.cos(angles) / size, "gemm0") @ x
    turned = (first * b.constant(np.cos(angles / size), "twiddle")).transpose(0, 2, 1)
    b.output("y", b.constant(np.sin(angles), "gemm1") @ turned)
    return {"x": np.random.default_rng(41).normal(0, 1, (batch, size, size)).astype(np.float32)}


def _stacked(matrix: np.ndarray) -> np.ndarray:
    """The real matrix that does to [real; imaginary] what a complex matrix does."""
    return np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]])


def _times(b: Builder, x: Value, factor: np.ndarray, name: str) -> Value:
    """x[batch, 2 rows, columns], real parts above imaginary ones, times a complex [rows, columns] element by element."""
    real, imaginary = b.op("Split", x, outputs=2, axis=1, num_outputs=2)
    c, d = b.constant(factor.real, f"{name}.real"), b.constant(factor.imag, f"{name}.imaginary")
    return (real * c - imaginary * d).concat(real * d + imaginary * c, axis=1)


def _parts(x: Value, batch: int, rows: int, columns: int) -> Value:
    """[batch, 2 rows, columns] with the parts beside each other: transposed [batch, 2 columns, rows]."""
    return x.reshape(batch, 2, rows, columns).transpose(0, 1, 3, 2).reshape(batch, 2 * columns, rows)


def convolution(b: Builder, *, batch: int = 4, n1: int = 16, n2: int = 16) -> dict[str, np.ndarray]:
    """x[batch, n1, n2], a signal of n1 n2 points -> y, its circular convolution with a fixed filter, by transform and inverse."""
    n = n1 * n2
    random = np.random.default_rng(42)
    kernel = random.normal(0, 1, n) * np.exp(-np.arange(n) / 20)
    spectrum = np.fft.fft(kernel).reshape(n2, n1)                   # [k2, k1]
    f1, f2 = (np.exp(-2j * np.pi / size * np.outer(np.arange(size), np.arange(size))) for size in (n1, n2))
    twiddle = np.exp(-2j * np.pi / n * np.outer(np.arange(n1), np.arange(n2)))     # [k1, n2]
    x = b.input("x", (batch, n1, n2))
    columns = b.constant(np.vstack([f1.real, f1.imag]), "forward0") @ x            # [k1, n2]: the signal is real
    turned = _parts(_times(b, columns, twiddle, "twiddle"), batch, n1, n2)         # [n2, k1]
    rows = b.constant(_stacked(f2), "forward1") @ turned                           # [k2, k1]
    product = _times(b, rows, spectrum, "spectrum")
    back = b.constant(_stacked(f2.conj() / n2), "inverse1") @ product              # [n2, k1]
    turned = _times(b, _parts(back, batch, n2, n1), twiddle.conj(), "untwiddle")   # [k1, n2]
    inverse = f1.conj() / n1
    b.output("y", b.constant(np.hstack([inverse.real, -inverse.imag]), "inverse0") @ turned)
    return {"x": random.normal(0, 1, (batch, n1, n2)).astype(np.float32)}
