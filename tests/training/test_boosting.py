"""The trees of a checkpoint are XGBoost's, and need it no more once they are grown."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from trainmaking import SMALL, make_dataset

from wmhub.checkpoint import read_checkpoint
from wmhub.errors import InvalidInputError, MissingDependencyError
from wmhub.model.config import MOST
from wmhub.model.forest import Forest
from wmhub.model.losses import latency_loss
from wmhub.names import HardwareKey
from wmhub.training.boosting import (
    _label,
    _start,
    fit_forest,
    inherited,
    roofline,
    structured_of,
    tables_of,
)
from wmhub.training.config import TrainConfig
from wmhub.training.corpus import Corpus, gather_corpus, open_datasets
from wmhub.training.data import from_store
from wmhub.training.evaluate import errors_of
from wmhub.training.loop import rank_stored
from wmhub.training.run import train

xgboost = pytest.importorskip("xgboost")

CONFIG = TrainConfig(trees=20, tree_rate=0.3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def corpus(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    target, datasets = open_datasets([dataset], None)
    return gather_corpus(target, datasets, CONFIG, tmp_path_factory.mktemp("cache"), 1)


def _loss(forest: Forest, corpus: Corpus) -> float:
    """Mean over workloads of the latency loss on what was trained on."""
    losses = []
    for examples in itertools.chain(*corpus.own_training):
        told = forest.predict(structured_of(examples, np.arange(len(examples.gains))))
        losses.append(float(latency_loss(*map(torch.from_numpy, (told, examples.gains)))))
    return float(np.mean(losses))


def test_tables_predict_what_xgboost_predicts() -> None:
    random = np.random.default_rng(0)
    table = random.normal(size=(3000, 6)).astype(np.float32)
    label = np.sin(table[:, 0] * 3) + table[:, 1] * table[:, 2]
    options = {"max_depth": 8, "tree_method": "hist", "base_score": 0.0}
    booster = xgboost.train(options, xgboost.DMatrix(table, label), 15)
    forest = Forest.of(tables_of(booster), 0.0, 6)
    # Values at a threshold too: the bins' borders are values of the data.
    wanted = booster.predict(xgboost.DMatrix(table), output_margin=True)
    np.testing.assert_allclose(forest.predict(table), wanted, atol=1e-5)
    assert wanted.std() > 0.5


def test_trees_learn_the_gains_and_more_of_them_go_on_from_there(corpus: Corpus) -> None:
    nothing = fit_forest(corpus.own_training, dataclasses.replace(CONFIG, trees=1, tree_rate=1e-6))
    first = fit_forest(corpus.own_training, CONFIG)
    more = fit_forest(corpus.own_training, CONFIG, first)
    assert (first.trees, more.trees) == (20, 40)
    assert torch.equal(more.leaf[:20], first.leaf)
    errors = [_loss(forest, corpus) for forest in (nothing, first, more)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < errors[1]


def test_only_ratios_within_a_workload_are_learnt(corpus: Corpus) -> None:
    shifted = [
        [
            dataclasses.replace(e, gains=(e.gains - 0.5 * (number % 2)).astype(np.float32))
            for number, e in enumerate(dataset)
        ]
        for dataset in corpus.own_training
    ]
    weightless = dataclasses.replace(CONFIG, trees=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wmhub.training.boosting.speed_weight", torch.ones_like)
        patch.setattr("wmhub.training.boosting._label", lambda gains: gains)
        one, other = (
            fit_forest(training, weightless).leaf for training in (corpus.own_training, shifted)
        )
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)
    assert one.abs().max() > 0.05


def test_labels_are_logarithms_near_the_best_and_less_spread_among_the_slow() -> None:
    label = _label(np.asarray([0.0, -0.01, -1.0, -4.0]))
    assert label[0] == 0.0
    assert label[1] == pytest.approx(-0.01, rel=0.01)
    assert label[2] > -1.0
    assert label[3] - label[2] > -0.5 * 3.0
    assert (np.diff(label) < 0).all()


def test_the_same_seed_grows_the_same_trees(corpus: Corpus) -> None:
    one, other = (fit_forest(corpus.own_training, CONFIG) for _ in range(2))
    third = fit_forest(corpus.own_training, dataclasses.replace(CONFIG, seed=1))
    assert torch.equal(one.leaf, other.leaf)
    assert not torch.equal(one.leaf, third.leaf)


def test_trees_follow_what_can_only_slow_a_program(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = corpus.own_training[0][0]
    table = structured_of(examples, np.arange(len(examples.gains)))
    count = table.shape[1]
    grown: list[tuple[list[int], Forest]] = []
    for signs in ([1] * count, [-1] * count, [(1, -1)[feature % 2] for feature in range(count)]):
        monkeypatch.setattr("wmhub.training.boosting.directions_of", lambda _, found=signs: found)
        grown.append((signs, fit_forest(corpus.own_training, CONFIG)))
    for signs, forest in grown:
        assert len(np.unique(forest.predict(table))) > 1
        for feature, sign in enumerate(signs):
            more = table.copy()
            more[:, feature] += 1.0
            assert (sign * (forest.predict(more) - forest.predict(table)) >= -1e-5).all()


def test_the_roofline_says_how_much_slower_than_the_least(corpus: Corpus) -> None:
    columns = corpus.own_training[0][0].store.columns
    tree = Forest.of(roofline(columns), 0.0, len(columns))
    slowdown = np.concatenate([[0.0], np.random.default_rng(0).uniform(0, 8, 200), [1e3]])
    table = np.zeros((len(slowdown), len(columns)), np.float32)
    table[:, columns.index("gpu.ratio.total")] = slowdown
    wanted = _label(-np.log(2.0) * np.minimum(slowdown, 8.0))
    np.testing.assert_allclose(tree.predict(table), wanted, atol=np.log(2.0) / 64)
    assert (np.diff(tree.predict(table)[np.argsort(slowdown)]) <= 0).all()


def test_trees_of_a_gpu_go_on_from_the_roofline(
    corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = make_dataset(tmp_path_factory.mktemp("gpu"), hardware="cuda-v100")
    target, datasets = open_datasets([folder], None)
    gpu = gather_corpus(target, datasets, CONFIG, tmp_path_factory.mktemp("cache"), 1)
    forest = fit_forest(gpu.own_training, CONFIG)
    columns = gpu.own_training[0][0].store.columns
    assert forest.trees == CONFIG.trees + 1
    assert torch.equal(forest.leaf[:1], torch.from_numpy(roofline(columns).leaf))
    assert fit_forest(gpu.own_training, CONFIG, forest).trees == 2 * CONFIG.trees + 1
    # It changes no mean: what is blended with it would be far from it everywhere.
    for one, start in ((gpu, _start(list(itertools.chain(*gpu.own_training)))),
                       (corpus, _start(list(itertools.chain(*corpus.own_training))))):  # fmt: skip
        told = [(start.predict(structured_of(e, np.arange(len(e.gains)))), _label(e.gains))
                for e in itertools.chain(*one.own_training)]  # fmt: skip
        off = [float(said.mean() - label.mean()) for said, label in told]
        assert np.mean(off) == pytest.approx(0.0, abs=1e-5)
    assert fit_forest(corpus.own_training, CONFIG).trees == CONFIG.trees


def test_more_trees_than_a_model_may_have_are_refused_before_any_is_grown(corpus: Corpus) -> None:
    base = Forest(5, len(corpus.own_training[0][0].store.columns))
    grown: list[int] = []
    config = dataclasses.replace(CONFIG, trees=MOST["trees"])
    with pytest.raises(InvalidInputError, match="trees and the 5 that"):
        fit_forest(corpus.own_training, config, base, grown=lambda done, _: grown.append(done))
    assert not grown


def test_a_gpu_inherits_half_of_what_another_s_trees_say_beside_the_roofline() -> None:
    forest = Forest(3, 7)
    forest.leaf.fill_(2.0)
    v100, k80 = map(HardwareKey.parse, ("cuda-v100", "cuda-k80"))
    cpu, other = map(HardwareKey.parse, ("llvm-znver4-2c", "llvm-emeraldrapids-2c"))
    assert inherited(forest, v100, v100) is inherited(forest, other, cpu) is forest
    assert inherited(forest, cpu, k80).trees == inherited(forest, v100, cpu).trees == 0
    half = inherited(forest, v100, k80)
    assert half.leaf[:, 0].tolist() == [2.0, 1.0, 1.0]
    assert forest.leaf[:, 0].tolist() == [2.0] * 3


def test_structured_features_come_in_the_order_of_the_rows(corpus: Corpus) -> None:
    examples = next(e for e in corpus.own_training[0] if len(e.gains) > 3)
    rows = np.asarray([3, 0, 2])
    found = structured_of(examples, rows)
    for row, features in zip(rows, found, strict=True):
        group, place = examples.places[row]
        _, wanted = examples.store.group(int(group)).dense(np.asarray([place]))
        assert np.array_equal(features, wanted[0])
    assert len(np.unique(found, axis=0)) > 1
    assert len(examples.store.columns) == found.shape[1]


def test_a_checkpoint_keeps_its_trees_and_is_right_about_its_errors(
    dataset: Path, corpus: Corpus, tmp_path: Path
) -> None:
    output = tmp_path / "model"
    train(dataset, output, config=SMALL)
    network = read_checkpoint(output).network
    assert network.config.trees == network.forest.trees == SMALL.trees
    rankings = rank_stored(network, corpus.validation)
    stated = np.mean([np.square(r.uncertainty).mean() for r in rankings])
    found = np.mean([np.square(errors_of(r)).mean() for r in rankings])
    assert stated == pytest.approx(found, rel=1e-3)


def test_networks_and_trees_have_half_of_the_say(corpus: Corpus) -> None:
    from wmhub.training.run import new_network

    network = new_network(SMALL, corpus.profile, corpus.training).eval()
    group = from_store(corpus.validation[0]).groups[0]
    with torch.inference_mode():
        before = network.judge(group).opinions
        network.plant(fit_forest(corpus.own_training, CONFIG))
        after = network.judge(group).opinions
    trees = network.forest.predict(group.structured)
    np.testing.assert_array_equal(after[:-1], before)
    np.testing.assert_array_equal(after[-1], trees)
    score, uncertainty = network.verdict(after)
    np.testing.assert_allclose(score, (before.mean(axis=0) + trees) / 2, atol=1e-5)
    apart = before.mean(axis=0) - trees
    assert (uncertainty >= np.abs(apart - apart.mean()) / 2 - 1e-5).all()
    # What each takes for a workload's level is no doubt about its candidates.
    levels = np.arange(len(after), dtype=np.float32)[:, None]
    shifted = network.verdict(after + 10 * levels)
    np.testing.assert_allclose(shifted[1], uncertainty, atol=1e-4)
    np.testing.assert_allclose(np.diff(shifted[0]), np.diff(score), atol=1e-4)


def test_without_xgboost_training_says_so_before_it_begins(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    output = tmp_path / "model"
    with pytest.raises(MissingDependencyError, match=r"--set trees=0.*wmhub\[train\]"):
        train(dataset, output, config=SMALL)
    train(dataset, output, config=dataclasses.replace(SMALL, trees=0, steps=5))
    assert read_checkpoint(output).network.forest.trees == 0
