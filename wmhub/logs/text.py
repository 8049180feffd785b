"""JSON as logs have it: parsed fast, exactly, and without trust in what it holds."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

_DIGITS = bytes(48 if 48 <= code <= 57 else code for code in range(256))
_LONG_NUMBER = b"0" * 19
_KIND = re.compile(r"[a-z][a-z0-9_]*\Z")
_ONLY_LISTS = frozenset({list})


class RejectedLineError(ValueError):
    """A line that holds no record; the message is the reason, for the report."""


def has_long_number(text: bytes) -> bool:
    """Whether ``text`` holds 19 digits in a row: numbers that orjson would round."""
    return _LONG_NUMBER in text.translate(_DIGITS)


def parse(line: bytes, exact: bool) -> Any:
    """The JSON value in ``line``; with ``exact``, integers of any size keep every digit.

    Raises ``RejectedLineError``.
    """
    try:
        if not exact:
            return orjson.loads(line)
        value = json.loads(
            line.decode(), parse_constant=_refuse_constant, parse_float=_finite_float
        )
        compact(value)  # refuses what orjson refuses above: lone surrogates
        return value
    except RejectedLineError:
        raise
    except (ValueError, RecursionError) as error:
        reason = str(error).partition(": line")[0].partition(" (char")[0]
        raise RejectedLineError(f"no valid JSON: {reason}"[:200]) from None


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise RejectedLineError(f"no valid JSON: the number {text[:20]} is out of range")
    return value


def compact(value: Any) -> str:
    """``value`` as compact JSON text; the inverse of ``parse``. Raises ``RejectedLineError``."""
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):  # integers beyond 64 bits, deep nesting
        pass
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError) as error:
        raise RejectedLineError(f"not to be written as JSON: {error}"[:200]) from None
    return text


def first_names(items: list[Any], reason: str) -> set[str]:
    """The distinct first elements of ``items``; rejects with ``reason`` unless each item is a list
    that begins with text.
    """
    # This runs over every step of every record, so what can be is asked of the few names alone.
    try:
        names = {item[0] for item in items}
    except (LookupError, TypeError):
        raise RejectedLineError(reason) from None
    for name in names:
        if type(name) is not str:
            raise RejectedLineError(reason)
        # Text of two letters or more is the first element of nothing but a list.
        if len(name) < 2 and not _ONLY_LISTS.issuperset(map(type, items)):
            raise RejectedLineError(reason)
    return names


def finite(value: Any) -> float | None:
    """``value`` as a float if it is a finite number, else ``None``. A boolean is no number."""
    if type(value) is not float and type(value) is not int:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def shortest_number(value: float) -> str:
    """``value`` as C++ streams print it: six digits where they are exact, else all it takes."""
    short = f"{value:.6g}"
    return short if float(short) == value else repr(value)


def _refuse_constant(name: str) -> Any:
    raise RejectedLineError(f"no valid JSON: {name} is no number")


def target_kind(target: str) -> str:
    """Kind of a target from its compact JSON text (``cuda``, ``llvm``); ``""`` where it tells none.

    A target is text such as ``cuda -arch=sm_70``, an object that names its kind (which may stand in
    a text, too), or a tag such as ``raspberry-pi/4b-aarch64``, which only TVM can look up.
    """
    try:
        value = orjson.loads(target)
        if isinstance(value, str) and value.startswith("{"):
            value = orjson.loads(value)
    except orjson.JSONDecodeError:
        return ""
    kind = value.get("kind", "") if isinstance(value, dict) else str(value).partition(" ")[0]
    return kind if isinstance(kind, str) and _KIND.match(kind) else ""


def check_target(target: Any) -> None:
    """Raises ``RejectedLineError`` for a parsed target that is neither text nor an object."""
    if type(target) is not str and type(target) is not dict:
        raise RejectedLineError("the target is neither text nor an object")
