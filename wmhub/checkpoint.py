"""Checkpoints: a folder with everything that scoring needs, without pickle.

::

    checkpoint.json        what it is: schema version, name, version, hardware, dataset, feature
                           spec, network and training configuration, metrics, digests of the weights
                           and of itself; written last
    weights.safetensors    weights, and the normalisation of the features
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from wmhub.errors import (
    CheckpointError,
    InvalidInputError,
    MissingInputError,
    SchemaVersionError,
    UserError,
)
from wmhub.flushing import flush, write_file
from wmhub.hardware.profile import HardwareProfile
from wmhub.model.config import ModelConfig
from wmhub.model.encode import FeatureSpec, current_spec, structured_columns
from wmhub.model.forest import DEPTH
from wmhub.model.network import WorldModel
from wmhub.names import HardwareKey

#: Version of the form of a checkpoint; a newer one is refused.
SCHEMA_VERSION = 1
MANIFEST, WEIGHTS = "checkpoint.json", "weights.safetensors"
_MOST_MANIFEST_BYTES = 8 << 20
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class DatasetPin:
    """The dataset that a checkpoint was trained on."""

    id: str
    """Its name."""
    revision: str
    """Its content version, such as ``v1.0.0``."""
    digest: str
    """SHA-256 of its ``manifest.json``."""


@dataclass(frozen=True)
class BasePin:
    """The checkpoint that training began with."""

    name: str
    """Its name."""
    version: str
    """Its content version, such as ``1.0.0``."""
    digest: str
    """What a lock pins of it."""
    share: float = 0.0
    """How much of it is in the weights, within 0 and 1, which is it as it was but for its
    uncertainty."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"the share of {self.name} is {self.share!r}")


@dataclass(frozen=True)
class SeenWorkloads:
    """``Workload.identities`` of what a checkpoint knows, its base's too: none of it can judge what
    is trained from it. Empty where that was not written down."""

    learned: frozenset[str] = frozenset()
    """Trained on."""
    chosen_by: frozenset[str] = frozenset()
    """Looked at to choose weights."""

    def unfit_for(self, split: str) -> frozenset[str]:
        """Those that may not stand in ``split`` of what the checkpoint is judged or chosen by."""
        unfit = {"validation": self.learned, "test": self.learned | self.chosen_by}
        return unfit.get(split, frozenset())

    def __or__(self, other: SeenWorkloads) -> SeenWorkloads:
        return SeenWorkloads(self.learned | other.learned, self.chosen_by | other.chosen_by)


NOTHING_SEEN = SeenWorkloads()


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what it is."""

    name: str
    """Such as ``wm-cuda-a100``."""
    version: str
    """Content version, such as ``1.0.0``."""
    hardware: HardwareKey
    """What it ranks schedules for."""
    profile: HardwareProfile
    """The numbers of that hardware, which the network reads."""
    dataset: DatasetPin
    """What it was trained on and is judged by."""
    metrics: Mapping[str, object]
    """What was measured on held-out workloads, as ``wmhub eval --json`` prints it."""
    training: Mapping[str, object]
    """The training configuration."""
    environment: Mapping[str, str]
    """Package -> version that it was trained with."""
    network: WorldModel
    """The network, on the CPU, in evaluation mode."""
    datasets: tuple[DatasetPin, ...] = ()
    """All that it was trained on, ``dataset`` first; empty where that is the only one known."""
    base: BasePin | None = None
    """What training began with; ``None`` for a fresh network."""
    seen: SeenWorkloads = NOTHING_SEEN
    """Workloads that are no test of it."""

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return sum(p.numel() for p in self.network.parameters())

    @property
    def weights_digest(self) -> str:
        """SHA-256 of all that the network holds, trees and normalisation included."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            values = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{name} {values.dtype} {values.shape}\n".encode() + values.tobytes())
        return digest.hexdigest()


