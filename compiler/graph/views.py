"""Access patterns put on top of each other: transpose, reshape, slice, expand, windows of a :class:`compiler.graph.ir.View`.

A function gives None where the result is no nest of loops per axis; the data must then be copied into a row-major tensor first.
"""

from __future__ import annotations

from math import prod

from .ir import View, row_major

__all__ = ["diagonal", "expand", "identity", "repeat_axis", "reshape", "slice_axis", "tile_axis", "transpose", "windows"]

Loops = tuple[tuple[int, int], ...]


def identity(shape: tuple[int, ...]) -> View:
    """The whole of a row-major tensor."""
    return View.of(shape, row_major(shape))


def transpose(view: View, permutation: tuple[int, ...]) -> View:
    """Axis i of the result is axis ``permutation[i]``."""
    return View(tuple(view.axes[axis] for axis in permutation), view.offset)


def reshape(view: View, shape: tuple[int, ...]) -> View | None:
    """The same elements in the same order under another shape."""
    rest, axes = list(view.loops), []
    for size in shape:
        taken = _take(rest, size)
        if taken is None:
            return None
        axes.append(taken)
    return View(tuple(axes), view.offset) if not rest else None


def _take(rest: list[tuple[int, int]], size: int) -> Loops | None:
    """Removes loops of ``size`` visits in all from the front of ``rest``; the last one may be split."""
    taken: list[tuple[int, int]] = []
    while size > 1:
        if not rest:
            return None
        have, stride = rest.pop(0)
        if size % have == 0:
            taken.append((have, stride))
            size //= have
        elif have % size == 0:
            taken.append((size, stride * (have // size)))
            rest.insert(0, (have // size, stride))
            size = 1
        else:
            return None
    return tuple(taken)


def expand(view: View, shape: tuple[int, ...]) -> View:
    """Broadcast to ``shape``, as numpy: axes of size 1, and new ones in front, are repeated."""
    axes = ((),) * (len(shape) - len(view.axes)) + view.axes
    return View(tuple(axis if axis else ((size, 0),) for axis, size in zip(axes, shape, strict=True)), view.offset)


def slice_axis(view: View, axis: int, start: int, count: int, step: int = 1) -> View | None:
    """``count`` elements of ``axis`` from ``start`` on, every ``step``-th (which may be negative)."""
    loops = view.axes[axis]
    if len(loops) <= 1:
        stride = loops[0][1] if loops else 0
        return _replace(view, axis, ((count, stride * step),), view.offset + start * stride)
    inner = prod(size for size, _ in loops[1:])
    if (start, step, count) == (0, 1, loops[0][0] * inner):
        return view
    if step == 1 and start % inner + count <= inner:           # inside one turn of the outermost loop
        turned = _replace(view, axis, loops[1:], view.offset + start // inner * loops[0][1])
        return slice_axis(turned, axis, start % inner, count)
    if step == 1 and start % inner == count % inner == 0:      # whole turns
        return _replace(view, axis, ((count // inner, loops[0][1]), *loops[1:]), view.offset + start // inner * loops[0][1])
    return None


def diagonal(view: View, first: int, second: int) -> View | None:
    """Axis ``second``, as long as ``first``, goes with it."""
    if len(view.axes[first]) > 1 or len(view.axes[second]) > 1:
        return None
    both = tuple((one[0], one[1] + other[1]) for one, other in zip(view.axes[first], view.axes[second], strict=True))
    axes = [both if axis == first else loops for axis, loops in enumerate(view.axes) if axis != second]
    return View(tuple(axes), view.offset)


def tile_axis(view: View, axis: int, repeats: int) -> View:
    """``axis`` over and over, ``repeats`` times."""
    return _replace(view, axis, ((repeats, 0), *view.axes[axis]), view.offset)


def repeat_axis(view: View, axis: int, times: int) -> View:
    """Every element of ``axis`` ``times`` times, one after the other."""
    return _replace(view, axis, (*view.axes[axis], (times, 0)), view.offset)


def windows(view: View, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> View | None:
    """[..., *spatial] to [..., *positions, *kernel]: the windows of a convolution over the last ``len(kernel)`` axes."""
    leading, spatial = view.axes[:-len(kernel)], view.axes[-len(kernel):]
    positions, taps = [], []
    for loops, size, step, dilation in zip(spatial, kernel, strides, dilations, strict=True):
        if len(loops) > 1:
            return None
        have, stride = loops[0] if loops else (1, 0)
        positions.append((((have - (size - 1) * dilation - 1) // step + 1, stride * step),))
        taps.append(((size, stride * dilation),))
    return View((*leading, *positions, *taps), view.offset)


def _replace(view: View, axis: int, loops: Loops, offset: int) -> View:
    return View((*view.axes[:axis], loops, *view.axes[axis + 1:]), offset)
