"""Reads the program that TVM serialised, without TVM.

MetaSchedule databases hold each workload as a serialised IRModule, a graph of nodes in JSON. Two
forms exist: TVM up to 0.20 writes ``{"type_key", "attrs", "data"}`` with every value a string, the
newer ffi writes ``{"type", "data"}``. Both are read into the same `Program`, as far as scheduling
needs it; what is not understood becomes an opaque expression, never an error.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wmhub.errors import InvalidInputError
from wmhub.program import OPERATIONS, Access, Block, Buffer, Index, Iterator, Program

_ADD, _MUL, _DIV, _COMPARE, _SELECT, _SPECIAL, _INTEGER = range(len(OPERATIONS))

#: Statements and expressions that are walked; those of real programs are a few thousand.
_MOST_VISITS = 200_000
#: Those of an index map are a few dozen.
_MOST_VISITS_OF_A_MAP = 1000
#: TVM's integers have 64 bits.
_MOST_INTEGER = 2**63

_BINARY = {
    "Add": "+", "Sub": "-", "Mul": "*", "FloorDiv": "//", "Div": "//", "FloorMod": "%", "Mod": "%",
    "Min": "min", "Max": "max",
}  # fmt: skip
_OPERATION_OF = {
    "Add": _ADD, "Sub": _ADD, "Mul": _MUL, "Div": _DIV, "FloorDiv": _INTEGER, "FloorMod": _INTEGER,
    "Mod": _INTEGER, "Min": _COMPARE, "Max": _COMPARE, "EQ": _COMPARE, "NE": _COMPARE,
    "LT": _COMPARE, "LE": _COMPARE, "GT": _COMPARE, "GE": _COMPARE, "And": _COMPARE,
    "Or": _COMPARE, "Not": _COMPARE, "Select": _SELECT, "Call": _SPECIAL,
}  # fmt: skip
#: What reading something else raises.
_UNREADABLE = (
    binascii.Error, struct.error, UnicodeDecodeError, json.JSONDecodeError,
    KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration,
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
        graph = _Graph(json.loads(text))
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
        graph = _Graph(json.loads(text))
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


class _Graph:
    """The two JSON forms behind one face: nodes by number, fields by name."""

    def __init__(self, document: Any) -> None:
        self.nodes: list[dict[str, Any]] = document["nodes"]
        self.is_old = "root" in document
        self.root = int(document["root" if self.is_old else "root_index"])

    def kind(self, node: int) -> str:
        """Type of a node without its namespace: ``For``, ``Block``, ``IntImm``."""
        entry = self.nodes[node]
        kind = str(entry["type_key" if self.is_old else "type"]).rsplit(".", 1)[-1]
        renamed = {
            "SBlock": "Block", "SBlockRealize": "BlockRealize", "TensorLoad": "BufferLoad",
            "TensorRegion": "BufferRegion",
        }  # fmt: skip
        return renamed.get(kind, kind)

    def has(self, node: int, name: str) -> bool:
        return name in self._fields(node)

    def ref(self, node: int, *names: str) -> int:
        """The node that the first present of these fields points to."""
        fields = self._fields(node)
        return int(next(fields[name] for name in names if name in fields))

    def items(self, node: int) -> list[int]:
        """Elements of an array (or keys and values of a map, in turn)."""
        entry = self.nodes[node]
        data = entry.get("data", [])
        if self.is_old and "keys" in entry:  # a map with string keys
            return [int(v) for v in data]
        return [int(v) for v in data] if isinstance(data, list) else []

    def integer(self, node: int) -> int | None:
        """Value of an integer node, ``None`` when it is no constant."""
        if self.kind(node) == "int":
            value = int(self.nodes[node]["data"])
        elif self.kind(node) == "IntImm":
            # The old form has the literal there, the new one a node of type ``int``.
            value = int(self._fields(node)["value"])
            value = value if self.is_old else int(self.nodes[value]["data"])
        else:
            return None
        if abs(value) > _MOST_INTEGER:
            raise ValueError("an integer of more than 64 bits")
        return value

    def text(self, node: int) -> str:
        entry = self.nodes[node]
        return str(
            entry.get("repr_str", entry.get("repr_b64", "")) if self.is_old else entry["data"]
        )

    def dtype(self, node: int) -> str:
        """Data type of a variable, load or constant."""
        fields = self._fields(node)
        if self.is_old:
            return str(fields.get("dtype", ""))
        ty = self._fields(int(fields["ty"]))
        dtype = ty.get("dtype", "")
        return dtype if isinstance(dtype, str) else str(self._fields(int(dtype))["dtype"])

    def _fields(self, node: int) -> dict[str, Any]:
        entry = self.nodes[node]
        fields = entry.get("attrs" if self.is_old else "data", {})
        return fields if isinstance(fields, dict) else {}


@dataclass
class _Reader:
    """Walks one IRModule's statement tree and collects its blocks."""

    graph: _Graph
    most_visits: int = _MOST_VISITS
    blocks: list[Block] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    _buffer_name: dict[int, str] = field(default_factory=dict)
    _arguments: dict[int, bool] = field(default_factory=dict)
    _visits: int = 0

    def program(self) -> Program:
        for function in self._prim_functions():
            g = self.graph
            for param in g.items(g.ref(function, "params")):
                self._arguments[param] = True
            if g.has(function, "buffer_map"):
                for node in g.items(g.ref(function, "buffer_map"))[1::2]:
                    self._arguments[node] = True
            self._statement(g.ref(function, "body"), [])
        if not self.blocks:
            raise ValueError("it holds no block")
        return Program(tuple(self.blocks), dict(self.buffers))

    def _visit(self) -> None:
        """Counts a step: a graph of nodes that share nodes has more paths than anyone can walk."""
        self._visits += 1
        if self._visits > self.most_visits:
            raise ValueError(f"it takes more than {self.most_visits:,} steps to walk")

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
            extent = g.integer(g.ref(node, "extent")) or 1
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
            var, domain = g.ref(iter_var, "var"), g.ref(iter_var, "dom")
            numbers[var] = number
            extent = g.integer(g.ref(domain, "extent")) or 1
            is_whole = is_whole and g.integer(g.ref(domain, "min")) == 0
            is_reduction = int(g._fields(iter_var)["iter_type"]) == 2  # IterVarType kCommReduce
            iterators.append(
                Iterator(g.text(g.ref(var, "name", "name_hint")), extent, is_reduction)
            )
        values = g.items(g.ref(realize, "iter_values"))
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
            ranges = g.items(g.ref(region, "region"))
            indices = tuple(self.index(g.ref(r, "min"), numbers) for r in ranges)
            found.append(Access(self._buffer(g.ref(region, "buffer", "source")), indices))
        return tuple(found)

    def _buffer(self, node: int) -> str:
        if node in self._buffer_name:
            return self._buffer_name[node]
        g = self.graph
        base = name = g.text(g.ref(node, "name"))
        suffix = 1
        while name in self.buffers:  # names are hints in TIR; make them unique
            name = f"{base}_{suffix}"
            suffix += 1
        shape_owner = node if g.has(node, "shape") else g.ref(node, "ty")
        shape = tuple(g.integer(n) or 1 for n in g.items(g.ref(shape_owner, "shape")))
        hint = base if base != name else ""
        self.buffers[name] = Buffer(name, g.dtype(node), shape, node in self._arguments, hint)
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
            "a",
            "b",
            "condition",
            "true_value",
            "false_value",
            "value",
            "args",
            "indices",
        ):
            if not g.has(node, name) or g.kind(node) in ("IntImm", "FloatImm", "StringImm"):
                continue
            child = g.ref(node, name)
            found += g.items(child) if g.kind(child) == "Array" else [child]
        return found

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
            is_float = kind == "Call" or "float" in g.dtype(node) or kind in ("Select",)
            operations[_OPERATION_OF[kind] if is_float else _INTEGER] += 1
        for child in self._children(node):
            self._count(child, operations)
