"""What kind of operator a workload is, as far as its name tells: for tables, cards and reports."""

from __future__ import annotations

import re

import orjson

from wmhub.errors import InvalidInputError
from wmhub.program import Block
from wmhub.records import Scheduler, Workload
from wmhub.tvm_json import parse_program

#: Kind -> what its name holds; the first that matches counts.
_KINDS = {
    "depthwise convolution": r"depthwise",
    "transposed convolution": r"conv\dd_?transpose|transpose_?conv|deconv",
    "convolution": r"conv|winograd|bgemm",
    "batch matmul": r"batch_?(mat_?mul|gemm|dot|norm_mat)|bmm",
    "sparse dense": r"sparse",
    "dense": r"dense|linear",
    "matmul": r"mat_?mul|gemm|(^|_)mm(_|$)|(^|_)NN?T?(_|$)",
    "attention": r"attention|query|value_T",
    "softmax": r"softmax",
    "normalisation": r"norm",
    "pooling": r"pool",
    "reduction": r"reduc|(^|_)(sum|mean|max|min|argmax|red)(_|$)",
    "elementwise": (
        r"elementwise|relu|gelu|sigmoid|tanh|add|multiply|subtract|divide|cast|exp|sqrt|maximum"
        r"|minimum"
    ),
    "data movement": r"reshape|transpose|squeeze|take|concat|split|slice|layout|pad|strided",
}
_PATTERNS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in _KINDS.items()}
_HASH = re.compile(r"[0-9a-f]{32}\Z")

#: A workload whose log has only a hash for it.
UNNAMED = "unnamed"
OTHER = "other"


def operator_kind(workload: Workload) -> str:
    """The kind of ``workload``'s heaviest operator, or ``UNNAMED`` or ``OTHER``."""
    if workload.scheduler is Scheduler.AUTO_SCHEDULER:
        return _kind_of(_ansor_name(workload.key))
    if workload.program is None:
        return UNNAMED
    try:
        blocks = parse_program(workload.program).blocks
    except InvalidInputError:
        return OTHER
    heaviest = sorted(blocks, key=lambda block: block.trips, reverse=True)
    reductions = [block for block in heaviest if block.is_reduction]
    named = [_kind_of(block.name) for block in reductions]
    formed = [_kind_by_form(block) for block in reductions]
    rest = [_kind_of(block.name) for block in heaviest]
    return next((kind for kind in [*named, *formed, *rest] if kind != OTHER), OTHER)


def _kind_by_form(block: Block) -> str:
    """The kind of a reduction whose name says nothing, such as ``C``, by what it reads."""
    read = [access for access in block.reads if access.buffer not in _written(block)]
    spatial = sum(not iterator.is_reduction for iterator in block.iterators)
    plain = all(index.op == "var" for access in read for index in access.indices)
    if len(read) == 2 and plain and len(block.iterators) == spatial + 1:
        return {2: "matmul", 3: "batch matmul"}.get(spatial, OTHER)
    if len(read) == 1:
        return "reduction" if plain else "pooling"
    return OTHER


def _written(block: Block) -> set[str]:
    return {access.buffer for access in block.writes}


def _ansor_name(key: str) -> str:
    try:
        value = orjson.loads(key)
    except orjson.JSONDecodeError:
        return key
    return str(value[0]) if isinstance(value, list) and value else key


def _kind_of(name: str) -> str:
    if _HASH.match(name):
        return UNNAMED
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.search(name)), OTHER)
