"""Compiler and GPU."""

from __future__ import annotations

import subprocess

import pytest
from looking import only, versions

from wmhub import tvm_compat
from wmhub.doctor import this_machine
from wmhub.doctor.finding import Finding, Severity


@pytest.mark.parametrize(
    ("status", "nvcc", "severity", "said"),
    [
        (1, "/cuda/bin/nvcc", Severity.NOTE, "runtime does not load"),
        (0, None, Severity.NOTE, "no nvcc"),
        (0, "/cuda/bin/nvcc", Severity.OK, "/cuda/bin/nvcc compiles"),
    ],
)
def test_a_gpu_of_nvidia_needs_tvms_runtime_and_a_compiler(
    monkeypatch: pytest.MonkeyPatch, status: int, nvcc: str | None, severity: Severity, said: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda number: "NVIDIA H200")
    found = {"nvcc": nvcc, "nvidia-smi": "/usr/bin/nvidia-smi"}
    monkeypatch.setattr(this_machine.shutil, "which", found.get)
    monkeypatch.setattr(tvm_compat, "tvm_versions", lambda: versions("0.27.0", "0.1.14"))
    monkeypatch.setattr(
        this_machine.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, status),
    )
    gpu, cuda = this_machine.gpu()
    assert gpu == Finding("gpu", Severity.OK, "NVIDIA H200")
    assert cuda.severity is severity
    assert said in cuda.said
    assert bool(cuda.remedy) == (severity is Severity.NOTE)


def test_a_missing_linker_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert only(this_machine.compiler()).severity is Severity.NOTE


def test_any_compiler_that_tvm_takes_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("shutil.which", {"gcc": "/bin/gcc", "zig": "/opt/zig"}.get)
    assert only(this_machine.compiler()).said == "/bin/gcc"
    monkeypatch.setenv("CXX", "zig")
    assert only(this_machine.compiler()).said == "/opt/zig"
    # TVM takes what is named and looks for no other.
    monkeypatch.setenv("CXX", "nope")
    assert "'nope'" in only(this_machine.compiler()).said
    assert only(this_machine.compiler()).severity is Severity.NOTE
