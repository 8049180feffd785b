"""Hand-made log lines, small and readable; the tests of logs and datasets share them."""

from __future__ import annotations

import base64
import json
from typing import Any

STEPS: list[Any] = [
    ["SP", 2, 0, 64, [2, 4], 1],
    ["SP", 2, 3, 32, [8], 1],
    ["RE", 2, [0, 3, 1, 4, 2]],
    ["AN", 2, 0, 3],
    ["PR", 2, 0, "auto_unroll_max_step$16"],
]
HARDWARE_PARAMS = [-1, 16, 64, 49152, 2147483647, 1024, 8, 32]


def ansor_line(
    *,
    key: str = '["matmul", 64, 32, 16]',
    steps: list[Any] | None = None,
    seconds: list[Any] | None = None,
    error: Any = 0,
    cost: Any = 1.5,
    timestamp: Any = 1637575039,
    version: str = "v0.6",
    target: Any = "cuda -keys=cuda,gpu",
    rest: list[Any] | None = None,
) -> str:
    rest = [HARDWARE_PARAMS, "", 0, []] if rest is None else rest
    value = {
        "i": [[key, target, *rest], [[], STEPS if steps is None else steps]],
        "r": [[0.001] if seconds is None else seconds, error, cost, timestamp],
        "v": version,
    }
    return json.dumps(value)


def tiled(factor: int) -> list[Any]:
    """Steps that differ by one factor."""
    return [["SP", 2, 0, 64, [factor, 4], 1], *STEPS[1:]]


def ansor_log(records: int = 40, workloads: int = 4) -> str:
    """A log of distinct candidates; the last one of each workload failed."""
    lines = []
    for number in range(records):
        failed = number >= records - workloads
        lines.append(
            ansor_line(
                key=json.dumps(["matmul", 64, 32, number % workloads]),
                steps=tiled(1 + number // workloads),
                seconds=[1e10] if failed else [0.001 + 1e-6 * number, 0.0011],
                error=6 if failed else 0,
                timestamp=1637575039 + number,
            )
        )
    return "".join(line + "\n" for line in lines)


def program(name: str) -> str:
    """Base64 of something that no TVM wrote: it is kept, and not understood."""
    return base64.b64encode(f"the program {name}".encode()).decode()


def workload_line(number: int) -> str:
    return json.dumps([str(7000 + number), program(f"main{number}")])


TRACE: list[Any] = [
    [
        ["GetBlock", [], ["C", "main"], ["b0"]],
        ["GetLoops", ["b0"], [], ["l1", "l2"]],
        ["SamplePerfectTile", ["l1"], [2, 16], ["v3", "v4"]],
        ["Split", ["l1", "v3", "v4"], [1], ["l5", "l6"]],
    ],
    [[2, [8, 8]]],
]
META_TARGET = {"kind": "llvm", "keys": ["cpu"], "num-cores": 2}


def meta_line(
    index: int = 0, *, trace: Any = None, seconds: Any = (0.001, 0.0011), tile: int = 8
) -> str:
    if trace is None:
        trace = [TRACE[0], [[2, [64 // tile, tile]]]]
    return json.dumps([index, [trace, seconds, META_TARGET, [["TENSOR", "float32", [64, 64]]]]])


def meta_database(records: int = 12, workloads: int = 3) -> tuple[str, str]:
    """Text of the workload file and of the record file."""
    programs = "".join(workload_line(number) + "\n" for number in range(workloads))
    lines = (
        meta_line(
            number % workloads,
            tile=1 + number // workloads,
            seconds=[1e10] if number == records - 1 else [0.001 * (1 + number), 0.002],
        )
        for number in range(records)
    )
    return programs, "".join(line + "\n" for line in lines)
