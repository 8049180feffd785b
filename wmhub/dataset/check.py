"""``check``: whether a dataset may be published, with all findings at once."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmhub.dataset.manifest import Manifest, licence_of
from wmhub.dataset.reader import Dataset, open_dataset
from wmhub.dataset.row_checks import Kind, check_workload
from wmhub.dataset.verify import Fault, verify
from wmhub.markdown import cell

#: SPDX identifiers of licences under which records may be published again.
OPEN_LICENCES = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC-BY-4.0", "CC0-1.0"),
        *("CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "ODC-By-1.0", "PDDL-1.0", "Unlicense"),
        "Zlib",
    }
)

#: Findings of one kind that are listed; the rest are counted.
_MOST_LISTED = 20
_MOST_REJECTED = 0.05


class Severity(enum.IntEnum):
    """How much a finding matters."""

    NOTE = 0
    WARNING = 1
    """A maintainer should look at it."""
    ERROR = 2
    """The dataset must not be published like this."""

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or doubtful."""

    severity: Severity
    kind: Kind
    where: str
    """File, workload, or source and line of the row."""
    reason: str


@dataclass(frozen=True)
class CheckReport:
    """All findings of one check."""

    manifest: Manifest
    findings: tuple[Finding, ...]
    """At most 20 of a kind, the heaviest first."""
    totals: dict[Kind, int]
    """How many there are of each kind."""

    @property
    def passed(self) -> bool:
        """Whether nothing forbids publishing."""
        return all(finding.severity < Severity.ERROR for finding in self.findings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a maintainer should look at: a sentence for each kind, with its first finding."""
        first: dict[Kind, Finding] = {}
        for finding in self.findings:
            if finding.severity is Severity.WARNING:
                first.setdefault(finding.kind, finding)
        return tuple(
            f"{kind} ({self.totals[kind]:,}): {finding.where}: {finding.reason}"
            for kind, finding in first.items()
        )

    def to_markdown(self) -> str:
        """The report as a maintainer pastes it into a pull request."""
        counts = self.manifest.counts
        verdict = "passed" if self.passed else "**failed**"
        lines = [
            f"### `wmhub dataset check` of {cell(self.manifest.name)} {self.manifest.version.tag}: "
            f"{verdict}",
            "",
            f"{counts.records:,} records of {counts.workloads:,} workloads on "
            f"`{self.manifest.hardware}`; licences: "
            f"{', '.join(cell(name) or 'unknown' for name in self.manifest.licences)}.",
        ]
        if self.findings:
            lines += ["", "| severity | kind | where | reason |", "|---|---|---|---|"]
        for finding in self.findings:
            where, reason = (cell(text) for text in (finding.where, finding.reason))
            lines.append(f"| {finding.severity} | {finding.kind} | {where} | {reason} |")
        for kind, total in self.totals.items():
            listed = sum(finding.kind == kind for finding in self.findings)
            if total > listed:
                lines += ["", f"{total - listed:,} more of {kind}."]
        return "\n".join(lines) + "\n"


def check(dataset: str | Path, *, published: Sequence[str | Path] = ()) -> CheckReport:
    """Checks a dataset before it is published.

    Digests, schema and counts; licences and contributors, of the manifest and of the rows; the
    hardware profile; ids; impossible times; rows that the datasets in ``published`` have already,
    which must not be all. Damage is a finding; only a folder that is no dataset raises
    ``DatasetError``.
    """
    manifest, faults = verify(dataset, times=False)
    totals: Counter[Kind] = Counter()
    kept = []
    for finding in _findings(dataset, manifest, faults, published):
        totals[finding.kind] += 1
        if totals[finding.kind] <= _MOST_LISTED:
            kept.append(finding)
    kept.sort(key=lambda finding: -finding.severity)
    return CheckReport(manifest, tuple(kept), dict(totals))


def _findings(
    dataset: str | Path,
    manifest: Manifest,
    faults: Sequence[Fault],
    published: Sequence[str | Path],
) -> Iterator[Finding]:
    for fault in faults:
        yield Finding(Severity.ERROR, "damage", fault.file, fault.reason)
    yield from _manifest_findings(manifest)
    if faults:
        return
    others = [open_dataset(path) for path in published]
    try:
        yield from _count_findings(open_dataset(dataset))
        yield from _row_findings(open_dataset(dataset), others)
    except ValueError as error:
        # A DatasetError, or values that no check foresaw; what was found before is kept.
        yield Finding(Severity.ERROR, "damage", manifest.name, str(error))


def _manifest_findings(manifest: Manifest) -> Iterator[Finding]:
    counts = manifest.counts
    for licence, records in manifest.licences.items():
        if not licence:
            reason = f"{records:,} records have no licence; name it with wmhub dataset credit"
            yield Finding(Severity.ERROR, "licence", "manifest.json", reason)
        elif licence not in OPEN_LICENCES:
            reason = f"{records:,} records are under {licence!r}, no open SPDX licence known here"
            yield Finding(Severity.ERROR, "licence", "manifest.json", reason)
    if "" in manifest.contributors:
        reason = f"{manifest.contributors['']:,} records name no contributor"
        yield Finding(Severity.WARNING, "contributor", "manifest.json", reason)
    if manifest.profile is None:
        reason = f"no profile of {manifest.hardware}: cores, caches, bandwidth, peak FLOP/s"
        yield Finding(Severity.ERROR, "profile", "manifest.json", reason)
    elif manifest.profile.key != manifest.hardware:
        reason = f"the profile is that of {manifest.profile.key}, not of {manifest.hardware}"
        yield Finding(Severity.ERROR, "profile", "manifest.json", reason)
    if counts.rejected > _MOST_REJECTED * counts.lines:
        reason = f"{counts.rejected:,} of {counts.lines:,} lines held no record"
        yield Finding(Severity.WARNING, "rejected", "rejected.jsonl", reason)
    if counts.unresolved_workloads:
        reason = f"the program of {counts.unresolved_workloads:,} workloads is missing"
        yield Finding(Severity.WARNING, "unresolved", "manifest.json", reason)
    for name, records in counts.unknown_actions.items():
        reason = f"{records:,} records use the action {name!r}, which the vocabulary lacks"
        yield Finding(Severity.NOTE, "unknown-action", "manifest.json", reason)


def _count_findings(dataset: Dataset) -> Iterator[Finding]:
    """Where the rows say another licence, contributor or size than the manifest that names them."""
    manifest = dataset.manifest
    columns: dict[str, Counter[str]] = {"licence": Counter(), "contributor": Counter()}
    for split, ids in dataset.splits.items():
        told, measured = manifest.splits[split], 0
        for table in dataset.iter_tables(split, [*columns, "failure"]):
            measured += table["failure"].null_count
            for name, counter in columns.items():
                for item in table[name].value_counts().to_pylist():
                    counter[item["values"]] += item["counts"]
        found = (len(ids), measured)
        if found != (told.workloads, told.measured):
            reason = (
                f"{split} has {found[0]:,} workloads and {found[1]:,} measured records, and the "
                f"manifest says {told.workloads:,} and {told.measured:,}"
            )
            yield Finding(Severity.ERROR, "counts", "manifest.json", reason)
    listed: dict[Kind, dict[str, int]] = {
        "licence": manifest.licences,
        "contributor": manifest.contributors,
    }
    for kind, counted in listed.items():
        counter = columns[kind]
        for name in sorted({*counter, *counted}):
            count, told_count = counter[name], counted.get(name, 0)
            if count != told_count:
                reason = f"{count:,} rows name {name!r}, and the manifest counts {told_count:,}"
                yield Finding(Severity.ERROR, kind, "manifest.json", reason)
    expression = licence_of(columns["licence"])
    if manifest.licence != expression:
        reason = f"the rows are under {expression!r}, and the manifest says {manifest.licence!r}"
        yield Finding(Severity.ERROR, "licence", "manifest.json", reason)


def _row_findings(dataset: Dataset, published: Sequence[Dataset]) -> Iterator[Finding]:
    seen: set[str] = set()
    records = repeats = 0
    for split in dataset.splits:
        for workload, rows in dataset.iter_workload_records(split):
            if workload.id in seen:
                reason = "its rows are in more than one place: in two splits, or not side by side"
                yield Finding(Severity.ERROR, "order", workload.id, reason)
            seen.add(workload.id)
            records += len(rows)
            if dataset.split_of.get(workload.id) != split:
                reason = f"its rows are in {split}, which is not its split"
                yield Finding(Severity.ERROR, "split", workload.id, reason)
            others = [o.workload_records(workload.id) for o in published if workload.id in o]
            for fault in check_workload(workload, rows, dataset.manifest, others):
                repeats += fault.kind == "published"
                severity = Severity.WARNING if fault.doubtful else Severity.ERROR
                yield Finding(severity, fault.kind, fault.where, fault.reason)
    if records and repeats == records:
        reason = f"all {records:,} records are published already"
        yield Finding(Severity.ERROR, "nothing-new", "manifest.json", reason)
