"""What ``wmhub eval`` prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from wmhub.cli.eval import command, show_report
from wmhub.training.evaluation import EvaluationReport, ScorerReport
from wmhub.training.metrics import Metrics


def metrics(base: float, workloads: int = 12) -> Metrics:
    return Metrics(base, base + 0.1, base - 0.05, base, base - 0.1, base - 0.2, workloads)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--baseline-steps", "5"], "--baseline-steps is for baselines"),
        (["--baselines", "--baseline", "xgb_model"], "--baselines are all of them"),
    ],
)
def test_options_that_would_be_ignored_are_refused(options: list[str], said: str) -> None:
    given = ["--model", "wm-cuda-k80", "--dataset", "nowhere", *options]
    done = CliRunner().invoke(command, given)
    assert done.exit_code == 2
    assert said in done.stderr


def curve(base: float) -> tuple[float, ...]:
    return tuple(1.0 - (1.0 - base) / (1 + trial) for trial in range(64))


def test_the_tables_are_these(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    kinds = {"convolution": 5, "matmul": 7}

    def scorer(base: float) -> ScorerReport:
        by_kind = {kind: metrics(base, n) for kind, n in kinds.items()}
        top_k = {1: (base, base - 0.05), 5: (base + 0.1, base + 0.05)}
        return ScorerReport(metrics(base), by_kind, curve(base), top_k)

    report = EvaluationReport(
        model="wm-cuda-k80",
        dataset="cuda-k80",
        split="test",
        scorers={"model": scorer(0.85), "gradient_boosting": scorer(0.7), "random": scorer(0.6)},
        calibration=tuple((0.1 + 0.02 * tenth, 0.15 + 0.03 * tenth) for tenth in range(10)),
    )
    show_report(report)
    shown = capsys.readouterr()
    golden = Path(__file__).with_name("golden_eval.txt")
    assert "\n".join(line.rstrip() for line in shown.err.splitlines()) + "\n" == golden.read_text()
    assert shown.out == ""
