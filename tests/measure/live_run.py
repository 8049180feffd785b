"""Collects live into the folder of the first argument; a process for the tests to kill."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings

from wmhub.live_collection import collect_live
from wmhub.measure.live import LivePlan, LiveProgress
from wmhub.measure.timing import TimingPlan


def main(output: str, candidates: int) -> None:
    warnings.simplefilter("ignore")

    def progress(state: LiveProgress) -> None:
        print(state.records, flush=True)

    report = collect_live(
        output,
        workloads=["matmul-m16-n16-k16", "softmax-m8-n32"],
        plan=LivePlan(candidates=candidates, batch=3),
        timing=TimingPlan(rounds=1, extra_rounds=0, round_seconds=0.0),
        workers=1,
        progress=progress,
    )
    counts = dataclasses.asdict(report.manifest.counts)
    print(json.dumps({**counts, "interrupted": report.interrupted}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
