"""``PackOperands``: sketches of products whose operands are copied to a layout that fits a CPU.

TVM's rules tile a product as it stands. Two kinds are slow however they are tiled: one whose vector
runs across an operand's rows (the weights of ``x @ w.T``, the keys of attention), so that each of
its elements is fetched from a line of its own; and one with a prime extent, such as the 197 tokens
of a vision transformer, which has no tile but all of it. For these the rule adds sketches in which
the operand is copied to panels, as wide as a few vectors and as deep as the reduction, and extents
are rounded up: the packing of Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication", TOMS 2008. TVM's own sketches stay beside them.

A record of such a schedule holds TVM's own instructions alone, so any TVM can apply it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from wmhub.errors import InvalidInputError
from wmhub.measure.programs import save_program
from wmhub.measure.sketch import REFUSALS
from wmhub.measure.space import prime_factors
from wmhub.program import Access, Block, Program
from wmhub.tvm_callbacks import derived_object
from wmhub.tvm_compat import IndexMap, dtype_of
from wmhub.tvm_compat import meta_schedule as ms
from wmhub.tvm_json import parse_program

#: Bytes of a cache line: the least width of a panel, and what one row of a copy reads at a time.
_LINE_BYTES = 64
#: Widths of a panel in lines, the widest first, and what the extent may grow for it.
_PANELS, _MOST_GROWN = (4, 2, 1), 0.06
#: How often each element of a panel is used at least, so that copying it can pay.
_LEAST_REUSE = 8
#: An extent with a larger prime factor has too few tiles, and grows by this share at most, to a
#: multiple of ``_ROW_STEP``.
_LARGEST_PRIME, _MOST_ROWS_GROWN, _ROW_STEP = 13, 0.12, 4
_FLOATS = {"float16", "bfloat16", "float32", "float64"}


def space_generator(target: Any) -> Any:
    """TVM's space generator for ``target``, with ours among its rules on a CPU."""
    if target.kind.name != "llvm":
        return "post-order-apply"
    rules = list(ms.ScheduleRule.create("llvm"))
    # Only what is inlined shows how an operand is walked: weights may be transposed on the way.
    inlined = [n for n, rule in enumerate(rules) if isinstance(rule, ms.schedule_rule.AutoInline)]
    rules.insert(1 + max(inlined, default=-1), PackOperands())
    return ms.space_generator.PostOrderApply(
        sch_rules=rules,
        postprocs="from-target",
        mutator_probs="from-target",
    )


@derived_object
class PackOperands(ms.schedule_rule.PyScheduleRule):  # type: ignore[misc]
    """The rule; it stands after those that inline and before those that tile."""

    def _initialize_with_tune_context(self, context: Any) -> None:
        """Nothing depends on the context."""

    def apply(self, schedule: Any, block: Any) -> list[Any]:
        """``schedule`` as it is and, where that can pay, with the operands of ``block`` packed."""
        product = _product(schedule, block)
        plan = product and _plan(product)
        if not product or not plan:
            return [schedule]
        packed = schedule.copy()
        try:
            _pack(packed, block, product, plan)
        except REFUSALS:
            # It looked like a product, but TVM cannot pad or copy it.
            return [schedule]
        return [packed, schedule]

    def clone(self) -> Any:
        """Another one like it."""
        return PackOperands()


def _product(schedule: Any, block: Any) -> _Product | None:
    """What ``block`` computes, if it is a product."""
    name = str(schedule.get(block).name_hint)
    try:
        program = parse_program(save_program(schedule.mod))
    except InvalidInputError:
        return None
    found = next((one for one in program.blocks if one.name == name), None)
    if found is None or not found.is_reduction:
        return None
    return _Product.of(found, program)


