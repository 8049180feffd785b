"""One lock for the whole machine: many processes may build at once, one may time, alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from wmhub.errors import MeasureError


class Turn:
    """What one of several workers of an engine holds while its programs run.

    The others go on when it pauses, ends or dies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Held while programs run; waits for it as long as it takes."""
        with _opened(self._path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield


class MachineLock:
    """Builds hold it shared, timings hold it alone, across all processes of this user.

    Two that measure at once, or a build beside a measurement, ruin the numbers on few cores.
    """

    def __init__(self, path: Path | None = None, timeout_seconds: float = 600.0) -> None:
        folder = Path(tempfile.gettempdir())
        self.path = path or folder / f"wmhub-measure-{os.getuid()}.lock"
        self._timeout_seconds = timeout_seconds

    def turn(self, device: str = "") -> Path:
        """The file on which the workers of whoever holds it take turns on a device, whose name is
        empty for the CPU."""
        return self.path.with_suffix(f".{device}.turn" if device else ".turn")

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Held while programs are compiled."""
        with self._held(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def timing(self) -> Iterator[None]:
        """Held while a program is timed; raises ``MeasureError`` when it cannot be had."""
        with self._held(fcntl.LOCK_EX):
            yield

    @contextlib.contextmanager
    def _held(self, kind: int) -> Iterator[None]:
        deadline = time.monotonic() + self._timeout_seconds
        with _opened(self.path) as descriptor:
            # Whoever wants it alone holds the gate meanwhile: else those that share it, and come
            # and go, would never leave it to him.
            with _opened(self.path.with_suffix(".gate")) as gate:
                self._wait(gate, kind, deadline)
                self._wait(descriptor, kind, deadline)
            yield

    def _wait(self, descriptor: int, kind: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise MeasureError(
                        f"others have been building or measuring for {self._timeout_seconds:.0f} s "
                        f"({self.path} is locked): wait for them or stop them"
                    ) from None
                time.sleep(0.02)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of the file ``path``, which is made where it is missing."""
    # Not followed where it is a link: the folder of temporary files is everyone's.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
