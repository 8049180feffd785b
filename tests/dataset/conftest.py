"""Small datasets that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasetmaking import Make
from logmaking import ansor_log, meta_database

import wmhub


@pytest.fixture(autouse=True)
def _quick_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all the rest of a small collection; ``test_card`` does draw."""
    if request.path.stem != "test_card":
        monkeypatch.setattr(
            "wmhub.dataset.writer.draw_picture", lambda path, _: path.write_bytes(b"picture")
        )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.log"
    path.write_text(ansor_log())
    return path


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make_dataset(name: str = "data", lines: list[str] | None = None, **options: object) -> Path:
        log = tmp_path / f"{name}-log" / "a.log"
        log.parent.mkdir()
        log.write_text(ansor_log() if lines is None else "".join(f"{line}\n" for line in lines))
        filled = {"hardware": "cuda-v100", "contributor": "me", "licence": "MIT", **options}
        wmhub.collect([log], tmp_path / name, **filled)  # type: ignore[arg-type]
        return tmp_path / name

    return make_dataset


@pytest.fixture
def make_database(tmp_path: Path) -> Make:
    def make_dataset(name: str = "database", **options: object) -> Path:
        folder = tmp_path / f"{name}-log"
        folder.mkdir()
        programs, records = meta_database()
        (folder / "database_workload.json").write_text(programs)
        (folder / "database_tuning_record.json").write_text(records)
        filled = {"hardware": "llvm-emeraldrapids-2c", "contributor": "me", "licence": "MIT"}
        wmhub.collect([folder], tmp_path / name, **{**filled, **options})  # type: ignore[arg-type]
        return tmp_path / name

    return make_dataset
