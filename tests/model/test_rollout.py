"""Sharing prefixes changes how often actions are rolled out, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.model.rollout import plan


def roll(actions: list[np.ndarray], count: int, share: bool) -> tuple[np.ndarray, int]:
    """Final states under a transition that depends on the order, and how many were moved."""
    state, moved = np.ones(1), 0
    steps, last = plan(actions, count, share)
    for step in steps:
        if step.parents is not None:
            state = state[step.parents]
        assert len(step.rows) in (1, len(state))
        state = np.cos(state * 3.0 + step.rows @ np.array([1.0, 0.1]))
        moved += len(state)
    return state[last] if last is not None else np.broadcast_to(state, count), moved


@given(
    count=st.integers(1, 200),
    shapes=st.lists(st.sampled_from(["same", "few", "many"]), max_size=6),
    seed=st.integers(0, 1 << 16),
)
def test_shared_prefixes_end_in_the_states_of_separate_rollouts(
    count: int, shapes: list[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    actions = []
    for shape in shapes:
        most = {"same": 1, "few": 3, "many": 1 << 20}[shape]
        rows = rng.integers(0, most, (1 if shape == "same" else count, 2))
        actions.append(rows.astype(np.float32))
    together, moved = roll(actions, count, share=True)
    apart, everything = roll(actions, count, share=False)
    assert np.array_equal(together, apart)
    assert everything == count * len(actions)
    assert moved <= everything


def test_mutations_of_few_parents_share_their_first_actions() -> None:
    rng = np.random.default_rng(0)
    parent = rng.integers(0, 4, 100)
    first = parent[:, None].repeat(2, 1).astype(np.float32)
    second = rng.random((100, 2)).astype(np.float32)
    assert roll([first, np.ones((1, 2), np.float32), second], 100, True)[1] == 4 + 4 + 100


def test_actions_with_equal_keys_by_chance_are_not_taken_for_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(np, "sqrt", np.zeros_like)
    rows = np.arange(200, dtype=np.float32).reshape(100, 2) // 40
    monkeypatch.setattr(np, "pi", 0.0)
    steps, last = plan([rows], 100)
    assert len(steps[0].rows) == 100
    assert last is None
