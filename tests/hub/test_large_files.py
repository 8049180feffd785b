"""Files of more than 10 MB, in parts, up and down, while connections break."""

from __future__ import annotations

import random
from pathlib import Path

import hub_large
import pytest
from hub_making import evaluate, trained_on, write_dataset, write_model
from hub_server import HubServer

from wmhub.errors import HubError
from wmhub.hub import push, resolve_dataset, resolve_model
from wmhub.hub.artifact import MODEL


def test_a_large_model_in_parts(
    server: HubServer, tmp_path: Path, embedded: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = write_dataset(tmp_path / "rows")
    # The client keeps what has arrived in blocks of 10 MB: the cut comes after the first.
    weights = random.Random(0).randbytes(15 * 2**20 + 7)
    model = write_model(tmp_path / "model", weights=weights, **trained_on(rows))
    faults = [
        server.fault("PUT /lfs/.*/part/2", status=500),
        server.fault("PUT /lfs/.*/part/3", cut=True),
        server.fault("POST /lfs/[^/]+/[^/]+/[^/]+/[0-9a-f]+$", status=503, after=True),
    ]
    push(model, "acme/wm", hub="hf-hub", dataset=rows, evaluate=evaluate)
    parts = [line for line in server.requests if line.startswith("PUT") and "/part/" in line]
    assert {line.rpartition("/")[2] for line in parts} == {"1", "2", "3", "4"}
    assert [fault.times for fault in faults] == [0] * len(faults)

    server.fault("GET .*/resolve/.*/weights", keep=0.8)
    found = resolve_model("acme/wm")
    assert found.manifest.digest == MODEL.verify(model).digest
    assert (found.folder / "weights.safetensors").read_bytes() == weights
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in server.ranges]
    assert any(start > 2**20 for start in starts), "it went on in the middle of the file"
    assert "/part/2?…" in caplog.text
    assert "X-Sig=secret" not in caplog.text, "a signed URL is as good as a password"


def test_a_dataset_in_parts(
    server: HubServer, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_large, "PART_BYTES", 3000)
    rows = write_dataset(tmp_path / "rows")
    push(rows, "acme/cuda-a100", hub="hf-hub")
    assert any("/part/2" in line for line in server.requests)
    found = resolve_dataset("acme/cuda-a100")
    for name in found.manifest.files:
        assert (found.folder / name).read_bytes() == (rows / name).read_bytes()


def test_a_server_whose_parts_make_no_sense(
    server: HubServer, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hub_large.LargeFileRoutes.lfs_batch

    def lie(self: HubServer, *args: object, **options: object) -> dict:
        answer = real(self, *args, **options)  # type: ignore[arg-type]
        for item in answer["objects"]:
            item["actions"]["upload"]["header"] = {"chunk_size": "7"}
        return answer

    monkeypatch.setattr(type(server), "lfs_batch", lie)
    with pytest.raises(HubError, match="answer makes no sense"):
        push(write_dataset(tmp_path / "rows"), "acme/cuda-a100", hub="hf-hub")
