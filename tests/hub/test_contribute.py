"""``wmhub contribute``: one new folder, checked, credited."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hub_making import Place, names_of, write_dataset
from hub_server import HubServer

import wmhub
from wmhub.cli import cli
from wmhub.dataset.manifest import read_manifest
from wmhub.errors import (
    DatasetError,
    HubError,
    InvalidInputError,
    OutputExistsError,
    UnknownNameError,
)
from wmhub.hub import (
    contribute,
    create_community,
    datasets,
    merge_contribution,
    push,
    resolve_dataset,
    review_contribution,
)
from wmhub.hub.artifact import DATASET
from wmhub.hub.community import Review, folder_of, review
from wmhub.hub.folder import FolderHub
from wmhub.hub.place import Repository, Upload
from wmhub.markdown import cell

COMMUNITY = Repository("acme", "community")


def test_a_contribution_from_proposal_to_use(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    options = {"to": "acme/community", "hub": writable.spec}
    assert create_community(**options).tag == "v0.1.0"
    rows = write_dataset(tmp_path / "rows")
    proposed = contribute(rows, **options)
    assert proposed.pull_request == 1
    assert proposed.folder.startswith("cuda-a100/ada-")
    assert set(proposed.files) == set(names_of(rows))
    head = writable.hub.resolve(DATASET, COMMUNITY, "main")
    assert set(writable.hub.files(DATASET, COMMUNITY, head)) <= {"README.md", ".gitattributes"}

    found = review(writable.hub, COMMUNITY, 1)
    assert found.member.folder == proposed.folder
    assert (found.path / "manifest.json").is_file()
    merged = merge_contribution(1, **options)
    assert (merged.folder, merged.tag) == (proposed.folder, "v0.2.0")

    loaded = resolve_dataset(f"acme/community/{proposed.folder}", hub=writable.spec)
    assert loaded.revision == "v0.2.0"
    assert str(loaded.manifest.version) == "1.0.0"
    (row,) = datasets(hardware="cuda-a100", hub=writable.spec).rows[:1]
    assert row.name == f"acme/community/{proposed.folder}"

    snapshot = writable.hub.fetch(DATASET, COMMUNITY, merged.commit, ["README.md"])
    card = (snapshot.folder / "README.md").read_text()
    assert (
        f"| `{proposed.folder}` | cuda-a100 (NVIDIA A100 40 GB (SXM)) | 3 | 1 | ada | MIT |" in card
    )
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["configs"][0]["config_name"] == proposed.folder.replace("/", "-")
    with pytest.raises(OutputExistsError, match="has this dataset already"):
        contribute(rows, **options)


def test_making_a_collection_again_keeps_who_measured_what(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    options = {"to": "acme/community", "hub": writable.spec}
    create_community(**options)
    proposed = contribute(write_dataset(tmp_path / "rows"), **options)
    merged = merge_contribution(1, **options)
    again = create_community(**options)
    assert (again.tag, again.commit) == (merged.tag, merged.commit), "nothing changed"
    snapshot = writable.hub.fetch(DATASET, COMMUNITY, again.commit, ["README.md"])
    assert f"| `{proposed.folder}` |" in (snapshot.folder / "README.md").read_text()


def test_a_repository_of_something_else_is_not_made_a_collection(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    rows = write_dataset(tmp_path / "rows")
    push(rows, "acme/community", hub=writable.spec)
    head = writable.hub.resolve(DATASET, COMMUNITY, "main")
    with pytest.raises(InvalidInputError, match=r"no collection .*: it holds manifest\.json"):
        create_community(to="acme/community", hub=writable.spec)
    assert writable.hub.resolve(DATASET, COMMUNITY, "main") == head


def test_what_is_checked_before_sending(tmp_path: Path, embedded: Path) -> None:
    options = {"to": "acme/community", "hub": f"folder:{tmp_path / 'hub'}"}
    rows = write_dataset(tmp_path / "rows")
    with pytest.raises(UnknownNameError, match="no dataset acme/community"):
        contribute(rows, **options)
    create_community(**options)
    with pytest.raises(InvalidInputError, match="3 records have no licence"):
        contribute(write_dataset(tmp_path / "unlicensed", licence=""), **options)
    (rows / "extra.bin").write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"does not name extra\.bin"):
        contribute(rows, **options)
    (rows / "extra.bin").unlink()
    dry = contribute(rows, dry_run=True, **options)
    assert dry.pull_request is None
    assert not (tmp_path / "hub/datasets/acme/community/pulls").exists()


def _propose(place: Place, folder: Path, names: list[str], under: str) -> None:
    place.hub.commit(
        DATASET,
        COMMUNITY,
        Upload(
            folder,
            names=names,
            message="a proposal",
            under=under,
            replace=False,
            pull_request=True,
        ),
    )


def test_a_proposal_that_does_more_is_refused(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    options = {"to": "acme/community", "hub": writable.spec}
    create_community(**options)
    rows = write_dataset(tmp_path / "rows")
    folder = contribute(rows, dry_run=True, **options).folder

    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "README.md").write_text("mine now")
    _propose(writable, tmp_path / "card", ["README.md"], "")
    _propose(writable, rows, names_of(rows), "elsewhere")
    _propose(writable, rows, names_of(rows), "cuda-v100/ada-00000000")
    (rows / "setup.py").write_text("import os")
    _propose(writable, rows, names_of(rows), folder)
    (rows / "setup.py").unlink()
    spoiled = write_dataset(tmp_path / "spoiled")
    parquet = next(spoiled.glob("trajectories-*.parquet"))
    parquet.write_bytes(b"x" + parquet.read_bytes()[1:])
    _propose(writable, spoiled, names_of(spoiled), folder)
    reasons = [
        "changes or removes README.md",
        "must add the files of one folder",
        "the folder cuda-v100/ada-00000000 must be cuda-a100/ada-",
        r"does not name cuda-a100/ada-.*/setup\.py",
        "SHA-256",
    ]
    head = writable.hub.resolve(DATASET, COMMUNITY, "main")
    for number, reason in enumerate(reasons, 1):
        with pytest.raises(InvalidInputError, match=reason):
            merge_contribution(number, **options)
    assert writable.hub.resolve(DATASET, COMMUNITY, "main") == head


def test_rows_that_are_there_already_are_reported(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    options = {"to": "acme/community", "hub": writable.spec}
    create_community(**options)
    contribute(write_dataset(tmp_path / "one", latencies=(1e-3, 2e-3)), **options)
    contribute(write_dataset(tmp_path / "two", latencies=(1e-3, 2e-3, 4e-3)), **options)
    merge_contribution(1, **options)
    found, report = review_contribution(2, **options)
    assert len(found.published) == 1
    assert report.totals["published"] == 2
    proposed = contribute(write_dataset(tmp_path / "3", latencies=(1e-3, 3e-3)), **options)
    for warnings in (proposed.warnings, merge_contribution(2, **options).warnings):
        (warning,) = warnings
        assert "this measurement is published already" in warning


def test_rows_that_are_all_there_are_refused_under_another_name(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    options = {"to": "acme/community", "hub": writable.spec}
    create_community(**options)
    log = tmp_path / "log.json"
    log.write_text(_one_record())
    for name in ("ada", "eve"):
        wmhub.collect(
            [log],
            tmp_path / name,
            hardware="cuda-a100",
            contributor=name,
            licence="MIT",
            workers=1,
        )
        contribute(tmp_path / name, **options)
    merge_contribution(1, **options)
    head = writable.hub.resolve(DATASET, COMMUNITY, "main")
    for refused in (
        lambda: contribute(tmp_path / "eve", **options),
        lambda: merge_contribution(2, **options),
    ):
        with pytest.raises(DatasetError, match="all 3 records are published already"):
            refused()
    assert writable.hub.resolve(DATASET, COMMUNITY, "main") == head


def test_two_at_once_both_arrive(writable: Place, tmp_path: Path, embedded: Path) -> None:
    options = {"to": "acme/community", "hub": writable.spec}
    create_community(**options)
    for number, latencies in enumerate([(1e-3, 2e-3), (3e-3, 4e-3)], 1):
        rows = write_dataset(tmp_path / f"rows-{number}", latencies=latencies)
        assert contribute(rows, **options).pull_request == number
    assert [merge_contribution(number, **options).tag for number in (1, 2)] == ["v0.2.0", "v0.3.0"]
    rows = datasets(hardware="cuda-a100", hub=writable.spec).rows
    assert len({row.name for row in rows}) == 2


def test_anyone_may_propose_and_only_owners_merge(
    server: HubServer, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_community(to="acme/community", hub="hf-hub")
    monkeypatch.setenv("HF_TOKEN", server.tokens["eve"])
    assert contribute(write_dataset(tmp_path / "rows"), to="acme/community").pull_request == 1
    with pytest.raises(HubError, match="may not do that"):
        merge_contribution(1, to="acme/community")
    monkeypatch.setenv("HF_TOKEN", server.tokens["ada"])
    assert merge_contribution(1, to="acme/community").tag == "v0.2.0"


def test_a_contributor_cannot_write_markup_into_the_card(
    writable: Place, tmp_path: Path, embedded: Path
) -> None:
    options = {"to": "acme/community", "hub": writable.spec}
    create_community(**options)
    hostile = "ada | 9 | [free](http://x) <img src=x> `"
    log = tmp_path / "log.json"
    log.write_text(_one_record())
    wmhub.collect(
        [log],
        tmp_path / "data",
        hardware="cuda-a100",
        contributor=hostile,
        licence="MIT",
        workers=1,
    )
    contribute(tmp_path / "data", **options)
    merged = merge_contribution(1, **options)
    snapshot = writable.hub.fetch(DATASET, COMMUNITY, merged.commit, ["README.md"])
    card = (snapshot.folder / "README.md").read_text()
    (row,) = [line for line in card.splitlines() if line.startswith("| `cuda-a100/")]
    assert cell(hostile) in row
    assert "<img" not in row.replace("\\<img", "")
    assert len(row.replace("\\|", "").split("|")) == 8


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("李雷", "contributor"),
        ("Ada L.", "ada-l"),
        ("Žofie", "ofie"),
        # Cut at the 40th character, which is no letter: a name with "--" would never load.
        ("a" * 39 + " b", "a" * 39),
    ],
)
def test_a_contributor_may_have_any_name(tmp_path: Path, name: str, slug: str) -> None:
    folder = write_dataset(tmp_path / "rows")
    manifest = dataclasses.replace(read_manifest(folder), contributors={name: 3})
    artifact = DATASET.verify(folder)
    assert folder_of(manifest, artifact) == f"cuda-a100/{slug}-{artifact.digest[:8]}"
    most_name_nobody = dataclasses.replace(manifest, contributors={"": 9, name: 3})
    assert folder_of(most_name_nobody, artifact) == folder_of(manifest, artifact)
    for nobody in ("", " "):
        unsaid = dataclasses.replace(manifest, contributors={nobody: 3})
        with pytest.raises(InvalidInputError, match="does not say who measured it"):
            folder_of(unsaid, artifact)


def _one_record() -> str:
    task = ['["matmul", 512, 512, 512]', "cuda", [-1, 16, 64, 49152], "", 0, []]
    rows = []
    for number in range(3):
        steps = [["SP", 2, 0, 512, [2 + number, 1, 8], 1]]
        times = [[1e-3 * (number + 1)], 0, 1.5, 1600000000]
        rows.append(json.dumps({"i": [task, [[], steps]], "r": times, "v": "v0.6"}))
    return "\n".join(rows) + "\n"


def test_a_merge_that_was_cut_is_finished_by_another(
    server: HubServer, tmp_path: Path, embedded: Path
) -> None:
    """The pull request is merged, and then the card cannot be sent."""
    options = {"to": "acme/community", "hub": "hf-hub"}
    create_community(**options)
    proposed = contribute(write_dataset(tmp_path / "rows"), **options)
    server.fault("POST .*/commit/main", status=403)
    with pytest.raises(HubError, match="may not do that"):
        merge_contribution(1, **options)
    done = merge_contribution(1, **options)
    assert (done.tag, done.folder) == ("v0.2.0", proposed.folder)
    assert merge_contribution(1, **options) == done, "once more is no change"


def test_a_merge_in_a_folder_hub_happens_once(tmp_path: Path, embedded: Path) -> None:
    options = {"to": "acme/community", "hub": f"folder:{tmp_path / 'hub'}"}
    create_community(**options)
    contribute(write_dataset(tmp_path / "rows"), **options)
    done = merge_contribution(1, **options)
    assert merge_contribution(1, **options) == done
    hub = FolderHub(tmp_path / "hub")
    assert sorted(hub.tags(DATASET, COMMUNITY)) == ["v0.1.0", "v0.2.0"]


def test_the_verb(tmp_path: Path) -> None:
    runner = CliRunner()
    where = ["--to", "acme/community", "--hub", f"folder:{tmp_path / 'hub'}"]
    rows = write_dataset(tmp_path / "rows")
    created = runner.invoke(cli, ["contribute", "--create", *where])
    assert created.exit_code == 0, created.output
    proposed = runner.invoke(cli, ["contribute", str(rows), "--json", *where])
    assert json.loads(proposed.stdout)["pull_request"] == 1
    report = runner.invoke(cli, ["contribute", "--review", "1", *where])
    assert report.exit_code == 0, report.output
    assert "`wmhub dataset check` of cuda-a100 v1.0.0: passed" in report.stdout
    for chosen in (["--merge", "1"], ["--create"], ["--review", "1"]):
        for option in (["--dry-run"], ["--message", "m"]):
            refused = runner.invoke(cli, ["contribute", *chosen, *option, *where])
            assert refused.exit_code == 2
            assert f"{option[0]} goes with DIR" in refused.stderr
    merged = runner.invoke(cli, ["contribute", "--merge", "1", *where])
    more = write_dataset(tmp_path / "more", latencies=(1e-3, 7e-3))
    doubtful = runner.invoke(cli, ["contribute", str(more), "--dry-run", *where])
    assert "warning published (1): " in doubtful.stderr
    assert "acme/community is at v0.2.0: cuda-a100/ada-" in merged.stderr
    assert runner.invoke(cli, ["contribute", *where]).exit_code == 2


def test_a_proposal_that_changes_while_it_is_checked_is_not_merged(
    writable: Place, tmp_path: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"to": "acme/community", "hub": writable.spec}
    create_community(**options)
    contribute(write_dataset(tmp_path / "rows"), **options)

    def looked_at_before(*asked: Any) -> Review:
        return dataclasses.replace(review(*asked), commit="0" * 40)

    monkeypatch.setattr("wmhub.hub.contributing.review", looked_at_before)
    monkeypatch.setattr(type(writable.hub), "merge", lambda *_: pytest.fail("it was merged"))
    with pytest.raises(InvalidInputError, match="changed while it was checked"):
        merge_contribution(1, **options)
