"""Loop nests derived without TVM, for the design spaces of several targets that TVM generates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from wmhub.replay.meta_schedule import replay_traces
from wmhub.tvm_json import parse_program

TARGETS: dict[str, dict[str, object]] = {
    "llvm": {"kind": "llvm", "mcpu": "haswell", "num-cores": 4},
    "cuda": {
        "kind": "cuda",
        "arch": "sm_80",
        "max_threads_per_block": 1024,
        "max_shared_memory_per_block": 49152,
        "thread_warp_size": 32,
    },
}


@pytest.mark.tvm
@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "operators", "rules"),
    [
        # A reduction that is factored, cooperative loads into shared memory, tensor cores.
        ("llvm", ("SFM", "NRM", "C2D"), ""),
        ("cuda", ("GMM", "DEP", "SFM"), ""),
        ("cuda", ("GMM", "C2D"), "cuda-tensorcore"),
    ],
)
def test_nests_of_design_spaces_are_those_of_tvm(
    target: str, operators: tuple[str, ...], rules: str
) -> None:
    tvm = pytest.importorskip("tvm")
    from wmhub.tvm_compat import meta_schedule as ms
    from wmhub.tvm_compat import normalize

    space = ms.space_generator.PostOrderApply(
        **dict.fromkeys(("sch_rules", "postprocs", "mutator_probs"), rules or "from-target")
    )
    for operator in operators:
        module = normalize(_module(operator, bool(rules)))
        compare_spaces(module, tvm.target.Target(TARGETS[target]), space, (1, 2))


@pytest.mark.tvm
@pytest.mark.slow
@pytest.mark.parametrize(
    "workload",
    [
        "dense-m32-n96-k48-bias-relu",
        "matmul-m31-n61-k24",
        "scores-b2-m37-n37-d16",
        "bmm-b3-m31-n24-k40-nt",
        "conv2d-h9-w9-ci6-co24-k3-s1-p1-nchw-bias-relu",
        "conv1d-l16-ci8-co48-k3-s1-p1-nchw",
    ],
)
def test_nests_of_our_own_sketches_are_those_of_tvm(workload: str) -> None:
    pytest.importorskip("tvm")
    from wmhub.measure import zoo
    from wmhub.measure.rules import space_generator
    from wmhub.tvm_compat import normalize, use_target

    target = use_target(TARGETS["llvm"])
    module = normalize(zoo.build(workload))
    sketches = compare_spaces(module, target, space_generator(target), (1, 2))
    assert any("reindex_cache_read" in sketch for sketch in sketches)


def compare_spaces(module: Any, target: Any, space: Any, seeds: Iterable[int]) -> list[str]:
    """Compares the nests of each sketch of ``space`` with TVM's, its decisions drawn by each of
    the ``seeds``; returns the traces."""
    from wmhub.tvm_compat import Schedule, Trace, tvm, use_target
    from wmhub.tvm_compat import meta_schedule as ms

    use_target(target)
    program = parse_program(tvm.ir.save_json(module))
    context = ms.TuneContext(module, target=target, space_generator=space, rand_state=1)
    sketches = context.generate_design_space()
    for sketch in sketches:
        for seed in seeds:
            schedule = Schedule(module, seed=seed)
            Trace(sketch.trace.insts, {}).apply_to_schedule(schedule, remove_postproc=False)
            _compare(program, schedule)
    return [str(sketch.trace) for sketch in sketches]


def _module(operator: str, half: bool) -> Any:
    import tvm
    from tvm import te
    from tvm.s_tir.meta_schedule.testing.te_workload import CONFIGS

    build, configurations = CONFIGS[operator]
    types = {"in_dtype": "float16", "out_dtype": "float32"} if half else {}
    return tvm.IRModule({"main": te.create_prim_func(build(*configurations[0], **types))})


def _compare(program: Any, schedule: Any) -> None:
    (group,) = replay_traces(program, [_plain(schedule.trace.as_json())])
    ours = {stage.name: stage for stage in group.trajectories.stages if not stage.inlined}
    assert group.trajectories.unknown == ()
    names = {str(schedule.get(b).name_hint) for b in schedule.get_child_blocks(_root(schedule))}
    assert names <= set(ours)
    for block in schedule.get_child_blocks(_root(schedule)):
        name = str(schedule.get(block).name_hint)
        theirs = [int(schedule.get(loop).extent) for loop in schedule.get_loops(block)]
        derived = [int(loop.extent[0]) for loop in ours[name].loops]
        if 0 in derived:  # Unknown: the layout of what tensor cores write is by sampled factors.
            assert "_reindex" in name, name
            assert ours[name].role == "cache_write", name
            known = [(a, b) for a, b in zip(derived, theirs, strict=True) if a]
            derived, theirs = [a for a, _ in known], [b for _, b in known]
        assert derived == theirs, name


def _root(schedule: Any) -> Any:
    return schedule.get_sblock("root")


def _plain(item: Any) -> Any:
    """TVM's objects as JSON has them."""
    if isinstance(item, str):
        return str(item)
    if item is None or isinstance(item, (bool, int, float)):
        return item
    if hasattr(item, "value"):
        return item.value
    return [_plain(one) for one in item]
