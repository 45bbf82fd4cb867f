"""The build cache: a directory for each distinct set of inputs, filled once, complete or absent."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from . import toolchain

__all__ = ["cached", "digest", "digests"]

HEADERS = {".h", ".hpp", ".svh", ".inc"}


def cached(name: str, inputs: dict, make: Callable[[Path], None], *, compiled: bool = True) -> Path:
    """The directory ``name``-hash in the build cache that ``make`` filled for these ``inputs`` (JSON values).

    ``compiled``: the result depends on the versions of Verilator and of the compiler too.

    ``make`` is called with an empty directory, by one process at a time; the result appears only when it has returned.
    """
    tools = [toolchain.verilator_version(), toolchain.compiler_version()] if compiled else []
    key = digest(json.dumps([inputs, tools], sort_keys=True, default=str).encode())[:20]
    home = toolchain.build_root() / "sim"
    result = home / f"{name}-{key}"
    if not result.exists():
        with _locked(home, key):
            if not result.exists():
                with _scratch(home, key) as scratch:
                    make(scratch)
                    scratch.rename(result)
    return result


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digests(paths: Sequence[Path]) -> dict[str, str]:
    """Of each file, and of the headers beside it that it may include; by the name from its folder on, so that checkouts share builds."""
    beside = {header for path in paths for header in path.parent.iterdir() if header.suffix in HEADERS}
    return {f"{path.parent.name}/{path.name}": digest(path.read_bytes()) for path in sorted({*paths, *beside})}


@contextlib.contextmanager
def _locked(home: Path, name: str) -> Iterator[None]:
    """Held by one process at a time; the kernel drops the lock of a process that dies."""
    (home / "locks").mkdir(parents=True, exist_ok=True)
    with (home / "locks" / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _scratch(home: Path, name: str) -> Iterator[Path]:
    """A directory that vanishes unless renamed, Ctrl-C at any moment included. What a killed predecessor left is removed (its lock is
    ours now)."""
    for left in home.glob(f"{name}.*"):
        _clear(left)
    scratch = home / f"{name}.{os.getpid()}"
    try:
        scratch.mkdir()
        yield scratch
    finally:
        _clear(scratch)


def _clear(folder: Path) -> None:
    """Removes ``folder``, again while a tool that is being interrupted too still writes into it (for five seconds at most)."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
