"""``diff``: what became of the rows between two datasets, and which version that asks for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wmhub.dataset.card import CARD
from wmhub.dataset.reader import Dataset, WorkloadRecords
from wmhub.dataset.spool import MEASUREMENT, measurement_digests
from wmhub.dataset.verify import open_verified
from wmhub.dataset.version import Change, Version

#: What a row says beside its measurement. Not the collector: a newer one may write the same row.
_PROVENANCE = ("source", "line", "contributor", "licence")
_COLUMNS = ("candidate_id", *MEASUREMENT, *_PROVENANCE)


@dataclass(frozen=True)
class Difference:
    """What distinguishes dataset B from dataset A."""

    added: int
    """Rows of B that A lacks."""
    removed: int
    """Rows of A that B lacks."""
    changed: int
    """Rows with other times or provenance: same candidate, source and line, or same measurement."""
    same: int
    """Rows of both."""
    added_workloads: tuple[str, ...]
    removed_workloads: tuple[str, ...]
    moved_workloads: tuple[str, ...]
    """Workloads of both that are in another split."""
    described: bool
    """Whether the card, or other files without rows, differ."""
    before: Version
    after: Version

    @property
    def change(self) -> Change:
        """How heavy the difference is."""
        if self.removed or self.changed or self.moved_workloads or self.removed_workloads:
            return Change.MAJOR
        if self.added or self.added_workloads:
            return Change.MINOR
        return Change.PATCH if self.described else Change.NONE

    @property
    def least_version(self) -> Version:
        """The least version that B may have."""
        return self.before.after(self.change)

    @property
    def follows_rules(self) -> bool:
        """Whether the version of B is one that the difference allows."""
        return self.after.allows(self.change, self.before)


class _Rows(NamedTuple):
    """Numbers of rows, as in ``Difference``."""

    added: int
    removed: int
    changed: int
    same: int


def diff(before: str | Path, after: str | Path) -> Difference:
    """Compares two datasets row by row, in the memory of one workload."""
    older, newer = open_verified(before), open_verified(after)
    total = _Rows(0, 0, 0, 0)
    old_digests, new_digests = _digests(older), _digests(newer)
    for workload in sorted(old_digests.keys() | new_digests.keys()):
        old, new = old_digests.get(workload), new_digests.get(workload)
        if old is not None and old == new:
            rows = _Rows(0, 0, 0, old[1])
        else:
            rows = _compare(_rows(older, workload, old), _rows(newer, workload, new))
        total = _Rows(*(sum(pair) for pair in zip(total, rows, strict=True)))
    old_splits, new_splits = older.split_of, newer.split_of
    common = old_splits.keys() & new_splits.keys()
    return Difference(
        added=total.added,
        removed=total.removed,
        changed=total.changed,
        same=total.same,
        added_workloads=tuple(sorted(new_splits.keys() - old_splits.keys())),
        removed_workloads=tuple(sorted(old_splits.keys() - new_splits.keys())),
        moved_workloads=tuple(sorted(w for w in common if old_splits[w] != new_splits[w])),
        described=_descriptions(older) != _descriptions(newer),
        before=older.manifest.version,
        after=newer.manifest.version,
    )


def _digests(dataset: Dataset) -> dict[str, tuple[str, int]]:
    """For each workload with records a digest of all its rows, and their number."""
    digests = {}
    for workload, rows in dataset.iter_workload_records(columns=_COLUMNS):
        digest = hashlib.blake2b(digest_size=16)
        for key, provenance in sorted(_row_table(rows).items()):
            digest.update(f"{key} {provenance}\n".encode())
        digests[workload.id] = digest.hexdigest(), len(rows)
    return digests


def _rows(dataset: Dataset, workload: str, known: object) -> dict[str, tuple[object, ...]]:
    return {} if known is None else _row_table(dataset.workload_records(workload, _COLUMNS))


def _row_table(rows: WorkloadRecords) -> dict[str, tuple[object, ...]]:
    """Candidate and measurement of each row -> its provenance."""
    candidates = rows.column("candidate_id")
    digests = measurement_digests(rows.table)
    keys = (candidate + digest for candidate, digest in zip(candidates, digests, strict=True))
    provenance = zip(*(rows.table[name].to_pylist() for name in _PROVENANCE), strict=True)
    return dict(zip(keys, provenance, strict=True))


def _compare(old: dict[str, tuple[object, ...]], new: dict[str, tuple[object, ...]]) -> _Rows:
    common = old.keys() & new.keys()
    changed = sum(old[key] != new[key] for key in common)
    same = len(common) - changed
    candidate = slice(0, 21)
    gone = {(key[candidate], *old[key][:2]) for key in old.keys() - common}
    come = {(key[candidate], *new[key][:2]) for key in new.keys() - common}
    replaced = len(gone & come)
    removed, added = len(old) - len(common) - replaced, len(new) - len(common) - replaced
    return _Rows(added, removed, changed + replaced, same)


def _descriptions(dataset: Dataset) -> dict[str, str]:
    """Digests of the files without rows."""
    files = {
        entry.name: entry.sha256
        for entry in dataset.manifest.files
        if not entry.name.endswith(".parquet")
    }
    card = dataset.path / CARD
    text = card.read_bytes() if card.exists() else b""
    # The card shows the version, which must not make a difference by itself.
    text = text.replace(dataset.manifest.version.tag.encode(), b"")
    return {
        **files,
        card.name: hashlib.sha256(text).hexdigest(),
        "profile": repr(dataset.manifest.profile),
    }
