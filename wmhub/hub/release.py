"""``python -m wmhub.hub.release``: embeds checkpoints in the package, with registry and cards.

For maintainers. ::

    wmhub train --dataset data/cuda-k80 --output wm-cuda-k80
    wmhub eval --model ./wm-cuda-k80 --dataset data/cuda-k80 --json > report.json   # if wanted
    python -m wmhub.hub.release wm-cuda-k80 --dataset data/cuda-k80 --report report.json

puts the checkpoint into ``embedded-models/``, its entry into ``registry.toml``, and its card with
pictures into ``model_cards/``. The report's baselines and the dataset's sources are written into
``checkpoint.json``, so that the card can be rendered from that alone. Without a checkpoint,
registry and cards are written anew from what is embedded; pictures are drawn again for the datasets
given, and stay where a model has not changed. A dataset that is given gets a registry entry, too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from wmhub.errors import InvalidInputError, MissingInputError, WmhubError
from wmhub.flushing import write_file
from wmhub.hub import embedded, registry
from wmhub.hub.artifact import DATASET, MODEL, ArtifactManifest, read_manifest
from wmhub.hub.evaluation import METRICS, Evaluation, baselines_of
from wmhub.hub.figures import pictures_of, possible_pictures
from wmhub.hub.integrity import read_bounded
from wmhub.hub.model_card import read_card_facts, stored_evaluation, write_model_card
from wmhub.hub.registry import RegistryEntry, load_registry, parse_registry

_HEAD = """\
# Short names of this release. A bare name means exactly what stands here, and nothing else.
# `commit` is the commit of the tag on the Hugging Face Hub; it is absent until the tag is there.
# Until then a model is the copy in the package, and a dataset is in the project's repository only:
# datasets/NAME has it, or the recipe that rebuilds it. Written by `python -m wmhub.hub.release`.