def write_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> Path:
    """Writes ``checkpoint`` into ``folder`` (made if needed); the manifest comes last.

    All of it is on disk when this returns: whoever trained may then remove what it came from.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    if manifest.exists():
        manifest.unlink()
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.network.state_dict().items()}
    # Not by save_file, whose files no one else may read.
    weights = save(tensors)
    (folder / WEIGHTS).write_bytes(weights)
    flush(folder / WEIGHTS)
    spec = current_spec(structured_columns(checkpoint.profile))
    document = {
        "schema_version": SCHEMA_VERSION,
        "name": checkpoint.name,
        "version": checkpoint.version,
        "hardware": str(checkpoint.hardware),
        "licence": "Apache-2.0",
        "dataset": dataclasses.asdict(checkpoint.dataset),
        "datasets": [dataclasses.asdict(pin) for pin in checkpoint.datasets],
        "base": dataclasses.asdict(checkpoint.base) if checkpoint.base is not None else None,
        "seen": {
            "learned": sorted(checkpoint.seen.learned),
            "chosen_by": sorted(checkpoint.seen.chosen_by),
        },
        "metrics": dict(checkpoint.metrics),
        "parameters": checkpoint.parameters,
        "profile": checkpoint.profile.to_json(),
        "model": dataclasses.asdict(checkpoint.network.config),
        "features": dataclasses.asdict(spec),
        "training": dict(checkpoint.training),
        "environment": dict(checkpoint.environment),
        "files": {WEIGHTS: {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights)}},
    }
    write_file(manifest, sealed(document))
    flush(folder)
    return folder


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Reads and checks a checkpoint: schema version, digests, feature spec, every weight.

    Raises ``MissingInputError``, ``CheckpointError`` or ``SchemaVersionError``.
    """
    folder = Path(folder)
    document = _read_manifest(folder)
    if "digest" not in document:
        raise CheckpointError(
            f"{folder / MANIFEST}: it has no digest of itself, so an older wmhub or a program of "
            "others wrote it: train again"
        )
    _check_weights(folder, document)
    try:
        profile = HardwareProfile.from_json(document["profile"])
        spec = _spec(document["features"])
        config = ModelConfig(**document["model"])
        _require_same_features(spec, current_spec(structured_columns(profile)))
        _require_bounded(config, len(spec.structured), (folder / WEIGHTS).stat().st_size)
        network = WorldModel(config, spec)
        checkpoint = Checkpoint(
            name=str(document["name"]),
            version=str(document["version"]),
            hardware=HardwareKey.parse(document["hardware"]),
            profile=profile,
            dataset=DatasetPin(**document["dataset"]),
            metrics=dict(document["metrics"]),
            training=dict(document["training"]),
            environment={str(k): str(v) for k, v in document["environment"].items()},
            network=network,
            datasets=tuple(DatasetPin(**pin) for pin in document.get("datasets", [])),
            base=BasePin(**document["base"]) if document.get("base") is not None else None,
            seen=_seen(document.get("seen", {})),
        )
    except UserError as error:
        raise CheckpointError(f"{folder / MANIFEST}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / MANIFEST}: a field is missing or odd: {error}") from error
    _load_weights(folder, network)
    # Last, so that what is damaged is named where it can be.
    if document["digest"] != _digest(document):
        raise CheckpointError(
            f"{folder / MANIFEST}: it was altered: its digest is of other content"
        )
    return checkpoint


def sealed(document: Mapping[str, Any]) -> bytes:
    """The content of a manifest file: ``document`` with its own digest.

    Whoever alters a number later is told so; what is published is pinned by whoever lists it.
    """
    # A metric that is no number must not make a checkpoint that nothing can read.
    whole = {**document, "digest": _digest(document)}
    return (json.dumps(whole, indent=2, allow_nan=False) + "\n").encode()


def _digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest but for its own digest."""
    content = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingInputError(f"{folder}: no {MANIFEST}, so this is no checkpoint of wmhub")
    if path.stat().st_size > _MOST_MANIFEST_BYTES:
        raise CheckpointError(f"{path}: larger than any checkpoint's manifest")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not the manifest of a checkpoint: {error}") from error
    if not isinstance(version, int) or version < 1:
        raise CheckpointError(f"{path}: schema_version must be a positive whole number")
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{path}: schema version {version} is newer than the {SCHEMA_VERSION} that this wmhub "
            "reads: pip install --upgrade wmhub"
        )
    return dict(document)


def _check_weights(folder: Path, document: Mapping[str, Any]) -> None:
    path = folder / WEIGHTS
    try:
        entry = document["files"][WEIGHTS]
        wanted, size = str(entry["sha256"]), int(entry["bytes"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / MANIFEST}: it does not name {WEIGHTS}") from error
    if not path.is_file():
        raise CheckpointError(f"{path}: missing, though {MANIFEST} names it")
    if path.stat().st_size != size:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes, {MANIFEST} says {size}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise CheckpointError(f"{path}: its SHA-256 is not the one in {MANIFEST}")


def _spec(data: Mapping[str, Any]) -> FeatureSpec:
    names = [f.name for f in dataclasses.fields(FeatureSpec) if f.name != "version"]
    return FeatureSpec(int(data["version"]), *(tuple(map(str, data[name])) for name in names))


def _seen(data: Mapping[str, Any]) -> SeenWorkloads:
    learned, chosen_by = (frozenset(map(str, data.get(k, ()))) for k in ("learned", "chosen_by"))
    return SeenWorkloads(learned, chosen_by)


def _require_same_features(spec: FeatureSpec, current: FeatureSpec) -> None:
    for field in dataclasses.fields(FeatureSpec):
        theirs, ours = getattr(spec, field.name), getattr(current, field.name)
        if theirs != ours:
            raise CheckpointError(
                f"its features ({field.name}) are not those of this wmhub; use the version that "
                "trained it, or train again"
            )


def _require_bounded(config: ModelConfig, features: int, weights_bytes: int) -> None:
    """Refuses sizes that the weights file cannot fill, before memory is taken for them."""
    latent, hidden, layers, members = config.latent, config.hidden, config.layers, config.members
    # A part of what such a network holds at least; what it really holds, loading checks.
    entered = latent + features * config.parts
    networks = max(latent * latent, members * entered * hidden, layers * members * hidden * hidden)
    least = max(networks, config.trees * 2**DEPTH)
    if least * _FLOAT_BYTES > weights_bytes:
        raise CheckpointError(f"{WEIGHTS} has {weights_bytes} bytes, too few for such a network")


def _load_weights(folder: Path, network: WorldModel) -> None:
    path = folder / WEIGHTS
    try:
        network.load_state_dict(load_file(str(path)), strict=True)
        network.forest.require_sound()
    except (SafetensorError, RuntimeError, ValueError, InvalidInputError) as error:
        raise CheckpointError(f"{path}: the weights do not fit: {error}") from error
    if not all(torch.isfinite(v).all() for v in network.state_dict().values()):
        raise CheckpointError(f"{path}: it holds weights that are not finite")
    if not (network.structured_scale > 0).all():
        raise CheckpointError(f"{path}: it holds a scale of features that is not positive")
    network.eval()
