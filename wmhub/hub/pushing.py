"""``push``: a model or a dataset, checked and with its card, to a hub."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wmhub.dataset.version import Change
from wmhub.errors import (
    DatasetError,
    InvalidInputError,
    InvalidNameError,
    MissingInputError,
    UnknownNameError,
)
from wmhub.hub.artifact import (
    CARD_NAME,
    DATASET,
    MODEL,
    ArtifactKind,
    ArtifactManifest,
    read_manifest,
)
from wmhub.hub.evaluation import Evaluate, Evaluation
from wmhub.hub.figures import possible_pictures
from wmhub.hub.model_card import read_card_facts, write_model_card
from wmhub.hub.place import Repository
from wmhub.hub.publish import Publication, Pushed, publish
from wmhub.hub.registry import load_registry
from wmhub.hub.resolve import Resolved, resolve_dataset
from wmhub.hub.settings import open_hub, organisation_override
from wmhub.names import DatasetId, ModelId

if TYPE_CHECKING:
    from wmhub.dataset.check import CheckReport


def push(
    path: str | os.PathLike[str],
    name: str,
    *,
    dataset: str | os.PathLike[str] | None = None,
    message: str | None = None,
    dry_run: bool = False,
    create_pr: bool = False,
    hub: str | None = None,
    card: str | os.PathLike[str] | None = None,
    evaluate: Evaluate | None = None,
) -> Pushed:
    """Checks the folder ``path``, publishes it as ``name``, and tags it with its version.

    A model is evaluated on the dataset that its checkpoint pins (or on ``dataset``, which must be
    the same to the byte), and its card is written from what was measured, also to the file ``card``
    if that is given; of its folder, only what the manifest names is sent. A dataset is checked as
    ``wmhub dataset check`` does, and refused if it holds files that its manifest does not name.
    Refused as well are a version whose tag exists with other content, and one that is too low for
    what changed since the newest tag. ``create_pr`` proposes without tagging. Raises ``HubError``
    where nothing can be published, a dry run included.
    """
    place = open_hub(hub)
    place.require_writable()
    folder = Path(path)
    kind = kind_of(folder)
    if kind is DATASET and not (dataset is None and card is None and evaluate is None):
        raise InvalidInputError(
            f"{folder} is a dataset, which has its card and is not evaluated: leave out dataset, "
            "card and evaluate, which are for models"
        )
    manifest = kind.verify(folder)
    repository = target_repository(kind, name)
    if kind is DATASET:
        require_publishable(folder)
        names = published_names(kind, folder, manifest)
        publication = Publication(kind, repository, folder, names, manifest, _dataset_change)
        return publish(place, publication, message=message, dry_run=dry_run, create_pr=create_pr)
    with tempfile.TemporaryDirectory(prefix="wmhub-push-") as temporary:
        staged = Path(temporary)
        for file in (kind.manifest_name, *manifest.files):
            (staged / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, staged / file)
        rows = _pinned_dataset(folder, dataset, hub)
        evaluation = (evaluate or _measure)(staged, rows.folder)
        found = f"{rows.repository}/{rows.under}".rstrip("/") if rows.repository else None
        for output in (staged / CARD_NAME, *([Path(card)] if card is not None else [])):
            write_model_card(staged, evaluation, output, _load_name(repository), found)
        names = published_names(kind, staged, manifest)
        publication = Publication(kind, repository, staged, names, manifest, _model_change)
        return publish(place, publication, message=message, dry_run=dry_run, create_pr=create_pr)


def kind_of(folder: Path) -> ArtifactKind:
    """Whether ``folder`` is a checkpoint or a dataset."""
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: there is no such folder")
    found = [kind for kind in (MODEL, DATASET) if (folder / kind.manifest_name).is_file()]
    if len(found) != 1:
        raise InvalidInputError(
            f"{folder}: it must have either {MODEL.manifest_name} (a model) or "
            f"{DATASET.manifest_name} (a dataset)"
        )
    return found[0]


def target_repository(kind: ArtifactKind, name: str) -> Repository:
    """The repository that ``name`` means for publishing; it names no version."""
    identity = ModelId.parse(name) if kind is MODEL else DatasetId.parse(name)
    if identity.place == "local-dir" or identity.revision or identity.folder:
        raise InvalidNameError(f"{name[:120]!r}: publish to NAME or ORG/NAME, without a version")
    owner = identity.org or organisation_override() or load_registry().organisation
    return Repository(owner, identity.name)


def require_publishable(folder: Path, published: Sequence[Path] = ()) -> CheckReport:
    """Refuses a dataset in which ``wmhub dataset check`` finds an error, with the first of them.

    ``published`` are datasets whose rows it must not repeat.
    """
    from wmhub.dataset.check import Severity, check

    report = check(folder, published=published)
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    if errors:
        shown = "".join(f"\n  {item.where}: {item.reason}" for item in errors[:5])
        more = f"\n  and {len(errors) - 5} more" if len(errors) > 5 else ""
        raise DatasetError(
            f"{folder}: it must not be published as it is:{shown}{more}\n`wmhub dataset check` "
            "lists everything"
        )
    return report


def _pinned_dataset(
    checkpoint: Path, given: str | os.PathLike[str] | None, hub: str | None
) -> Resolved:
    """The dataset that the checkpoint pins, verified; ``given`` is where it lies, if told."""
    pinned = read_card_facts(checkpoint).dataset
    if given is None:
        repository = target_repository(DATASET, pinned.id)
        try:
            found = resolve_dataset(str(repository), revision=pinned.revision, hub=hub)
        except UnknownNameError as error:
            raise UnknownNameError(
                f"{checkpoint} was trained on {pinned}, and is evaluated on that before it is "
                f"published. Say with --dataset where it is, or publish it first.\n{error}"
            ) from error
    else:
        found = resolve_dataset(given, hub=hub)
    if found.manifest.manifest_file.sha256 != pinned.digest:
        raise InvalidInputError(
            f"{found.folder}: it is not the dataset that {checkpoint} was trained on ({pinned}, "
            f"manifest {pinned.digest[:12]}…); give that one with --dataset, or train again"
        )
    return found


def _measure(checkpoint: Path, dataset: Path) -> Evaluation:
    from wmhub.hub.measuring import evaluate_checkpoint

    return evaluate_checkpoint(checkpoint, dataset)


def _load_name(repository: Repository) -> str:
    """What a reader calls the model by: bare where the repository is ours."""
    is_ours = repository.org == load_registry().organisation
    return repository.name if is_ours else str(repository)


def published_names(kind: ArtifactKind, folder: Path, manifest: ArtifactManifest) -> list[str]:
    """What is published; refuses files that belong to nothing."""
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    possible = {picture.name for picture in possible_pictures(manifest.name).values()}
    pictures = present & possible if kind is MODEL else set()
    known = {kind.manifest_name, CARD_NAME, *manifest.files, *pictures}
    strangers = sorted(present - known)
    if strangers:
        raise InvalidInputError(
            f"{folder}: {kind.manifest_name} does not name {', '.join(strangers[:5])}"
            f"{' and more' if len(strangers) > 5 else ''}; remove what is not part of the "
            f"{kind.label}"
        )
    if CARD_NAME not in present:
        raise MissingInputError(f"{folder}: the card {CARD_NAME} is missing")
    return sorted(known)


def _dataset_change(before: Path, after: Path) -> Change:
    from wmhub.dataset.diff import diff

    return diff(before, after).change


def _model_change(before: Path, after: Path) -> Change:
    """Other hardware or another schema is major, other weights minor, the card alone a patch."""
    old, new = read_manifest(MODEL, before), read_manifest(MODEL, after)
    if (old.hardware, old.schema_version) != (new.hardware, new.schema_version):
        return Change.MAJOR
    return Change.PATCH if old.files == new.files else Change.MINOR
