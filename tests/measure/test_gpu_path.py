"""Everything of the GPU path up to the launch; no GPU is needed, TVM's CUDA compiler is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.hardware import known
from wmhub.measure import zoo
from wmhub.measure.candidate import Program
from wmhub.measure.engine import Engine
from wmhub.measure.lock import MachineLock
from wmhub.measure.programs import save_program, trivial_program
from wmhub.measure.targets import target_of
from wmhub.names import HardwareKey
from wmhub.records import FailureKind
from wmhub.tvm_compat import use_target

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


@pytest.mark.parametrize("row", known(), ids=lambda row: f"{row.backend}-{row.device}")
def test_every_known_device_has_a_target(row: object) -> None:
    backend, device = row.backend, row.device  # type: ignore[attr-defined]
    target = target_of(HardwareKey(backend, device, 4 if backend == "llvm" else None))
    assert target["kind"] == backend
    assert (target.get("num-cores") == 4) == (backend == "llvm")


def test_an_unknown_device_needs_its_target_told() -> None:
    with pytest.raises(InvalidInputError, match=r'\{"kind": "cuda"'):
        target_of(HardwareKey("cuda", "nothing-we-know"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no CUDA compiler")
def test_gpu_candidates_are_drawn_compiled_and_fail_only_at_the_launch(tmp_path: Path) -> None:
    import torch

    from wmhub.measure.sampling import Sampler

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    target = target_of(HardwareKey("cuda", "h200"))
    drawn = Sampler(zoo.build("matmul-m256-n256-k256"), target, 1).random(2)
    lock = MachineLock(tmp_path / "lock")
    with Engine(target, workers=1, check=False, build_timeout_seconds=120.0, lock=lock) as engine:
        ids = engine.build([Program(candidate.module) for candidate in drawn])
        assert [engine.outcome(id_) for id_ in ids] == [None, None]
        results = engine.run(ids)
    assert {result.failure for result in results} == {FailureKind.RUNTIME_DEVICE}
    assert all("cuda" in result.message.lower() for result in results)


#: A driver without a device, which notes what process spoke with it. TVM's CUDA runtime loads with
#: it; the CUDA runtime below asks the driver for everything through ``cuGetProcAddress``.
_DRIVER = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int noted(void) {
    FILE *file = fopen(getenv("DRIVER_LOG"), "a");
    fprintf(file, "%d\\n", (int)getpid());
    fclose(file);
    return 100;
}
"""
_CALLS = (
    "cuInit", "cuDriverGetVersion", "cuGetProcAddress", "cuGetProcAddress_v2", "cuDeviceGetName",
    "cuFuncSetAttribute", "cuGetErrorName", "cuGetErrorString", "cuLaunchKernelEx",
    "cuModuleGetFunction", "cuModuleLoadData", "cuModuleUnload", "cuTensorMapEncodeTiled",
)  # fmt: skip


@pytest.fixture
def driver_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TVM's CUDA runtime on a driver that has no device; the file holds who spoke with it."""
    if shutil.which("nvcc") is None or shutil.which("gcc") is None:
        pytest.skip("no CUDA compiler")
    source, log = tmp_path / "driver.c", tmp_path / "driver.log"
    source.write_text(_DRIVER + "".join(f"int {call}() {{ return noted(); }}\n" for call in _CALLS))
    library = tmp_path / "libcuda.so.1"
    soname = f"-Wl,-soname,{library.name}"
    subprocess.run(["gcc", "-shared", "-fPIC", soname, "-o", library, source], check=True)
    paths = [
        str(tmp_path),
        "/usr/local/cuda/lib64",
        *os.environ.get("LD_LIBRARY_PATH", "").split(":"),
    ]
    monkeypatch.setenv("LD_LIBRARY_PATH", ":".join(paths))
    monkeypatch.setenv("DRIVER_LOG", str(log))
    enabled = "import sys, tvm; sys.exit(not tvm.runtime.enabled('cuda'))"
    if subprocess.run([sys.executable, "-c", enabled], check=False).returncode != 0:
        pytest.skip("TVM's CUDA runtime does not load here")
    log.unlink(missing_ok=True)
    return log


@pytest.mark.slow
def test_workers_compile_for_cuda_and_leave_the_driver_to_those_that_run_programs(
    driver_log: Path, tmp_path: Path
) -> None:
    target = target_of(HardwareKey("cuda", "h200"))
    program = Program(save_program(trivial_program(use_target(target, intrinsics=False))))
    lock = MachineLock(tmp_path / "lock")
    with Engine(target, workers=1, check=False, build_timeout_seconds=120.0, lock=lock) as engine:
        for _ in range(2):
            # A program that is dropped is not freed, or the driver would be asked.
            (result,) = engine.measure([program])
            assert result.failure is FailureKind.RUNTIME_DEVICE
            assert "CUDA" in result.message
        (worker,) = engine.pids
        spoke = set(map(int, driver_log.read_text().split()))
        # Else no child that this worker forks could use the device.
        assert spoke
        assert worker not in spoke


@pytest.mark.slow
def test_a_missing_gpu_ends_the_collection_before_it_begins(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    target = target_of(HardwareKey("cuda", "h200"))
    with (
        pytest.raises(MeasureError, match="not even a trivial program can be run"),
        Engine(target, workers=1, lock=MachineLock(tmp_path / "lock")) as engine,
    ):
        engine.wait_ready()
