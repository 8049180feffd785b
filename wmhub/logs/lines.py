"""Reading a log as chunks of whole lines, in flat memory, whatever it is compressed with."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from wmhub.errors import LogFormatError, MissingInputError

#: A longer line is no measurement record; it is rejected without being parsed.
MOST_LINE_BYTES = 8 << 20
#: Bytes of text that are parsed at once.
CHUNK_BYTES = 8 << 20

#: Compressed bytes that are taken at once: they may become 128 KiB for every four of them.
_ZSTD_BYTES = 128

_BOM = b"\xef\xbb\xbf"
#: What reading a damaged compressed stream may raise.
STREAM_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


@dataclass(frozen=True)
class Chunk:
    """Consecutive whole lines of one file, or one place in it that cannot be read."""

    first_line: int
    """1-based number of the first line."""
    data: bytes
    """The lines, each ended by a newline, which only the file's last line may lack."""
    fault: str | None = None
    """Why ``data`` is empty: a line that is too long, or a stream that is damaged from here on."""


def open_raw(path: Path) -> BinaryIO:
    """Opens ``path`` as it is.

    Raises ``MissingInputError`` where there is no such file, ``LogFormatError`` where it cannot
    be opened.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file; name a log, a folder or a glob") from None
    except OSError as error:
        raise LogFormatError(f"{path}: cannot be opened: {error.strerror or error}") from None


def decompressed(raw: BinaryIO) -> BinaryIO:
    """``raw`` as plain bytes, whatever compression its first bytes show."""
    buffered = (
        raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", raw))
    )
    head = buffered.peek(6)[:6]
    if head.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=buffered))
    if head.startswith(b"\xfd7zXZ\x00"):
        return cast("BinaryIO", lzma.LZMAFile(buffered))
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return cast("BinaryIO", _ZstdFrames(buffered))
    return buffered


class _ZstdFrames(io.RawIOBase):
    """Zstandard frames, one after another, as plain bytes.

    The library's own reader ends without a word amid a frame, as if the rest had never been.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._rest, self._plain = b"", memoryview(b"")
        self._failed: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills ``buffer``; raises ``EOFError`` or ``ZstdError`` when all before is given."""
        count = 0
        while count < len(buffer) and self._has_plain():
            part = self._plain[: len(buffer) - count]
            buffer[count : count + len(part)] = part
            self._plain = self._plain[len(part) :]
            count += len(part)
        if not count and self._failed is not None:
            raise self._failed
        return count

    def _has_plain(self) -> bool:
        while not self._plain and self._failed is None:
            data = self._rest or self._raw.read(_ZSTD_BYTES)
            if not data:
                if self._frame is not None:
                    self._failed = EOFError("it ends amid a Zstandard frame")
                break
            frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                self._plain = memoryview(frame.decompress(data))
            except zstandard.ZstdError as error:
                self._failed = error
                break
            self._rest = frame.unused_data
            self._frame = None if frame.eof else frame
        return bool(self._plain)


def read_chunks(stream: BinaryIO, size: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Splits ``stream`` into chunks of whole lines of about ``size`` bytes.

    The split depends on the text alone, so that a second run over the same log meets the same
    chunks. A line beyond ``MOST_LINE_BYTES``, and the place where a compressed stream is damaged,
    come as a chunk with a fault; each counts as one line.
    """
    too_long = f"the line is longer than {MOST_LINE_BYTES >> 20} MiB"
    line, rest, skipping = 1, b"", False
    fault = None
    for block, fault in _blocks(stream, size):  # noqa: B007 (the last fault is used below)
        if skipping:
            newline = block.find(b"\n")
            if newline < 0:
                continue
            yield Chunk(line, b"", too_long)
            line, block, skipping = line + 1, block[newline + 1 :], False
        end = block.rfind(b"\n") + 1
        if end:
            data, rest = rest + block[:end], block[end:]
            yield Chunk(line, data)
            line += data.count(b"\n")
        else:
            rest += block
        if len(rest) > MOST_LINE_BYTES:
            rest, skipping = b"", True
    if skipping:
        yield Chunk(line, b"", too_long)
        line += 1
    elif rest:
        yield Chunk(line, rest)
        line += 1
    if fault is not None:
        yield Chunk(line, b"", fault)


def _blocks(stream: BinaryIO, size: int) -> Iterator[tuple[bytes, str | None]]:
    """Blocks of exactly ``size`` bytes; the last is shorter and has the fault that ended it."""
    first = True
    while True:
        pieces: list[bytes] = []
        wanted, fault = size, None
        while wanted and fault is None:
            try:
                piece = stream.read(wanted)
            except STREAM_ERRORS as error:
                fault = f"the compressed stream is damaged or cut short ({error})"
                break
            if not piece:
                break
            pieces.append(piece)
            wanted -= len(piece)
        block = b"".join(pieces)
        yield (block[len(_BOM) :] if first and block.startswith(_BOM) else block), fault
        if wanted:
            return
        first = False
