"""A digest of parts of this package's source, for what is kept only as long as its code is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

_PACKAGE = Path(__file__).parent


@lru_cache
def code_digest(*parts: str, package: Path = _PACKAGE) -> str:
    """SHA-256 of ``parts``, each a file or a folder of modules below ``package``."""
    digest = hashlib.sha256()
    for path in _sources(package, parts):
        content = path.read_bytes()
        name = path.relative_to(package).as_posix()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _sources(package: Path, parts: Iterable[str]) -> Iterable[Path]:
    for part in parts:
        path = package / part
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]
