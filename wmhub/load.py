"""``load_dataset``: the rows of a dataset as a Hugging Face ``Dataset``, none but them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wmhub.errors import DatasetError, InvalidInputError, SchemaVersionError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict


def load_dataset(
    name_or_path: str | os.PathLike[str],
    *,
    split: str | None = None,
    columns: Sequence[str] | None = None,
    streaming: bool = False,
    revision: str | None = None,
    offline: bool | None = None,
    locked: bool | str | os.PathLike[str] | None = None,
    hub: str | None = None,
) -> Dataset | DatasetDict | IterableDataset | IterableDatasetDict:
    """The rows of a dataset: one ``split``, or all in a dictionary.

    ``name_or_path`` is a hardware key such as ``cuda-a100``, another name or a path; see
    ``wmhub.hub.resolve_dataset``. ``locked`` is the lock that must name it (``True`` is
    ``wmhub.lock`` here). ``columns`` are named as in ``wmhub.dataset.schema``.

    The plain ``datasets.load_dataset`` can take rows of another version, of another folder with the
    same name, or of an older file from its cache, and fills a missing column with nulls. Here the
    name is resolved to one commit, every file is checked against the manifest, and the cache is
    that of this very content. Raises ``DatasetError`` for files that are not as they must be.
    """
    import pyarrow as pa

    import datasets
    from wmhub.dataset.manifest import read_manifest
    from wmhub.dataset.schema import SCHEMA_VERSION, TRAJECTORIES
    from wmhub.dataset.splits import SPLITS
    from wmhub.hub import resolve_dataset

    if split is not None and split not in SPLITS:
        raise InvalidInputError(f"split {split!r} is none of {', '.join(SPLITS)}")
    wanted = list(columns) if columns is not None else list(TRAJECTORIES.names)
    unknown = sorted(set(wanted) - set(TRAJECTORIES.names))
    if unknown:
        raise InvalidInputError(f"column {unknown[0]!r} is none of {', '.join(TRAJECTORIES.names)}")
    resolved = resolve_dataset(
        name_or_path, revision=revision, offline=offline, locked=locked, hub=hub
    )
    folder = resolved.folder
    if "::" in str(folder):
        raise InvalidInputError(f"{folder}: the datasets library reads no path with :: in it")
    manifest = read_manifest(folder)
    if manifest.schema_version != SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{folder}: schema version {manifest.schema_version}; rewrite it as version "
            f"{SCHEMA_VERSION} with: wmhub dataset merge {folder} --output DIR"
        )
    files = {name: manifest.names(f"trajectories-{name}-") for name in SPLITS}
    if split is not None and not files[split]:
        raise DatasetError(f"{folder}: its {split} split is empty")
    # The library takes paths for patterns: run[1] would be run1, another folder.
    content = resolved.manifest.manifest_file.sha256[:32]
    return datasets.load_dataset(
        "parquet",
        data_files={
            name: [glob.escape(str(folder / file)) for file in listed]
            for name, listed in files.items()
            if listed and split in (None, name)
        },
        split=split,
        columns=wanted,
        features=datasets.Features.from_arrow_schema(
            pa.schema([TRAJECTORIES.field(name) for name in wanted])
        ),
        streaming=streaming,
        cache_dir=str(Path(datasets.config.HF_DATASETS_CACHE, "wmhub", content)),
    )