@dataclass(frozen=True)
class _Product:
    """A reduction whose operands are each indexed by iterators alone."""

    extents: tuple[int, ...]
    """Of the iterators."""
    reductions: frozenset[int]
    """Numbers of the iterators that are reductions."""
    result: tuple[int, ...]
    """The iterator of each dimension of what it writes."""
    operands: tuple[tuple[int, ...], ...]
    """For each read, the iterator of each dimension of the tensor that it comes from."""
    copies: tuple[int, ...]
    """For each read, how many blocks do nothing but turn that tensor on its way."""
    element_bytes: int
    """Of an element of the first operand."""

    @classmethod
    def of(cls, block: Block, program: Program) -> _Product | None:
        """The product that ``block`` of ``program`` computes; ``None`` where it is none."""
        result, *operands = map(_iterators, (block.writes[0], *block.reads))
        types = {program.buffers[access.buffer].dtype for access in block.reads}
        if len(operands) < 2 or len(types) != 1 or not types <= _FLOATS:
            return None
        if not result or None in operands:
            return None
        found = [
            _before_turns(program, access.buffer, operand)
            for access, operand in zip(block.reads, operands, strict=True)
            if operand is not None
        ]
        return cls(
            tuple(iterator.extent for iterator in block.iterators),
            frozenset(n for n, iterator in enumerate(block.iterators) if iterator.is_reduction),
            result,
            tuple(operand for operand, _ in found),
            tuple(count for _, count in found),
            int(program.buffers[block.reads[0].buffer].element_bytes),
        )


def _iterators(access: Access) -> tuple[int, ...] | None:
    """The iterator that each dimension is indexed by; ``None`` where one is anything else."""
    found = tuple(index.value for index in access.indices if index.op == "var")
    return found if len(set(found)) == len(access.indices) else None


def _before_turns(
    program: Program, buffer: str, operand: tuple[int, ...]
) -> tuple[tuple[int, ...], int]:
    """``operand`` in the order of the tensor that ``buffer`` is a transposition of, and of how
    many blocks it is one after the other."""
    makers = {access.buffer: block for block in program.blocks for access in block.writes}
    for count in range(len(makers) + 1):
        maker = makers.get(buffer)
        if maker is None or any(maker.operations) or len(maker.reads) != 1:
            return operand, count
        made, taken = _iterators(maker.writes[0]), _iterators(maker.reads[0])
        if made is None or taken is None or {*made} != {*taken}:
            return operand, count
        dimension = {iterator: number for number, iterator in enumerate(made)}
        operand = tuple(operand[dimension[iterator]] for iterator in taken)
        buffer = maker.reads[0].buffer
    return operand, count


@dataclass(frozen=True)
class _Plan:
    """What to do with a product."""

    padded: tuple[int, ...]
    """Extents of the iterators, rounded up."""
    column: int
    """The iterator that vectors run along."""
    panel: int
    """Width of the panels in elements."""
    operand: int
    """The read that is packed, or -1: none has to be."""


def _plan(product: _Product) -> _Plan | None:
    """How to pack a product; ``None`` where its operands are well as they are."""
    column = product.result[-1]
    wide = [n for n, operand in enumerate(product.operands) if column in operand]
    if len(wide) != 1:
        return None
    operand = product.operands[wide[0]]
    reuse = math.prod(product.extents[n] for n in product.result if n not in operand)
    line = _LINE_BYTES // product.element_bytes
    if reuse < _LEAST_REUSE or product.extents[column] < line // 2:
        return None
    panel, width = _panels(product.extents[column], line)
    # The batch is no tile of a register, and what TVM pads with (zeros) may change a reduction.
    stays = set.intersection(*map(set, product.operands)) | product.reductions
    padded = tuple(
        width if n == column else extent if n in stays else _with_tiles(extent)
        for n, extent in enumerate(product.extents)
    )
    grows = {n for n, extent in enumerate(product.extents) if padded[n] != extent}
    has_panels = operand[-1] != column or not grows.isdisjoint(operand)
    if not grows and not has_panels:
        return None
    return _Plan(padded, column, panel, wide[0] if has_panels else -1)


