"""A compiled model as one ``.rdu`` file: kernels, launches, symbols, constants, and the graphs that the references run.

A header (magic, length, SHA-256 of the rest), then the structure as JSON, then the arrays, each once. The same model compiled with the
same options gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from hw.config import RDUConfig
from sw_driver.files import write_whole
from sw_driver.kernel import Argument as Place
from sw_driver.kernel import Kernel

from .errors import CompileError
from .frontend.int8 import forgotten
from .graph import ir
from .mapping.memory import Symbol
from .program import KernelRecord, Launch, Program
from .run import Compiled

__all__ = ["is_image", "load_compiled", "save_compiled"]

MAGIC = b"RDUP\x03\x00\x00\x00"
_HEADER = struct.Struct("<8sQ32s")
_CLASSES = {f"{each.__module__}.{each.__name__}": each for each in (
    ir.Graph, ir.Tensor, ir.Node, ir.Map, ir.Step, ir.Argument, ir.Matmul, ir.Reduce, ir.View, ir.Place, ir.Copy, ir.Gather, ir.Update,
    ir.Core, ir.DType, ir.Function, ir.Reduction, Symbol, KernelRecord, Kernel, Place, Launch, Program, Compiled, RDUConfig)}


def save_compiled(compiled: Compiled, path: Path) -> None:
    """Writes the file; one that is there is replaced only by the complete new one."""
    ends = {name: compiled.imported[name] for name in dict.fromkeys((*compiled.imported.inputs, *compiled.imported.outputs))}
    surface = ir.Graph(compiled.imported.name, (), ends, compiled.imported.inputs, compiled.imported.outputs)
    writer = _Writer()
    text = json.dumps(writer.plain(Compiled(surface, forgotten(compiled.core), compiled.program, 0.0)), separators=(",", ":")).encode()
    body = struct.pack("<Q", len(text)) + text + b"".join(writer.arrays)
    write_whole(path, _HEADER.pack(MAGIC, len(body), hashlib.sha256(body).digest()) + body)


def is_image(path: Path) -> bool:
    """Whether a file says that it is one of these, or is named like one."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == MAGIC[:4] or Path(path).suffix == ".rdu"
    except OSError:
        return False


def load_compiled(path: Path, config: RDUConfig) -> Compiled:
    """Reads a file. Raises :class:`CompileError` if it is none, is damaged, or was compiled for another device."""
    blob = Path(path).read_bytes()
    if len(blob) < _HEADER.size or blob[:4] != MAGIC[:4]:
        raise CompileError(f"{path} is no compiled model", way_out="make one with rdu run MODEL.onnx --save FILE.rdu")
    magic, length, digest = _HEADER.unpack_from(blob)
    body = memoryview(blob)[_HEADER.size:]
    again = "compile the model again"
    if magic != MAGIC:
        raise CompileError(f"{path} has format version {magic[4]}, this compiler reads version {MAGIC[4]}", way_out=again)
    if len(body) != length or hashlib.sha256(body).digest() != digest:
        raise CompileError(f"{path} is damaged: length or SHA-256 differ from its header", way_out=again)
    try:
        size, = struct.unpack_from("<Q", body)
        compiled = _Reader(body[8 + size:]).object(json.loads(bytes(body[8:8 + size])))
        found = compiled.program.config
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise CompileError(f"{path} is whole but makes no sense ({error})", way_out=again) from None
    if found.digest != config.digest:
        raise CompileError(f"{path} was compiled for {found.name} ({found.digest:#010x}), this device is {config.name} "
                           f"({config.digest:#010x})", way_out=f"compile it with --preset {config.name}")
    return compiled


class _Writer:
    """Objects as JSON values; arrays are put aside, equal ones once."""

    def __init__(self) -> None:
        self.arrays: list[bytes] = []
        self._places: dict[tuple, int] = {}
        self._end = 0

    def plain(self, value):
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Enum):
            return {"=": _name(value), "value": value.value}
        if isinstance(value, RDUConfig):
            return {"=": _name(value), "json": value.to_json()}
        if isinstance(value, np.ndarray):
            return self._array(value)
        if is_dataclass(value):
            return {"=": _name(value)} | {each.name: self.plain(getattr(value, each.name)) for each in fields(value)
                                          if each.init and not each.name.startswith("_")}
        if isinstance(value, tuple | list):
            return {"=": type(value).__name__, "items": [self.plain(each) for each in value]}
        if isinstance(value, dict):
            return {"=": "dict", "items": [[self.plain(key), self.plain(each)] for key, each in value.items()]}
        raise TypeError(f"{type(value).__name__} has no form in a compiled model")

    def _array(self, value: np.ndarray) -> dict:
        content, kind = np.ascontiguousarray(value).tobytes(), ir.DType.of(value)
        if content not in self._places:
            self._places[content] = self._end
            self.arrays.append(content)
            self._end += len(content)
        return {"=": "array", "type": kind.value, "shape": list(value.shape), "at": self._places[content]}


def _name(value: object) -> str:
    name = f"{type(value).__module__}.{type(value).__name__}"
    if name not in _CLASSES:
        raise TypeError(f"{name} has no form in a compiled model")
    return name


class _Reader:
    def __init__(self, arrays: memoryview):
        self.arrays = arrays

    def object(self, value):
        if not isinstance(value, dict):
            return value
        match kind := value.pop("="):
            case "array":
                dtype = ir.DType(value["type"]).numpy
                count = int(np.prod(value["shape"], dtype=np.int64))
                return np.frombuffer(self.arrays, dtype, count, value["at"]).reshape(value["shape"])
            case "tuple" | "list":
                return {"tuple": tuple, "list": list}[kind](self.object(each) for each in value["items"])
            case "dict":
                return {self.object(key): self.object(each) for key, each in value["items"]}
        made = _CLASSES[kind]
        if made is RDUConfig:
            return RDUConfig.from_json(value["json"])
        return made(**{name: self.object(each) for name, each in value.items()})
