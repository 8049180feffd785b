"""What each unit of a GPU needs for a kernel, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from wmhub.hardware.table import lookup
from wmhub.model.columns import Columns
from wmhub.model.features import directions_of
from wmhub.model.gpu_time import Launch, time_features
from wmhub.model.gpu_warp import Touched
from wmhub.names import HardwareKey
from wmhub.nest import Axis, Loop, Stage, extents

V100 = lookup(HardwareKey.parse("cuda-v100"))
#: 160 blocks of 48 threads, which are two warps, on 80 multiprocessors.
LAUNCH = Launch(*(np.full(1, number) for number in (160.0, 48.0, 2.0, 48.0, 1.0, 0.5)))


def copy_of(elements: int) -> Stage:
    axis = Axis("i", extents(elements), False)
    return Stage("copy", [axis], [Loop.over(axis)], role="cache_read", scope="shared")


def times(
    runs: float, traffic: float, least: float, copies: list[Stage], is_known: bool = True,
    asked: float | None = None,
) -> dict[str, float]:  # fmt: skip
    """Columns of a kernel of ``runs`` multiply-adds; ``traffic`` and ``least`` in bytes."""
    assert V100 is not None
    one = np.ones(1)
    columns = Columns(1)
    touched = Touched(traffic * one, least * one, 2.0 * one, is_known, is_known)
    needed = runs if asked is None else asked
    time_features(columns, runs * one, needed * one, touched, copies, LAUNCH, V100)
    return dict(zip(columns.names, columns.table()[0].tolist(), strict=True))


def test_arithmetic_is_done_in_whole_warps() -> None:
    found = times(1e10, 1e3, 1e3, [])
    assert found["gpu.ratio.work"] == pytest.approx(np.log2(64 / 48))
    assert found["gpu.ratio.memory"] == -6.0  # Next to nothing.
    assert found["gpu.balance"] < 0


def test_lanes_that_reach_over_an_end_are_no_part_of_the_least() -> None:
    found = times(1e10, 1e3, 1e3, [], asked=1e10 / 28)
    assert found["gpu.ratio.work"] == pytest.approx(np.log2(28 * 64 / 48))
    # What is not known is at most what is run.
    assert times(1e10, 1e3, 1e3, [], asked=np.inf) == times(1e10, 1e3, 1e3, [])


def test_what_memory_bounds_is_compared_with_what_it_has_to_move() -> None:
    found = times(1e3, 4e9, 1e9, [])
    assert found["gpu.ratio.memory"] == pytest.approx(2.0)
    assert found["gpu.ratio.longest"] == pytest.approx(2.0)
    assert found["gpu.ratio.work"] == -6.0
    assert found["gpu.balance"] > 0
    assert V100 is not None
    assert found["gpu.time.memory"] == pytest.approx(np.log2(4e18 / V100.bandwidth), rel=1e-6)
    # Half of the device is busy.
    assert found["gpu.time.dealt"] == pytest.approx(found["gpu.time.longest"] + 1.0, rel=1e-6)


def test_copies_are_issued_and_waited_for() -> None:
    assert V100 is not None
    found = times(1e10, 1e9, 1e9, [copy_of(100)])
    # Three elements of each of 48 threads, ten instructions each, by two warps of 160 blocks.
    issued = 3 * 10 * 2 * 160 / (80 * 4) / (V100.clock_hz / 1e9)
    assert found["gpu.time.copying"] == pytest.approx(np.log2(issued))
    waited = (3 * 100 + 400) / (V100.clock_hz / 1e9)
    assert found["gpu.time.waiting"] == pytest.approx(np.log2(waited))
    nothing = times(1e10, 1e9, 1e9, [])
    assert nothing["gpu.time.copying"] == nothing["gpu.time.waiting"] == 0.0
    assert nothing["gpu.ratio.total"] < found["gpu.ratio.total"]


def test_no_time_of_a_damaged_log_is_infinite() -> None:
    found = times(np.inf, np.inf, np.inf, [copy_of(100)])
    assert np.isfinite(list(found.values())).all()


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert set(times(1e10, 1e9, 1e9, [copy_of(100)], is_known=False).values()) == {0.0}


def test_a_longer_time_is_never_faster() -> None:
    names = list(times(1.0, 1.0, 1.0, []))
    told = dict(zip(names, directions_of(names), strict=True))
    assert {name for name, sign in told.items() if sign} == {
        f"gpu.ratio.{unit}"
        for unit in ("work", "copying", "waiting", "starting", "memory", "shared", "longest",
                     "total")
    }  # fmt: skip
    assert set(told.values()) == {0, -1}
    assert directions_of(["gpu.tail", "thread_use", "gpu.warp.store", "threads"]) == [1, 1, -1, 0]
