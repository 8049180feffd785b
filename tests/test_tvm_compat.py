from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from wmhub import tvm_compat
from wmhub.errors import InvalidInputError, MissingDependencyError
from wmhub.hardware.machine import read_cpu


@pytest.mark.parametrize(
    ("core", "ffi", "says"),
    [
        ("0.27.0.post1", "0.1.15", "crashes"),
        ("0.27.0.post1", "0.1.15.post1", "crashes"),
        ("0.26.0", "0.1.15.post2", "crashes"),
        ("0.27.0.post1", "0.1.13.post3", "does not load"),
        ("0.25.0.post1", "0.1.14.post1", "crashes"),
        ("0.27.0.post1", None, "without apache-tvm-ffi"),
        ("0.19.0", "0.1.14.post1", "older than 0.25"),
    ],
)
def test_a_bad_pair_is_named_with_its_remedy(core: str, ffi: str | None, says: str) -> None:
    problem = tvm_compat.version_problem(core, ffi)
    assert problem is not None
    assert says in problem
    assert core in problem
    assert "pip install" in problem


@pytest.mark.parametrize(
    ("core", "ffi"),
    [
        ("0.25.0.post1", "0.1.12"),
        ("0.26.0", "0.1.13.post3"),
        ("0.26.0", "0.1.14.post1"),
        ("0.27.0.post1", "0.1.14.post1"),
        ("0.28.0", "0.1.16"),
    ],
)
def test_the_tested_pairs_pass_and_newer_ones_are_not_judged(core: str, ffi: str) -> None:
    assert tvm_compat.version_problem(core, ffi) is None


def test_a_missing_tvm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tvm_compat, "tvm_versions", lambda: {"apache-tvm": None, "apache-tvm-ffi": None}
    )
    monkeypatch.delitem(sys.modules, "tvm", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"wmhub\[tvm\]"):
        tvm_compat.check_tvm()


def test_a_pair_that_crashes_is_refused_though_tvm_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.15"}
    monkeypatch.setattr(tvm_compat, "tvm_versions", lambda: pair)
    monkeypatch.setitem(sys.modules, "tvm", None)
    with pytest.raises(MissingDependencyError, match="crashes"):
        tvm_compat.check_tvm()


def test_cuda_is_compiled_with_nvcc_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TVM_CUDA_COMPILE_MODE", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(MissingDependencyError, match="nvcc, which is not in PATH"):
        tvm_compat.cuda_compiler(forks=True)
    nvcc, header = tmp_path / "bin" / "nvcc", tmp_path / "include" / "cuda_runtime.h"
    for file in (nvcc, header):
        file.parent.mkdir()
        file.touch()
    nvcc.chmod(0o755)
    expected = {"TVM_CUDA_COMPILE_MODE": "nvcc", "CUDA_PATH": str(tmp_path)}
    assert tvm_compat.cuda_compiler(forks=True) == expected
    monkeypatch.setenv("CUDA_PATH", "/elsewhere")
    assert tvm_compat.cuda_compiler(forks=False) == {"TVM_CUDA_COMPILE_MODE": "nvcc"}
    monkeypatch.setenv("TVM_CUDA_COMPILE_MODE", "nvrtc")
    assert tvm_compat.cuda_compiler(forks=True) == {}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such"):
        _ = tvm_compat.no_such


_TRIMMED = """
import sys
from wmhub.tvm_compat import llvm_target, meta_schedule as ms, tvm, use_target, use_threads
from tvm.s_tir.meta_schedule.testing.te_workload import create_te_workload
use_threads(3)
target = use_target(llvm_target(cores=2))
mod = create_te_workload("GMM", 0)
context = ms.TuneContext(mod=mod, target=target, space_generator="post-order-apply")
assert context.generate_design_space()
assert "tvm.s_tir.tensor_intrin.x86" in sys.modules
assert "tvm.s_tir.tensor_intrin.cuda" not in sys.modules
import tvm.s_tir.tensor_intrin.hexagon
assert tvm.s_tir.tensor_intrin.hexagon
threads = tvm.get_global_func("runtime.NumThreads")()
print(target.attrs["num-cores"], target.kind.name, threads)
"""


