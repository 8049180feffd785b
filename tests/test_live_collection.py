from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from wmhub.dataset.manifest import read_manifest
from wmhub.dataset.reader import open_dataset
from wmhub.errors import (
    HardwareMismatchError,
    InvalidInputError,
    MeasureError,
    OutputExistsError,
    WmhubError,
)
from wmhub.hardware.probe import NoisyMachineWarning
from wmhub.hardware.table import lookup
from wmhub.live_collection import collect_live
from wmhub.measure.journal import read_journal
from wmhub.measure.live import LivePlan, LiveProgress
from wmhub.measure.timing import TimingPlan
from wmhub.names import HardwareKey
from wmhub.records import MeasureRecord

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")

RUN = Path(__file__).parent / "measure" / "live_run.py"


def start(output: Path, candidates: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(RUN), str(output), str(candidates)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def wait_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a worker outlived its engine"
        time.sleep(0.05)


@pytest.mark.filterwarnings("ignore::wmhub.hardware.probe.NoisyMachineWarning")
def test_a_collection_without_a_record_says_what_each_workload_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __init__(self, *_: Any) -> None:
            raise MeasureError("TVM cannot make its design space for llvm: no rule")

    monkeypatch.setattr("wmhub.measure.live.Sampler", Failing)
    names = ["matmul-m16-n16-k16", "dense-m8-n16-k16-bias"]
    own = tmp_path / "own.py"
    own.write_text(
        "from tvm import IRModule, relax\nfrom wmhub.measure import zoo\n"
        "main = zoo.build('matmul-m8-n8-k8')['main']\n"
        "module = IRModule({'own': main, 'puts': relax.ExternFunc('puts')})\n"
        "del main\n"
    )
    with pytest.raises(MeasureError, match="nothing was measured") as caught:
        collect_live(tmp_path / "data", workloads=[*names, str(own)], workers=1)
    for name in (*names, "own"):
        assert f"{name}: TVM cannot make its design space" in str(caught.value)
    assert "puts: ExternFunc is no program" in str(caught.value)


@pytest.mark.slow
def test_kill_9_loses_at_most_the_batch_in_flight_and_the_next_run_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "data"
    journal = tmp_path / "data.wmhub" / "live" / "journal.jsonl"
    moments = random.Random(7)
    kept = 0
    for _ in range(2):
        process = start(output, 9)
        assert process.stdout is not None
        # Wherever it is then: drawing, building, timing or writing.
        first = process.stdout.readline()
        time.sleep(moments.random() * 0.5)
        workers = children_of(process.pid)
        process.kill()
        rest, _ = process.communicate()
        reported = kept + max(map(int, [first, *rest.split()]))
        wait_gone(workers)
        assert not output.exists()
        records = [entry for entry in read_journal(journal) if isinstance(entry, MeasureRecord)]
        assert len(records) >= reported
        kept = len(records)
    counts = finished(start(output, 9))
    assert (counts["records"], counts["duplicates"], counts["workloads"]) == (18, 0, 2)
    assert not journal.parent.exists()
    dataset = open_dataset(output)
    assert str(dataset.hardware).startswith("llvm-")
    assert dataset.manifest.profile is not None


@pytest.mark.slow
def test_ctrl_c_finishes_the_batch_and_the_dataset_and_later_runs_add_to_it(tmp_path: Path) -> None:
    output = tmp_path / "data"
    process = start(output, 60)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGINT)
    first = finished(process)
    assert first["interrupted"]
    assert 3 <= first["records"] < 120
    second = finished(start(output, 3))
    assert not second["interrupted"]
    assert second["records"] == first["records"] + 6
    assert str(open_dataset(output).manifest.version) == "1.1.0"


def test_a_folder_that_is_no_dataset_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputExistsError):
        collect_live(tmp_path)
    assert (tmp_path / "file").read_text() == "mine"


def test_devices_elsewhere_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--hardware"):
        collect_live(tmp_path / "data", rpc="127.0.0.1:1/board")


def test_devices_elsewhere_that_no_table_knows_need_their_numbers(tmp_path: Path) -> None:
    known = lookup(HardwareKey.parse("llvm-haswell-64c"))
    assert known is not None
    key = HardwareKey.parse("llvm-unheardof-64c")
    place = {"hardware": str(key), "rpc": "127.0.0.1:1/board"}
    with pytest.raises(InvalidInputError, match="no table knows llvm-unheardof-64c"):
        collect_live(tmp_path / "data", **place)  # type: ignore[arg-type]
    with pytest.raises(HardwareMismatchError, match="the profile is of llvm-haswell-64c"):
        collect_live(tmp_path / "data", profile=known, **place)  # type: ignore[arg-type]
    numbers = dataclasses.replace(known, key=key)
    with pytest.raises(MeasureError, match="the tracker does not answer"):
        collect_live(tmp_path / "data", profile=numbers, **place)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="this machine is probed"):
        collect_live(tmp_path / "data", profile=numbers)


