"""``Product``: what rules of ours have to know of a reduction over the product of its operands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wmhub.errors import InvalidInputError
from wmhub.measure.programs import save_program
from wmhub.program import Access, Block, Program
from wmhub.tvm_compat import reads_argument
from wmhub.tvm_json import parse_program

#: Bytes of a cache line.
_LINE_BYTES = 64
_FLOATS = {"float16", "bfloat16", "float32", "float64"}


@dataclass(frozen=True)
class Product:
    """A block that reduces over two operands or more of one floating-point type.

    Iterators are known by their number in the block.
    """

    extents: tuple[int, ...]
    """Of the iterators."""
    reductions: frozenset[int]
    """The iterators that are reductions."""
    result: tuple[int, ...]
    """The iterator of each dimension of what the block writes."""
    operands: tuple[tuple[int, ...] | None, ...]
    """For each read, the iterator of each dimension of the tensor that it comes from; ``None``
    where an index is more than an iterator."""
    uses: tuple[frozenset[int], ...]
    """For each read, all iterators that it is indexed by."""
    copies: tuple[int, ...]
    """For each read, how many blocks do nothing but turn that tensor on its way."""
    line: int
    """Elements of a cache line."""
    free: frozenset[int]
    """The reads of weights that come in whatever layout the schedule wants: what copies them is
    done once, when a network is compiled."""

    @classmethod
    def of(cls, schedule: Any, block: Any) -> Product | None:
        """The product that ``block`` of a TVM ``schedule`` computes; ``None`` where it is none.

        The block writes all of its result, alone: copies of it would make more than it did.
        """
        found = parsed(schedule, block)
        return None if found is None else cls._of(*found, _free_reads(schedule, block))

    @classmethod
    def _of(cls, block: Block, program: Program, free: frozenset[int]) -> Product | None:
        extents = tuple(iterator.extent for iterator in block.iterators)
        types = {program.buffers[access.buffer].dtype for access in block.reads}
        result = written_whole(block, program)
        if not result or not block.is_reduction or len(block.reads) < 2:
            return None
        if len(types) != 1 or not types <= _FLOATS:
            return None
        found = [_before_turns(program, access) for access in block.reads]
        element_bytes = program.buffers[block.reads[0].buffer].element_bytes
        return cls(
            extents,
            frozenset(n for n, iterator in enumerate(block.iterators) if iterator.is_reduction),
            result,
            tuple(operand for operand, _ in found),
            tuple(frozenset(v for i in a.indices for v in i.variables()) for a in block.reads),
            tuple(count for _, count in found),
            int(_LINE_BYTES // element_bytes),
            free,
        )


def _free_reads(schedule: Any, block: Any) -> frozenset[int]:
    """The reads of ``block`` that are of arguments which its program leaves the layout of."""
    (function,) = schedule.mod.functions.values()
    free = [int(n) for n in (function.attrs or {}).get("layout_free_buffers") or ()]
    reads = enumerate(schedule.get(block).reads)
    return frozenset(
        n for n, read in reads if any(reads_argument(read, function, argument) for argument in free)
    )


def parsed(schedule: Any, block: Any) -> tuple[Block, Program] | None:
    """``block`` of a TVM ``schedule`` and its program; ``None`` where it cannot be told."""
    try:
        program = parse_program(save_program(schedule.mod))
    except InvalidInputError:
        return None
    name = str(schedule.get(block).name_hint)
    # Names are unique within a function only.
    found = [one for one in program.blocks if one.name == name]
    return (found[0], program) if len(found) == 1 else None


def written_whole(block: Block, program: Program) -> tuple[int, ...] | None:
    """The iterator of each dimension of what ``block`` writes.

    ``None`` unless that is one whole buffer, and nothing else writes to it.
    """
    result = _iterators(block.writes[0]) if len(block.writes) == 1 and block.is_whole else None
    if result is None:
        return None
    name = block.writes[0].buffer
    writers = [one for one in program.blocks if name in {access.buffer for access in one.writes}]
    extents = tuple(block.iterators[n].extent for n in result)
    return result if len(writers) == 1 and program.buffers[name].shape == extents else None


def _iterators(access: Access) -> tuple[int, ...] | None:
    """The iterator that each dimension is indexed by; ``None`` where one is anything else."""
    found = tuple(index.value for index in access.indices if index.op == "var")
    return found if len(set(found)) == len(access.indices) else None


def _before_turns(program: Program, access: Access) -> tuple[tuple[int, ...] | None, int]:
    """The iterators of ``access`` in the order of the tensor that its buffer is a transposition of,
    and of how many blocks it is one after the other."""
    operand, buffer, count = _iterators(access), access.buffer, 0
    makers = {write.buffer: block for block in program.blocks for write in block.writes}
    while operand is not None and count < len(makers):
        maker = makers.get(buffer)
        if maker is None or any(maker.operations) or len(maker.reads) != 1:
            break
        made, taken = written_whole(maker, program), _iterators(maker.reads[0])
        if made is None or taken is None or {*made} != {*taken}:
            break
        source = maker.reads[0].buffer
        if program.buffers[source].dtype != program.buffers[buffer].dtype:
            break  # It converts as well.
        dimension = {iterator: number for number, iterator in enumerate(made)}
        operand = tuple(operand[dimension[iterator]] for iterator in taken)
        buffer, count = source, count + 1
    return operand, count
