"""A collection that is killed, stopped or cut short, and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasetmaking import collect, die, interrupted
from logmaking import ansor_line, ansor_log

from wmhub.dataset.manifest import MANIFEST
from wmhub.dataset.reader import open_dataset
from wmhub.errors import WmhubError


def collecting(log: Path, output: Path, *, logs: int, workers: int) -> list[str]:
    """The command that collects ``logs`` times a hundred lines, which are written to ``log``."""
    with log.open("w") as file:
        for part in range(logs):
            file.write(ansor_log(100, 5).replace("matmul", f"matmul{part}"))
    command = [sys.executable, "-m", "wmhub", "collect", str(log), "--hardware", "cuda-v100"]
    return [*command, "--output", str(output), "--json", "--workers", str(workers)]


def test_a_chunk_is_not_parsed_twice(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was interrupted goes on: runs of the same chunks are taken up."""
    from wmhub.dataset import ingest

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wmhub.collection.assemble", stop)
    with pytest.raises(KeyboardInterrupt):
        collect(log, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / "out.wmhub/runs").iterdir())) == 1
    monkeypatch.undo()
    monkeypatch.setattr(ingest, "parse_chunk", stop)
    report = collect(log, output=tmp_path / "out")
    assert report.manifest.counts.records == 40
    assert report.counts.failures == {"build_timeout": 4}
    monkeypatch.setattr(ingest, "parse_chunk", stop)
    with log.open("a") as file:
        file.write(ansor_line(timestamp=1) + "\n")
    with pytest.raises(KeyboardInterrupt):
        collect(log, output=tmp_path / "other")


def test_killed_at_any_moment_it_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = collecting(tmp_path / "a.log", out, logs=60, workers=1)
    killed = 0
    for pause in (0.3, 0.6, 0.8, 1.0, 1.2, 1.4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:
            break
        killed += 1
        assert not (out / MANIFEST).exists() or open_dataset(out)
        if (out / MANIFEST).exists():
            break
    assert killed
    if not (out / MANIFEST).exists():
        done = subprocess.run(command, capture_output=True, check=True, env=os.environ)
        assert json.loads(done.stdout)["records"] == 6000
    assert open_dataset(out).manifest.counts.records == 6000


def test_interrupted_with_workers_it_says_one_word_and_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    # Many chunks, so that there is work left long after the first.
    command = collecting(tmp_path / "a.log", out, logs=600, workers=2)
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        # A shell starts what runs in the background with interrupts ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(tmp_path.glob("out.wmhub/runs/*.run")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "error: interrupted"
    assert not out.exists()
    assert list(tmp_path.glob("out.wmhub/runs/*.run"))
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["records"] == 60_000
    assert not list(tmp_path.glob("out.*"))


def test_a_worker_that_dies_is_explained(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.dataset import ingest

    monkeypatch.setattr(ingest, "_FEW_BYTES", 0)
    monkeypatch.setattr(ingest, "_parse", die)
    with pytest.raises(WmhubError, match="a process that parsed logs died"):
        collect(log, output=tmp_path / "out", workers=2)


def test_a_run_that_a_loss_of_power_cut_short_is_made_again(log: Path, tmp_path: Path) -> None:
    runs = interrupted(tmp_path / "out", "runs")
    collect(log, output=tmp_path / "other")
    known: list[Path] = []

    def keep(_progress: object) -> None:
        known.extend(runs.glob("*.run"))
        for path in known:
            path.write_bytes(path.read_bytes()[:100])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(log, output=tmp_path / "out", progress=keep)
    assert known
    assert collect(log, output=tmp_path / "out").manifest.counts.records == 40
