"""Inputs as the training data has them, and what a trained network has never seen vary."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from trainmaking import SMALL, line, make_dataset

import wmhub
from wmhub.checkpoint import read_checkpoint
from wmhub.dataset.reader import open_dataset
from wmhub.model.encode import structured_columns
from wmhub.model.network import WorldModel
from wmhub.training.boosting import structured_of
from wmhub.training.corpus import profile_of
from wmhub.training.data import Examples, examples_of
from wmhub.training.encoding import open_store
from wmhub.training.normalisation import adapt, normalisation
from wmhub.training.run import new_network, train

Data = list[list[Examples]]


@pytest.fixture(scope="module")
def network_and_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[WorldModel, Data]:
    folder = tmp_path_factory.mktemp("data")
    dataset = open_dataset(make_dataset(folder, workloads=6))
    store = open_store(dataset, profile_of(dataset), folder / "cache", 1)
    every = [examples_of(stored, -4.0, None) for stored in store.workloads]
    # Of two datasets, the smaller counts as much as the larger.
    data = [every[:4], every[4:]]
    return new_network(SMALL, profile_of(dataset), data), data


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_whatever_is_kept_of_a_base_reads_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    plain = "".join(line(w, 2**t, 0) for w in range(12) for t in range(7))
    (tmp_path / "plain.json").write_text(plain)
    options = {"hardware": "llvm-emeraldrapids-2c", "output": tmp_path / "plain", "workers": 1}
    wmhub.collect([tmp_path / "plain.json"], **options)  # type: ignore[arg-type]
    varied = make_dataset(tmp_path / "varied", hardware="llvm-znver4-2c")
    train(tmp_path / "plain", tmp_path / "base", config=SMALL)
    monkeypatch.setattr("wmhub.training.blend._SHARES", (share,))
    report = train(varied, tmp_path / "new", start_from=tmp_path / "base", config=SMALL)
    assert report.base_share == share
    base, ours = (read_checkpoint(tmp_path / name).network for name in ("base", "new"))
    profile = read_checkpoint(tmp_path / "new").profile
    column = structured_columns(profile).index("unroll.max_step")
    assert base.structured_scale[column] == pytest.approx(0.05)
    assert ours.structured_scale[column] > 1.0
    assert base.piecewise.knots[column].unique().tolist() == [0.0]
    assert ours.piecewise.knots[column, -1] > 9.0
    assert torch.equal(base.structured_mean[:1], ours.structured_mean[:1])
    entered = ours.enter.weight[:, 2 * SMALL.model.latent + column]
    assert entered.any() == (share < 1)


def table_of(dataset: list[Examples]) -> np.ndarray:
    return np.concatenate([structured_of(one, np.arange(len(one.gains))) for one in dataset])


def test_each_dataset_counts_the_same(network_and_data: tuple[WorldModel, Data]) -> None:
    network, data = network_and_data
    found = normalisation(data, SMALL.model.parts)
    wanted = np.mean([table_of(dataset).mean(axis=0, dtype=np.float64) for dataset in data], axis=0)
    np.testing.assert_allclose(found.mean, wanted, atol=1e-6)
    assert torch.equal(network.structured_mean, torch.from_numpy(found.mean).float())
    assert torch.equal(network.piecewise.knots, torch.from_numpy(found.knots))
    # Each part as likely as the others, in a mixture with half of each dataset.
    column = int(np.argmax(found.scale))
    shares = [
        [(table_of(dataset)[:, column] < knot).mean() for dataset in data]
        for knot in found.knots[column]
    ]
    below = np.arange(SMALL.model.parts + 1) / SMALL.model.parts
    assert (np.mean(shares, axis=1) <= below + 0.02).all()
    assert found.knots[column, 0] == min(table_of(dataset)[:, column].min() for dataset in data)
    assert found.knots[column, -1] == max(table_of(dataset)[:, column].max() for dataset in data)
    assert (np.diff(found.knots, axis=1) >= 0).all()


def test_of_more_workloads_than_rows_some_are_not_looked_at(
    network_and_data: tuple[WorldModel, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data = network_and_data
    monkeypatch.setattr("wmhub.training.normalisation._KNOT_ROWS", len(data[0]) - 1)
    found = normalisation(data, 2)
    assert np.isfinite(found.knots).all()


def test_what_never_varied_is_read_as_the_new_data_has_it(
    network_and_data: tuple[WorldModel, Data],
) -> None:
    network, data = copy.deepcopy(network_and_data[0]), network_and_data[1]
    # As a GPU's features are on a CPU.
    state = {name: value.clone() for name, value in network.state_dict().items()}
    column = int(torch.argmax(network.structured_scale))
    network.structured_mean[column], network.structured_scale[column] = 0.0, 0.05
    network.piecewise.knots[column] = 0.0
    shifted = (int(torch.argmax(network.structured_scale)), 3.0)
    network.structured_mean[shifted[0]] += shifted[1]
    values = torch.from_numpy(table_of(data[0]))
    assert network._normal(values)[:, column].abs().max() == 5.0
    adapt(network, data)
    for name in ("structured_mean", "structured_scale", "piecewise.knots"):
        assert torch.equal(network.state_dict()[name][column], state[name][column]), name
    assert network._normal(values)[:, column].abs().max() < 5.0
    # What it knows stays as it was, and so do all weights but those that nothing has taught.
    kept = state["structured_mean"][shifted[0]] + shifted[1]
    assert network.structured_mean[shifted[0]] == kept
    before, parts = 2 * SMALL.model.latent, SMALL.model.parts
    first = before + len(network.structured_mean) + column * parts
    zero = [before + column, *range(first, first + parts)]
    for name, value in network.named_parameters():
        same = value == state[name]
        if name == "enter.weight":
            assert not value[:, zero].any()
            same[:, zero] = True
        assert same.all(), name
