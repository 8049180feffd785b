"""Times and sizes as people read them."""

from __future__ import annotations


def show_seconds(value: float, digits: int = 3) -> str:
    """A time for people: ``3.2 µs``; ``digits`` are significant."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        number = f"{value / scale:.{digits}g}"
        # What is rounded up to the next unit is shown in that.
        if float(number) >= 1 or unit == "ns":
            break
    return f"{number if float(number) < 10**digits else f'{value:.0f}'} {unit}"


def show_bytes(value: float) -> str:
    """A size for people: ``3.2 MiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError
