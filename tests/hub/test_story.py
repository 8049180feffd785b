"""The whole story with the unmodified client against the local server, while things go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_making import evaluate, write_dataset, write_real_model
from hub_server import HubServer
from huggingface_hub import HfApi

from wmhub import from_pretrained, load_dataset
from wmhub.dataset.reader import open_dataset
from wmhub.errors import CheckpointError, HubError
from wmhub.hub import (
    contribute,
    create_community,
    merge_contribution,
    models,
    push,
    resolve_dataset,
    resolve_model,
)


def test_the_whole_story(
    server: HubServer, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_dataset(tmp_path / "rows")
    model = write_real_model(tmp_path / "model", rows)

    # Publishing: the server fails, the connection breaks, answers get lost.
    faults = [
        server.fault("POST /api/repos/create", status=500),
        server.fault("POST .*/preupload/", status=429, headers={"Retry-After": "7"}),
        server.fault("POST .*/info/lfs/objects/batch", status=503),
        server.fault("PUT /lfs/", cut=True),
        server.fault("POST .*/commit/main", cut=True, after=True),
        server.fault("POST .*/tag/", status=500, after=True),
        server.fault("GET .*/refs", status=502),
    ]
    first = push(rows, "acme/cuda-a100", hub="hf-hub")
    assert [fault.times for fault in faults] == [0] * len(faults)
    pushed = push(model, "acme/wm-cuda-a100", hub="hf-hub", evaluate=evaluate)
    assert (first.tag, pushed.tag) == ("v1.0.0", "v1.0.0")
    for kind, name in (("dataset", "cuda-a100"), ("model", "wm-cuda-a100")):
        history = HfApi(endpoint=server.url).list_repo_commits(f"acme/{name}", repo_type=kind)
        assert len(history) == 2, "a repeated request must not make a second commit"

    # Finding and loading: more of the same, and a download that breaks in the middle.
    faults = [
        server.fault("GET /api/models$", status=500),
        server.fault("GET .*/revision/v1", status=429, headers={"Retry-After": "1"}),
        server.fault("GET .*/tree/", status=500),
        server.fault("HEAD .*/weights", status=500),
        server.fault("GET .*/resolve/.*/weights", keep=0.5),
        server.fault("GET .*/resolve/.*/README.md", keep=1.0, slow_seconds=0.2),
    ]
    assert [row.name for row in models(hardware="cuda-a100").rows] == ["acme/wm-cuda-a100"]
    evaluator = from_pretrained("acme/wm-cuda-a100@v1.0.0")
    assert (evaluator.name, str(evaluator.hardware)) == ("wm-cuda-a100", "cuda-a100")
    assert [fault.times for fault in faults] == [0] * len(faults)
    ranges = [line for line in server.requests if "weights.safetensors" in line]
    assert len(ranges) >= 3, "the broken download went on with a second request"

    # A contribution, opened by a stranger and merged by an owner.
    create_community(to="acme/community", hub="hf-hub")
    monkeypatch.setenv("HF_TOKEN", server.tokens["eve"])
    more = write_dataset(tmp_path / "more", latencies=(7e-3, 9e-3))
    proposed = contribute(more, to="acme/community")
    monkeypatch.setenv("HF_TOKEN", server.tokens["ada"])
    assert merge_contribution(proposed.pull_request or 0, to="acme/community").tag == "v0.2.0"

    # Rows, through our loader.
    (split,) = {name for name, ids in open_dataset(rows).splits.items() if ids}
    assert load_dataset("acme/cuda-a100@v1.0.0", split=split).num_rows == 3
    assert load_dataset(f"acme/community/{proposed.folder}", split=split).num_rows == 2

    # And again without a network.
    asked = len(server.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert from_pretrained("acme/wm-cuda-a100").name == "wm-cuda-a100"
    assert resolve_dataset("acme/cuda-a100").revision == "v1.0.0"
    assert len(server.requests) == asked


def test_plain_clients_load_what_was_published(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    """``datasets.load_dataset`` and our command line, each in a process of its own."""
    rows = write_dataset(tmp_path / "rows")
    push(rows, "acme/cuda-a100", hub="hf-hub")
    push(
        write_real_model(tmp_path / "model", rows),
        "acme/wm-cuda-a100",
        hub="hf-hub",
        evaluate=evaluate,
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "plain"),
        "HF_HUB_DISABLE_XET": "1",
    }
    code = (
        "import datasets\n"
        "rows = datasets.load_dataset('acme/cuda-a100', 'cuda-a100', revision='v1.0.0')\n"
        "print(sum(split.num_rows for split in rows.values()))\n"
    )
    plain = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert plain.stdout.split()[-1] == "3"
    lock = tmp_path / "wmhub.lock"
    verb = [sys.executable, "-m", "wmhub", "lock", "acme/wm-cuda-a100", "--output", str(lock)]
    printed = subprocess.run(
        [*verb, "--json"], env=environment, capture_output=True, text=True, check=True
    )
    assert "acme/wm-cuda-a100" in json.loads(printed.stdout)["models"]
    assert "Traceback" not in printed.stderr


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "run `hf auth login`"),
        (403, "this login may not do that: ask the owner for access, or propose"),
        (404, "could not|HTTP 404|no such"),
        (409, "there already"),
        (412, "published meanwhile"),
        (422, "the server refused it"),
        (429, "too many requests"),
        (500, "the server failed"),
    ],
)
def test_what_a_person_is_told(
    server: HubServer, tmp_path: Path, embedded: Path, status: int, said: str
) -> None:
    rows = write_dataset(tmp_path / "rows")
    server.fault("POST .*/commit/main", status=status, times=99)
    with pytest.raises((HubError, LookupError), match=said) as caught:
        push(rows, "acme/cuda-a100", hub="hf-hub")
    message = str(caught.value)
    assert "publish dataset acme/cuda-a100" in message
    assert server.tokens["ada"] not in message
    commits = [line for line in server.requests if "/commit/main" in line]
    assert len(commits) == (5 if status in (429, 500) else 1)


def test_the_server_s_wish_to_wait_is_heard(
    server: HubServer, tmp_path: Path, waits: list[float]
) -> None:
    rows = write_dataset(tmp_path / "rows")
    server.fault("GET .*/refs", status=429, headers={"Retry-After": "7"})
    server.fault("POST .*/tag/", status=503, times=2)
    push(rows, "acme/cuda-a100", hub="hf-hub")
    assert waits == [7.0, 0.5, 1.0]


def test_a_file_that_is_too_short_is_refused_and_fetched_anew(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    rows = write_dataset(tmp_path / "rows")
    model = write_real_model(tmp_path / "model", rows)
    push(rows, "acme/cuda-a100", hub="hf-hub")
    push(model, "acme/wm-cuda-a100", hub="hf-hub", evaluate=evaluate)
    server.fault("GET .*/resolve/.*/weights", shorten=True)
    with pytest.raises((HubError, CheckpointError)):
        resolve_model("acme/wm-cuda-a100")
    assert resolve_model("acme/wm-cuda-a100").revision == "v1.0.0"


def test_a_download_goes_on_where_a_killed_one_was(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    rows = write_dataset(tmp_path / "rows")
    model = write_real_model(tmp_path / "model", rows)
    push(rows, "acme/cuda-a100", hub="hf-hub")
    push(model, "acme/wm-cuda-a100", hub="hf-hub", evaluate=evaluate)
    server.fault("GET .*/resolve/.*/weights", status=500, times=99)
    with pytest.raises(HubError, match="HTTP 500"):
        resolve_model("acme/wm-cuda-a100")
    server.faults.clear()
    before = len(server.requests)
    assert resolve_model("acme/wm-cuda-a100").revision == "v1.0.0"
    fetched = [line for line in server.requests[before:] if line.startswith("GET /acme")]
    assert not any("checkpoint.json" in line for line in fetched), "what was there is not asked for"