schema_version = 1
"""


#: How far metrics that are measured again may be from those that the checkpoint keeps.
_TOLERANCE = 0.005


@dataclass(frozen=True)
class _Checked:
    """A model of the package, old or new, that may be released."""

    checkpoint: Path
    """Its folder."""
    entry: RegistryEntry
    """What the registry will say of it."""
    evaluation: Evaluation
    """What its card says, with figures where it was measured again."""
    is_same: bool
    """Whether the registry has this very content already, so that its pictures stay."""


def complete(checkpoint: Path, dataset: Path, report: Path | None, output: Path) -> Path:
    """Copies ``checkpoint`` to a folder of its name in ``output``, with what its card must know.

    ``dataset`` is the one that it pins; ``report`` what ``wmhub eval --json`` printed of the two,
    whose baselines are kept. Raises ``InvalidInputError`` where they do not belong together.
    """
    from wmhub.checkpoint import read_checkpoint, sealed
    from wmhub.hub.measuring import sources_of

    manifest = MODEL.verify(checkpoint)
    read_checkpoint(checkpoint)  # What is sealed anew is what training wrote.
    if DATASET.verify(dataset).manifest_file.sha256 != read_card_facts(checkpoint).dataset.digest:
        raise InvalidInputError(f"{dataset}: it is not the dataset that {checkpoint} pins")
    document: dict[str, Any] = orjson.loads(read_bounded(checkpoint / MODEL.manifest_name))
    document["sources"] = [asdict(source) for source in sources_of(dataset)]
    if report is not None:
        document["metrics"] |= _baselines(report, manifest.name, document["metrics"])
    folder = output / manifest.name
    for name in manifest.files:
        write_file(folder / name, (checkpoint / name).read_bytes())
    write_file(folder / MODEL.manifest_name, sealed(document))
    return folder


def refresh(cards: Path, datasets: Sequence[Path] = (), new: Path | None = None) -> list[str]:
    """Writes registry and cards from what is embedded; returns the names of the models.

    The models that pin one of ``datasets`` are measured on it, and their pictures drawn; the
    datasets get registry entries, too, so that their bare names mean these versions. ``new`` is a
    folder of ``complete`` that is embedded, in place of what has its name. Nothing is written
    before every check has passed.
    """
    before = load_registry()
    verified = [DATASET.verify(folder) for folder in datasets]
    digests = (manifest.manifest_file.sha256 for manifest in verified)
    pinned = dict(zip(digests, datasets, strict=True))
    folders = {
        path.parent.name: path.parent
        for path in embedded.EMBEDDED_PATH.glob(f"*/{MODEL.manifest_name}")
    }
    if new is not None:
        folders[new.name] = new
    checked = {
        name: _checked(folder, before.models.get(name), pinned)
        for name, folder in sorted(folders.items())
    }
    models = {**before.models, **{name: model.entry for name, model in checked.items()}}
    rows = {
        **before.datasets,
        **{item.name: _entry(item, before.datasets.get(item.name)) for item in verified},
    }
    text = render_registry(before.organisation, models, rows)
    parse_registry(text, "the new registry")
    if new is not None:
        _embed(new)
    # Before the cards: they say which datasets are ours by what it lists.
    write_file(registry.REGISTRY_PATH, text.encode())
    for name, model in checked.items():
        _write_card(name, model, cards)
    return list(checked)


def _checked(checkpoint: Path, known: RegistryEntry | None, pinned: Mapping[str, Path]) -> _Checked:
    """Measures it where ``pinned``, digest of a manifest -> dataset, has what it pins."""
    manifest = MODEL.verify(checkpoint)
    entry = _entry(manifest, known)
    evaluation = stored_evaluation(checkpoint)
    dataset = pinned.get(read_card_facts(checkpoint).dataset.digest)
    if dataset is not None:
        from wmhub.hub.measuring import evaluate_checkpoint

        measured = evaluate_checkpoint(checkpoint, dataset)
        _require_agreement(manifest.name, evaluation, measured)
        evaluation = replace(evaluation, figures=measured.figures)
    is_same = known is not None and known.digest == manifest.digest
    return _Checked(checkpoint, entry, evaluation, is_same)


def _embed(folder: Path) -> None:
    """Puts a complete checkpoint into the package, the manifest last."""
    manifest = read_manifest(MODEL, folder)
    for name in (*manifest.files, MODEL.manifest_name):
        write_file(embedded.EMBEDDED_PATH / folder.name / name, (folder / name).read_bytes())


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
    tag = manifest.version.tag
    is_same = before is not None and before.digest == manifest.digest
    if before is not None and before.commit and before.tag == tag and not is_same:
        raise InvalidInputError(
            f"{manifest.name} {tag} is on the Hub with other content, and a tag never moves: give "
            "the checkpoint a higher version"
        )
    return RegistryEntry(
        repository=f"{load_registry().organisation}/{manifest.name}",
        tag=tag,
        commit=before.commit if before is not None and is_same else None,
        digest=manifest.digest,
        manifest=manifest.manifest_file.sha256,
        schema_version=manifest.schema_version,
        hardware=manifest.hardware[0],
    )


def _baselines(report: Path, name: str, kept: Mapping[str, object]) -> Mapping[str, object]:
    """The baselines of a report, which must be one of this checkpoint."""
    if not report.is_file():
        raise MissingInputError(f"{report}: there is no such report")
    try:
        told = orjson.loads(read_bounded(report))
        is_same = told["model"] == name
        is_same &= all(told[key] == kept[key] for key in ("split", "workloads"))
        is_same &= all(abs(told[key] - kept[key]) < _TOLERANCE for key in METRICS if key in kept)
    except (KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise InvalidInputError.at(report, f"is no report of `wmhub eval`: {error!r}") from error
    if not is_same:
        raise InvalidInputError.at(
            report, f"is not of {name} on the test workloads that its checkpoint speaks of"
        )
    curves = told.get("curves", {})
    rounded = {key: [round(value, 4) for value in curve] for key, curve in curves.items()}
    return {**baselines_of(told), **({"curves": rounded} if rounded else {})}


def _write_card(name: str, model: _Checked, cards: Path) -> None:
    """The card says what the checkpoint keeps, beside pictures of what was measured."""
    possible = possible_pictures(name).values()
    pictures = [item for item in possible if model.is_same and (cards / item.name).is_file()]
    if not pictures and not pictures_of(model.evaluation.figures, name):
        for item in possible:
            (cards / item.name).unlink(missing_ok=True)
    write_model_card(model.checkpoint, model.evaluation, cards / f"{name}.md", pictures=pictures)


def _require_agreement(name: str, kept: Evaluation, measured: Evaluation) -> None:
    for key, value in kept.model.values.items():
        if abs(value - measured.model.values.get(key, 2.0)) > _TOLERANCE:
            raise InvalidInputError(
                f"{name}: its checkpoint says {key} {value:.4f}, and measured again it is "
                f"{measured.model.values.get(key)}: train it again"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m wmhub.hub.release",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, nargs="?", help="checkpoint folder to embed")
    parser.add_argument("--dataset", type=Path, action="append", default=[], help="repeatable")
    parser.add_argument("--report", type=Path, help="what `wmhub eval --json` printed")
    parser.add_argument("--cards", type=Path, default=Path("model_cards"))
    given = parser.parse_args(arguments)
    if (given.checkpoint is not None and len(given.dataset) != 1) or (
        given.checkpoint is None and given.report is not None
    ):
        parser.error("a checkpoint needs the one --dataset that it pins, and a report a checkpoint")
    try:
        with tempfile.TemporaryDirectory(prefix="wmhub-release-") as temporary:
            new = None
            if given.checkpoint is not None:
                new = complete(given.checkpoint, given.dataset[0], given.report, Path(temporary))
            names = refresh(given.cards, given.dataset, new)
        print("\n".join(names))
    except WmhubError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
