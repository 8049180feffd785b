"""Python, the packages, and TVM."""

from __future__ import annotations

from importlib import metadata

import pytest
from looking import only, versions

from wmhub import tvm_compat
from wmhub.doctor import installation
from wmhub.doctor.finding import Severity


def test_the_crashing_pair_is_a_problem_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tvm_compat, "tvm_versions", lambda: versions("0.27.0.post1", "0.1.15.post1")
    )
    finding = next(iter(installation.tvm()))
    assert finding.severity is Severity.PROBLEM
    assert "crashes" in finding.said
    assert finding.remedy.startswith("pip install")
    # It is not tried out: it would crash.
    assert list(installation.tvm_at_work()) == []


def test_a_missing_tvm_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm_compat, "tvm_versions", lambda: versions(None, None))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert only(installation.tvm()).remedy == 'pip install "wmhub[tvm]"'
    assert list(installation.tvm_at_work()) == []


def test_a_tvm_that_was_built_from_source_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm_compat, "tvm_versions", lambda: versions(None, None))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    finding = next(iter(installation.tvm()))
    assert (finding.severity, finding.said.partition(":")[0]) == (Severity.OK, "built from source")
    monkeypatch.setattr(installation, "_TRIAL", 'print("[22, \\"znver4\\", 0.5]")')
    assert "LLVM 22 compiles for znver4" in only(installation.tvm_at_work()).said


@pytest.mark.tvm
def test_a_kernel_is_built_and_run() -> None:
    pytest.importorskip("tvm")
    finding = only(installation.tvm_at_work())
    assert finding.severity is Severity.OK, finding
    assert "LLVM" in finding.said


def test_a_crash_of_tvm_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm_compat, "tvm_versions", lambda: versions("0.27.0", "0.1.14"))
    monkeypatch.setattr(
        installation, "_TRIAL", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    )
    finding = only(installation.tvm_at_work())
    assert finding.severity is Severity.PROBLEM
    assert "-11" in finding.said


def test_packages_are_held_against_the_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["click>=999", "no-such-package>=1", "rich>=1",
                                            'absent-extra; extra == "dev"']
    )  # fmt: skip
    findings = {finding.subject: finding for finding in installation.packages()}
    assert findings["click"].severity is Severity.PROBLEM
    assert findings["click"].remedy == 'pip install "click>=999"'
    assert findings["no-such-package"].said == "is not installed"
    assert findings["packages"].said.startswith("rich ")
    assert "absent-extra" not in findings
