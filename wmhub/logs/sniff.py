"""What kind of log a file is, by how its lines begin."""

from __future__ import annotations

import enum
import re
from pathlib import Path

from wmhub.errors import LogFormatError
from wmhub.logs.lines import CHUNK_BYTES, decompressed, open_raw, read_block

#: What the name of a compressed log ends in.
COMPRESSED = (".gz", ".xz", ".zst")

_FIRST_BYTES = 1 << 16


class LogKind(enum.Enum):
    """What a file holds."""

    AUTO_SCHEDULER = "an Ansor log"
    META_SCHEDULE = "MetaSchedule tuning records"
    META_SCHEDULE_WORKLOADS = "MetaSchedule workloads"


#: How lines begin, by the name of the kind.
_LINE = re.compile(
    rb"^[ \t]*(?:"
    rb'(?P<AUTO_SCHEDULER>\{[ \t]*"[irv]"[ \t]*:)|'
    rb"(?P<META_SCHEDULE>\[[ \t]*\d+[ \t]*,[ \t]*\[)|"
    rb'(?P<META_SCHEDULE_WORKLOADS>\[[ \t]*"\d+"[ \t]*,[ \t]*"))',
    re.MULTILINE,
)


def sniff(head: bytes) -> LogKind | None:
    """What a file that begins with ``head`` holds, by the first line that looks like anything."""
    line = _LINE.search(head.removeprefix(b"\xef\xbb\xbf"))
    return None if line is None else LogKind[str(line.lastgroup)]


def sniff_file(path: Path) -> LogKind | None:
    """What ``path`` holds, by as much of its beginning as that takes, at most ``CHUNK_BYTES``;
    ``None`` where it is no log.

    Raises ``MissingInputError``, and ``LogFormatError`` where so little of it can be read that
    there is no telling.
    """
    with open_raw(path) as raw:
        try:
            stream = decompressed(raw)
        except OSError as error:
            raise LogFormatError(f"{path}: cannot be read: {error.strerror or error}") from None
        head, block, fault = b"", b"", None
        while fault is None and len(head) < CHUNK_BYTES:
            wanted = max(len(head), _FIRST_BYTES)
            block, fault = read_block(stream, wanted)
            head += block
            if (kind := sniff(head)) is not None:
                return kind
            if len(block) < wanted:
                break
    if fault is None and stream is raw and path.suffix in COMPRESSED:
        fault = f"it does not begin as a {path.suffix} file does"
    if fault is not None:
        raise LogFormatError(f"{path}: {fault}")
    return None
