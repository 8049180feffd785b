from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from logmaking import ansor_log

from wmhub.errors import LogFormatError
from wmhub.logs.sniff import LogKind, sniff, sniff_file


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b'{"i": [["k"', LogKind.AUTO_SCHEDULER),
        (b'{"v": "v0.6", "i"', LogKind.AUTO_SCHEDULER),
        (b'# comment\n\n{"r": [', LogKind.AUTO_SCHEDULER),
        (b"garbage\n[0, [[[", LogKind.META_SCHEDULE),
        (b'["74459984568761439","U/cA', LogKind.META_SCHEDULE_WORKLOADS),
        (b"\xef\xbb\xbf[12,[", LogKind.META_SCHEDULE),
        (b"", None),
        (b"\x00\xff\xfe", None),
        (b'{"input": ["llvm"', None),
        (b'{\n  "i": 1', None),
    ],
)
def test_sniffing(head: bytes, kind: LogKind | None) -> None:
    assert sniff(head) is kind


@pytest.mark.parametrize("before", ["# comment\n" * 7_000, "\n" * 300_000, "warning!\n" * 60_000])
def test_a_log_that_begins_late_is_a_log(tmp_path: Path, before: str) -> None:
    text = (before + ansor_log()).encode()
    for name, data in (("a.log", text), ("a.log.gz", gzip.compress(text))):
        (tmp_path / name).write_bytes(data)
        assert sniff_file(tmp_path / name) is LogKind.AUTO_SCHEDULER


def test_what_cannot_be_told_is_no_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notes.txt.gz"
    path.write_bytes(gzip.compress(b"notes\n"))
    assert sniff_file(path) is None
    path.write_bytes(gzip.compress(os.urandom(1000))[:500])
    with pytest.raises(LogFormatError, match=r"gz: the compressed stream is damaged or cut short"):
        sniff_file(path)
    path.write_bytes(b"")
    with pytest.raises(LogFormatError, match=r"gz: it does not begin as a \.gz file does"):
        sniff_file(path)

    class Broken:
        """A file on a disk that fails."""

        def read1(self, size: int = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("wmhub.logs.sniff.decompressed", lambda raw: Broken())
    with pytest.raises(LogFormatError, match=r"cannot be read on from here \(Input/output error\)"):
        sniff_file(path)
