"""A dataset's encoded candidates in memory-mapped files, so that training needs little memory.

::

    data.npy      float32 [X]: of each group its blocks, kinds, template, varying, rows (`packing`)
    groups.npy    int64 [G, 6]: start in data.npy, N, B, T, K, F (as ``PackedGroup`` names them)
    places.npy    int64 [C, 2]: group and row of each candidate
    latency.npy   float64 [C]: seconds, ``inf`` for failed candidates
    index.json    the workloads in the order of their candidates; written last

A folder is named after all that decides its content: dataset, hardware profile, feature columns and
the code that computes them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmhub.code_digest import code_digest
from wmhub.dataset.manifest import MANIFEST as DATASET_MANIFEST
from wmhub.dataset.manifest import sha256_of
from wmhub.dataset.reader import Dataset
from wmhub.hardware.profile import HardwareProfile
from wmhub.model.encode import (
    ACTION_COLUMNS,
    BLOCK_COLUMNS,
    current_spec,
    encode_hardware,
    structured_columns,
)
from wmhub.records import Workload
from wmhub.training.packing import PackedGroup

#: Name -> type of each array file.
ARRAYS = {"data": np.float32, "groups": np.int64, "places": np.int64, "latency": np.float64}
INDEX = "index.json"
#: What turns a trace into numbers: a change of any of it makes older folders unusable.
_CODE = (
    "actions.py", "hardware/table.py", "nest.py", "program.py", "tvm_graph.py", "tvm_json.py",
    "trajectory.py", "replay", "model/encode.py", "model/columns.py", "model/loop_table.py",
    "model/features.py", "model/cache_stages.py", "model/inner_loops.py", "model/movement.py",
    "model/working_sets.py", "model/cpu_features.py", "model/cpu_schedule.py",
    "model/gpu_features.py", "model/gpu_time.py", "model/gpu_warp.py", "training/encoding.py",
    "training/packing.py", "training/store.py",
)  # fmt: skip


@dataclass(frozen=True)
class StoredWorkload:
    """The candidates of one program of a workload in a store."""

    store: EncodedStore
    workload: Workload
    program: str
    """Its id, see `wmhub.training.encoding.Rankable`."""
    split: str
    """``train``, ``validation`` or ``test``."""
    start: int
    """Its first candidate among those of the store."""
    count: int
    """N."""

    @property
    def latency(self) -> np.ndarray:
        """float64 [N] in seconds, ``inf`` for failed candidates."""
        return np.array(self.store.latency[self.start : self.start + self.count])

    @property
    def places(self) -> np.ndarray:
        """int64 [N, 2]: group in the store, and row in it, of each candidate."""
        return np.array(self.store.places[self.start : self.start + self.count])


#: What opening a damaged store may raise.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError)


class EncodedStore:
    """A folder as the module's docstring describes it, opened for reading."""

    def __init__(self, folder: Path, dataset: Dataset, profile: HardwareProfile) -> None:
        """Raises one of ``UNREADABLE`` for files that are not as they were written."""
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        for name in ARRAYS:
            if (folder / f"{name}.npy").stat().st_size != index["bytes"][name]:
                raise ValueError(f"{name} was cut short")
        self.folder = folder
        self.hardware = encode_hardware(profile)
        self.is_gpu = profile.is_gpu
        self.columns = structured_columns(profile)
        self.data, self.groups, self.places, self.latency = (_mapped(folder, n) for n in ARRAYS)
        known = dataset.workloads()
        self.workloads = [
            StoredWorkload(self, known[w["of"]], w["id"], w["split"], w["start"], w["count"])
            for w in index["workloads"]
        ]

    def split(self, name: str) -> list[StoredWorkload]:
        """The workloads of one split."""
        return [workload for workload in self.workloads if workload.split == name]

    def group(self, number: int) -> PackedGroup:
        """One group; nothing is read before it is used."""
        start, *sizes = (int(size) for size in self.groups[number])
        parts = []
        for shape in group_shapes(*sizes):
            size = int(np.prod(shape))
            parts.append(self.data[start : start + size].reshape(shape))
            start += size
        return PackedGroup(*parts)


def group_shapes(
    count: int, blocks: int, kinds: int, varying: int, structured: int
) -> list[tuple[int, ...]]:
    """Shapes of the fields of a ``PackedGroup``, in their order."""
    template = kinds * len(ACTION_COLUMNS) + structured
    return [(blocks, len(BLOCK_COLUMNS)), (kinds,), (template,), (varying,), (count, varying)]


def store_key(dataset: Dataset, profile: HardwareProfile) -> str:
    """Name of the folder with the encoded candidates of ``dataset``."""
    identity: dict[str, Any] = {
        "dataset": dataset_digest(dataset),
        "profile": profile.to_json(),
        "features": asdict(current_spec(structured_columns(profile))),
        "code": code_digest(*_CODE),
    }
    text = json.dumps(identity, sort_keys=True).encode()
    return f"{dataset.hardware}-{hashlib.sha256(text).hexdigest()[:24]}"


def dataset_digest(dataset: Dataset) -> str:
    """SHA-256 of the manifest, which names every file with its digest."""
    return sha256_of(dataset.path / DATASET_MANIFEST)


def _mapped(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    loaded: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return loaded
