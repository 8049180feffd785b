"""The training configuration: from files and settings, and what it refuses."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest

from wmhub.errors import InvalidInputError, MissingInputError
from wmhub.model.config import ModelConfig
from wmhub.training.config import TrainConfig, read_config, with_settings


def test_a_file_sets_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text('steps = 7\ntemperature = 3\n[model]\nlatent = 24\ndynamics = "bag"\n')
    assert read_config(path) == TrainConfig(
        steps=7, temperature=3.0, model=ModelConfig(latent=24, dynamics="bag")
    )
    assert isinstance(read_config(path).temperature, float)


def test_settings_change_one_field_each() -> None:
    settings = ["model.latent=24", "model.program = false", "model.dynamics=bag", "steps=7"]
    assert with_settings(TrainConfig(), settings) == TrainConfig(
        steps=7, model=ModelConfig(latent=24, program=False, dynamics="bag")
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("step=3", "did you mean steps"),
        ("model.latnet=3", "did you mean model.latent"),
        ("steps=many", "of type int"),
        ("steps=1.5", "of type int"),
        ("steps=true", "of type int"),
        ("model=3", "of type table"),
        ("steps", "NAME=VALUE"),
        ("precision=fp8", "fp32, bf16"),
        ("steps=0", "at least 1"),
        ("samples=1", "at least 2"),
        ("candidates_per_list=1", "at least 2"),
        ("learning_rate=0.0", "positive"),
        ("base_rate=0.0", "base_rate"),
        ("base_rate=1.5", "base_rate"),
        ("average=1.0", "below 1"),
        ("learning_rate=nan", "positive"),
        ("temperature=-1", "positive"),
        ("temperature=inf", "finite"),
        ("weight_decay=-1", "not be negative"),
        ("latency_weight=nan", "not be negative"),
        ("consistency_weight=-0.1", "not be negative"),
        ("worst_gain=3.0", "must be negative"),
        ("seed=100000000000000", "within 0 and"),
    ],
)
def test_senseless_settings_are_refused(setting: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        with_settings(TrainConfig(), [setting])


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"none\.toml"):
        read_config(tmp_path / "none.toml")
    path = tmp_path / "train.toml"
    path.write_text("steps = ")
    with pytest.raises(InvalidInputError, match="no readable TOML"):
        read_config(path)
    path.write_text("nonsense = 3")
    with pytest.raises(InvalidInputError, match=r"train\.toml: no training setting"):
        read_config(path)


@pytest.mark.parametrize("config", [TrainConfig, ModelConfig])
def test_every_setting_is_documented(config: type) -> None:
    body = ast.parse(inspect.getsource(config)).body[0]
    assert isinstance(body, ast.ClassDef)
    documented = {
        field.target.id
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
    }
    assert documented == {field.name for field in dataclasses.fields(config)}
