"""The card of a model, which is also its README on the Hub: rendered from metrics, never typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from wmhub.errors import CheckpointError
from wmhub.flushing import write_file
from wmhub.hub.artifact import MODEL, ArtifactManifest, read_manifest
from wmhub.hub.evaluation import METRICS, DataSource, Evaluation, evaluation_of_metrics
from wmhub.hub.figures import Picture, draw_pictures, pictures_of
from wmhub.hub.integrity import read_bounded
from wmhub.hub.registry import load_registry
from wmhub.markdown import card_templates

_LICENCE = "apache-2.0"


@dataclass(frozen=True)
class PinnedDataset:
    """The dataset that a checkpoint was trained and is evaluated on."""

    id: str
    """Its name, such as ``wmhub/cuda-a100``."""
    revision: str
    """Its tag or commit."""
    digest: str
    """SHA-256 of its ``manifest.json``."""

    @property
    def repository(self) -> str | None:
        """The repository that holds it; ``None`` where none is known.

        A bare name is what a dataset calls itself. It is ours only if its content is what this
        release lists by that name: anyone's data of a V100 are called ``cuda-v100``.
        """
        if "/" in self.id:
            return "/".join(self.id.split("/")[:2])
        listed = load_registry().datasets.get(self.id)
        return listed.repository if listed and listed.manifest == self.digest else None

    def __str__(self) -> str:
        name = self.id if "/" in self.id else self.repository
        return f"{name}@{self.revision}" if name else f"{self.id}@{self.revision} (not published)"


@dataclass(frozen=True)
class CardFacts:
    """What a card says that was not measured."""

    manifest: ArtifactManifest
    """Name, version, hardware, files."""
    dataset: PinnedDataset
    """What it was trained on, and is evaluated on."""
    datasets: tuple[PinnedDataset, ...]
    """All that it was trained on, ``dataset`` first."""
    base: str | None
    """The model that its training began with, such as ``wm-cuda-v100 1.0.0``."""
    metrics: Mapping[str, object]
    """What the trainer measured on the held-out workloads."""
    parameters: int | None
    """Number of weights."""
    trees: int
    """Number of trees."""
    environment: Mapping[str, str]
    """Package -> version that it was trained with."""
    sources: tuple[DataSource, ...]
    """Where the dataset's records come from, if the checkpoint says so."""

    def with_dataset(self, name: str) -> CardFacts:
        """The same, for readers who find the dataset under ``name`` (``org/name``)."""
        first = replace(self.dataset, id=name)
        return replace(self, dataset=first, datasets=(first, *self.datasets[1:]))


def read_card_facts(checkpoint: Path) -> CardFacts:
    """Reads them from ``checkpoint.json``; raises ``CheckpointError`` for what a card must say."""
    manifest = read_manifest(MODEL, checkpoint)
    where = checkpoint / MODEL.manifest_name
    data = orjson.loads(read_bounded(where))
    dataset, metrics = data.get("dataset"), data.get("metrics")
    if not isinstance(dataset, dict) or not isinstance(metrics, dict):
        raise CheckpointError(f"{where}: a published model names its dataset and its metrics")
    environment = data.get("environment")
    parameters = data.get("parameters")
    model = data.get("model")
    trees = model.get("trees") if isinstance(model, dict) else None
    base = data.get("base")
    try:
        pinned = _pin(dataset)
        more = tuple(_pin(item) for item in data.get("datasets") or ())
        return CardFacts(
            manifest=manifest,
            dataset=pinned,
            datasets=(pinned, *(item for item in more if item != pinned)),
            base=_base(base) if base else None,
            metrics=metrics,
            parameters=parameters if isinstance(parameters, int) else None,
            trees=trees if isinstance(trees, int) else 0,
            environment={str(k): str(v) for k, v in environment.items()}
            if isinstance(environment, dict)
            else {},
            sources=tuple(DataSource(**item) for item in data.get("sources") or ()),
        )
    except (KeyError, TypeError, CheckpointError) as error:
        raise CheckpointError(f"{where}: datasets, base or sources are odd: {error}") from error


#: By how much of the base's weights a model has.
_KEPT = {0: "", 0.5: ", and kept half of its weights", 1: ", and kept its weights"}


