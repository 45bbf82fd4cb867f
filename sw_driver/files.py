"""Files that are either as they were or complete."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["check_target", "write_whole"]


def check_target(path: str | os.PathLike) -> None:
    """``OSError``, as writing would raise it, if ``path`` is a folder or lies where no file can be made; makes nothing."""
    path = Path(path).absolute()
    folder = next(each for each in path.parents if each.exists())
    for wrong, number, where in ((path.is_dir(), errno.EISDIR, path), (not folder.is_dir(), errno.ENOTDIR, folder),
                                 (not os.access(folder, os.W_OK), errno.EACCES, folder)):
        if wrong:
            raise OSError(number, os.strerror(number), str(where))


def write_whole(path: str | os.PathLike, content: bytes | str) -> None:
    """Writes ``content`` to ``path``, making its folder if needed; a file that is there is replaced only by the complete new
    one, and nothing half-written stays behind when that fails (``OSError``) or is interrupted."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
