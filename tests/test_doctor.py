from __future__ import annotations

import io
import json
import subprocess
import sys
import urllib.request
from importlib import metadata

import pytest
from click.testing import CliRunner

from wmhub import doctor, tvm_compat
from wmhub.cli.doctor import command
from wmhub.doctor import Finding, Severity


def only(findings: object) -> Finding:
    (finding,) = list(findings)  # type: ignore[call-overload]
    return finding


def versions(core: str | None, ffi: str | None) -> dict[str, str | None]:
    return {"apache-tvm": core, "apache-tvm-ffi": ffi}


def test_the_crashing_pair_is_a_problem_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tvm_compat, "tvm_versions", lambda: versions("0.27.0.post1", "0.1.15.post1")
    )
    finding = next(iter(doctor._tvm()))
    assert finding.severity is Severity.PROBLEM
    assert "crashes" in finding.said
    assert finding.remedy.startswith("pip install")
    # It is not tried out: it would crash.
    assert list(doctor._tvm_at_work()) == []


def test_a_missing_tvm_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm_compat, "tvm_versions", lambda: versions(None, None))
    assert only(doctor._tvm()).remedy == 'pip install "wmhub[tvm]"'


@pytest.mark.tvm
def test_a_kernel_is_built_and_run() -> None:
    pytest.importorskip("tvm")
    finding = only(doctor._tvm_at_work())
    assert finding.severity is Severity.OK, finding
    assert "LLVM" in finding.said


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
    monkeypatch.setattr(doctor.shutil, "which", found.get)
    monkeypatch.setattr(tvm_compat, "tvm_versions", lambda: versions("0.27.0", "0.1.14"))
    monkeypatch.setattr(
        doctor.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, status)
    )
    gpu, cuda = doctor._gpu()
    assert gpu == Finding("gpu", Severity.OK, "NVIDIA H200")
    assert cuda.severity is severity
    assert said in cuda.said
    assert bool(cuda.remedy) == (severity is Severity.NOTE)


def test_a_crash_of_tvm_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm_compat, "tvm_versions", lambda: versions("0.27.0", "0.1.14"))
    monkeypatch.setattr(doctor, "_TRIAL", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    finding = only(doctor._tvm_at_work())
    assert finding.severity is Severity.PROBLEM
    assert "-11" in finding.said


def test_packages_are_held_against_the_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["click>=999", "no-such-package>=1", "rich>=1",
                                            'absent-extra; extra == "dev"']
    )  # fmt: skip
    findings = {finding.subject: finding for finding in doctor._packages()}
    assert findings["click"].severity is Severity.PROBLEM
    assert findings["click"].remedy == 'pip install "click>=999"'
    assert findings["no-such-package"].said == "is not installed"
    assert findings["packages"].said.startswith("rich ")
    assert "absent-extra" not in findings


def test_a_missing_linker_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert only(doctor._compiler()).severity is Severity.NOTE


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://user:secret@127.0.0.1:9",
        "http://user:se@cret@127.0.0.1:9/hub",
        "http://user:secret@127.0.0.1:port",
        "user:secret@127.0.0.1",
        "http://127.0.0.1:9/?token=secret",
    ],
)
def test_an_unreachable_hub_is_a_note_without_the_password(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    finding = only(doctor._hub())
    assert finding.severity is Severity.NOTE
    assert "127.0.0.1" in finding.said
    assert "cret" not in finding.said + finding.remedy
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    finding = only(doctor._hub())
    assert finding.severity is Severity.OK
    assert "cret" not in finding.said


def test_a_hub_is_asked_without_the_login_of_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(request: urllib.request.Request, timeout: float) -> io.BytesIO:
        asked.append(request.full_url)
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", answer)
    monkeypatch.setenv("HF_ENDPOINT", "https://ada:hunter2secret@mirror.invalid:8443")
    assert only(doctor._hub()).said.startswith("https://mirror.invalid:8443 answered")
    assert asked == ["https://mirror.invalid:8443"]


def test_a_look_that_breaks_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def _cpu() -> list[Finding]:
        raise RuntimeError("undefined symbol: TVMFFIFoo")

    monkeypatch.setattr(doctor, "_cpu", _cpu)
    for slow in ("_tvm_at_work", "_gpu", "_model"):
        monkeypatch.setattr(doctor, slow, list)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    findings = {finding.subject: finding for finding in doctor.examine()}
    assert findings["cpu"].severity is Severity.PROBLEM
    assert findings["cpu"].said == "RuntimeError('undefined symbol: TVMFFIFoo')"
    assert {"python", "linker", "threads", "hub"} <= set(findings)


def test_the_command_prints_findings_and_exits_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("tvm", Severity.OK, "here")])
    done = CliRunner().invoke(command, ["--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["problems"] == 0
    bad = Finding("tvm", Severity.PROBLEM, "gone", "bring it back")
    monkeypatch.setattr(doctor, "examine", lambda: [bad])
    done = CliRunner().invoke(command, ["--json"])
    assert done.exit_code == 2
    assert json.loads(done.stdout)["findings"][0]["remedy"] == "bring it back"
    assert "-> bring it back" in done.stderr


def test_importing_it_loads_no_tvm() -> None:
    import subprocess

    code = "import sys, wmhub.doctor; assert not {'tvm', 'torch'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_any_compiler_that_tvm_takes_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CXX", "CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("shutil.which", {"gcc": "/bin/gcc", "zig": "/opt/zig"}.get)
    assert only(doctor._compiler()).said == "/bin/gcc"
    monkeypatch.setenv("CXX", "zig")
    assert only(doctor._compiler()).said == "/opt/zig"
    # TVM takes what is named and looks for no other.
    monkeypatch.setenv("CXX", "nope")
    assert "'nope'" in only(doctor._compiler()).said
    assert only(doctor._compiler()).severity is Severity.NOTE