@pytest.mark.tvm
def test_design_spaces_come_without_the_other_vendors_intrinsics() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TRIMMED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "llvm", str(min(3, os.cpu_count() or 1))]


_DROP_IN = """
import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.testing.te_workload import create_te_workload
from wmhub.search.cost_model import cost_model
from wmhub.bench.peers import Peer
from wmhub.names import HardwareKey

# Its rules look up the intrinsics of VNNI, which nothing of ours was told to load.
target = {"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2}
for given in (target, tvm.target.Target(target)):
    context = ms.TuneContext(
        create_te_workload("GMM", 0), target=given, space_generator="post-order-apply"
    )
    spaces = context.generate_design_space()
    print(len(spaces))
model = cost_model(Peer("random", HardwareKey("llvm", "here", 2), 0))
print(len(model.predict(context, [ms.MeasureCandidate(space, []) for space in spaces])))
"""


@pytest.mark.tvm
def test_a_search_that_is_tvms_own_finds_the_intrinsics_of_its_target() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DROP_IN], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len({*done.stdout.split()}) == 1


@pytest.mark.tvm
def test_a_target_that_tvm_refuses_is_the_users_mistake() -> None:
    with pytest.raises(InvalidInputError, match="dictionary"):
        tvm_compat.use_target("llvm -mcpu=skylake")
    with pytest.raises(InvalidInputError, match="nonsense"):
        tvm_compat.use_target({"kind": "nonsense"})
    with pytest.raises(InvalidInputError, match="at least 1"):
        tvm_compat.llvm_target(cores=0)


@pytest.mark.tvm
@pytest.mark.parametrize(
    ("disguise", "expected"), [("this", "sapphirerapids"), ("another", "this"), (None, "this")]
)
def test_a_disguised_cpu_is_compiled_for_as_what_it_is(
    monkeypatch: pytest.MonkeyPatch, disguise: str | None, expected: str
) -> None:
    facts = dataclasses.replace(
        read_cpu(), microarchitecture="sapphirerapids", disguised_as=disguise
    )
    codegen = SimpleNamespace(llvm_get_system_cpu=lambda: "this")
    monkeypatch.setattr(tvm_compat, "_codegen", lambda: codegen)
    monkeypatch.setattr(tvm_compat, "read_cpu", lambda: facts)
    assert tvm_compat.llvm_target()["mcpu"] == tvm_compat.llvm_cpu() == expected


@pytest.mark.tvm
def test_containers_become_json_values() -> None:
    from tvm_ffi import Array, Map

    from wmhub.tvm_compat import plain, tvm

    mixed = ["a", 1, 2.5, None, True, Array([1, "b"]), (3,), {"k": Map({"x": 4})}]
    assert plain(mixed) == ["a", 1, 2.5, None, True, [1, "b"], [3], {"k": {"x": 4}}]
    assert plain(tvm.tirx.IntImm("int64", 7)) == 7
    assert plain(tvm.tirx.FloatImm("float32", 0.5)) == 0.5


def test_libraries_for_cuda_are_compiled_as_candidates_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TVM_CUDA_COMPILE_MODE", raising=False)
    monkeypatch.setattr(
        tvm_compat, "cuda_compiler", lambda forks: {"TVM_CUDA_COMPILE_MODE": "nvcc"}
    )
    with tvm_compat.compiling_for("llvm"):
        assert "TVM_CUDA_COMPILE_MODE" not in os.environ
    with tvm_compat.compiling_for("cuda"):
        assert os.environ["TVM_CUDA_COMPILE_MODE"] == "nvcc"
    assert "TVM_CUDA_COMPILE_MODE" not in os.environ
