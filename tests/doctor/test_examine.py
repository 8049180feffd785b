"""``wmhub doctor`` as a whole."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from wmhub.cli.doctor import command
from wmhub.doctor import hubs, installation, this_machine
from wmhub.doctor.examine import examine
from wmhub.doctor.finding import Finding, Severity


def test_a_look_that_breaks_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def cpu() -> list[Finding]:
        raise RuntimeError("undefined symbol: TVMFFIFoo")

    monkeypatch.setattr(this_machine, "cpu", cpu)
    for slow in ((installation, "tvm_at_work"), (this_machine, "gpu"), (hubs, "checkpoint")):
        monkeypatch.setattr(*slow, list)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    findings = {finding.subject: finding for finding in examine()}
    assert findings["cpu"].severity is Severity.PROBLEM
    assert findings["cpu"].said == "RuntimeError('undefined symbol: TVMFFIFoo')"
    assert {"python", "linker", "threads", "hub"} <= set(findings)


def test_the_command_prints_findings_and_exits_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "wmhub.doctor.examine.examine", lambda: [Finding("tvm", Severity.OK, "here")]
    )
    done = CliRunner().invoke(command, ["--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["problems"] == 0
    bad = Finding("tvm", Severity.PROBLEM, "gone", "bring it back")
    monkeypatch.setattr("wmhub.doctor.examine.examine", lambda: [bad])
    done = CliRunner().invoke(command, ["--json"])
    assert done.exit_code == 2
    assert json.loads(done.stdout)["findings"][0]["remedy"] == "bring it back"
    assert "-> bring it back" in done.stderr


def test_importing_it_loads_no_tvm() -> None:
    code = "import sys, wmhub.doctor.examine; assert not {'tvm', 'torch'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
