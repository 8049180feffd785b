"""The sketches that a search and a collection draw from: TVM's, and on a CPU ours beside them.

A record of a sketch of ours holds TVM's own instructions alone: a TVM without wmhub applies it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wmhub.measure.packing import pack_operands
from wmhub.measure.panels import Step
from wmhub.measure.products import Product
from wmhub.measure.programs import trivial_program
from wmhub.measure.sketch import REFUSALS
from wmhub.measure.turning import turn_result
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import meta_schedule as ms
from wmhub.tvm_compat import tvm

#: Rules that TVM's pooling names for its blocks, and that no target has.
_POOLING = ("pool_max", "pool_avg", "adaptive_pool_max", "adaptive_pool_avg")


@derived_object
class ProductRule(ms.schedule_rule.PyScheduleRule):  # type: ignore[misc]
    """Adds sketches with a product changed; it stands between rules that inline and that tile."""

    def __init__(self, plan: Callable[[Product], Step | None]) -> None:
        super().__init__()
        self._plan = plan

    def _initialize_with_tune_context(self, context: Any) -> None:
        """Nothing depends on the context."""

    def apply(self, schedule: Any, block: Any) -> list[Any]:
        """A copy of ``schedule`` with ``block`` changed, and ``schedule`` as it is.

        It alone where there is no plan for the block, or TVM refuses it. The copy alone where a
        product was packed before: all products of a program together, or there would be twice as
        many sketches for each of them.
        """
        product = Product.of(schedule, block)
        step = product and self._plan(product)
        if not step:
            return [schedule]
        changed = schedule.copy()
        try:
            step(changed, block)
        except REFUSALS:
            return [schedule]
        return [changed] if _is_packed(schedule) else [changed, schedule]

    def clone(self) -> Any:
        """Another one like it."""
        return ProductRule(self._plan)


@derived_object
class LayoutRule(ms.postproc.PyPostproc):  # type: ignore[misc]
    """TVM's ``RewriteLayout``, but where a sketch of ours has copied operands itself: TVM ends on a
    copy of other dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self._theirs = ms.postproc.RewriteLayout()

    def _initialize_with_tune_context(self, context: Any) -> None:
        self._theirs._initialize_with_tune_context(context)

    def apply(self, schedule: Any) -> bool:
        """Whether the schedule is one, as it is or with weights laid out."""
        return _is_packed(schedule) or bool(self._theirs.apply(schedule))

    def clone(self) -> Any:
        """Another one like it."""
        return LayoutRule()


def _is_packed(schedule: Any) -> bool:
    return any(one.kind.name == "ReindexCacheRead" for one in schedule.trace.insts)


def space_generator(target: Any) -> Any:
    """The space generator for ``target``, as ``TuneContext`` takes it."""
    _know_pooling(target)
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
    rules[at:at] = [ProductRule(turn_result), ProductRule(pack_operands)]
    postprocs = [
        LayoutRule() if isinstance(one, ms.postproc.RewriteLayout) else one
        for one in context.space_generator.postprocs
    ]
    return ms.space_generator.PostOrderApply(
        sch_rules=rules, postprocs=postprocs, mutator_probs="from-target"
    )


def _know_pooling(target: Any) -> None:
    """Registers what TVM does where it misses a rule, to leave the block as it is: it warns of each
    such block on the terminal, past all logs."""
    for rule in _POOLING:
        name = f"s_tir.meta_schedule.{target.keys[0]}.meta_schedule.{rule}"
        if tvm.get_global_func(name, allow_missing=True) is None:
            tvm.register_global_func(name, lambda schedule, block: [schedule])
