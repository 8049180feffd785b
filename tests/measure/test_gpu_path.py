"""Everything of the GPU path up to the launch; no GPU is needed, TVM's CUDA compiler is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wmhub.errors import InvalidInputError, MeasureError
from wmhub.hardware import known
from wmhub.measure import zoo
from wmhub.measure.candidate import Program
from wmhub.measure.engine import Engine
from wmhub.measure.lock import MachineLock
from wmhub.measure.targets import target_of
from wmhub.names import HardwareKey
from wmhub.records import FailureKind

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


@pytest.mark.parametrize("row", known(), ids=lambda row: f"{row.backend}-{row.device}")
def test_every_known_device_has_a_target(row: object) -> None:
    backend, device = row.backend, row.device  # type: ignore[attr-defined]
    target = target_of(HardwareKey(backend, device, 4 if backend == "llvm" else None))
    assert target["kind"] == backend
    assert (target.get("num-cores") == 4) == (backend == "llvm")


def test_an_unknown_device_needs_its_target_told() -> None:
    with pytest.raises(InvalidInputError, match=r'\{"kind": "cuda"'):
        target_of(HardwareKey("cuda", "nothing-we-know"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no CUDA compiler")
def test_gpu_candidates_are_drawn_compiled_and_fail_only_at_the_launch(tmp_path: Path) -> None:
    import torch

    from wmhub.measure.sampling import Sampler

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    target = target_of(HardwareKey("cuda", "h200"))
    drawn = Sampler(zoo.build("matmul-m256-n256-k256"), target, 1).random(2)
    lock = MachineLock(tmp_path / "lock")
    with Engine(target, workers=1, check=False, build_timeout_seconds=120.0, lock=lock) as engine:
        ids = engine.build([Program(candidate.module) for candidate in drawn])
        assert [engine.built(id_) for id_ in ids] == [None, None]
        results = engine.run(ids)
    assert {result.failure for result in results} == {FailureKind.RUNTIME_DEVICE}
    assert all("cuda" in result.message.lower() for result in results)


@pytest.mark.slow
def test_a_missing_gpu_ends_the_collection_before_it_begins(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    target = target_of(HardwareKey("cuda", "h200"))
    with (
        pytest.raises(MeasureError, match="not even a trivial program can be run"),
        Engine(target, workers=1, lock=MachineLock(tmp_path / "lock")) as engine,
    ):
        engine.wait_ready()
