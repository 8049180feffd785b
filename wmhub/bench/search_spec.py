"""What a run of ``wmhub bench search`` is asked and what it found, as its JSON files hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wmhub.code_digest import code_digest
from wmhub.errors import InvalidInputError

#: Time limit of a build by TVM, whose default its workers' first import alone can exceed.
STOCK_BUILD_SECONDS = 240.0

#: Method -> what it is, in the order of the table.
METHODS = {
    "wmhub": "our search: checkpoint, adaptation, exploration",
    "zero": "the checkpoint's own choice, nothing measured",
    "stock": "tune_tir with its defaults: evolutionary search, XGB, local builder and runner",
    "no-packing": "our search over TVM's own sketches alone",
    "no-adapt": "our search without learning from its measurements",
    "no-explore": "our search without its share for exploration",
    "xgb": "our search with gradient boosting on decisions in place of the checkpoint",
    "random": "our search with a random score",
}
#: Those that look at the checkpoint.
CHECKPOINT_METHODS = frozenset({"wmhub", "zero", "no-packing", "no-adapt", "no-explore"})
#: Those that need XGBoost.
XGBOOST_METHODS = frozenset({"stock", "xgb"})


@dataclass(frozen=True)
class RunSpec:
    """What one run is to do."""

    workload: str
    """What ``workload_module`` takes."""
    method: str
    """Key of ``METHODS``."""
    seed: int
    trials: int
    """Measurements."""
    model: str
    """Checkpoint, as ``from_pretrained`` takes it; empty where none is used."""
    target: dict[str, Any]
    """TVM's target dictionary."""
    hardware: str
    """Key of what measures: devices as different as an H100 and an H200 have one target."""
    digest: str = ""
    """Of the checkpoint, whose name may come to stand for another; empty where none is used."""
    tvm: str = ""
    """Version of TVM."""
    code: str = ""
    """Of our own code (``run_code``); empty where none of it searches."""


#: What decides how a search of ours goes: a change of any of it makes older runs unusable.
_CODE = (
    "actions.py", "bench/peers.py", "bench/search_run.py", "bench/search_spec.py", "checkpoint.py",
    "evaluator.py", "garbage.py", "hardware/table.py", "measure", "model", "nest.py", "program.py",
    "replay", "search", "trajectory.py", "tvm_callbacks.py", "tvm_compat.py", "tvm_graph.py",
    "tvm_intrinsics.py", "tvm_json.py",
)  # fmt: skip


def run_code(method: str) -> str:
    """Digest of the code that a run of ``method`` is the work of; empty for TVM's own search."""
    return "" if method == "stock" else code_digest(*_CODE)


@dataclass(frozen=True)
class RunResult:
    """What one run found."""

    spec: RunSpec
    curve: list[tuple[int, float, float]]
    """Trial, seconds since the run began, and best latency in seconds, wherever it fell."""
    checkpoints: dict[int, str]
    """Number of trials (64, 640) -> best program by then, as ``tvm.ir.save_json`` text."""
    failed: int
    """Candidates that could not be built or run."""
    seconds: float
    """Wall time of the search, from the first import to the last measurement, in seconds."""
    seconds_at: dict[int, float]
    """Number of trials -> wall time until they were measured, in seconds."""


def workload_module(name: str) -> Any:
    """The ``IRModule`` of a zoo name, or of ``te:NAME:NUMBER`` of TVM's own ``te_workload``.

    Raises ``InvalidInputError`` for any other, and for what TVM names but fails to make.
    """
    from wmhub.measure import zoo
    from wmhub.tvm_compat import last_line, normalize

    family, _, rest = name.partition(":")
    if family != "te":
        return zoo.build(name)
    from tvm.s_tir.meta_schedule.testing.te_workload import CONFIGS, create_te_workload

    key, _, number = rest.partition(":")
    if key not in CONFIGS or not number.isdigit() or int(number) >= len(CONFIGS[key][1]):
        raise InvalidInputError(
            f"workload {name!r} is not te:NAME:NUMBER with a name of {', '.join(CONFIGS)}"
        )
    try:
        return normalize(create_te_workload(key, int(number)))
    except Exception as error:  # It no longer makes all that it names, and raises its own kinds.
        reason = last_line(error)
        raise InvalidInputError(f"workload {name!r}: TVM cannot make it: {reason}") from None
