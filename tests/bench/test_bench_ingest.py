from __future__ import annotations

from pathlib import Path

import pytest
from logmaking import ansor_log, meta_database

from wmhub.bench.ingest import ingest
from wmhub.logs.sniff import LogKind, sniff_file


def test_a_made_up_log_is_distinct_records_of_real_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmhub.bench import ingest as module

    module._make_log(tmp_path / "a.log", 3000, seed=1)
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert len(set(lines)) == 3000
    assert 900 < sum(map(len, lines)) / 3000 < 1400
    assert sniff_file(tmp_path / "a.log") is LogKind.AUTO_SCHEDULER
    result = ingest(records=3000, workers=1)
    assert result.lines == 3000
    assert result.records_per_second > 0
    assert 50 << 20 < result.peak_rss_bytes < 2 << 30
    assert result.text_bytes > 3000 * 900


def test_given_logs_are_read_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(ansor_log())
    programs, records = meta_database()
    (tmp_path / "database_workload.json").write_text(programs)
    (tmp_path / "database_tuning_record.json").write_text(records)
    assert ingest([tmp_path], repeat=3, workers=1).lines == 3 * (40 + 12)
