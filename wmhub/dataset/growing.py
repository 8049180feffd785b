"""What may join a dataset that is there: the same hardware, clock and splits, a later version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from wmhub.dataset.manifest import MANIFEST
from wmhub.dataset.placing import refuse_existing
from wmhub.dataset.reader import Dataset
from wmhub.dataset.replacing import refuse_from_inside
from wmhub.dataset.verify import open_verified
from wmhub.dataset.version import Change, Version
from wmhub.errors import HardwareMismatchError, InvalidInputError
from wmhub.hardware.profile import HardwareProfile
from wmhub.names import HardwareKey
from wmhub.records import Workload


def older_in(output: Path, version: Version | None, least: Change = Change.PATCH) -> Dataset | None:
    """The dataset in ``output`` that is to grow, verified; ``None`` where there is nothing yet.

    Raises ``DatasetError`` for one that was changed, ``OutputExistsError`` for what is no dataset,
    and ``InvalidInputError`` for a ``version`` that cannot follow after the ``least`` that will
    change, or from inside of the folder.
    """
    if not (output / MANIFEST).exists():
        refuse_existing(output)
        return None
    refuse_from_inside(output)
    older = open_verified(output)
    if version is not None:
        version.require_after(least, older.manifest.version)
    return older


def require_same_hardware(older: Dataset, hardware: HardwareKey, whose: str = "records") -> None:
    """Raises ``HardwareMismatchError`` where what is to join ``older`` ran on other hardware."""
    if older.hardware != hardware:
        raise HardwareMismatchError(
            f"{older.path}: measured on {older.hardware}, so {whose} of {hardware} cannot be "
            "added: latencies of different hardware do not mix in one dataset"
        )


def told_hardware(
    hardware: HardwareKey | str | None, profile: HardwareProfile | None, older: Dataset | None
) -> tuple[HardwareKey | None, HardwareProfile | None]:
    """What was measured on and its numbers, as far as either is told: those of the dataset that
    grows, which its rows were collected with, before any other, and those of the table last.

    Raises ``HardwareMismatchError`` where what is told disagrees.
    """
    from wmhub.hardware.table import lookup

    key = HardwareKey.parse(str(hardware)) if hardware is not None else None
    if profile is not None and key not in (None, profile.key):
        raise HardwareMismatchError(f"the profile is of {profile.key}, not of {key}")
    if key is None and profile is not None:
        key = profile.key
    if older is not None:
        if key is not None:
            require_same_hardware(older, key)
        if profile is not None and older.manifest.profile not in (None, profile):
            raise HardwareMismatchError(
                f"{older.path} has other numbers of {older.hardware} than the profile: leave it "
                "out, or collect into a new dataset"
            )
        key, profile = older.hardware, older.manifest.profile or profile
    return key, profile or (lookup(key) if key is not None else None)


def require_same_clock(older: Dataset, is_cold: bool, whose: str) -> None:
    """Raises ``InvalidInputError`` where caches were emptied before each run of ``older``, or of
    what is to join it, but not of both."""
    if older.manifest.is_cold != is_cold:
        emptied = ("with emptied caches", "without emptying caches")
        here, there = emptied if older.manifest.is_cold else emptied[::-1]
        raise InvalidInputError(
            f"{older.path}: measured {here}, and {whose} {there}; times of both kinds do not mix "
            "in one dataset"
        )


def settled_elsewhere(
    test_workloads: Iterable[str], workloads: Mapping[str, Workload], settled: Mapping[str, str]
) -> dict[str, str]:
    """Those ids of ``test_workloads`` whose program, in whatever form, ``settled`` has in another
    split, and in which; ``workloads`` are all by id."""
    places = {
        workloads[id_].program_key: split for id_, split in settled.items() if id_ in workloads
    }
    found = {
        id_: places.get(workloads[id_].program_key, "test")
        for id_ in test_workloads
        if id_ in workloads
    }
    return {id_: split for id_, split in found.items() if split != "test"}
