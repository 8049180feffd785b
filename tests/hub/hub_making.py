"""Small artifacts to publish, and places to publish them to."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hub_server import HubServer

from wmhub.hub.artifact import DATASET, MODEL, ArtifactKind
from wmhub.hub.embedded import EmbeddedHub
from wmhub.hub.evaluation import Evaluation, Figures, ScorerMetrics
from wmhub.hub.folder import FolderHub
from wmhub.hub.place import Hub, Repository, Upload

_CARD = "---\nlibrary_name: wmhub\ntags: [wmhub]\n---\n# A card\n"
TOKEN = "hf_" + "t0kenOfTheTest" * 2


def write_model(
    folder: Path,
    name: str = "wm-cuda-a100",
    version: str = "1.0.0",
    hardware: str = "cuda-a100",
    weights: bytes = b"weights" * 1000,
    **changes: object,
) -> Path:
    """A folder in the form of a checkpoint."""
    return _write(
        folder,
        "checkpoint.json",
        {"weights.safetensors": weights},
        {
            "schema_version": 1,
            "name": name,
            "version": version,
            "hardware": hardware,
            "metrics": {"top1": 0.91, "top5": 0.98},
            **changes,
        },
    )


def write_dataset(
    folder: Path,
    version: str = "1.0.0",
    hardware: str = "cuda-a100",
    latencies: tuple[float, ...] = (1e-3, 2e-3, 4e-3),
    licence: str = "MIT",
) -> Path:
    """A dataset of a few hand-made Ansor records, as ``collect`` writes it."""
    shutil.copytree(_collected(version, hardware, latencies, licence), folder)
    return folder


@functools.cache
def _collected(version: str, hardware: str, latencies: tuple[float, ...], licence: str) -> Path:
    """Collected once for all tests, which work on copies."""
    from wmhub import collect

    home = Path(tempfile.mkdtemp(prefix="wmhub-test-rows-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    log = home / "matmul.log"
    with log.open("w") as file:
        for number, latency in enumerate(latencies):
            steps = [["SP", 2, 0, 512, [2 + number, 1, 8], 1]]
            task = ['["matmul", 512, 512, 512]', "cuda", [-1, 16, 64, 49152], "", 0, []]
            times = [[latency], 0, 1.5, 1600000000 + number]
            file.write(json.dumps({"i": [task, [[], steps]], "r": times, "v": "v0.6"}) + "\n")
    collect(
        [str(log)],
        home / "dataset",
        hardware=hardware,
        contributor="ada",
        licence=licence,
        version=version,
        workers=1,
    )
    return home / "dataset"


def _write(folder: Path, manifest: str, files: dict[str, bytes], fields: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        digests[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "README.md").write_text(_CARD)
    (folder / manifest).write_text(json.dumps({"files": digests, **fields}))
    return folder


@dataclass
class Place:
    """One hub with what a test does to it from outside."""

    hub: Hub
    publish: Callable[[ArtifactKind, Repository, Path], str]
    """Publishes a folder with its tag and returns the commit."""
    spoil: Callable[[ArtifactKind, Repository, str, bytes], None]
    """Replaces the content of a file of the only version, behind the hub's back."""
    spec: str
    """What ``hub=`` names it by; empty for the embedded one."""


