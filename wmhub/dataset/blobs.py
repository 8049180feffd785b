"""The name that git gives to the content of a file: its blob id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from wmhub.logs.lines import decompressed, open_raw

_BLOCK_BYTES = 1 << 20


def blob_id(path: Path, *, as_is: bool = False) -> str:
    """The git blob id of a file's content, decompressed unless ``as_is``."""
    # Git digests the length before the content, so the stream is read twice rather than held.
    length = sum(map(len, _blocks(path, as_is)))
    digest = hashlib.sha1(b"blob %d\0" % length, usedforsecurity=False)
    for block in _blocks(path, as_is):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path, as_is: bool) -> Iterator[bytes]:
    with open_raw(path) as raw:
        stream = raw if as_is else decompressed(raw)
        while block := stream.read1(_BLOCK_BYTES):
            yield block
