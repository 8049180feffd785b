from __future__ import annotations

import base64
import gzip
import json
import struct
from pathlib import Path

import pytest
from datasetmaking import Make
from logmaking import ansor_line, program

from wmhub.dataset.operators import OTHER, UNNAMED, operator_kind
from wmhub.dataset.reader import open_dataset
from wmhub.dataset.statistics import OperatorCounts, SourceCounts, statistics
from wmhub.logs.meta_schedule import parse_workload, unresolved_workload
from wmhub.records import Scheduler, Workload


def ansor(key: str) -> Workload:
    return Workload("w", Scheduler.AUTO_SCHEDULER, key, None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("conv2d_layer", "convolution"),
        ("conv2d_ansor", "convolution"),
        ("depthwise_conv2d_layer", "depthwise convolution"),
        ("conv2d_transpose_nchw", "transposed convolution"),
        ("matmul", "matmul"),
        ("ansor_mm", "matmul"),
        ("batch_matmul_layer", "batch matmul"),
        ("pool_layer", "pooling"),
        ("reduction_layer", "reduction"),
        ("relu_layer", "elementwise"),
        ("sparse_dense", "sparse dense"),
        ("d7b65649a4dd54becea0a52aabbc5af5", UNNAMED),
        ("main", OTHER),
    ],
)
def test_kinds_by_name(name: str, kind: str) -> None:
    assert operator_kind(ansor(json.dumps([name, 1, [2, 3]]))) == kind
    assert operator_kind(ansor(name)) == kind


def test_kinds_of_programs(shared_logs: Path) -> None:
    run = shared_logs / "meta_schedule/llvm-emeraldrapids-2c/run-1/database_workload.json.gz"
    kinds = [
        operator_kind(parse_workload(line))
        for line in gzip.decompress(run.read_bytes()).splitlines()
    ]
    assert OTHER not in kinds
    assert {"convolution", "dense", "matmul", "batch matmul"} <= set(kinds)


def test_a_program_that_no_one_understands_is_other() -> None:
    assert operator_kind(unresolved_workload("d", 0)) == UNNAMED
    assert operator_kind(Workload("w", Scheduler.META_SCHEDULE, "1", program("x"))) == OTHER


@pytest.mark.parametrize("kinds", [["x"], ["IRModule"], ["IRModule", "PrimFunc"], []])
def test_a_program_that_is_cut_short_is_other(kinds: list[str]) -> None:
    nodes = [{"type_key": ""}, *({"type_key": kind} for kind in kinds)]
    text = json.dumps({"root": 1, "nodes": nodes}).encode()
    serialised = base64.b64encode(struct.pack("<Q", len(text)) + text).decode()
    assert operator_kind(Workload("w", Scheduler.META_SCHEDULE, "1", serialised)) == OTHER


def test_numbers(make: Make) -> None:
    lines = [
        *(ansor_line(key='["pool"]', seconds=[s], timestamp=s) for s in (1, 2, 4)),
        ansor_line(key='["pool"]', seconds=[1e10], error=7),
        ansor_line(key='["matmul"]', seconds=[1e-5]),
    ]
    numbers = statistics(open_dataset(make(lines=lines)))
    assert numbers.operators == (
        OperatorCounts("pooling", 1, 4, 1),
        OperatorCounts("matmul", 1, 1, 0),
    )
    assert numbers.sources == (SourceCounts("me", "MIT", 1, 5),)
    assert (numbers.fastest_seconds, numbers.slowest_seconds) == (1e-5, 4.0)
    assert (numbers.fewest_records, numbers.most_records) == (1, 4)
    assert (numbers.failed, numbers.unnamed) == (1, 0)
    assert numbers.median_ratio == 0.75
    assert numbers.latency_histogram.sum() == numbers.ratio_histogram.sum() == 4
    assert numbers.ratio_histogram[-1] == 2
