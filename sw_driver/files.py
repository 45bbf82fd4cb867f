"""Files that are either as they were or complete."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_whole"]


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
