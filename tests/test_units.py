from __future__ import annotations

import pytest

from wmhub.units import show_bytes, show_seconds


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (2.5, "2.5 s"),
        (0.0012, "1.2 ms"),
        (3e-6, "3 µs"),
        (5e-9, "5 ns"),
        (999.6e-6, "1 ms"),
        (1234.0, "1234 s"),
        (999.7, "1000 s"),
    ],
)
def test_times_for_people(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown


def test_latencies_that_are_compared_have_more_digits() -> None:
    assert show_seconds(1.23456e-3, 4) == "1.235 ms"


def test_sizes_for_people() -> None:
    assert [show_bytes(n) for n in (0, 1023, 1536, 5 << 30)] == [
        "0 bytes",
        "1023 bytes",
        "1.5 KiB",
        "5.0 GiB",
    ]
