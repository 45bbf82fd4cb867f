"""The texts that the language experts learn: eight domains from files that Debian 12 packages ship.

The packages are downloaded by ``apt-get download`` and unpacked into a folder of their own (nothing is installed); the texts
are used for training only and are not redistributed. Files are split, whole, into a training and a held-out part by a hash
of their name, so that no held-out passage comes from a file that was trained on (the licences are too few files for that and
are split by passages of 4 KiB). See docs/coe_llm.md for versions and licences.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["DOMAINS", "Domain", "Split", "load_domain"]

HELD_OUT_SHARE = 0.1
PASSAGE = 4096
MOST_BYTES = 3_000_000


@dataclass(frozen=True)
class Domain:
    """A kind of text: the files of ``package`` that match ``pattern``; ``roff``: manual pages, of which the prose is kept."""

    name: str
    package: str
    pattern: str
    licence: str
    roff: bool = False


DOMAINS = (
    Domain("python", "libpython3.11-stdlib", "usr/lib/python3.11/**/*.py", "PSF-2.0"),
    Domain("cpp", "libstdc++-12-dev", "usr/include/c++/12/**/*", "GPL-3.0 with GCC Runtime Library Exception"),
    Domain("perl", "perl-modules-5.36", "usr/share/perl/5.36.0/**/*.p[ml]", "Artistic or GPL-1.0+"),
    Domain("licence", "base-files", "usr/share/common-licenses/*", "each licence's own permission to copy it verbatim"),
    Domain("english", "manpages-dev", "usr/share/man/man*/*.gz", "various free licences, by page", roff=True),
    Domain("german", "manpages-de", "usr/share/man/de/man*/*.gz", "GPL-3.0+", roff=True),
    Domain("french", "manpages-fr", "usr/share/man/fr/man*/*.gz", "GPL-3.0+", roff=True),
    Domain("spanish", "manpages-es", "usr/share/man/es/man*/*.gz", "GPL-3.0+", roff=True),
)


@dataclass(frozen=True)
class Split:
    """A domain's bytes, uint8."""

    train: np.ndarray
    held_out: np.ndarray


def load_domain(domain: Domain, folder: Path) -> Split:
    """Downloads the domain's package into ``folder`` if it is not there, and reads its texts."""
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for name, text in _texts(domain, _unpacked(domain.package, folder)):
        share = int.from_bytes(hashlib.sha256(f"{domain.name}:{name}".encode()).digest()[:4], "little") / 2**32
        parts[share < HELD_OUT_SHARE].append(text)
    train, held_out = (np.frombuffer(b"\n".join(part)[:MOST_BYTES], dtype=np.uint8) for part in parts)
    if len(train) < 100_000 or len(held_out) < 4_096:
        raise ValueError(f"domain {domain.name}: {len(train)} bytes to train on and {len(held_out)} held out are too few: "
                         f"is package {domain.package} another version?")
    return Split(train, held_out)


def _unpacked(package: str, folder: Path) -> Path:
    target = folder / package
    if not target.exists():
        debs = folder / "debs"
        debs.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=debs, check=True, capture_output=True)
        target.mkdir()
        subprocess.run(["dpkg-deb", "-x", str(next(debs.glob(f"{package}_*.deb"))), str(target)], check=True)
    return target


def _texts(domain: Domain, root: Path) -> Iterator[tuple[str, bytes]]:
    seen = set()
    for path in sorted(root.glob(domain.pattern)):
        if path.is_symlink() or not path.is_file():
            continue
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = _prose(raw) if domain.roff else raw
        digest = hashlib.sha256(text).digest()
        if len(text) < 200 or digest in seen:
            continue
        seen.add(digest)
        if domain.name == "licence":
            yield from ((f"{path.name}:{start}", text[start:start + PASSAGE]) for start in range(0, len(text), PASSAGE))
        else:
            yield str(path.relative_to(root)), text


def _prose(roff: bytes) -> bytes:
    """The running text of a manual page: requests dropped, font changes and escapes resolved."""
    text = roff.decode("utf-8", errors="ignore")
    lines = [line for line in text.splitlines() if line and line[0] not in ".'"]
    text = "\n".join(lines)
    text = re.sub(r"\\f(\[[A-Z]*\]|.)|\\[,/&|]|\\s[-+]?\d", "", text).replace(r"\-", "-").replace(r"\e", "\\")
    text = re.sub(r"\\\(..|\\\[..\]", "", text)
    return re.sub(r"\\(.)", r"\1", text).encode()
