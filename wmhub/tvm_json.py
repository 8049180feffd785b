"""Reads the program that TVM serialised, without TVM.

MetaSchedule databases hold each workload as a serialised IRModule, a graph of nodes in JSON
(`tvm_graph`). It is read into a `Program`, as far as scheduling needs it; what is not understood
becomes an opaque expression, never an error.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wmhub.errors import InvalidInputError
from wmhub.program import OPERATIONS, Access, Block, Buffer, Index, Iterator, Program
from wmhub.tvm_graph import Graph

_ADD, _MUL, _DIV, _COMPARE, _SELECT, _SPECIAL, _INTEGER = range(len(OPERATIONS))

#: Statements and expressions that are walked; those of real programs are a few thousand.
_MOST_VISITS = 200_000
#: Those of an index map are a few dozen.
_MOST_VISITS_OF_A_MAP = 1000

_BINARY = {
    "Add": "+", "Sub": "-", "Mul": "*", "FloorDiv": "//", "Div": "//", "FloorMod": "%", "Mod": "%",
    "Min": "min", "Max": "max",
}  # fmt: skip
_OPERATION_OF = {
    "Add": _ADD, "Sub": _ADD, "Mul": _MUL, "Div": _DIV, "FloorDiv": _INTEGER, "FloorMod": _INTEGER,
    "Mod": _INTEGER, "Min": _COMPARE, "Max": _COMPARE, "EQ": _COMPARE, "NE": _COMPARE,
    "LT": _COMPARE, "LE": _COMPARE, "GT": _COMPARE, "GE": _COMPARE, "And": _COMPARE,
    "Or": _COMPARE, "Not": _COMPARE, "Select": _SELECT, "Call": _SPECIAL,
    # Until TVM 0.26 these are calls.
    "LShift": _INTEGER, "RShift": _INTEGER, "BitwiseAnd": _INTEGER, "BitwiseOr": _INTEGER,
    "BitwiseXor": _INTEGER, "BitwiseNot": _INTEGER,
}  # fmt: skip
#: What reading something else raises.
_UNREADABLE = (
    binascii.Error, struct.error, UnicodeDecodeError, json.JSONDecodeError,
    KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration, OverflowError,
)  # fmt: skip


def parse_program(serialised: str) -> Program:
    """Reads base64 as databases hold it, or the JSON text of ``tvm.ir.save_json``.

    Raises ``InvalidInputError`` when it is neither.
    """
    text = serialised.strip()
    try:
        if not text.startswith("{"):
            raw = base64.b64decode(text, validate=True)
            # An 8-byte little-endian length stands before the JSON text (dmlc stream format).
            (length,) = struct.unpack("<Q", raw[:8])
            text = raw[8 : 8 + length].decode()
        graph = Graph(json.loads(text))
        return _Reader(graph).program()
    except RecursionError:
        raise InvalidInputError("the serialised program nests too deeply") from None
    except _UNREADABLE as error:
        raise InvalidInputError(f"not a serialised IRModule: {error!r}") from error


def parse_index_map(text: str) -> tuple[int, tuple[Index, ...]]:
    """How many indices a serialised index map takes, and what it makes of them.

    Raises ``InvalidInputError`` when it is none.
    """
    try:
        graph = Graph(json.loads(text))
        if graph.kind(graph.root) != "IndexMap":
            raise ValueError(f"it is of type {graph.kind(graph.root)}")
        before = graph.items(graph.ref(graph.root, "initial_indices"))
        after = graph.items(graph.ref(graph.root, "final_indices"))
        numbers = {node: number for number, node in enumerate(before)}
        reader = _Reader(graph, most_visits=_MOST_VISITS_OF_A_MAP)
        return len(before), tuple(reader.index(node, numbers) for node in after)
    except RecursionError:
        raise InvalidInputError("the serialised index map nests too deeply") from None
    except _UNREADABLE as error:
        raise InvalidInputError(f"not a serialised index map: {error!r}") from error


@dataclass
class _Reader:
    """Walks one IRModule's statement tree and collects its blocks."""

    graph: Graph
    most_visits: int = _MOST_VISITS
    blocks: list[Block] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    _buffer_name: dict[int, str] = field(default_factory=dict)
    _visits: int = 0

    def program(self) -> Program:
        for function in self._prim_functions():
            self._statement(self.graph.ref(function, "body"), [])
        if not self.blocks:
            raise ValueError("it holds no block")
        return Program(tuple(self.blocks), dict(self.buffers))

    def _visit(self, steps: int = 1) -> None:
        """Counts steps: a graph of nodes that share nodes has more paths than anyone can walk."""
        self._visits += steps
        if self._visits > self.most_visits:
            raise ValueError(f"it takes more than {self.most_visits:,} steps to walk")

    def _extent(self, node: int) -> int:
        """An extent; 1 of what is no constant, or empty."""
        self._visit()
        extent = self.graph.integer(node)
        if extent is not None and extent < 0:
            raise ValueError(f"an extent of {extent}")
        return extent or 1

    def _prim_functions(self) -> list[int]:
        g = self.graph
        root = g.root
        if g.kind(root) == "PrimFunc":
            return [root]
        if g.kind(root) != "IRModule":  # the old form wraps the module in a null node
            root = next(n for n in range(len(g.nodes)) if g.kind(n) == "IRModule")
        values = g.items(g.ref(root, "functions"))[1::2]
        return [n for n in values if g.kind(n) == "PrimFunc"]

    def _statement(self, node: int, loops: list[tuple[int, str, int]]) -> None:
        self._visit()
        g = self.graph
        kind = g.kind(node)
        if kind == "For":
            var = g.ref(node, "loop_var")
            extent = self._extent(g.ref(node, "extent"))
            name = g.text(g.ref(var, "name", "name_hint"))
            self._statement(g.ref(node, "body"), [*loops, (var, name, extent)])
        elif kind == "SeqStmt":
            for child in g.items(g.ref(node, "seq")):
                self._statement(child, loops)
        elif kind == "BlockRealize":
            self._block(node, loops)
        elif g.has(node, "body"):
            self._statement(g.ref(node, "body"), loops)
        elif kind == "IfThenElse":
            self._statement(g.ref(node, "then_case"), loops)

    def _block(self, realize: int, loops: list[tuple[int, str, int]]) -> None:
        g = self.graph
        block = g.ref(realize, "block")
        iter_vars = g.items(g.ref(block, "iter_vars"))
        name = g.text(g.ref(block, "name_hint"))
        if not iter_vars and name in ("root", ""):
            self._statement(g.ref(block, "body"), loops)
            return
        iterators, numbers = [], {}
        is_whole = g.integer(g.ref(realize, "predicate")) == 1
        for number, iter_var in enumerate(iter_vars):
            self._visit()
            var, domain = g.ref(iter_var, "var"), g.ref(iter_var, "dom")
            numbers[var] = number
            extent = self._extent(g.ref(domain, "extent"))
            is_whole = is_whole and g.integer(g.ref(domain, "min")) == 0
            is_reduction = g.number(iter_var, "iter_type") == 2  # IterVarType kCommReduce
            iterators.append(
                Iterator(g.text(g.ref(var, "name", "name_hint")), extent, is_reduction)
            )
        values = g.items(g.ref(realize, "iter_values"))
        if len(values) != len(iter_vars):
            raise ValueError(f"block {name}: {len(values)} values for {len(iter_vars)} iterators")
        self._visit(len(loops))
        bound = {value: number for number, value in enumerate(values)}
        operations = [0.0] * len(OPERATIONS)
        self._count(g.ref(block, "body"), operations)
        self.blocks.append(
            Block(
                name=name,
                iterators=tuple(iterators),
                loops=tuple((n, extent, bound.get(var, -1)) for var, n, extent in loops),
                reads=self._accesses(g.ref(block, "reads"), numbers),
                writes=self._accesses(g.ref(block, "writes"), numbers),
                operations=tuple(operations),
                has_init=g.ref(block, "init") != 0,
                is_whole=is_whole,
            )
        )

    def _accesses(self, node: int, numbers: Mapping[int, int]) -> tuple[Access, ...]:
        g = self.graph
        found = []
        for region in g.items(node):
            self._visit()
            ranges = g.items(g.ref(region, "region"))
            indices = tuple(self.index(g.ref(r, "min"), numbers) for r in ranges)
            found.append(Access(self._buffer(g.ref(region, "buffer", "source")), indices))
        return tuple(found)

    def _buffer(self, node: int) -> str:
        if node in self._buffer_name:
            return self._buffer_name[node]
        g = self.graph
        base = g.text(g.ref(node, "name"))
        # What follows a dot stands for a copy in other memory.
        unique = name = base.replace(".", "_")
        suffix = 1
        while name in self.buffers:  # names are hints in TIR; make them unique
            self._visit()
            name = f"{unique}_{suffix}"
            suffix += 1
        shape_owner = node if g.has(node, "shape") else g.ref(node, "ty")
        shape = tuple(map(self._extent, g.items(g.ref(shape_owner, "shape"))))
        hint = base if base != name else ""
        self.buffers[name] = Buffer(name, g.dtype(node), shape, hint)
        self._buffer_name[node] = name
        return name

    def index(self, node: int, numbers: Mapping[int, int]) -> Index:
        """The expression at ``node`` over the variables that ``numbers`` numbers by their nodes."""
        self._visit()
        if node in numbers:
            return Index("var", numbers[node])
        g = self.graph
        constant = g.integer(node)
        if constant is not None:
            return Index("const", constant)
        kind = g.kind(node)
        if kind in _BINARY:
            operands = (g.ref(node, "a"), g.ref(node, "b"))
            return Index(_BINARY[kind], 0, tuple(self.index(n, numbers) for n in operands))
        if kind == "Cast":
            return self.index(g.ref(node, "value"), numbers)
        return Index("opaque", 0, tuple(self.index(n, numbers) for n in self._children(node)))

    def _children(self, node: int) -> Sequence[int]:
        """Expressions directly below an expression or a store."""
        g = self.graph
        found: list[int] = []
        for name in (
            "a", "b", "condition", "true_value", "false_value", "value", "args", "indices",
        ):  # fmt: skip
            if not g.has(node, name) or g.kind(node) in ("IntImm", "FloatImm", "StringImm"):
                continue
            child = g.ref(node, name)
            found += g.items(child) if g.kind(child) == "Array" else [child]
        return found

    def _class(self, node: int) -> int:
        """The class of an operation: choices of any type, and others of floating point, by their
        names; all else is integer work."""
        g = self.graph
        kind = g.kind(node)
        # A padding chooses by a call, the name of which begins with TVM's namespace.
        is_choice = kind == "Call" and g.text(g.ref(node, "op")).endswith("if_then_else")
        place = _SELECT if is_choice else _OPERATION_OF[kind]
        # What a comparison gives is a truth value, whatever it compares.
        operand = g.ref(node, "a") if g.has(node, "a") else node
        return place if place == _SELECT or "float" in g.dtype(operand) else _INTEGER

    def _count(self, node: int, operations: list[float]) -> None:
        """Adds the operations of a block's body; indices count as integer work."""
        self._visit()
        g = self.graph
        kind = g.kind(node)
        if kind in ("SeqStmt", "For", "AttrStmt", "LetStmt", "IfThenElse", "BlockRealize", "Block"):
            fields = ("seq", "body", "then_case", "block")
            for child in (g.ref(node, f) for f in fields if g.has(node, f)):
                for statement in g.items(child) if g.kind(child) == "Array" else [child]:
                    self._count(statement, operations)
            return
        if kind in _OPERATION_OF:
            operations[self._class(node)] += 1
        for child in self._children(node):
            self._count(child, operations)
