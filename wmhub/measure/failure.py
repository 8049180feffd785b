"""What a program failed of, by the text of the error that TVM raised."""

from __future__ import annotations

from collections.abc import Callable

from wmhub.records import FailureKind

_MOST_MESSAGE = 600


def shortened(text: str) -> str:
    """What is kept of an error: its end, where compilers say what was wrong."""
    return text[-_MOST_MESSAGE:]


def attempt(
    step: Callable[[], None], kind_of: Callable[[str], FailureKind]
) -> tuple[FailureKind, str] | None:
    """Why ``step`` failed, of the kind that TVM's text tells; ``None`` where it did not."""
    try:
        step()
    except MemoryError:
        return FailureKind.OUT_OF_MEMORY, "MemoryError"
    except Exception as error:  # TVM raises its own kinds, which differ by version.
        text = f"{type(error).__name__}: {error}"
        return kind_of(text), shortened(text)
    return None


def build_failure(text: str) -> FailureKind:
    """What a program failed of whose build said ``text``."""
    if "bad_alloc" in text or "out of memory" in text.lower():
        return FailureKind.OUT_OF_MEMORY
    device = ("nvcc", "nvrtc", "ptxas", "cuda", "hipcc", "metal")
    if any(word in text.lower() for word in device):
        return FailureKind.COMPILE_DEVICE
    return FailureKind.COMPILE_HOST


def run_failure(text: str) -> FailureKind:
    """What a program failed of that ran and said ``text``."""
    memory = ("bad_alloc", "out of memory", "outofmemory", "cannot allocate", "allocation failed")
    if any(word in text.lower() for word in memory):
        return FailureKind.OUT_OF_MEMORY
    return FailureKind.RUNTIME_DEVICE
