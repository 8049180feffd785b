"""Paths, sizes and digests of files that came from elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.errors import InvalidInputError, MissingInputError
from wmhub.hub.integrity import (
    FileDigest,
    check_path,
    check_paths,
    copy_file,
    digest_file,
    open_inside,
    read_bounded,
    tree_digest,
    verify_files,
)

_GOOD = [
    "a", "README.md", "weights.safetensors", "a/b/c.parquet", "trajectories-train-00000.parquet",
    "_private", "x=1/y=2.parquet", "v1.2.0", "a+b",
]  # fmt: skip
_BAD = [
    "", ".", "..", "/", "a/", "/a", "//a", "a//b", "../a", "a/../b", "a/..", "./a", "a/./b",
    ".git/config", ".hidden", "a/.hidden", "a\\b", "\\a", "\\\\server\\share", "C:\\a", "C:/a",
    "c:a", "a:stream", "~/a", "a\0b", "a\nb", "a b", "a*", "a?", "[a]", "a|b", '"a"', "<a>",
    "con", "CON", "Aux.txt", "nul.parquet", "a/com1", "lpt9.x", "a.", "a/b.", "ä", "\u202ea",
    "a/" * 8 + "a", "x" * 241, "-a",
]  # fmt: skip


@pytest.mark.parametrize("name", _GOOD)
def test_plain_paths_pass(name: str) -> None:
    assert check_path(name) == name


@pytest.mark.parametrize("name", _BAD)
def test_hostile_paths_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        check_path(name)


@given(st.text(alphabet="ab./\\:~ \0cC-_", max_size=20))
def test_a_path_that_passes_stays_in_its_folder(name: str) -> None:
    try:
        check_path(name)
    except InvalidInputError:
        return
    folder = Path("/some/folder")
    assert Path(os.path.normpath(folder / name)).is_relative_to(folder)
    assert os.path.normpath(folder / name) != str(folder)
    assert "\\" not in name and ":" not in name  # noqa: PT018


def test_names_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="differ only in case"):
        check_paths(["Weights.bin", "weights.bin"])


def test_too_many_files() -> None:
    with pytest.raises(InvalidInputError, match="more than 100000 files"):
        check_paths(str(number) for number in range(100_001))


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "../../outside", "loop"])
def test_links_that_lead_out_are_refused(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "one" / "folder"
    folder.mkdir(parents=True)
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "one" / "outside").write_text("secret")
    (folder / "loop").symlink_to(target)
    with pytest.raises((InvalidInputError, MissingInputError), match="link"):
        open_inside(folder, "loop")


def test_a_folder_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidInputError, match="leads out of its folder"):
        open_inside(tmp_path / "folder", "sub/file")


def test_links_inside_are_followed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "x").write_text("content")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "file").symlink_to("../blobs/x")
    assert open_inside(tmp_path / "snapshot", "file", tmp_path).read_text() == "content"
    with pytest.raises(InvalidInputError, match="leads out of its folder"):
        open_inside(tmp_path / "snapshot", "file")


def test_pipes_and_folders_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sub").mkdir()
    for name in ("pipe", "sub"):
        with pytest.raises(InvalidInputError, match="not a regular file"):
            open_inside(tmp_path, name)
        with pytest.raises(InvalidInputError, match="is no file"):
            read_bounded(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_reading_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 101)
    assert len(read_bounded(tmp_path / "file", 101)) == 101
    with pytest.raises(InvalidInputError, match="longer than 100 bytes"):
        read_bounded(tmp_path / "file", 100)


@pytest.mark.parametrize(
    ("sha256", "length"),
    [("", 1), ("z" * 64, 1), ("A" * 64, 1), ("0" * 63, 1), (None, 1), ("0" * 64, -1),
     ("0" * 64, 1.5), ("0" * 64, True), ("0" * 64, "1")],
)  # fmt: skip
def test_digests_are_checked_on_construction(sha256: object, length: object) -> None:
    with pytest.raises(InvalidInputError):
        FileDigest(sha256, length)  # type: ignore[arg-type]


@given(st.binary(max_size=300), st.data())
def test_any_single_change_is_found(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("f")
    (folder / "file").write_bytes(content)
    files = {"file": digest_file(folder / "file")}
    verify_files(folder, files)
    changed = data.draw(st.binary(max_size=300).filter(lambda other: other != content))
    (folder / "file").write_bytes(changed)
    with pytest.raises(InvalidInputError, match="manifest says"):
        verify_files(folder, files)


def test_lengths_are_compared_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"two")
    files = {name: digest_file(tmp_path / name) for name in ("one", "two")}
    (tmp_path / "two").write_bytes(b"two and more")
    monkeypatch.setattr("wmhub.hub.integrity.digest_file", None)
    with pytest.raises(InvalidInputError, match="has 12 bytes, but its manifest says 3"):
        verify_files(tmp_path, files)


def test_copies_and_tree_digests(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"one" * 1000)
    copied = copy_file(tmp_path / "one", tmp_path / "deep" / "copy")
    assert copied == digest_file(tmp_path / "one") == digest_file(tmp_path / "deep/copy")
    other = FileDigest("0" * 64, 3)
    assert tree_digest({"a": copied, "b": other}) == tree_digest({"b": other, "a": copied})
    assert tree_digest({"a": copied, "b": other}) != tree_digest({"a": other, "b": copied})
