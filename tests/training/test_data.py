"""Batches: which candidates are drawn, and that they are those of the store."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model.collating import collate
from trainmaking import make_dataset

from wmhub.dataset.reader import open_dataset
from wmhub.training.corpus import profile_of
from wmhub.training.data import (
    Examples,
    Sampler,
    even_shares,
    examples_of,
    few,
    from_store,
    gather,
)
from wmhub.training.encoding import open_store
from wmhub.training.store import StoredWorkload


@pytest.fixture(scope="module")
def workloads(tmp_path_factory: pytest.TempPathFactory) -> list[StoredWorkload]:
    folder = tmp_path_factory.mktemp("data")
    dataset = open_dataset(make_dataset(folder))
    return open_store(dataset, profile_of(dataset), folder / "cache", 1).split("train")


def test_a_batch_is_what_collate_makes(workloads: list[StoredWorkload]) -> None:
    chosen = np.array([3, 0, 3, 27])
    lists = [(examples_of(workload, -4.0, None), chosen) for workload in workloads[:3]]
    batch = gather(lists)
    wanted = collate(
        [(from_store(w).groups[0], torch.from_numpy(chosen)) for w in workloads[:3]], None
    )
    for name in ("blocks", "hardware", "kinds", "actions", "structured"):
        assert torch.equal(getattr(batch, name), getattr(wanted, name)), name


def test_processes_share_the_lists_of_one_batch(workloads: list[StoredWorkload]) -> None:
    data = [[examples_of(workload, -4.0, None) for workload in workloads]]
    whole, gains = Sampler(data, 4, 8).draw(np.random.default_rng(3))
    parts = [Sampler(data, 4, 8).draw(np.random.default_rng(3), rank, 2) for rank in (0, 1)]
    for rank, (batch, some) in enumerate(parts):
        assert torch.equal(some, gains[rank::2])
        assert torch.equal(
            batch.structured.reshape(2, 8, -1), whole.structured.reshape(4, 8, -1)[rank::2]
        )


def test_a_dataset_weighs_the_same_whatever_its_size(workloads: list[StoredWorkload]) -> None:
    all_of = [examples_of(workload, -4.0, None) for workload in workloads]
    one = Examples(all_of[0].store, all_of[0].places, np.full(28, -9.0, np.float32))
    _, gains = Sampler([all_of, [one]], 400, 2).draw(np.random.default_rng(0))
    assert 0.4 < float((gains[:, 0] == -9.0).float().mean()) < 0.6


@pytest.mark.parametrize("samples", [2, 5, 40, 100, 10_000])
def test_few_records_are_spread(samples: int, workloads: list[StoredWorkload]) -> None:
    drawn = few(workloads, samples, np.random.default_rng(0))
    sizes = [len(rows) for rows in drawn if len(rows)]
    assert sum(sizes) == min(samples, sum(w.count for w in workloads))
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1
    assert all(len(set(rows.tolist())) == len(rows) for rows in drawn)
    again = few(workloads, samples, np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))


@pytest.mark.parametrize(
    ("counts", "most", "shares"),
    [
        ([3, 100, 5], 12, [3, 5, 4]),
        ([3, 100, 5], 50, [3, 42, 5]),
        ([3, 100, 5], 1000, [3, 100, 5]),
        ([4, 4], 0, [0, 0]),
        ([], 7, []),
    ],
)
def test_what_small_workloads_cannot_take_goes_to_others(
    counts: list[int], most: int, shares: list[int]
) -> None:
    assert even_shares(counts, most).tolist() == shares


def test_gains_refer_to_what_was_drawn(workloads: list[StoredWorkload]) -> None:
    slowest = np.argsort(workloads[0].latency)[-5:]
    examples = examples_of(workloads[0], -4.0, slowest)
    assert examples.gains.max() == 0.0
    assert examples_of(workloads[0], -4.0, None).gains[slowest].max() < -0.5
    assert len(examples.places) == 5


def test_failed_candidates_stand_at_the_floor(
    workloads: list[StoredWorkload], monkeypatch: pytest.MonkeyPatch
) -> None:
    latency = workloads[0].latency
    latency[4] = np.inf
    monkeypatch.setattr(StoredWorkload, "latency", latency)
    assert examples_of(workloads[0], -4.0, None).gains[4] == -4.0
    drawn = few(workloads[:1], 2, np.random.default_rng(0))[0]
    assert np.isfinite(latency[drawn]).all()
