"""A repository that collects the datasets of many contributors, each in a folder of its own.

::

    README.md                           who measured what, and one Hub config for each dataset
    cuda-a100/ada-1f3a9c02/             hardware, contributor, begin of the content's digest
        manifest.json  README.md  workloads-….parquet  trajectories-….parquet
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmhub.dataset.manifest import Manifest, read_manifest
from wmhub.dataset.splits import SPLITS
from wmhub.errors import InvalidInputError
from wmhub.hub.artifact import CARD_NAME, DATASET, ArtifactManifest
from wmhub.hub.integrity import check_path
from wmhub.hub.obtain import obtain, obtain_manifest
from wmhub.hub.place import Hub, Repository
from wmhub.markdown import cell
from wmhub.names import HardwareKey

#: Folders above each file of a contribution.
FOLDER_DEPTH = 2
_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Member:
    """One contributed dataset of a community repository."""

    folder: str
    """Its folder, ``HARDWARE/CONTRIBUTOR-DIGEST``."""
    artifact: ArtifactManifest
    """Files and digests."""
    manifest: Manifest
    """Counts, contributors, licences."""


@dataclass(frozen=True)
class Review:
    """A pull request that adds one dataset and nothing else, verified."""

    number: int
    """Of the pull request."""
    commit: str
    """What of it was looked at: its head may move."""
    member: Member
    """What it adds."""
    path: Path
    """The verified folder on this machine."""
    published: tuple[Path, ...]
    """Datasets of the same hardware that are there already, whose rows it must not repeat."""


def folder_of(manifest: Manifest, artifact: ArtifactManifest) -> str:
    """The folder that a contribution gets: the same for the same content.

    Raises ``InvalidInputError`` where the dataset names no contributor.
    """
    named = {name: rows for name, rows in manifest.contributors.items() if name.strip()}
    if not named:
        raise InvalidInputError(
            "the dataset does not say who measured it: wmhub dataset credit --contributor NAME"
        )
    contributor = max(named, key=named.__getitem__)
    # A name may have no letter that a path may have; the digest tells such folders apart.
    slug = _SLUG.sub("-", contributor.lower()).strip("-")[:40].rstrip("-") or "contributor"
    return check_path(f"{manifest.hardware}/{slug}-{artifact.digest[:8]}")


def members(hub: Hub, repository: Repository, commit: str) -> list[Member]:
    """Every dataset in a community repository, by its manifest."""
    found = []
    for folder in member_folders(hub.files(DATASET, repository, commit)):
        snapshot, artifact = obtain_manifest(hub, DATASET, repository, commit, folder)
        found.append(Member(folder, artifact, read_manifest(snapshot.folder)))
    return found


def member_folders(names: Iterable[str]) -> list[str]:
    """The folders, in order, of the datasets among the file names of a community repository."""
    places = (name.rpartition("/") for name in sorted(names))
    return [
        folder
        for folder, _, file in places
        if file == DATASET.manifest_name and folder.count("/") == FOLDER_DEPTH - 1
    ]


def review(hub: Hub, repository: Repository, number: int) -> Review:
    """Verifies pull request ``number``: it must add one whole dataset in a new folder, no more.

    Raises ``InvalidInputError`` that names what else it does.
    """
    what = f"pull request {number} of {repository}"
    before = hub.files(DATASET, repository, hub.base(DATASET, repository, number))
    commit = hub.resolve(DATASET, repository, f"refs/pr/{number}")
    after = hub.files(DATASET, repository, commit)
    touched = sorted(
        name for name, file in before.items() if name not in after or after[name].id != file.id
    )
    if touched:
        raise InvalidInputError(f"{what} changes or removes {', '.join(touched[:5])}")
    added = sorted(after.keys() - before.keys())
    folders = {"/".join(name.split("/")[:FOLDER_DEPTH]) for name in added}
    if len(folders) != 1 or any(name.count("/") < FOLDER_DEPTH for name in added):
        raise InvalidInputError(
            f"{what} must add the files of one folder HARDWARE/CONTRIBUTOR-DIGEST, and adds "
            f"{', '.join(added[:5]) or 'nothing'}"
        )
    folder = folders.pop()
    snapshot, artifact = obtain(hub, DATASET, repository, commit, under=folder)
    manifest = read_manifest(snapshot.folder)
    named = {DATASET.manifest_name, CARD_NAME, *artifact.files}
    strangers = [name for name in added if name.removeprefix(f"{folder}/") not in named]
    if strangers:
        raise InvalidInputError(f"{what}: its manifest does not name {', '.join(strangers[:5])}")
    if folder != folder_of(manifest, artifact):
        raise InvalidInputError(
            f"{what}: the folder {folder} must be {folder_of(manifest, artifact)}, as its manifest "
            "says"
        )
    head = hub.resolve(DATASET, repository, "main")
    published = neighbours(hub, repository, head, manifest.hardware)
    return Review(number, commit, Member(folder, artifact, manifest), snapshot.folder, published)


def neighbours(
    hub: Hub, repository: Repository, commit: str, hardware: HardwareKey
) -> tuple[Path, ...]:
    """The datasets of one hardware in a community repository, fetched and verified."""
    return tuple(
        obtain(hub, DATASET, repository, commit, under=member.folder)[0].folder
        for member in members(hub, repository, commit)
        if member.manifest.hardware == hardware
    )


def render_community_card(repository: Repository, found: Sequence[Member]) -> str:
    """The repository's README: a config for each dataset, and credit to who measured it."""
    import yaml

    configs = [
        {
            "config_name": member.folder.replace("/", "-"),
            "data_files": [
                {"split": split, "path": f"{member.folder}/trajectories-{split}-*.parquet"}
                for split in SPLITS
                if member.manifest.splits[split].records
            ],
        }
        for member in found
    ]
    licences = sorted({licence for member in found for licence in member.manifest.licences})
    front: dict[str, object] = {
        "pretty_name": "Contributed TVM schedule trajectories",
        "tags": ["tvm", "wmhub", "auto-scheduler", "compiler", "world-model"],
    }
    if licences:
        is_one = len(licences) == 1
        front["license"] = licences[0].lower() if is_one else "other"
    if configs:
        front["configs"] = configs
    rows = [
        f"| `{member.folder}` | {_device(member.manifest.hardware)} "
        f"| {member.manifest.counts.records:,} | {member.manifest.counts.workloads:,} "
        f"| {cell(', '.join(sorted(member.manifest.contributors)))} "
        f"| {cell(member.manifest.licence)} |"
        for member in found
    ]
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# {repository.name}",
        "",
        "Measured schedules for Apache TVM, each folder with the card of who measured it. Load one",
        "with its digests checked:",
        "",
        "```python",
        "from wmhub import load_dataset",
        "",
        f'rows = load_dataset("{repository}/FOLDER", split="train")',
        "```",
        "",
        "| folder | hardware | records | workloads | measured by | licence |",
        "|---|---|---:|---:|---|---|",
        *rows,
        "",
        "Add yours with `wmhub contribute DIR`: it is checked, and proposed as a pull request with",
        "its own folder and nothing else.",
        "",
    ]
    return "\n".join(lines)


def _device(hardware: HardwareKey) -> str:
    from wmhub.hardware.table import lookup

    profile = lookup(hardware)
    return f"{hardware} ({profile.name})" if profile else str(hardware)
