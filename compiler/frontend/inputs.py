"""A user's input arrays checked against a model, and its outputs in the types that the model declares."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np

from sw_driver.files import write_whole

from ..graph.ir import DType, Graph, GraphError, Tensor
from .operators import EIGHT_BITS

__all__ = ["checked", "declared", "load_arrays", "random_inputs", "save_arrays"]


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file."""
    if not Path(path).is_file():
        raise GraphError(f"{path} does not exist")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:       # a damaged file makes zipfile, zlib and numpy raise a dozen kinds
        raise GraphError(f"{path} is no .npz file of arrays: {str(error).splitlines()[0]}") from None


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz file; BF16, which it does not know, as the same values in float32."""
    content = BytesIO()
    with ZipFile(content, "w") as archive:                   # numpy.savez has arguments of its own, whose names no array may have
        for name, value in arrays.items():
            with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                wide = value.astype(np.float32) if value.dtype == DType.BF16.numpy else value
                np.lib.format.write_array(file, np.asanyarray(wide), allow_pickle=False)
    write_whole(path, content.getvalue())


def checked(graph: Graph, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays for the inputs of an imported graph, in the types of its core graph. :class:`GraphError` names what does not fit."""
    unknown = sorted(set(arrays) - set(graph.inputs))
    missing = [name for name in graph.inputs if name not in arrays]
    if missing or unknown:
        raise GraphError("; ".join([f"input {name!r} is missing" for name in missing] + [f"there is no input {name!r}" for name in unknown])
                         + f"; the model's inputs are {', '.join(str(graph[name]) for name in graph.inputs)}")
    return {name: _typed(graph[name], np.asarray(arrays[name])) for name in graph.inputs}


def _typed(tensor: Tensor, value: np.ndarray) -> np.ndarray:
    if value.shape != tensor.shape:
        raise GraphError(f"input {tensor.name!r} is {list(value.shape)}, the model wants {tensor}")
    kind, bf16 = tensor.dtype, DType.BF16.numpy
    if kind is DType.BF16 and (value.dtype == np.uint16 or (value.dtype.kind == "V" and value.dtype.itemsize == 2)):
        return value.view(bf16)                      # bit patterns
    if kind.is_float and (value.dtype.kind == "f" or value.dtype == bf16):
        return value.astype(kind.numpy, order="C")
    if not kind.is_float and value.dtype.kind in "iub":
        bounds = np.iinfo(kind.numpy if kind in EIGHT_BITS else np.int32)
        if value.size and (value.min() < bounds.min or value.max() > bounds.max):
            raise GraphError(f"input {tensor.name!r} holds {value.min()} to {value.max()}, which {bounds.dtype.name.upper()} does not")
        return value.astype(np.int32)
    raise GraphError(f"input {tensor.name!r} is {value.dtype}, the model wants {tensor}")


def random_inputs(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """Normal numbers for float inputs, zeros for others."""
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(graph[name].shape).astype(graph[name].dtype.numpy) if graph[name].dtype.is_float
            else np.zeros(graph[name].shape, graph[name].dtype.numpy) for name in graph.inputs}


def declared(graph: Graph, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of the core graph in the types that the imported one declares."""
    return {name: value.astype(graph[name].dtype.numpy) for name, value in outputs.items()}
