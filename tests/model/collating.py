"""Batches put together one group after the other: the plain way, to compare the trainer's with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wmhub.model.encode import Encoded
from wmhub.model.network import Batch


def collate(groups: Sequence[tuple[Encoded, Tensor]], device: torch.device | None) -> Batch:
    """Puts chosen rows (int64 tensors) of several groups into one padded batch."""
    actions_wide = max(len(e.kinds) for e, _ in groups)
    blocks_wide = max(len(e.blocks) for e, _ in groups)
    total = sum(len(rows) for _, rows in groups)
    first = groups[0][0]
    blocks = torch.zeros(total, blocks_wide, first.blocks.shape[1])
    hardware = torch.zeros(total, len(first.hardware))
    kinds = torch.zeros(total, actions_wide, dtype=torch.int64)
    columns = first.actions[0].shape[1] if first.actions else 0
    actions = torch.zeros(total, actions_wide, columns)
    structured = torch.zeros(total, first.structured.shape[1])
    at = 0
    for encoded, rows in groups:
        here = slice(at, at + len(rows))
        at += len(rows)
        blocks[here, : len(encoded.blocks)] = torch.from_numpy(encoded.blocks)
        hardware[here] = torch.from_numpy(encoded.hardware)
        kinds[here, : len(encoded.kinds)] = torch.from_numpy(encoded.kinds)
        structured[here] = torch.from_numpy(encoded.structured)[rows]
        for step, table in enumerate(encoded.actions):
            values = torch.from_numpy(table)
            actions[here, step] = values[rows] if len(values) > 1 else values
    parts = (blocks, hardware, kinds, actions, structured)
    return Batch(*(part.to(device) if device is not None else part for part in parts))
