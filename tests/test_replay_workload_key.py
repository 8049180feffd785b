"""What keys of Ansor's logs say."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from test_replay_ansor import CONV

from wmhub.replay.workload_key import WorkloadKey

DIGEST = "d7b65649a4dd54becea0a52aabbc5af5"


def test_integers_in_order_however_they_are_nested() -> None:
    assert WorkloadKey.parse(CONV).sizes == (128, 128, 28, 28, 128, 3, 3, 1)
    assert WorkloadKey.parse('["9847", [1, 28], [4, [5]], true, "x", 7]').sizes == (1, 28, 4, 5, 7)
    assert WorkloadKey.parse(json.dumps('["matmul", 4, 5]')).sizes == (4, 5)


def test_only_keys_of_tvm_s_own_list_tensors() -> None:
    assert WorkloadKey.parse(f'["{DIGEST}", [1, 1000], [1, 1000]]').lists_tensors
    assert WorkloadKey.parse(f'["{DIGEST}", 1, 1000, 1, 1000]').lists_tensors
    assert not WorkloadKey.parse(CONV).lists_tensors
    assert not WorkloadKey.parse('["ansor_mm", [1000, 800], [800, 700]]').lists_tensors


def test_sizes_in_a_row() -> None:
    key = WorkloadKey((1, 28, 28, 128, 4, 4))
    assert key.find((28, 128, 4)) == 2
    assert key.find((28, None, 128)) == 1
    assert key.find(()) == 0
    assert key.find((28, 4)) is None
    assert key.find((4, 4, None)) is None


@given(st.one_of(st.text(), st.recursive(st.integers() | st.text(), st.lists).map(json.dumps)))
def test_any_text_is_read(text: str) -> None:
    assert all(isinstance(size, int) for size in WorkloadKey.parse(text).sizes)


def test_a_key_that_nests_too_deeply_says_nothing() -> None:
    assert WorkloadKey.parse("[" * 100_000 + "]" * 100_000) == WorkloadKey()
