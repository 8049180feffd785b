from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.errors import InvalidNameError
from wmhub.names import BACKENDS, DatasetId, HardwareKey, ModelId

_PLACES = ("", "hf-hub:")
_ORGS = ("", "acme/", "Acme-Labs/", "a.b_c/")
_NAMES = ("wm-cuda-a100", "cuda-a100", "x", "A.b_c-9")
_REVISIONS = ("", "@v1.2.0", "@main", "@refs/pr/3", "@" + "0f" * 20)


@pytest.mark.parametrize("type_", [ModelId, DatasetId])
def test_ids_round_trip_over_every_optional_part(type_: type[ModelId] | type[DatasetId]) -> None:
    texts = ["".join(parts) for parts in itertools.product(_PLACES, _ORGS, _NAMES, _REVISIONS)]
    texts = [text for text in texts if not text.startswith("hf-hub:") or "/" in text.split("@")[0]]
    texts += ["local-dir:./runs/a@b", "local-dir:/x y/ü", "local-dir:C:\\models"]
    assert len(texts) > 100
    for text in texts:
        assert str(type_.parse(text)) == text


def test_a_dataset_may_be_a_folder_of_a_repository() -> None:
    id_ = DatasetId.parse("wmhub/community/cuda-a100/ada-1234abcd@v1.0.0")
    assert (id_.org, id_.name, id_.folder) == ("wmhub", "community", "cuda-a100/ada-1234abcd")
    assert id_.revision == "v1.0.0"
    with pytest.raises(InvalidNameError, match="more parts than owner and name"):
        ModelId.parse("wmhub/wm-cuda-a100/folder")


_HOSTILE = [
    "", " ", ".", "..", "/", "//", "a/", "/a", "./a", "../a", "../../etc/passwd", "/etc/passwd",
    "~", "~/a", "a b", "a/b c", "a\nb", "a\0b", "a/b@", "a@", "@v1", "a@@b", "a@..", "a@v1/../x",
    "a@/v1", "a@v1/", "a@v1//2", "a@-x", "a\\b", "C:\\a", "C:/a", "file:///a", "http://a/b",
    "https://huggingface.co/a/b", "hf-hub:", "hf-hub:a", "hf-hub:/a", "hf-hub:a/", "hf_hub:a/b",
    "HF-HUB:a/b", "local-dir:", "local-dir:\0", "Local-Dir:a", "a..b", "a--b", "-a", "a-", ".a",
    "a.", "_a", "a/b.git", "a/../b", "a/./b", "a?b", "a#b", "a%2fb", "a*b", "a:b", "ä", "\u0430/b",
    "a/b@v1 0", "a/b@{0}", "$(id)", "`id`", "a;b", "a|b", "x" * 200, "a/" + "y" * 200,
    "a@" + "z" * 200, "\u202egpj", "a\u200bb",
]  # fmt: skip


@pytest.mark.parametrize("text", _HOSTILE)
@pytest.mark.parametrize("type_", [ModelId, DatasetId])
def test_hostile_names_are_refused(type_: type[ModelId] | type[DatasetId], text: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        type_.parse(text)
    assert "\0" not in str(caught.value).replace("\\x00", "")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("folder", ["..", "a/..", "a//b", "a/", ".git", "a/.hidden", "a\\b", "a b"])
def test_hostile_folders_are_refused(folder: str) -> None:
    with pytest.raises(InvalidNameError):
        DatasetId.parse(f"acme/community/{folder}")


@given(st.text(max_size=60))
def test_any_text_parses_back_or_is_refused(text: str) -> None:
    for type_ in (ModelId, DatasetId, HardwareKey):
        try:
            parsed = type_.parse(text)
        except InvalidNameError:
            continue
        assert str(parsed) == text
        assert type_.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "backend", "device", "cores"),
    [
        ("cuda-a100", "cuda", "a100", None),
        ("cuda-a100-80gb", "cuda", "a100-80gb", None),
        ("rocm-mi50", "rocm", "mi50", None),
        ("llvm-emeraldrapids-2c", "llvm", "emeraldrapids", 2),
        ("llvm-neoverse-v1-64c", "llvm", "neoverse-v1", 64),
        ("llvm-x86-unnamed", "llvm", "x86-unnamed", None),
    ],
)
def test_hardware_keys(text: str, backend: str, device: str, cores: int | None) -> None:
    key = HardwareKey.parse(text)
    assert (key.backend, key.device, key.cores) == (backend, device, cores)
    assert str(key) == text


@pytest.mark.parametrize(
    "text",
    ["", "cuda", "cuda-", "-a100", "nvidia-a100", "cuda-A100", "cuda-a 100", "cuda-a--100",
     "cuda-a100-", "llvm-x-0c", "cuda-../x", "cuda-a100\n", "cuda-" + "a" * 200, "CUDA-a100"],
)  # fmt: skip
def test_hostile_hardware_keys(text: str) -> None:
    if text == "llvm-x-0c":
        # No core count, but a device of that name.
        assert HardwareKey.parse(text).cores is None
        return
    with pytest.raises(InvalidNameError):
        HardwareKey.parse(text)


def test_hardware_keys_are_checked_on_construction() -> None:
    for arguments in (("llvm", "x-2c"), ("llvm", "x", 0), ("llvm", "x", 10_000), ("gpu", "x")):
        with pytest.raises(InvalidNameError):
            HardwareKey(*arguments)  # type: ignore[arg-type]


def test_hardware_keys_sort_by_backend_device_cores() -> None:
    keys = [HardwareKey.parse(text) for text in ("llvm-a-8c", "cuda-b", "llvm-a-2c", "cuda-a")]
    assert [str(key) for key in sorted(keys)] == ["cuda-a", "cuda-b", "llvm-a-2c", "llvm-a-8c"]
    assert {key.backend for key in keys} <= set(BACKENDS)
