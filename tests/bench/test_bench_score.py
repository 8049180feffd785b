from __future__ import annotations

import json
import os

import click
import pytest
import torch

from wmhub.errors import InvalidInputError


@pytest.mark.tvm
@pytest.mark.slow
def test_one_run_compares_ours_and_tvms_on_the_same_candidates() -> None:
    pytest.importorskip("tvm")
    pytest.importorskip("xgboost")
    from click.testing import CliRunner

    from wmhub.cli.bench_score import command

    assert isinstance(command, click.Command)
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    options = ["--workload", "matmul-m32-n32-k32", "--candidates", "80", "--tvm-candidates", "4"]
    result = CliRunner().invoke(
        command, [*options, "--rounds", "1", "--memory-rounds", "2", "--json"]
    )
    assert result.exception is None, result.output
    found = json.loads(result.stdout)
    (one,) = found["workloads"]
    assert 80 < one["candidates"] == found["candidates"] <= 3 * 80
    assert 4 <= one["tvm_candidates"] <= 3 * 4
    ours, theirs = found["candidates_per_second"], found["tvm_per_second"]
    assert found["speedup"] == pytest.approx(ours / theirs)
    assert found["speedup_with_replay"] > found["speedup"] > 0
    assert found["sharing_gain"] > 0
    assert found["memory_growth_bytes"] >= 0
    # Held to one core for the time of the run, and no longer.
    assert (os.sched_getaffinity(0), torch.get_num_threads()) == (cores, threads)


@pytest.mark.tvm
def test_senseless_runs_are_refused() -> None:
    pytest.importorskip("tvm")
    from wmhub.bench.score import score

    with pytest.raises(InvalidInputError, match="workload"):
        score(workloads=())
    with pytest.raises(InvalidInputError, match="one candidate"):
        score(candidates=0)
