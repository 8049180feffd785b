"""Reading a log as chunks of whole lines, in flat memory, whatever it is compressed with."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import zstandard

from wmhub.errors import LogFormatError, MissingInputError

#: A longer line is no measurement record; it is rejected without being parsed.
MOST_LINE_BYTES = 8 << 20
#: A line of a workload file may be longer: a program holds the constants that are linked into it.
MOST_WORKLOAD_BYTES = 256 << 20
#: Bytes of text that are parsed at once.
CHUNK_BYTES = 8 << 20

#: Compressed bytes that are taken at once: they may become 128 KiB for every four of them.
_FRAME_BYTES = 128
#: What reading xz may hold: ``xz -9`` asks for 64 MiB, and a file may ask for 4 GiB.
_XZ_MEMORY = 256 << 20

#: Plain bytes that are asked for at once.
_PIECE_BYTES = 1 << 20

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

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Each line with its number, without the newline."""
        lines = self.data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        return enumerate(lines, self.first_line)


class PlainBytes(Protocol):
    """A stream of bytes, decompressed where they were compressed."""

    def read1(self, size: int = -1, /) -> bytes:
        """At least one byte and at most ``size``, or none at the end; raises ``STREAM_ERRORS``."""
        ...


def open_raw(path: Path) -> io.BufferedReader:
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


def decompressed(raw: BinaryIO) -> PlainBytes:
    """``raw`` as plain bytes, whatever compression its first bytes show."""
    buffered = (
        raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", raw))
    )
    head = buffered.peek(6)[:6]
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=buffered)
    if head.startswith(b"\xfd7zXZ\x00"):
        return _Frames(buffered, _xz_frame, padding=b"\0")
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _Frames(buffered, _zstd_frame)
    return buffered


class _Frame(Protocol):
    """What decompresses one frame."""

    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, /) -> bytes: ...


def _zstd_frame() -> _Frame:
    return cast("_Frame", zstandard.ZstdDecompressor().decompressobj())


def _xz_frame() -> _Frame:
    return cast("_Frame", lzma.LZMADecompressor(memlimit=_XZ_MEMORY))


class _Frames:
    """Frames of Zstandard or streams of xz, one after another, as plain bytes.

    The first library's own reader ends without a word amid a frame, as if the rest had never been;
    the second's takes whatever memory a file asks for.
    """

    def __init__(self, raw: BinaryIO, make: Callable[[], _Frame], padding: bytes = b"") -> None:
        """``make`` begins a frame; ``padding`` may stand between them."""
        self._raw, self._make, self._padding = raw, make, padding
        self._frame: _Frame | None = None
        self._rest, self._plain = b"", memoryview(b"")
        self._failed: Exception | None = None

    def read1(self, size: int = -1, /) -> bytes:
        """As that of ``PlainBytes``; a fault is raised when all before it is given."""
        if not self._has_plain() and self._failed is not None:
            raise self._failed
        size = len(self._plain) if size < 0 else size
        piece, self._plain = self._plain[:size], self._plain[size:]
        return bytes(piece)

    def _has_plain(self) -> bool:
        while not self._plain and self._failed is None:
            data = self._rest or self._raw.read(_FRAME_BYTES)
            self._rest = b""
            if not data:
                if self._frame is not None:
                    self._failed = EOFError("it ends amid a frame")
                break
            if self._frame is None and not (data := data.lstrip(self._padding)):
                continue
            frame = self._frame or self._make()
            try:
                self._plain = memoryview(frame.decompress(data))
            except (lzma.LZMAError, zstandard.ZstdError) as error:
                self._failed = error
                break
            self._rest = frame.unused_data
            self._frame = None if frame.eof else frame
        return bool(self._plain)


def read_chunks(
    stream: PlainBytes, size: int = CHUNK_BYTES, most_line: int = MOST_LINE_BYTES
) -> Iterator[Chunk]:
    """Splits ``stream`` into chunks of whole lines of about ``size`` bytes.

    The split depends on the text alone, so that a second run over the same log meets the same
    chunks. A line that exceeds ``most_line`` bytes by more than a chunk, and the place where a
    compressed stream is damaged, come as a chunk with a fault; each counts as one line.
    """
    too_long = f"the line is longer than {most_line >> 20} MiB"
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
        if len(rest) > most_line:
            rest, skipping = b"", True
    if skipping:
        yield Chunk(line, b"", too_long)
        line += 1
    elif rest:
        yield Chunk(line, rest)
        line += 1
    if fault is not None:
        yield Chunk(line, b"", fault)


def read_block(stream: PlainBytes, size: int) -> tuple[bytes, str | None]:
    """The next ``size`` bytes; fewer at the end, with the fault that ended them, if one did."""
    pieces: list[bytes] = []
    wanted = size
    while wanted:
        try:
            # What one call of ``read`` had decompressed before the fault would be lost with it.
            piece = stream.read1(min(wanted, _PIECE_BYTES))
        except STREAM_ERRORS as error:
            return b"".join(pieces), _fault(error)
        if not piece:
            break
        pieces.append(piece)
        wanted -= len(piece)
    return b"".join(pieces), None


def _fault(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"it cannot be read on from here ({error.strerror})"
    return f"the compressed stream is damaged or cut short ({error})"


def _blocks(stream: PlainBytes, size: int) -> Iterator[tuple[bytes, str | None]]:
    """Blocks of exactly ``size`` bytes; the last is shorter and has the fault that ended it."""
    first = True
    while True:
        block, fault = read_block(stream, size)
        yield (block.removeprefix(_BOM) if first else block), fault
        if len(block) < size:
            return
        first = False
