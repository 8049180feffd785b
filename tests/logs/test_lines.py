from __future__ import annotations

import gzip
import io
import lzma
import random
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from wmhub.logs.lines import Chunk, decompressed, read_chunks

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def chunks(data: bytes, size: int = 64) -> list[Chunk]:
    return list(read_chunks(decompressed(io.BytesIO(data)), size))


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=20),
    size=st.integers(1, 70),
    ended=st.booleans(),
)
def test_chunks_are_the_lines_in_order_with_their_numbers(
    lines: list[bytes], size: int, ended: bool
) -> None:
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    found = list(read_chunks(io.BytesIO(data), size))
    bom = 3 if data.startswith(b"\xef\xbb\xbf") and size >= 3 else 0
    assert b"".join(chunk.data for chunk in found) == data[bom:]
    line = 1
    for chunk in found:
        assert chunk.first_line == line
        assert chunk is found[-1] or chunk.data.endswith(b"\n")
        line += chunk.data.count(b"\n")


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compression_is_recognised(name: str) -> None:
    text = b"".join(b"line %d\n" % number for number in range(1000))
    found = chunks(COMPRESSIONS[name](text))
    assert b"".join(chunk.data for chunk in found) == text


def test_members_and_frames_one_after_another() -> None:
    for compress in (gzip.compress, lzma.compress, COMPRESSIONS["zstd"]):
        found = chunks(compress(b"a\n") + compress(b"b\n"))
        assert b"".join(chunk.data for chunk in found) == b"a\nb\n"


@pytest.mark.parametrize("name", ["gzip", "xz", "zstd"])
def test_a_cut_stream_keeps_what_came_before_and_says_so(name: str) -> None:
    chance = random.Random(1)
    text = b"".join(b"%d\n" % chance.randrange(10**12) for _ in range(50_000))
    data = COMPRESSIONS[name](text)
    found = chunks(data[: len(data) // 2], 1000)
    kept = b"".join(chunk.data for chunk in found)
    assert text.startswith(kept)
    assert len(kept) > 1000
    assert found[-1].fault is not None
    assert "damaged or cut short" in found[-1].fault
    assert found[-1].first_line == kept.count(b"\n") + (not kept.endswith(b"\n")) + 1


@pytest.mark.parametrize("name", ["gzip", "xz", "zstd"])
def test_a_cut_stream_keeps_its_last_block_too(name: str) -> None:
    text = b"".join(b"%d\n" % number for number in range(50_000))
    found = chunks(COMPRESSIONS[name](text)[:-10], 8 << 20)
    kept = b"".join(chunk.data for chunk in found)
    assert text.startswith(kept)
    assert len(kept) > len(text) // 2
    assert found[-1].fault is not None


def test_damage_inside_a_stream_is_a_fault_not_an_error() -> None:
    chance = random.Random(2)
    text = b"".join(b"%d\n" % chance.randrange(10**12) for _ in range(5000))
    for name in ("gzip", "xz", "zstd"):
        data = bytearray(COMPRESSIONS[name](text))
        data[len(data) // 2] ^= 0xFF
        found = chunks(bytes(data), 1000)
        assert b"".join(chunk.data for chunk in found) != text or found[-1].fault


def test_a_line_without_end_is_left_out_in_flat_memory() -> None:
    data = b"a\n" + b"x" * 5000 + b"\nb\n" + b"y" * 5000
    found = list(read_chunks(io.BytesIO(data), 50, most_line=100))
    assert [chunk.first_line for chunk in found] == [1, 2, 3, 4]
    assert [chunk.data for chunk in found] == [b"a\n", b"", b"b\n", b""]
    assert max(len(chunk.data) for chunk in found) <= 150
    assert found[1].fault is not None
    assert "longer than" in found[1].fault


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert chunks(b"\xef\xbb\xbfa\n")[0].data == b"a\n"


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_bomb_is_read_in_flat_memory(name: str) -> None:
    import tracemalloc

    bomb = COMPRESSIONS[name](b"\n" * (64 << 20))
    tracemalloc.start()
    lines = sum(c.data.count(b"\n") for c in read_chunks(decompressed(io.BytesIO(bomb)), 1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == 64 << 20
    assert peak < 16 << 20


def test_streams_of_xz_and_what_lies_between_them_are_read() -> None:
    data = lzma.compress(b"one\n") + b"\0" * 400 + lzma.compress(b"two\n") + b"\0" * 8
    assert [chunk.data for chunk in read_chunks(decompressed(io.BytesIO(data)))] == [b"one\ntwo\n"]


def test_a_file_of_xz_does_not_say_how_much_memory_it_takes() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
    data = lzma.compress(b"one\n", filters=filters)
    (chunk,) = read_chunks(decompressed(io.BytesIO(data)))
    assert chunk.fault is not None
    assert "Memory usage limit" in chunk.fault
