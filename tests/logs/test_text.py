from __future__ import annotations

from typing import Any

import pytest

from wmhub.logs.text import RejectedLineError, first_names, target_kind


def test_names_are_each_given_once() -> None:
    assert first_names([["SP", 1], ["S"], ["SP"]], "no step") == {"SP", "S"}
    assert first_names([], "no step") == set()


@pytest.mark.parametrize(
    "items",
    [
        ["SP"],
        [["SP"], "SP"],
        [["S"], "S"],
        [[""], ""],
        [{"S": 1}],
        [{}],
        [[1]],
        [[]],
        [None],
        [[[]]],
    ],
    ids=str,
)
def test_anything_but_lists_that_begin_with_text_is_rejected(items: list[Any]) -> None:
    with pytest.raises(RejectedLineError, match="no step"):
        first_names(items, "no step")


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ('"cuda -arch=sm_70"', "cuda"),
        ('"llvm"', "llvm"),
        ('{"kind":"rocm","mcpu":"gfx906"}', "rocm"),
        ('"{\\"kind\\": \\"llvm\\"}"', "llvm"),
        # Only TVM can look these up.
        ('"raspberry-pi/4b-aarch64"', ""),
        ('{"tag":"nvidia/nvidia-a100"}', ""),
        ('{"kind":{"kind":"llvm"}}', ""),
        ('"{broken"', ""),
        ("broken", ""),
        ("[" * 9999, ""),
        ('""', ""),
    ],
)
def test_the_kind_of_a_target(target: str, kind: str) -> None:
    assert target_kind(target) == kind
