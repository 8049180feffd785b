"""Whole networks are compared by what runs, and what was made is not made again."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from wmhub.errors import InvalidInputError, MeasureError

pytest.importorskip("tvm")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.tvm

MODEL = "wm-llvm-emeraldrapids-2c"


def tiny() -> tuple[Any, Any]:
    layers = torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
    return torch.nn.Sequential(*layers), torch.randn(1, 3, 8, 8)


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from wmhub.bench import torch_networks
    from wmhub.bench.network_run import Request
    from wmhub.tvm_compat import llvm_target

    monkeypatch.setitem(torch_networks.NETWORKS, "tiny", tiny)
    made = Request("tiny", "", MODEL, llvm_target(cores=2), 2, 1, str(tmp_path / "made"))
    return lambda method: replace(made, method=method)


def test_networks_are_those_that_were_published() -> None:
    from wmhub.bench.torch_networks import NETWORKS, exported

    outputs = {name: exported(name) for name in NETWORKS}
    weights = {
        name: sum(parameter.numel() for parameter in program.parameters())
        for name, (program, _) in outputs.items()
    }
    # ResNet-18 of torchvision has 11,689,512; BERT-mini's layers 3,159,040.
    assert weights == {"resnet18": 11_689_512, "bert-mini": 3_159_040}
    program, example = outputs["bert-mini"]
    assert program.module()(example).shape == example.shape


def test_what_is_made_computes_what_pytorch_does(request_of: Any) -> None:
    from wmhub.bench.network_run import compare, make

    request = replace(request_of("zero"), trials=0)
    Path(request.folder).mkdir()
    library = make(request)
    assert compare(request, library) < 1e-5


def test_pytorch_is_timed_as_it_is(request_of: Any) -> None:
    from wmhub.bench.network_run import time_torch

    threads = torch.get_num_threads()
    try:
        assert 0 < time_torch(request_of("torch")) < 0.1
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is done, with every step in this process and instant."""
    from wmhub.bench import network

    done: list[tuple[str, str]] = []

    def step(name: str, request: Any, *_: str) -> Any:
        done.append((name, request.method))
        if name != "make":
            return 0.5 if name == "compare" else 4e-3
        library = Path(request.folder, "made.so")
        library.write_bytes(b"")
        time.sleep(0.01)
        return str(library)

    def timed(library: Path, *_: Any) -> float:
        done.append(("time", library.parent.name))
        return 1e-3 * len(done)

    monkeypatch.setattr(network, "_step", step)
    monkeypatch.setattr(network, "time_network", timed)
    return done


def test_what_is_there_is_not_made_again(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    from wmhub.bench.network import METHODS, bench_network

    said: list[str] = []
    result = bench_network(tmp_path, "bert-mini", model=MODEL, trials=8, on_run=said.append)
    assert list(result.methods) == list(METHODS)
    assert [method for name, method in steps if name == "make"] == ["tvm", "zero", "wmhub"]
    assert said[0] == f"bert-mini: {METHODS['tvm']}, 8 trials"
    assert said[1] == f"bert-mini: {METHODS['zero']}, 0 trials"
    torch_alone, ours = result.methods["torch"], result.methods["wmhub"]
    assert (torch_alone.latency_s, torch_alone.wall_s, torch_alone.difference) == (4e-3, None, None)
    assert ours.least_s < ours.latency_s < ours.most_s
    assert ours.wall_s is not None
    assert ours.wall_s >= 0.01
    assert ours.difference == 0.5
    assert json.loads(json.dumps(result.to_json()))["methods"]["zero"]["difference"] == 0.5
    del steps[:]
    again = bench_network(tmp_path, "bert-mini", model=MODEL, trials=8)
    assert again.methods["wmhub"].wall_s == ours.wall_s
    assert not [method for name, method in steps if name == "make"]

    def again_with(model: str, trials: int) -> list[str]:
        del steps[:]
        bench_network(tmp_path, "bert-mini", model=model, trials=trials)
        return [method for name, method in steps if name == "make"]

    # TVM's tuner asks no checkpoint, and without a measurement there is no budget.
    assert again_with("wm-llvm-znver4-2c", 8) == ["zero", "wmhub"]
    assert again_with("wm-llvm-znver4-2c", 9) == ["tvm", "wmhub"]
    (tmp_path / "bert-mini" / "tvm-8" / "made.so").unlink()
    assert again_with("wm-llvm-znver4-2c", 8) == ["tvm"]


def test_the_table_names_every_method(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    from wmhub.bench.network import METHODS
    from wmhub.cli.bench_network import command

    options = ["--model", MODEL, "--network", "bert-mini", "--output", str(tmp_path), "--json"]
    done = CliRunner().invoke(command, options, env={"COLUMNS": "160"})
    assert done.exit_code == 0
    assert all(about in done.stderr for about in METHODS.values())
    assert json.loads(done.stdout)["trials"] == 512
    assert steps


def test_what_there_is_not_is_named(tmp_path: Path) -> None:
    from wmhub.bench.network import bench_network

    bad = (("vgg", "tvm", 1), ("resnet18", "x", 1), ("resnet18", "tvm", 0))
    for network, method, trials in bad:
        with pytest.raises(InvalidInputError, match="networks are resnet18, bert-mini"):
            bench_network(tmp_path, network, model=MODEL, trials=trials, methods=[method])


def test_a_step_that_fails_says_why(request_of: Any) -> None:
    from wmhub.bench.network import _step

    # In a process of its own there is no such network.
    with pytest.raises(MeasureError, match=r"^tiny, torch: KeyError: 'tiny'$"):
        _step("time", request_of("torch"))
