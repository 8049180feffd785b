"""Groups of different structure whose actions are of the same kinds, as one group to the network.

Where a stage is computed is part of a structure, so a few hundred candidates of one convolution
are dozens of groups. The network reads kinds and numbers only: it can take them together, and
prefixes are then shared between them too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from wmhub.model.encode import Encoded


def merge(groups: Sequence[Encoded]) -> list[tuple[list[int], Encoded]]:
    """Numbers of the groups that go together, in their order, and what they are together.

    Rows stand in the order of the numbers.
    """
    together: dict[tuple[bytes, bytes], list[int]] = {}
    for number, group in enumerate(groups):
        key = (group.kinds.tobytes(), group.blocks.tobytes())
        together.setdefault(key, []).append(number)
    return [(numbers, _joined([groups[n] for n in numbers])) for numbers in together.values()]


def _joined(groups: Sequence[Encoded]) -> Encoded:
    if len(groups) == 1:
        return groups[0]
    counts = [group.count for group in groups]
    actions = []
    for step in range(len(groups[0].actions)):
        tables = [group.actions[step] for group in groups]
        first = tables[0]
        if all(len(table) == 1 and (table == first).all() for table in tables):
            actions.append(first)
            continue
        actions.append(
            np.concatenate(
                [
                    np.broadcast_to(table, (count, table.shape[1]))
                    for table, count in zip(tables, counts)
                ]
            )
        )
    return dataclasses.replace(
        groups[0],
        actions=tuple(actions),
        structured=np.concatenate([group.structured for group in groups]),
    )