def _panels(extent: int, line: int) -> tuple[int, int]:
    """Width of the panels of ``extent`` columns, and the columns of all of them."""
    for lines in _PANELS:
        width = lines * line
        columns = -(-extent // width) * width
        if columns <= (1 + _MOST_GROWN) * extent:
            return width, columns
    return line, -(-extent // line) * line


def _with_tiles(extent: int) -> int:
    """The least extent from ``extent`` on that has tiles, if any is near."""

    def has_tiles(candidate: int) -> bool:
        return max(prime_factors(candidate), default=1) <= _LARGEST_PRIME

    if has_tiles(extent):
        return extent
    first = -(-extent // _ROW_STEP) * _ROW_STEP
    near = range(first, int(extent * (1 + _MOST_ROWS_GROWN)) + 1, _ROW_STEP)
    return next(filter(has_tiles, near), extent)


def _pack(schedule: Any, block: Any, product: _Product, plan: _Plan) -> None:
    """Applies ``plan`` to ``schedule``."""
    grows = {n for n, extent in enumerate(product.extents) if plan.padded[n] != extent}
    if grows:
        multiples = [padded if n in grows else 1 for n, padded in enumerate(plan.padded)]
        schedule.pad_einsum(block, multiples)
        (cut,) = schedule.get_consumers(block)
        if schedule.get_consumers(cut):
            schedule.compute_inline(cut)
    for number, operand in enumerate(product.operands):
        is_padded = not grows.isdisjoint(operand)
        if number != plan.operand and not is_padded:
            continue
        copy = _copy(schedule, block, product, plan, number)
        # The copy pads and turns on its way.
        for _ in range(is_padded + product.copies[number]):
            (before,) = schedule.get_producers(copy)
            schedule.compute_inline(before)
        if number == plan.operand:
            _order_copy(schedule, copy, product, plan)


def _copy(schedule: Any, block: Any, product: _Product, plan: _Plan, number: int) -> Any:
    """The block that copies an operand: to panels, or as it is."""
    operand = sorted(product.operands[number])

    def layout(*iterators: Any) -> list[Any]:
        if number != plan.operand:
            return [iterators[n] for n in operand]
        column = iterators[plan.column]
        outer, inner = _around_column(product, plan)
        return [
            *(iterators[n] for n in outer), column // plan.panel,
            *(iterators[n] for n in inner), column % plan.panel,
        ]  # fmt: skip

    iterators = schedule.get(block).iter_vars
    mapping = IndexMap.from_func(
        layout, ndim=len(product.extents), index_dtype=dtype_of(iterators[0].var)
    )
    return schedule.reindex_cache_read(block, number, "global", mapping)


def _around_column(product: _Product, plan: _Plan) -> tuple[list[int], list[int]]:
    """The other iterators of the packed operand: those around a panel, and those down it."""
    others = [n for n in product.operands[plan.operand] if n != plan.column]
    return (
        [n for n in others if n not in product.reductions],
        [n for n in others if n in product.reductions],
    )


def _order_copy(schedule: Any, copy: Any, product: _Product, plan: _Plan) -> None:
    """Loops of the copy: panel by panel, and in it lines of the source by lines of the panel.

    Both are then in the cache from the first touch to the last.
    """
    line = _LINE_BYTES // product.element_bytes
    loops = dict(zip(sorted(product.operands[plan.operand]), schedule.get_loops(copy), strict=True))
    outer, inner = _around_column(product, plan)
    panel, part, column = schedule.split(loops[plan.column], [None, plan.panel // line, line])
    order = [*(loops[n] for n in outer), panel, *(loops[n] for n in inner[:-1])]
    depth = [loops[n] for n in inner[-1:]]
    step = max(d for d in range(1, line + 1) if not inner or plan.padded[inner[-1]] % d == 0)
    if inner and product.operands[plan.operand][-1] == inner[-1] and step > 1:
        far, near = schedule.split(depth[0], [None, step])
        schedule.reorder(*order, far, part, near, column)
    else:
        schedule.reorder(*order, *depth, part, column)
