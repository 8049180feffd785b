"""The initial program of a workload: blocks, iterators, buffers and accesses.

What scheduling needs of it; `wmhub.tvm_json` reads it from what TVM writes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: TVM's names of types: bits, a variant, lanes. ``float16``, ``float8_e4m3fn``, ``int8x4``.
_DTYPE = re.compile(r"[a-z]+(?P<bits>\d{1,4})(?:_[a-z0-9]+?)?(?:x(?P<lanes>\d{1,4}))?")
#: Bytes of one element of a type that is not named so.
_DEFAULT_BYTES = 4.0
#: Arithmetic classes that `Block.operations` counts, in this order.
OPERATIONS = ("add", "mul", "div", "compare", "select", "special", "integer")
#: Those before it are of floating point.
_INTEGER = OPERATIONS.index("integer")
_SELECT = OPERATIONS.index("select")
#: Integer operations of a step of a sum of products; others find what it reads.
_MOST_INTEGER = 2.0
#: Terms of an index; those of real ones are a few dozen. Layouts of layouts, and what is inlined
#: into what was inlined, would grow beyond all bounds.
MOST_TERMS = 300


def arithmetic(operations: Sequence[float], is_reduction: bool) -> float:
    """Operations on values among ``operations``, by class (`OPERATIONS`).

    They are choices and those of floating point, and of a reduction that has none of the latter (a
    quantised product, the epilogue of which is a fraction) a multiplication and an addition: all
    its other integers are indices.
    """
    floating = sum(operations[:_INTEGER])
    if not is_reduction or not operations or floating - operations[_SELECT] >= 1:
        return floating
    return floating + min(operations[_INTEGER], _MOST_INTEGER)


@dataclass(frozen=True)
class Index:
    """An index expression over a block's iterators: a small tree."""

    op: str
    """``var``, ``const``, one of ``+ - * // % min max``, or ``opaque``."""
    value: int = 0
    """``var``: number of the block's iterator; ``const``: the constant; else unused."""
    args: tuple[Index, ...] = ()
    """Operands; for ``opaque``, whatever it was made of."""

    def variables(self) -> list[int]:
        """Numbers of the iterators it uses, each once, in order of appearance."""
        found = [self.value] if self.op == "var" else []
        for arg in self.args:
            found += [v for v in arg.variables() if v not in found]
        return found

    def renumbered(self, numbers: Mapping[int, int]) -> Index:
        """The same over iterators of other numbers; raises ``KeyError`` for one that has none."""
        return self.substituted({old: Index("var", new) for old, new in numbers.items()})

    def substituted(self, values: Mapping[int, Index]) -> Index:
        """With expressions for its iterators; raises ``KeyError`` for one that has none."""
        if self.op == "var":
            return values[self.value]
        return Index(self.op, self.value, tuple(arg.substituted(values) for arg in self.args))

    @property
    def is_opaque(self) -> bool:
        """Whether any part of it was not understood."""
        return self.op == "opaque" or any(arg.is_opaque for arg in self.args)


def most_terms(indices: Sequence[Index]) -> int:
    """Terms of the longest of ``indices``; see `MOST_TERMS`."""
    most = 0
    for index in indices:
        count, left = 0, [index]
        while left:
            count += 1
            left += left.pop().args
        most = max(most, count)
    return most


@dataclass(frozen=True)
class Buffer:
    """One tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """Extents; ``1`` stands for a symbolic one."""
    hint: str = ""
    """What the program calls it, where several have that name; else empty."""

    @property
    def element_bytes(self) -> float:
        """Size of one element in bytes, of all its lanes; below one for packed types, and 4 where
        the type is unknown."""
        if self.dtype == "bool":
            return 1.0
        found = _DTYPE.fullmatch(self.dtype)
        size = int(found["bits"]) * int(found["lanes"] or 1) / 8 if found else 0.0
        return size or _DEFAULT_BYTES


@dataclass(frozen=True)
class Access:
    """A block's read or write of one buffer."""

    buffer: str
    """Name of the buffer."""
    indices: tuple[Index, ...]
    """One expression per dimension."""

    @property
    def tensor(self) -> str:
        """Name of the tensor, also where the buffer is a copy of it: ``name.scope.number``."""
        return self.buffer.split(".")[0]


@dataclass(frozen=True)
class Iterator:
    """One iterator of a block."""

    name: str
    extent: int
    """Trip count; 1 where it is symbolic."""
    is_reduction: bool


@dataclass(frozen=True)
class Block:
    """One stage of the computation."""

    name: str
    iterators: tuple[Iterator, ...]
    loops: tuple[tuple[str, int, int], ...]
    """Enclosing loops from outside to inside: name, extent, and number of the iterator that it
    binds (-1 when no iterator is bound to just this loop)."""
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    operations: tuple[float, ...]
    """Operations of one execution of the body, by class (`OPERATIONS`)."""
    has_init: bool
    is_whole: bool = True
    """Whether it runs for all values of its iterators, counted from 0, without a condition."""

    @property
    def is_reduction(self) -> bool:
        """Whether any iterator is a reduction."""
        return any(i.is_reduction for i in self.iterators)

    @property
    def trips(self) -> int:
        """How often the body runs."""
        trips = 1
        for iterator in self.iterators:
            trips *= max(1, iterator.extent)
        return trips


@dataclass(frozen=True)
class Program:
    """One workload before scheduling."""

    blocks: tuple[Block, ...]
    """In program order, without the root block."""
    buffers: Mapping[str, Buffer]

    @property
    def flops(self) -> float:
        """Operations on values of one run, counting each class once; ``inf`` beyond floats."""
        try:
            return sum(b.trips * arithmetic(b.operations, b.is_reduction) for b in self.blocks)
        except OverflowError:
            return math.inf
