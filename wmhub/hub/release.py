"""``python -m wmhub.hub.release``: what has to follow when an embedded model changes.

For maintainers. Writes ``registry.toml`` and ``model_cards/`` anew from the checkpoints in
``embedded-models/``; with ``--dataset DIR`` the models that pin that dataset are measured on it and
their cards get pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from wmhub.hub import embedded, registry
from wmhub.hub.artifact import DATASET, MODEL, ArtifactManifest
from wmhub.hub.figures import possible_pictures
from wmhub.hub.model_card import read_card_facts, stored_evaluation, write_model_card
from wmhub.hub.registry import RegistryEntry, load_registry, parse_registry

_HEAD = """\
# Short names of this release. A bare name means exactly what stands here, and nothing else.
# `commit` is the commit of the tag on the Hugging Face Hub; it is absent until the tag is there,
# and until then only the copy in the package answers. Written by `python -m wmhub.hub.release`.

schema_version = 1
"""


def refresh(cards: Path, dataset: Path | None = None) -> list[str]:
    """Writes the registry and the cards; returns the names of the models."""
    models: dict[str, RegistryEntry] = dict(load_registry().models)
    names = []
    for folder in sorted(embedded.EMBEDDED_PATH.glob(f"*/{MODEL.manifest_name}")):
        manifest = MODEL.verify(folder.parent)
        models[manifest.name] = _entry(manifest, models.get(manifest.name))
        _write_card(folder.parent, manifest, cards, dataset)
        names.append(manifest.name)
    text = render_registry(load_registry().organisation, models, load_registry().datasets)
    parse_registry(text, "the new registry")
    registry.REGISTRY_PATH.write_text(text, encoding="utf-8")
    return names


def render_registry(
    organisation: str, models: Mapping[str, RegistryEntry], datasets: Mapping[str, RegistryEntry]
) -> str:
    """``registry.toml`` with these names, sorted."""
    parts = [f'{_HEAD}organisation = "{organisation}"\n']
    for table, entries in (("models", models), ("datasets", datasets)):
        parts.append(f"\n[{table}]\n")
        for name, entry in sorted(entries.items()):
            rows = {key: value for key, value in vars(entry).items() if value is not None}
            parts.append(f"\n[{table}.{name}]\n")
            parts += [
                f"{key} = {value}\n" if isinstance(value, int) else f'{key} = "{value}"\n'
                for key, value in rows.items()
            ]
    return "".join(parts)


def _entry(manifest: ArtifactManifest, before: RegistryEntry | None) -> RegistryEntry:
    is_same = before is not None and before.digest == manifest.digest
    return RegistryEntry(
        repository=f"{load_registry().organisation}/{manifest.name}",
        tag=manifest.version.tag,
        commit=before.commit if before is not None and is_same else None,
        digest=manifest.digest,
        schema_version=manifest.schema_version,
        hardware=manifest.hardware[0],
    )


def _write_card(
    checkpoint: Path, manifest: ArtifactManifest, cards: Path, dataset: Path | None
) -> None:
    for picture in possible_pictures(manifest.name).values():
        (cards / picture.name).unlink(missing_ok=True)
    pinned = read_card_facts(checkpoint).dataset.digest
    if dataset is not None and DATASET.verify(dataset).manifest_file.sha256 == pinned:
        from wmhub.hub.measuring import evaluate_checkpoint

        evaluation = evaluate_checkpoint(checkpoint, dataset)
    else:
        evaluation = stored_evaluation(checkpoint)
    write_model_card(checkpoint, evaluation, cards / f"{manifest.name}.md")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m wmhub.hub.release", description=__doc__)
    parser.add_argument("--cards", type=Path, default=Path("model_cards"))
    parser.add_argument("--dataset", type=Path)
    arguments = parser.parse_args()
    for name in refresh(arguments.cards, arguments.dataset):
        print(name)
