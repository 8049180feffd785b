"""`wmhub bench measure`: rates and agreement of the engine with TVM's own builder and runner."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from wmhub.bench.measure import MeasureResult, _Pair, _result, measure
from wmhub.cli.bench_measure import command
from wmhub.errors import InvalidInputError, MeasureError

pytest.importorskip("tvm")

PAIRS = [
    _Pair("a", 1.0, (1.1, 1.0, 1.0)),
    _Pair("a", 1.5, (1.5, 1.6, 1.5)),
    _Pair("a", 2.0, (1.4, 2.0, 2.0)),
    _Pair("a", 50.0, (80.0, 80.0, 80.0)),
    _Pair("a", None, (1.0, 1.0, 1.0)),
    _Pair("a", 1.0, ()),
    _Pair("b", 10.0, (10.0, 10.0, 10.0)),
    _Pair("b", 11.0, (9.0, 9.0, 9.0)),
]


def test_latencies_are_compared_within_a_workload_and_near_its_best() -> None:
    result = _result(PAIRS, ours=4.0, theirs=20.0)
    assert result == MeasureResult(
        candidates=8,
        our_rate=2.0,
        tvm_rate=0.4,
        speedup=5.0,
        # The slow one, the two that failed in one of both, and b's are too few to rank.
        compared=5,
        rank_correlation=1.0,
        median_ratio=1.0,
        tvm_rank_correlation=pytest.approx(0.5),
        tvm_median_ratio=pytest.approx(1.0),
        failures=2,
    )


def test_too_few_that_ran_are_no_comparison() -> None:
    with pytest.raises(MeasureError, match="too few candidates"):
        _result(PAIRS[6:], 1.0, 1.0)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least 4"):
        measure(candidates=3)


@pytest.mark.slow
def test_both_measure_the_same_candidates() -> None:
    done = CliRunner().invoke(
        command,
        ["--workload", "matmul-m128-n128-k128", "--candidates", "8", "--json"],
        catch_exceptions=False,
    )
    found = json.loads(done.stdout)
    assert found["candidates"] == 8
    assert found["failures"] == 0
    assert found["speedup"] == pytest.approx(found["our_rate"] / found["tvm_rate"])
    # What the ratios are is no matter for a test that others run beside.
    assert found["median_ratio"] > 0
    assert found["tvm_median_ratio"] > 0