def names_of(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def publish(hub: Hub, kind: ArtifactKind, repository: Repository, folder: Path) -> str:
    manifest = kind.parse((folder / kind.manifest_name).read_bytes(), "test")
    commit = hub.commit(kind, repository, Upload(folder, names=names_of(folder), message="publish"))
    hub.tag(kind, repository, manifest.version.tag, commit.id)
    return commit.id


def make_place(label: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if label == "embedded":
        root = tmp_path / "embedded"
        root.mkdir()

        def embed(kind: ArtifactKind, repository: Repository, folder: Path) -> str:
            import shutil

            shutil.copytree(folder, root / repository.name)
            return str(kind.parse((folder / kind.manifest_name).read_bytes(), "test").digest)

        def spoil_embedded(
            kind: ArtifactKind, repository: Repository, name: str, new: bytes
        ) -> None:
            (root / repository.name / name).write_bytes(new)

        return Place(EmbeddedHub("acme", root), embed, spoil_embedded, "")
    if label == "folder":
        hub: Hub = FolderHub(tmp_path / "folder-hub")

        def spoil_folder(kind: ArtifactKind, repository: Repository, name: str, new: bytes) -> None:
            home = tmp_path / "folder-hub" / f"{kind.label}s" / repository.org / repository.name
            (commit,) = (home / "commits").iterdir()
            (commit / "tree" / name).write_bytes(new)

        spec = f"folder:{tmp_path / 'folder-hub'}"
        return Place(hub, lambda *args: publish(hub, *args), spoil_folder, spec)
    server: HubServer = request.getfixturevalue("server")
    from wmhub.hub.huggingface import HuggingFaceHub

    remote = HuggingFaceHub()

    def spoil_remote(kind: ArtifactKind, repository: Repository, name: str, new: bytes) -> None:
        from hub_store import File

        repo = server.repo(kind.label, str(repository))
        repo.commit_of("main").files[name] = File(new)

    return Place(remote, lambda *args: publish(remote, *args), spoil_remote, "hf-hub")


KINDS = {"model": (MODEL, write_model), "dataset": (DATASET, write_dataset)}


def write_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: str, datasets: str = ""
) -> None:
    """Replaces the registry of the package."""
    import uuid

    path = tmp_path / f"registry-{uuid.uuid4().hex}.toml"
    head = 'schema_version = 1\norganisation = "wmhub"\n'
    path.write_text(f"{head}[models]\n{models}\n[datasets]\n{datasets}")
    monkeypatch.setattr("wmhub.hub.registry.REGISTRY_PATH", path)


def registry_row(name: str, digest: str, commit: str | None = None, tag: str = "v1.0.0") -> str:
    hardware = name.removeprefix("wm-")
    commit_line = f'commit = "{commit}"\n' if commit else ""
    return (
        f'[models.{name}]\nrepository = "wmhub/{name}"\ntag = "{tag}"\n{commit_line}'
        f'digest = "{digest}"\nmanifest = "{"0" * 64}"\nschema_version = 1\n'
        f'hardware = "{hardware}"\n'
    )


def dataset_row(dataset: Path) -> str:
    """The registry's entry of a dataset by the name that it gives itself."""
    found = DATASET.verify(dataset)
    return (
        f'[datasets.{found.name}]\nrepository = "wmhub/{found.name}"\n'
        f'tag = "{found.version.tag}"\ndigest = "{found.digest}"\n'
        f'manifest = "{found.manifest_file.sha256}"\nschema_version = 1\n'
        f'hardware = "{found.hardware[0]}"\n'
    )


def trained_on(dataset: Path, id_: str = "acme/cuda-a100") -> dict[str, object]:
    """Fields of a checkpoint that was trained on ``dataset``."""
    digest = hashlib.sha256((dataset / "manifest.json").read_bytes()).hexdigest()
    return {
        "dataset": {"id": id_, "revision": "v1.0.0", "digest": digest},
        "metrics": {
            "split": "test",
            "workloads": 12,
            "top1": 0.91,
            "top5": 0.98,
            "random": {"top1": 0.6, "top5": 0.85},
        },
        "parameters": 1234567,
        "environment": {"torch": "2.13.0"},
    }


def evaluate(checkpoint: Path, dataset: Path) -> Evaluation:
    """A stand-in for the real evaluation: other numbers than the checkpoint's."""
    assert (checkpoint / "weights.safetensors").is_file()
    assert (dataset / "manifest.json").is_file()
    return Evaluation(
        split="test",
        workloads=7,
        model=ScorerMetrics("this model", {"top1": 0.875, "top5": 0.95}),
        baselines=(ScorerMetrics("random order", {"top1": 0.5, "top5": 0.75}),),
        figures=Figures(
            ranking=([0.1, 0.2], [0.5, 1.0]),
            curves={"this model": [0.9, 1.0], "random order": [0.5, 0.7]},
            calibration=([0.1, 0.2], [0.1, 0.3]),
        ),
    )


def write_real_model(folder: Path, dataset: Path, version: str = "1.0.0") -> Path:
    """A small network that was never trained, as the trainer would write it."""
    import hashlib

    import torch

    from wmhub.checkpoint import Checkpoint, DatasetPin, write_checkpoint
    from wmhub.hardware.table import lookup
    from wmhub.model.config import ModelConfig
    from wmhub.model.encode import current_spec, structured_columns
    from wmhub.model.network import WorldModel
    from wmhub.names import HardwareKey

    hardware = HardwareKey.parse("cuda-a100")
    profile = lookup(hardware)
    assert profile is not None
    torch.manual_seed(0)
    spec = current_spec(structured_columns(profile))
    network = WorldModel(ModelConfig(latent=8, hidden=16, layers=1, members=2), spec).eval()
    digest = hashlib.sha256((dataset / "manifest.json").read_bytes()).hexdigest()
    checkpoint = Checkpoint(
        name="wm-cuda-a100",
        version=version,
        hardware=hardware,
        profile=profile,
        dataset=DatasetPin("acme/cuda-a100", "v1.0.0", digest),
        metrics={
            "split": "test",
            "workloads": 1,
            "top1": 0.9,
            "top5": 1.0,
            "random": {"top1": 0.5},
        },
        training={},
        environment={"torch": torch.__version__},
        network=network,
    )
    return write_checkpoint(folder, checkpoint)