def test_a_tracker_that_is_not_there_is_told_before_anything_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmhub.measure.sources.extract", None)
    with pytest.raises(MeasureError, match="device 'board': the tracker does not answer"):
        collect_live(
            tmp_path / "data",
            hardware="llvm-haswell-64c",
            rpc="127.0.0.1:1/board",
        )
    assert not list(tmp_path.iterdir())


def test_of_a_damaged_journal_all_good_lines_become_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, journal = tmp_path / "data", tmp_path / "data.wmhub" / "live" / "journal.jsonl"
    given: dict[str, Any] = {
        "workloads": ["matmul-m64-n64-k64"],
        "timing": TimingPlan(rounds=1, extra_rounds=0),
        "plan": LivePlan(candidates=3, batch=3),
        "workers": 1,
    }

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with warnings.catch_warnings(), monkeypatch.context() as patch:
        warnings.simplefilter("ignore", NoisyMachineWarning)
        patch.setattr("wmhub.live_collection.dataset_of", killed)
        with pytest.raises(KeyboardInterrupt):
            collect_live(output, **given)
        patch.undo()
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join([*lines[:-2], lines[-2][:50] + b"\n", lines[-1]]))
        report = collect_live(output, **given)
    (rejection,) = report.rejections
    assert rejection.line == 4
    # The two good ones, and one in the place of the third.
    assert (report.manifest.counts.records, report.manifest.counts.rejected) == (3, 1)
    assert report.journal is not None
    assert report.journal.read_bytes().splitlines(keepends=True)[:3] == lines[:3]
    assert not journal.parent.exists()


def test_a_contributor_whose_name_cannot_be_written_is_refused_before_anything_is_prepared(
    tmp_path: Path,
) -> None:
    with pytest.raises(InvalidInputError, match="contributor"):
        collect_live(tmp_path / "data", contributor="Ada \udcff")
    assert not list(tmp_path.iterdir())


def test_this_machine_is_not_taken_for_another(tmp_path: Path) -> None:
    with pytest.raises(HardwareMismatchError, match="not llvm-haswell-64c"):
        collect_live(tmp_path / "data", hardware="llvm-haswell-64c")


def test_what_makes_no_sense_is_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="tracker"):
        collect_live(tmp_path / "out", workloads=["matmul-m8-n8-k8"], rpc="pi")
    with pytest.raises(WmhubError, match="v1"):
        collect_live(tmp_path / "out", workloads=["matmul-m8-n8-k8"], version="v1")
    assert not list(tmp_path.iterdir())


def test_a_dataset_that_grows_keeps_its_profile_and_its_way_of_timing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.hardware import probe

    output = tmp_path / "out"
    given: dict[str, Any] = {
        "workloads": ["matmul-m64-n64-k64"],
        "timing": TimingPlan(rounds=1, extra_rounds=0),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoisyMachineWarning)
        collect_live(output, plan=LivePlan(candidates=2, batch=2), **given)
        first = read_manifest(output).profile
        assert first is not None
        examine = probe.examine

        def other_numbers(*asked: Any, **options: Any) -> Any:
            found = examine(*asked, **options)
            faster = dataclasses.replace(found.profile, peak_flops=2 * found.profile.peak_flops)
            return dataclasses.replace(found, profile=faster)

        monkeypatch.setattr(probe, "examine", other_numbers)
        report = collect_live(output, plan=LivePlan(candidates=2, batch=2, seed=1), **given)
        cold = dataclasses.replace(given.pop("timing"), flush_cache=True)
        with pytest.raises(InvalidInputError, match="measured without emptying caches"):
            collect_live(output, timing=cold, **given)
        assert collect_live(
            tmp_path / "cold", plan=LivePlan(candidates=2, batch=2), timing=cold, **given
        ).manifest.is_cold
    assert report.manifest.counts.records > 2
    assert read_manifest(output).profile == first
    assert "caches were emptied" in (tmp_path / "cold" / "README.md").read_text()


def test_ctrl_c_before_the_first_batch_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> LiveProgress:
        os.kill(os.getpid(), signal.SIGINT)
        return LiveProgress()

    monkeypatch.setattr("wmhub.live_collection.measure_live", interrupted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoisyMachineWarning)
        with pytest.raises(KeyboardInterrupt):
            collect_live(tmp_path / "out", workloads=["matmul-m8-n8-k8"], workers=1)
