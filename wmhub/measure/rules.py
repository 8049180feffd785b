"""The sketches that a search and a collection draw from: TVM's, and on a CPU ours beside them.

A record of a sketch of ours holds TVM's own instructions alone: a TVM without wmhub applies it.
"""

from __future__ import annotations

from typing import Any

from wmhub.measure.packing import PackOperands
from wmhub.measure.programs import trivial_program
from wmhub.measure.turning import TurnResult
from wmhub.tvm_compat import meta_schedule as ms


def space_generator(target: Any) -> Any:
    """The space generator for ``target``, as ``TuneContext`` takes it."""
    theirs = "post-order-apply"
    if target.kind.name != "llvm":
        return theirs
    # TVM chooses its rules by features of the target, and tells them to a context alone.
    context = ms.TuneContext(
        trivial_program(target), target=target, space_generator=theirs, num_threads=1
    )
    rules = list(context.space_generator.sch_rules)
    # Only what is inlined shows how an operand is walked.
    inlining = [n for n, rule in enumerate(rules) if isinstance(rule, ms.schedule_rule.AutoInline)]
    at = 1 + max(inlining, default=-1)
    # In this order: an operand in panels would look like the image of a convolution.
    rules[at:at] = [TurnResult(), PackOperands()]
    return ms.space_generator.PostOrderApply(
        sch_rules=rules, postprocs="from-target", mutator_probs="from-target"
    )
