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
    report = EvaluationReport(
        model="wm-cuda-k80",
        dataset="cuda-k80",
        split="test",
        metrics=metrics(0.85),
        random=metrics(0.6),
        kinds={kind: (metrics(0.85, n), metrics(0.6, n)) for kind, n in kinds.items()},
        curve=curve(0.85),
        random_curve=curve(0.6),
        calibration=tuple((0.1 + 0.02 * tenth, 0.15 + 0.03 * tenth) for tenth in range(10)),
        top_k={1: (0.85, 0.8), 5: (0.95, 0.9)},
        random_top_k={1: (0.6, 0.5), 5: (0.7, 0.65)},
        baselines={
            "gradient_boosting": ScorerReport(
                metrics=metrics(0.7),
                kinds={kind: metrics(0.7, n) for kind, n in kinds.items()},
                curve=curve(0.7),
                top_k={1: (0.7, 0.65), 5: (0.8, 0.75)},
            )
        },
    )
    show_report(report)
    shown = capsys.readouterr()
    golden = Path(__file__).with_name("golden_eval.txt")
    assert "\n".join(line.rstrip() for line in shown.err.splitlines()) + "\n" == golden.read_text()
    assert shown.out == ""
