"""Processes that are started look in no current directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wmhub
from wmhub import children
from wmhub.children import code_command, module_command, safely_started
from wmhub.dataset.workers import in_order
from wmhub.hardware.calibrate import calibrate

PACKAGE = Path(wmhub.__file__).parent


@pytest.fixture
def traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory whose modules leave the file ``caught`` where one of them is imported.

    Returns that file, which is not there yet.
    """
    here = tmp_path / "here"
    caught = tmp_path / "caught"
    (here / "wmhub").mkdir(parents=True)
    trap = f"open({str(caught)!r}, 'a').write(__name__)\nraise SystemExit(3)\n"
    for name in ("torch", "numpy", "json", "runpy", "socket", "random", "multiprocessing"):
        (here / f"{name}.py").write_text(trap)
    (here / "wmhub" / "__init__.py").write_text(trap)
    monkeypatch.chdir(here)
    # As an interactive Python has it, where a trap would catch this process as well.
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    return caught


def test_python_itself_falls_into_the_trap(traps: Path) -> None:
    subprocess.run([sys.executable, "-c", "import json"], check=False)
    assert traps.read_text() == "json"


@pytest.mark.parametrize("module", ["torch", "json", "wmhub"])
def test_code_imports_what_this_process_imports(traps: Path, module: str) -> None:
    code = f"import {module}; print({module}.__file__)"
    done = subprocess.run(code_command(code), capture_output=True, text=True, check=True)
    assert not done.stdout.startswith(str(Path.cwd()))
    assert not traps.exists()


def test_a_module_is_run_as_python_runs_it(traps: Path, tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text("import sys, wmhub\nprint(__name__, *sys.argv[1:])\n")
    sys.path.append(str(tmp_path))  # Which the fixture puts back.
    command = module_command("says", "a b", "'")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "__main__ a b '\n"
    assert not traps.exists()


def test_the_calibration_and_the_pool_fall_into_no_trap(traps: Path) -> None:
    assert calibrate(1).flops > 0
    if sys.version_info >= (3, 11):
        items = [(number, (number,)) for number in range(3)]
        assert list(in_order(abs, items, 2, "died")) == [(0, 0), (1, 1), (2, 2)]
    assert not traps.exists()


def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/before")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = dict(os.environ)
    with safely_started():
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert dict(os.environ) == before


def test_nothing_else_starts_a_python() -> None:
    others = [
        path.relative_to(PACKAGE)
        for path in PACKAGE.rglob("*.py")
        if "sys.executable" in path.read_text(encoding="utf-8")
    ]
    assert others == [Path(children.__file__).relative_to(PACKAGE)]
