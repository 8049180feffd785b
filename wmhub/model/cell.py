"""How a network that only scores moves latents: `roll` goes action by action, `ScoringCell` is one.

Training gives the numbers of an action to a linear layer and what that says to the gates of a GRU.
Where no gradient is asked for, both are one matrix and kinds are constants; and candidates move in
pieces whose latents stay in a core's cache. The latents are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wmhub.model.rollout import Step

#: Candidates that move at once.
_PIECE = 512


def roll(
    move: Callable[[int, Tensor, Tensor], Tensor],
    state: Tensor,
    kinds: Sequence[int],
    steps: Sequence[Step],
) -> Tensor:
    """The latents, [P, L], where ``steps``, of those ``kinds``, lead from ``state``, [1, L].

    ``move`` is as `ScoringCell.move`.
    """
    for kind, step in zip(kinds, steps):
        rows = torch.from_numpy(step.rows).to(state.device)
        parents = step.parents
        count = len(state) if parents is None else len(parents)
        moved = state.new_empty(count, state.shape[1])
        for start in range(0, count, _PIECE):
            here = slice(start, start + _PIECE)
            before = state[here]
            if parents is not None:
                before = state[torch.from_numpy(parents[here]).to(state.device)]
            moved[here] = move(kind, rows[here] if len(rows) > 1 else rows, before)
        state = moved
    return state


class ScoringCell:
    """A GRU cell behind the layer that reads actions; L is the width of a latent, A of an action.

    ``cell`` as `torch.nn.GRUCell`_ describes it, whose gates stand in the order reset, update, new.

    .. _torch.nn.GRUCell: https://docs.pytorch.org/docs/stable/generated/torch.nn.GRUCell.html
    """

    def __init__(
        self, cell: nn.GRUCell, action_in: nn.Linear, kind_in: nn.Embedding, scale: Tensor
    ) -> None:
        gates = 2 * cell.hidden_size
        self._gates = gates
        #: Numbers of an action to all gates, [A, 3 L]; of each kind what is added, [K, 3 L].
        self._action = (cell.weight_ih @ (action_in.weight * scale)).t().contiguous()
        self._kinds = nn.functional.linear(
            kind_in.weight + action_in.bias, cell.weight_ih, cell.bias_ih
        )
        self._kinds[:, :gates] += cell.bias_hh[:gates]
        self._state = cell.weight_hh[:gates].t().contiguous()
        self._new = cell.weight_hh[gates:].t().contiguous()
        self._new_bias = cell.bias_hh[gates:]

    def move(self, kind: int, rows: Tensor, state: Tensor) -> Tensor:
        """Latents [P, L] after an action of one kind with numbers ``rows``, [P or 1, A]."""
        told = torch.addmm(self._kinds[kind], rows, self._action)
        gates = torch.addmm(told[:, : self._gates], state, self._state).sigmoid_()
        reset, update = gates.chunk(2, dim=1)
        kept = torch.addmm(self._new_bias, state, self._new)
        new = torch.addcmul(told[:, self._gates :], reset, kept).tanh_()
        return torch.lerp(new, state, update)
