"""The key of a workload in Ansor's logs: all that they say of its program, beside the steps."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

#: TVM's own keys begin with a digest of the program (``compute_dag.py: workload_key``).
_DIGEST = re.compile(r"[0-9a-f]{32}")
_LARGEST = 1 << 60


@dataclass(frozen=True)
class WorkloadKey:
    """What stands behind the name of a workload."""

    sizes: tuple[int, ...] = ()
    """All integers in order, nested lists flattened."""
    lists_tensors: bool = False
    """Whether they are the shapes of the program's tensors, as in keys of TVM's own; behind the
    name of a registered function stand the arguments of that function."""

    @classmethod
    def parse(cls, text: str) -> WorkloadKey:
        """Reads the JSON text of a log; of one that is none, nothing is known."""
        try:
            items = json.loads(text)
            if isinstance(items, str):  # the log quotes the key once more
                items = json.loads(items)
        except (ValueError, RecursionError):
            return cls()
        pending = list(items) if isinstance(items, list) else []
        name = pending.pop(0) if pending else None
        found: list[int] = []
        while pending:
            item = pending.pop(0)
            if isinstance(item, list):
                pending = item + pending
            elif isinstance(item, int) and not isinstance(item, bool) and abs(item) < _LARGEST:
                found.append(item)
        return cls(tuple(found), isinstance(name, str) and bool(_DIGEST.fullmatch(name)))

    def find(self, sizes: Sequence[int | None]) -> int | None:
        """Where ``sizes`` first stand in the key in a row; ``None`` among them is any."""
        for start in range(len(self.sizes) - len(sizes) + 1):
            if all(want in (None, own) for want, own in zip(sizes, self.sizes[start:])):
                return start
        return None
