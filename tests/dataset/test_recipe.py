from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from logmaking import ansor_log, meta_database

import wmhub
import wmhub.dataset.recipe as recipe_module
import wmhub.dataset.upstream as upstream_module
from wmhub.dataset.reader import open_dataset
from wmhub.dataset.recipe import read_recipe
from wmhub.dataset.upstream import fetch_blobs
from wmhub.errors import HubError, InvalidInputError, LogFormatError, MissingInputError

REPOSITORY = Path(__file__).resolve().parents[2]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    # As in a hook, where git names the repository that it is in.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=own)
    return done.stdout.strip()


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """A repository as GitHub serves it: partial clones may ask for single objects."""
    folder = tmp_path / "someone" / "logs"
    (folder / "db").mkdir(parents=True)
    (folder / "a.log").write_text(ansor_log())
    programs, records = meta_database()
    (folder / "db/database_workload.json").write_text(programs)
    compressed = gzip.compress(records.encode(), mtime=0)
    (folder / "db/database_tuning_record.json.gz").write_bytes(compressed)
    git(folder, "init", "--quiet")
    git(folder, "config", "uploadpack.allowFilter", "true")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "logs")
    return folder


@pytest.fixture
def recipe(upstream: Path, tmp_path: Path) -> Path:
    path = tmp_path / "sources.toml"
    files = [line.split() for line in git(upstream, "ls-tree", "-r", "HEAD").splitlines()]
    path.write_text(
        'hardware = "cuda-v100"\n[[upstream]]\n'
        f'repository = "file://{upstream}"\ncommit = "{git(upstream, "rev-parse", "HEAD")}"\n'
        'licence = "MIT"\ncontributor = "someone"\n[upstream.files]\n'
        + "".join(f'"{name}" = "{blob}"\n' for _, _, blob, name in files)
    )
    return path


def test_the_same_dataset_from_upstream_and_from_a_mirror(
    recipe: Path, upstream: Path, tmp_path: Path
) -> None:
    fetched = wmhub.collect(output=tmp_path / "fetched", recipe=recipe)
    assert fetched.missing == []
    counts = fetched.manifest.counts
    assert (counts.records, counts.unresolved_workloads) == (52, 0)
    assert fetched.manifest.licences == {"MIT": 52}
    # A mirror may name and compress its files as it likes.
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "1.gz").write_bytes(gzip.compress((upstream / "a.log").read_bytes()))
    (upstream / "db").rename(mirror / "2")
    mirrored = wmhub.collect(output=tmp_path / "mirrored", recipe=recipe, mirror=mirror)
    assert mirrored.missing == []
    rows = [
        [t.to_pylist() for t in open_dataset(tmp_path / name).iter_tables()]
        for name in ("fetched", "mirrored")
    ]
    assert rows[0] == rows[1]
    sources = {row["source"] for table in rows[0] for row in table}
    assert sources == {"someone/logs:a.log", "someone/logs:db/database_tuning_record.json.gz"}


def test_a_folder_whose_name_says_records_keeps_its_programs(
    recipe: Path, upstream: Path, tmp_path: Path
) -> None:
    recipe.write_text(recipe.read_text().replace('"db/', '"tuning_record/db/'))
    report = wmhub.collect(output=tmp_path / "out", recipe=recipe, mirror=upstream)
    assert report.manifest.counts.unresolved_workloads == 0


def test_a_file_of_two_commits_is_read_once(recipe: Path, upstream: Path, tmp_path: Path) -> None:
    once = wmhub.collect(output=tmp_path / "once", recipe=recipe, mirror=upstream)
    text = recipe.read_text()
    recipe.write_text(text + text.partition("\n")[2])
    twice = wmhub.collect(output=tmp_path / "twice", recipe=recipe, mirror=upstream)
    assert twice.counts == once.counts


