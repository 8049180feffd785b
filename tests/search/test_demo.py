"""What ``demo`` may clear, and when it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wmhub.errors import InvalidInputError, OutputExistsError, UnknownNameError
from wmhub.holding import LOCK, held
from wmhub.search import output as files

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm

WORKLOAD = "dense-m32-n48-k64-bias-relu"
WRITTEN = ("report.json", *files.DATABASE, f"{WORKLOAD}.py")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def write(folder: Path, *others: str) -> None:
    for name in (*WRITTEN, *others):
        (folder / name).write_text("[]\n")


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A demo in ``tmp_path`` that measures nothing; it yields what it found there when it began."""
    from wmhub.search.demo import demo as really_demo

    def tune(workload: str, *, output: Path, **_: Any) -> set[str]:
        with held(output):
            files.refuse(output, None)
            files.prepare(output, None, bool)
            found = names(output) - {LOCK}
            write(output, "learned.npz", "latency.png")
        return found

    monkeypatch.setattr("wmhub.search.demo.tune", tune)
    return lambda **options: really_demo(tmp_path, **{"workload": WORKLOAD, **options})


def test_a_demo_starts_anew_where_one_was_or_was_killed(demo: Any, tmp_path: Path) -> None:
    assert demo() == {files.DEMO}
    for name in (".0123456789abcdef.part", LOCK):
        (tmp_path / name).touch()
    assert demo() == {files.DEMO}
    assert names(tmp_path) == {files.DEMO, "learned.npz", "latency.png", *WRITTEN}


def test_what_tune_made_is_not_cleared(demo: Any, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(OutputExistsError, match="holds what no demo made"):
        demo()
    assert names(tmp_path) == set(WRITTEN)


@pytest.mark.parametrize("name", ["thesis.tex", ".vimrc.part"])
def test_what_lies_beside_a_demo_is_not_cleared(demo: Any, tmp_path: Path, name: str) -> None:
    demo()
    (tmp_path / name).touch()
    with pytest.raises(OutputExistsError, match=f"holds other things \\({name}\\)"):
        demo()
    assert set(WRITTEN) < names(tmp_path)


def test_what_is_tuned_where_a_demo_was_killed_is_not_cleared(demo: Any, tmp_path: Path) -> None:
    (tmp_path / files.DEMO).write_text("of another process")
    assert files.prepare(tmp_path, None, bool).records == 0
    write(tmp_path)
    with pytest.raises(OutputExistsError, match="holds what no demo made"):
        demo()
    assert set(WRITTEN) == names(tmp_path)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"trials": 0}, InvalidInputError),
        ({"trials": -1}, InvalidInputError),
        ({"seconds": 0.0}, InvalidInputError),
        ({"seconds": float("nan")}, InvalidInputError),
        ({"workload": "dense-m32"}, InvalidInputError),
        ({"workload": "thesis"}, UnknownNameError),
    ],
)
def test_a_mistake_clears_nothing(
    demo: Any, tmp_path: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    demo()
    before = names(tmp_path)
    with pytest.raises(error):
        demo(**options)
    assert names(tmp_path) == before
