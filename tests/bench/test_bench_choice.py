from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.measure import zoo

pytest.importorskip("tvm")
pytestmark = pytest.mark.tvm

MODEL = "wm-llvm-emeraldrapids-2c"


def engine(seconds: dict[str, float | None]) -> Any:
    """One that says how long programs take; ``None`` for those that fail."""

    def measure(programs: Any) -> Any:
        assert len({program.module for program in programs}) == len(programs)
        times = [seconds[program.module] for program in programs]
        return [
            SimpleNamespace(run_seconds=(time,), failure=None if time else "crash")
            for time in times
        ]

    return SimpleNamespace(measure=measure)


def test_ratios_are_to_the_fastest_that_any_found() -> None:
    from wmhub.bench.choice import _measured, _summary

    seconds = {"a": 2.0, "b": 8.0, "c": 1.0, "d": None}
    one, other = _measured(engine(seconds), "w", 0, {"one": ["a", "b"], "other": ["d", "b", "c"]})
    assert (one.first, one.best, one.failed) == (2.0, 2.0, 0)
    assert one.typical == pytest.approx(4.0)
    assert (other.first, other.best, other.failed) == (math.inf, 1.0, 1)
    assert other.typical == pytest.approx(math.sqrt(8))
    (again,) = _measured(engine(seconds), "v", 0, {"one": ["b", "c"]})
    found = _summary("one", [one, again])
    assert (found.first, found.worst_first) == (pytest.approx(4.0), 8.0)
    assert found.typical == pytest.approx(math.sqrt(4 * math.sqrt(8)))
    assert found.best == pytest.approx(math.sqrt(2))


def test_where_nothing_runs_nothing_is_claimed() -> None:
    from wmhub.bench.choice import _measured

    with pytest.raises(MeasureError, match="none of 1 programs runs"):
        _measured(engine({"a": None}), "w", 0, {"one": ["a"]})
    with pytest.raises(MeasureError, match="no program of other runs"):
        _measured(engine({"a": None, "b": 1.0}), "w", 0, {"one": ["b"], "other": ["a"]})


def test_its_workloads_are_none_that_is_held_out() -> None:
    from wmhub.bench.choice import WORKLOADS, choice

    assert not zoo.HELD_OUT & {*WORKLOADS}
    assert {str(zoo.get(name)) for name in WORKLOADS} == {*WORKLOADS}
    for models, count in (([], 1), ([MODEL], 0)):
        with pytest.raises(InvalidInputError):
            choice(models, count=count)


def test_models_choose_and_are_compared() -> None:
    from wmhub.cli import cli

    arguments = ["bench", "choice", "--model", MODEL, "--model", "wm-llvm-znver4-2c"]
    small = ["--workload", "matmul-m32-n32-k32", "--count", "2", "--seeds", "2", "--json"]
    done = CliRunner().invoke(cli, [*arguments, *small], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.stdout)["models"]
    assert [one["model"] for one in found] == [MODEL, "wm-llvm-znver4-2c"]
    assert all(one["first"] >= one["best"] >= 1 for one in found)
    assert min(one["best"] for one in found) == pytest.approx(1.0, rel=0.5)
    assert done.stderr.count("matmul-m32-n32-k32, seed ") == 4
