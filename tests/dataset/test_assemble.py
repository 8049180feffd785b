from __future__ import annotations

import base64

import pytest

from wmhub.dataset.assemble import chosen_workloads
from wmhub.errors import InvalidInputError
from wmhub.records import Scheduler, Workload, workload_id


def test_a_key_names_every_workload_that_has_it() -> None:
    workloads = {}
    for program in (b"as one TVM writes it", b"as another does"):
        id_ = workload_id(Scheduler.META_SCHEDULE, "123", program)
        text = base64.b64encode(program).decode()
        workloads[id_] = Workload(id_, Scheduler.META_SCHEDULE, "123", text)
    both = tuple(sorted(workloads))
    assert chosen_workloads(["123"], workloads) == both
    assert chosen_workloads([both[0]], workloads) == both[:1]
    assert chosen_workloads([both[0], "123"], workloads) == both
    with pytest.raises(InvalidInputError, match="neither the id nor the key"):
        chosen_workloads(["456"], workloads)