def _base(base: Mapping[str, object]) -> str:
    named, share = f"{base['name']} {base['version']}", base.get("share", 0)
    if share not in tuple(_KEPT):
        raise TypeError(f"a share of {share}")
    return named + _KEPT[share]


def _pin(item: Mapping[str, object]) -> PinnedDataset:
    return PinnedDataset(**{key: str(item[key]) for key in ("id", "revision", "digest")})


def stored_evaluation(checkpoint: Path) -> Evaluation:
    """What the trainer measured and the checkpoint keeps."""
    facts = read_card_facts(checkpoint)
    kept = evaluation_of_metrics(facts.metrics, str(checkpoint / MODEL.manifest_name))
    return replace(kept, sources=facts.sources)


def write_model_card(
    checkpoint: Path,
    evaluation: Evaluation,
    output: Path,
    load_name: str | None = None,
    dataset_name: str | None = None,
    pictures: Sequence[Picture] = (),
) -> Path:
    """Writes the card to the file ``output`` and its pictures to ``pictures`` beside it.

    ``load_name`` and ``dataset_name`` are what a reader calls model and dataset by; by default the
    names that they give themselves. ``pictures`` are there already, and shown where the evaluation
    has no data for new ones.
    """
    facts = read_card_facts(checkpoint)
    if dataset_name is not None:
        facts = facts.with_dataset(dataset_name)
    pictures = list(pictures_of(evaluation.figures, facts.manifest.name).values()) or pictures
    text = render_model_card(facts, evaluation, pictures, load_name)
    write_file(output, text.encode())
    draw_pictures(evaluation, facts.manifest.name, output.parent)
    return output


def render_model_card(
    facts: CardFacts,
    evaluation: Evaluation,
    pictures: Sequence[Picture] = (),
    load_name: str | None = None,
) -> str:
    """The card as Markdown with the Hub's YAML and ``model-index`` at its head."""
    from wmhub.hardware.table import lookup

    manifest = facts.manifest
    hardware = ", ".join(map(str, manifest.hardware))
    profile = lookup(manifest.hardware[0]) if len(manifest.hardware) == 1 else None
    scorers = (evaluation.model, *evaluation.baselines)
    return (
        card_templates("wmhub.hub")
        .get_template("model_card.md.jinja")
        .render(
            front=front_matter(facts, evaluation),
            name=manifest.name,
            load_name=load_name or manifest.name,
            summary=f"A world-model evaluator that ranks TVM schedules for `{hardware}`.",
            version=manifest.version,
            hardware=hardware,
            device=profile.name if profile else None,
            backend=manifest.hardware[0].backend,
            dataset=facts.dataset,
            datasets=facts.datasets,
            base=facts.base,
            parameters=facts.parameters,
            trees=facts.trees,
            size=_megabytes(manifest.bytes),
            schema_version=manifest.schema_version,
            licence=manifest.licence or "Apache-2.0",
            evaluation=evaluation,
            columns={
                key: label for key, label in METRICS.items() if key in evaluation.model.values
            },
            scorers=scorers,
            pictures=pictures,
            environment=facts.environment,
        )
    )


def front_matter(facts: CardFacts, evaluation: Evaluation) -> str:
    """The card's YAML, with the measured metrics as ``model-index``."""
    import yaml

    manifest = facts.manifest
    dataset = {
        # The Hub wants a type in any case; a bare name is no repository of anyone.
        "type": facts.dataset.repository or facts.dataset.id,
        "name": facts.dataset.id.rpartition("/")[2],
        "split": evaluation.split,
        "revision": facts.dataset.revision,
    }
    metrics = [
        {"type": key, "name": label, "value": round(evaluation.model.values[key], 4)}
        for key, label in METRICS.items()
        if key in evaluation.model.values
    ]
    known = [pinned.repository for pinned in facts.datasets if pinned.repository is not None]
    value = {
        "library_name": "wmhub",
        "license": (manifest.licence or _LICENCE).lower(),
        "tags": [
            "wmhub",
            "tvm",
            "auto-scheduler",
            "compiler",
            "world-model",
            *map(str, manifest.hardware),
        ],
        **({"datasets": list(dict.fromkeys(known))} if known else {}),
        "model-index": [
            {
                "name": manifest.name,
                "results": [
                    {
                        "task": {"type": "tabular-regression", "name": "schedule ranking"},
                        "dataset": dataset,
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
