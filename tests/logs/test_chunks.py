"""Every line is accounted for, whatever it holds; and a fuzzer tries to break both parsers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logmaking import ansor_line, ansor_log, meta_database, meta_line

from wmhub.logs.ansor import AnsorReader
from wmhub.logs.chunks import ChunkRecords, ReadCounts, parse_chunk
from wmhub.logs.lines import Chunk
from wmhub.logs.meta_schedule import MetaScheduleReader

KNOWN = frozenset({"SP", "RE", "AN", "PR"})


def parse(data: bytes, scheduler: str = "ansor", first_line: int = 1) -> ChunkRecords:
    reader: Any = (
        AnsorReader("x") if scheduler == "ansor" else MetaScheduleReader("x", "d", ["w" + "0" * 20])
    )
    parsed = parse_chunk(Chunk(first_line, data), "x", reader, KNOWN)
    counts = parsed.counts
    assert counts.lines == counts.measured + counts.failed + counts.rejected
    assert counts.measured + counts.failed == len(parsed.records)
    assert counts.failed == sum(counts.failures.values())
    return parsed


def test_comments_and_blank_lines_are_no_records() -> None:
    data = f"# comment\n\n  \r\n{ansor_line()}\r\n#{ansor_line()}\n".encode()
    counts = parse(data).counts
    assert (counts.lines, counts.measured, counts.skipped) == (1, 1, 4)


def test_damage_touches_no_other_line_and_is_named() -> None:
    lines = [ansor_line(), "{broken", ansor_line(seconds=[0]), ansor_line(error=2, seconds=[1e10])]
    parsed = parse("\n".join([*lines, ansor_line()[:40]]).encode(), first_line=11)
    assert [record.line for record in parsed.records] == [11, 14]
    assert [(r.source, r.line) for r in parsed.rejections] == [("x", 12), ("x", 13), ("x", 15)]
    assert "not positive" in parsed.rejections[1].reason
    assert dict(parsed.counts.failures) == {"compile_host": 1}


def test_unknown_actions_are_kept_and_counted_once_a_record() -> None:
    line = ansor_line(steps=[["NEW", 1], ["NEW", 2], ["SP", 1]])
    parsed = parse(f"{line}\n{line}\n{ansor_line()}\n".encode())
    assert len(parsed.records) == 3
    assert dict(parsed.counts.unknown_actions) == {"NEW": 2}


def test_so_many_unknown_actions_are_counted_together() -> None:
    """Else a log could make memory, manifest and card as long as itself."""
    often = [ansor_line(steps=[["OFTEN", 1]])] * 2
    lines = [ansor_line(steps=[["N" * 1000 + str(n), 1], [f"A{n}", 1]]) for n in range(300)]
    counts = parse("\n".join([*often, *lines]).encode()).counts
    total = ReadCounts()
    for _ in range(2):
        total.add(counts)
    assert total.unknown_actions["OFTEN"] == 4
    assert total.unknown_actions["N" * 60] == 600
    assert total.unknown_actions["(any other)"] == 2 * (300 - 98)
    assert len(total.unknown_actions) == 101
    assert total.unknown_actions.total() == 4 + 600 + 600


def test_a_chunk_with_a_fault_is_one_rejected_line() -> None:
    parsed = parse_chunk(Chunk(9, b"", "cut short"), "x", AnsorReader("x"), KNOWN)
    assert (parsed.counts.lines, parsed.counts.rejected) == (1, 1)
    assert parsed.rejections[0].line == 9


def test_one_huge_number_does_not_cost_the_others_their_digits() -> None:
    huge = 2**80
    data = f"{ansor_line(steps=[['SP', 0, 0, huge]])}\n{ansor_line()}\n".encode()
    records = parse(data).records
    assert str(huge) in records[0].trace
    assert len(records) == 2


HOSTILE = [
    b"[" * 200_000,
    b'{"i":' * 50_000,
    b'{"i": [["k", "t"], [[], []]], "r": [[1e999], 0]}',
    b'{"i": [["k", "t"], [[], []]], "r": [[NaN], 0]}',
    b'{"i": [["k", "t"], [[], []]], "r": [[Infinity], 0]}',
    b'{"i": [["k", "t"], [[], []]], "r": [[' + b"9" * 5000 + b"], 0]}",
    b'{"i": [["k", "t"], [[], []]], "r": [[1e-400], 0]}',
    b"\xff\xfe\x00" * 100,
    b'"' + b"\\ud800" * 100 + b'"',
    b'{"i": null, "r": null}',
    b'{"i": [["\\ud800", "t"], [[], [["SP", 12345678901234567890123]]]], "r": [[1], 0]}',
    b'{"i": [["k", "t"], [[], [["\\ud800", 12345678901234567890123]]]], "r": [[1], 0]}',
    b'{"i": [["k", "t"], [[], [["SP", 1e999, 12345678901234567890123]]]], "r": [[1], 0]}',
    b'{"i": [["k", "t"], [[], [["SP", 1e999, 1234567890123456789]]]], "r": [[1], 0]}',
    b'{"i": [["k", "t"], [[], [["SP", ' + b"[" * 500 + b"]" * 500 + b']]]], "r": [[1], 0]}',
    b"[0, [[[], []], [1], {}, []]]" + b" " * 1000 + b"]",
    b"[999999999999999999999, [[[], []], [1], {}, []]]",
    b'[0, [[[["' + b"x" * 100_000 + b'", [], [], []]], []], [1.0], {}, []]]',
]


@pytest.mark.parametrize("scheduler", ["ansor", "meta"])
@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_lines(scheduler: str, line: bytes) -> None:
    good = (ansor_line() if scheduler == "ansor" else meta_line()).encode()
    parsed = parse(good + b"\n" + line + b"\n" + good, scheduler)
    assert parsed.counts.lines == 3
    assert {record.line for record in parsed.records} >= {1, 3}


@pytest.mark.parametrize("scheduler", ["ansor", "meta"])
def test_fuzz_with_mutated_logs(scheduler: str) -> None:
    """Flips, cuts, doubles and splices bytes of good logs: no exception, no line lost."""
    chance = random.Random(20_240_607)
    text = ansor_log(12) if scheduler == "ansor" else meta_database(12)[1]
    seed = text.encode()
    tokens = [b"[", b"]", b"{", b"}", b'"', b"null", b"1e999", b"-0", b"\\u0000", b",", b"9" * 400]
    rejected = kept = 0
    for _ in range(1500):
        data = bytearray(seed)
        for _ in range(chance.randrange(1, 12)):
            place = chance.randrange(len(data))
            kind = chance.randrange(4)
            if kind == 0:
                data[place] = chance.randrange(256)
            elif kind == 1:
                del data[place : place + chance.randrange(60)]
            elif kind == 2:
                data[place:place] = data[chance.randrange(len(data)) :][: chance.randrange(80)]
            else:
                data[place:place] = chance.choice(tokens)
        parsed = parse(bytes(data), scheduler)
        lines = bytes(data).split(b"\n")
        assert parsed.counts.lines + parsed.counts.skipped == len(lines) - (not lines[-1])
        rejected += parsed.counts.rejected
        kept += len(parsed.records)
    assert rejected > 500
    assert kept > 5000


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_fuzz_with_any_bytes(data: bytes) -> None:
    for scheduler in ("ansor", "meta"):
        parse(data, scheduler)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["i", "r", "v", "x"]), inner, max_size=4)
    ),
    max_leaves=25,
)


@settings(max_examples=300)
@given(json_values)
def test_fuzz_with_any_json(value: Any) -> None:
    import json

    for scheduler in ("ansor", "meta"):
        parse(json.dumps(value).encode(), scheduler)
