"""The forms in which TVM serialises a graph of objects as JSON, behind one face.

TVM up to 0.20 writes ``{"type_key", "attrs", "data"}`` with every value a string, the newer ffi
writes ``{"type", "data"}``: up to 0.26 with the number of an integer in it, from 0.27 on in a node
of its own; up to 0.25 with an expression's data type in it, from 0.26 on in its type. Errors are
those of looking up what is not there: `tvm_json` turns them into one.
"""

from __future__ import annotations

from typing import Any

#: TVM's integers have 64 bits.
_MOST_INTEGER = 2**63


class Graph:
    """Nodes by number, their fields by name."""

    def __init__(self, document: Any) -> None:
        self.nodes: list[dict[str, Any]] = document["nodes"]
        self.is_old = "root" in document
        self.root = int(document["root" if self.is_old else "root_index"])
        self._has_boxes = not self.is_old and all(map(self._is_boxed, self.nodes))

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
        """Whether a node has this field."""
        return name in self._fields(node)

    def ref(self, node: int, *names: str) -> int:
        """The node that the first present of these fields points to."""
        fields = self._fields(node)
        return int(next(fields[name] for name in names if name in fields))

    def items(self, node: int) -> list[int]:
        """Elements of an array, or what a map holds: keys and values in turn, of the old form's
        maps with strings for keys the values alone."""
        data = self.nodes[node].get("data", [])
        return [int(v) for v in data] if isinstance(data, list) else []

    def integer(self, node: int) -> int | None:
        """Value of an integer node, ``None`` when it is no constant."""
        if self.kind(node) == "int":
            value = int(self.nodes[node]["data"])
        elif self.kind(node) == "IntImm":
            value = int(self._fields(node)["value"])
            value = int(self.nodes[value]["data"]) if self._has_boxes else value
        else:
            return None
        if not -_MOST_INTEGER <= value < _MOST_INTEGER:
            raise ValueError("an integer of more than 64 bits")
        return value

    def number(self, node: int, name: str) -> int:
        """A field that is a plain number."""
        return int(self._fields(node)[name])

    def text(self, node: int) -> str:
        """The text of a string node."""
        entry = self.nodes[node]
        return str(
            entry.get("repr_str", entry.get("repr_b64", "")) if self.is_old else entry["data"]
        )

    def dtype(self, node: int) -> str:
        """Data type of a variable, load or constant."""
        fields = self._fields(node)
        if self.is_old or "dtype" in fields:
            return str(fields.get("dtype", ""))
        ty = self._fields(int(fields["ty"]))
        dtype = ty.get("dtype", "")
        return dtype if isinstance(dtype, str) else str(self._fields(int(dtype))["dtype"])

    def _is_boxed(self, entry: dict[str, Any]) -> bool:
        """Whether a node, if it is an integer of a program, has its number in a node of its own."""
        if str(entry["type"]).rsplit(".", 1)[-1] != "IntImm":
            return True
        place = entry["data"]["value"]
        return 0 <= place < len(self.nodes) and self.nodes[place]["type"] == "int"

    def _fields(self, node: int) -> dict[str, Any]:
        entry = self.nodes[node]
        fields = entry.get("attrs" if self.is_old else "data", {})
        return fields if isinstance(fields, dict) else {}
