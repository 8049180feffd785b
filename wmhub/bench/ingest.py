"""How fast a log becomes a finished dataset, and in how much memory."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wmhub.collection import collect
from wmhub.dataset.ingest import ReadProgress
from wmhub.hardware.machine import read_cpu
from wmhub.logs.discover import discover
from wmhub.logs.lines import decompressed, open_raw

_SAMPLE_SECONDS = 0.05
_BLOCK_BYTES = 1 << 20
_RECORDS_PER_WORKLOAD = 1000


#: Made up where no log is given.
RECORDS = 250_000


@dataclass(frozen=True)
class IngestResult:
    """What one run of the benchmark measured."""

    lines: int
    """Lines read."""
    text_bytes: int
    """Their length in bytes, decompressed."""
    workers: int
    """Processes that parsed."""
    seconds: float
    """Wall time from the first byte read to the finished dataset."""
    records_per_second: float
    """Lines that hold a record, over ``seconds``."""
    peak_rss_bytes: int
    """Sum over all processes of each one's largest resident set: an upper bound of the peak."""


def ingest(
    logs: Sequence[str | Path] = (),
    *,
    records: int = RECORDS,
    repeat: int = 1,
    workers: int | None = None,
    progress: Callable[[ReadProgress], None] | None = None,
) -> IngestResult:
    """Collects ``logs`` ``repeat`` times over into a dataset that is thrown away.

    Without logs, one Ansor log of ``records`` made-up distinct records is read: a thousand of each
    workload, of the length of real ones.
    """
    workers = workers or read_cpu().usable_threads
    with tempfile.TemporaryDirectory(prefix="wmhub-bench-") as name:
        folder = Path(name)
        inputs = folder / "logs"
        inputs.mkdir()
        for turn in range(repeat):
            if logs:
                _copy(logs, inputs / f"{turn:03d}")
            else:
                _make_log(inputs / f"{turn:03d}.log", records, seed=turn)
        length = sum(_length(path) for path in inputs.rglob("*") if path.is_file())
        with _peak_memory() as peak:
            report = collect(
                [inputs],
                folder / "dataset",
                hardware="cuda-v100",
                workers=workers,
                progress=progress,
            )
    held = report.counts.measured + report.counts.failed
    return IngestResult(
        lines=report.counts.lines,
        text_bytes=length,
        workers=workers,
        seconds=round(report.seconds, 3),
        records_per_second=round(held / report.seconds, 1),
        peak_rss_bytes=peak(),
    )


@contextmanager
def _peak_memory() -> Iterator[Callable[[], int]]:
    """Watches this process and its children; the sum of the largest resident set of each."""
    peaks: dict[int, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            for pid in _processes(os.getpid()):
                peaks[pid] = max(peaks.get(pid, 0), _largest_resident(pid))

    # The high-water mark of this process is from before; without permission it stays.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: sum(peaks.values())
    finally:
        done.set()
        watcher.join()


def _processes(root: int) -> list[int]:
    found = [root]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def _largest_resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    _, _, rest = status.partition("VmHWM:")
    return int(rest.split()[0]) * 1024 if rest else 0


def _copy(logs: Sequence[str | Path], folder: Path) -> None:
    for log in discover(logs).logs:
        if log.path is None:
            continue
        for path in (log.path, log.workloads):
            if path is not None:
                target = folder / Path(log.source).parent / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


def _length(path: Path) -> int:
    with open_raw(path) as raw:
        stream = decompressed(raw)
        return sum(map(len, iter(lambda: stream.read1(_BLOCK_BYTES), b"")))


def _make_log(path: Path, records: int, seed: int) -> None:
    """An Ansor log of distinct made-up convolutions for a GPU, some of which failed."""
    chance = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(records):
            workload = seed * records + number // _RECORDS_PER_WORKLOAD
            failed = chance.random() < 0.02
            seconds = "1e+10" if failed else f"{chance.lognormvariate(-6, 1):.6g}"
            file.write(
                _LINE.format(
                    workload=workload,
                    tiles=", ".join(_split(chance, 10 * axis) for axis in range(5)),
                    order=", ".join(map(str, range(30))),
                    annotations=", ".join(_annotate(chance, stage) for stage in range(6)),
                    seconds=seconds,
                    error=4 if failed else 0,
                    wall=f"{chance.uniform(1, 6):.6g}",
                    time=1637575039 + number,
                )
            )


_LINE = (
    '{{"i": [["[\\"made_up_conv2d\\", {workload}, 128, 56, 56, 64, 3, 3]", "cuda -keys=cuda,gpu '
    '-max_num_threads=1024 -thread_warp_size=32", [-1, 16, 64, 49152, 2147483647, 1024, 8, 32], '
    '"", 0, []], [[], [["CHW", 3, "local"], {tiles}, ["RE", 3, [{order}]], {annotations}, '
    '["PR", 5, 0, "auto_unroll_max_step$512"]]]], "r": [[{seconds}], {error}, {wall}, {time}], '
    '"v": "v0.6"}}\n'
)


def _split(chance: random.Random, iterator: int) -> str:
    lengths = [chance.choice((1, 2, 4, 7, 8, 16)) for _ in range(4)]
    return f'["SP", 3, {iterator}, {1 << 14}, {lengths}, 1]'


def _annotate(chance: random.Random, stage: int) -> str:
    return (
        f'["FSP", {stage}, {chance.randrange(16)}, 1, 3], ["CA", {stage}, 4, 11], '
        f'["FU", {stage}, [0, 1, 2, 3]], ["AN", {stage}, 0, {chance.randrange(1, 11)}]'
    )