def test_what_cannot_be_read_in_a_mirror_stops_nothing(
    recipe: Path, upstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = recipe_module.blob_id

    def refuses(path: Path, **options: Any) -> str:
        if path.name == "a.log":
            raise LogFormatError(f"{path}: Permission denied")
        return real(path, **options)

    monkeypatch.setattr(recipe_module, "blob_id", refuses)
    report = wmhub.collect(output=tmp_path / "out", recipe=recipe, mirror=upstream)
    assert [missing.path.rpartition(":")[2] for missing in report.missing] == ["a.log"]
    assert report.manifest.counts.records


def test_what_a_mirror_lacks_is_said(recipe: Path, upstream: Path, tmp_path: Path) -> None:
    with (upstream / "a.log").open("a") as file:
        file.write("one line more\n")
    (upstream / "db/database_workload.json").unlink()
    report = wmhub.collect(output=tmp_path / "some", recipe=recipe, mirror=upstream)
    reasons = {item.path: item.reason for item in report.missing}
    assert "has other content than blob" in reasons["someone/logs:a.log"]
    assert "not in" in reasons["someone/logs:db/database_workload.json"]
    assert report.manifest.counts.unresolved_workloads == 3
    with pytest.raises(MissingInputError, match="2 files of the recipe are missing"):
        wmhub.collect(output=tmp_path / "none", recipe=recipe, mirror=upstream, strict=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match="none of the 3 files"):
        wmhub.collect(output=tmp_path / "none", recipe=recipe, mirror=tmp_path / "empty")


def test_what_upstream_lost_is_said(recipe: Path, upstream: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text() + f'"gone.log" = "{"0" * 39}1"\n')
    report = wmhub.collect(output=tmp_path / "some", recipe=recipe)
    assert [item.path for item in report.missing] == ["someone/logs:gone.log"]
    upstream.rename(tmp_path / "elsewhere")
    with pytest.raises(HubError, match=r"cannot be reached.*--mirror"):
        wmhub.collect(output=tmp_path / "none", recipe=recipe)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("[[upstream]]", "[[downstream]]", "'upstream' must be a list"),
        ('licence = "MIT"', "", "'licence' is missing"),
        ('licence = "MIT"', "licence = 3", "'licence' must be text"),
        ("file:///", "ext::sh -c ", "no https:// address"),
        ("file:///", "--upload-pack=", "no https:// address"),
        ("file:///", "ssh://host/", "no https:// address"),
        ('"a.log" = "', '"a.log" = "../', "no git blob id"),
        ('hardware = "cuda-v100"', 'hardware = "v100"', "hardware key"),
        ("[upstream.files]", "[upstream.files", "no readable TOML"),
    ],
)
def test_a_wrong_recipe_is_refused(
    recipe: Path, tmp_path: Path, old: str, new: str, reason: str
) -> None:
    recipe.write_text(recipe.read_text().replace(old, new, 1))
    with pytest.raises(InvalidInputError, match=reason):
        wmhub.collect(output=tmp_path / "out", recipe=recipe)


def test_a_recipe_stands_alone(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="names logs and hardware itself"):
        wmhub.collect(["a.log"], tmp_path / "out", recipe=recipe)
    with pytest.raises(MissingInputError, match="no such recipe"):
        wmhub.collect(output=tmp_path / "out", recipe=tmp_path / "none.toml")


@pytest.mark.parametrize("hardware", ["cuda-v100", "cuda-k80", "cuda-a100"])
def test_our_own_recipes_parse(hardware: str) -> None:
    recipe = read_recipe(REPOSITORY / "datasets" / hardware / "sources.toml")
    assert str(recipe.hardware) == hardware
    assert all(upstream.files for upstream in recipe.upstreams)


def test_our_recipe_finds_the_real_logs(shared_logs: Path, tmp_path: Path) -> None:
    from wmhub.dataset.recipe import gather

    recipe = read_recipe(REPOSITORY / "datasets/cuda-a100/sources.toml")
    found = gather(recipe, shared_logs / "auto_scheduler/cuda-a100", tmp_path, "test")
    assert len(found.logs) == 35
    assert {item.path.partition(":")[0] for item in found.missing} == {
        "lac-dcc/bennu",
        "mmperf/mmperf",
    }


def test_a_file_that_was_fetched_and_cut_short_is_fetched_again(
    recipe: Path, upstream: Path, tmp_path: Path
) -> None:
    (wanted,) = read_recipe(recipe).upstreams
    whole = wanted.files["a.log"]
    fetched = fetch_blobs(wanted.repository, [whole], tmp_path / "cache")
    text = (upstream / "a.log").read_text()
    assert fetched[whole].read_text() == text
    # What a loss of power leaves, on a line's border.
    fetched[whole].write_text("".join(text.splitlines(keepends=True)[:3]))
    again = fetch_blobs(wanted.repository, [whole], tmp_path / "cache")
    assert again == fetched
    assert again[whole].read_text() == text


def test_a_hook_that_fetches_leaves_its_repository_alone(
    recipe: Path, upstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet", "caller")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "caller" / ".git"))
    before = (tmp_path / "caller/.git/config").read_text()
    (wanted,) = read_recipe(recipe).upstreams
    fetched = fetch_blobs(wanted.repository, [wanted.files["a.log"]], tmp_path / "cache")
    assert [path.read_text() for path in fetched.values()] == [(upstream / "a.log").read_text()]
    assert (tmp_path / "caller/.git/config").read_text() == before


def test_a_fetch_that_fails_is_no_file_that_upstream_lacks(
    recipe: Path, upstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server does that is asked too often: the list of branches still comes."""
    real = upstream_module._run

    def limited(store: Path, arguments: list[str], *rest: object, **more: object) -> object:
        if "fetch" in arguments:
            said = "error: RPC failed; HTTP 429"
            return subprocess.CompletedProcess(arguments, 128, "", said)
        return real(store, arguments, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(upstream_module, "_run", limited)
    with pytest.raises(HubError, match="HTTP 429"):
        wmhub.collect(output=tmp_path / "out", recipe=recipe)
    assert not (tmp_path / "out").exists()
