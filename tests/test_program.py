"""Serialised IRModules of old and new TVM read as the same kind of program."""

from __future__ import annotations

import base64
import gzip
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.errors import InvalidInputError
from wmhub.program import OPERATIONS, Block, Buffer, Index, Iterator, Program
from wmhub.tvm_json import parse_index_map, parse_program


def zoo_program(name: str) -> str:
    tvm = pytest.importorskip("tvm")
    from wmhub.measure import zoo

    return str(tvm.ir.save_json(zoo.build(name)))


@pytest.mark.tvm
def test_a_fused_layer() -> None:
    program = parse_program(zoo_program("dense-m128-n3072-k768-bias-gelu"))
    by_name = {block.name: block for block in program.blocks}
    dense = by_name["dense"]
    assert [(i.name, i.extent, i.is_reduction) for i in dense.iterators] == [
        ("v_i", 128, False), ("v_j", 3072, False), ("v_k", 768, True),
    ]  # fmt: skip
    assert [extent for _, extent, _ in dense.loops] == [128, 3072, 768]
    assert dense.operations[OPERATIONS.index("add")] == 1.0
    assert dense.operations[OPERATIONS.index("mul")] == 1.0
    assert dense.is_reduction
    assert dense.has_init
    rest = [block for block in program.blocks if block is not dense]
    assert not any(block.is_reduction for block in rest)
    assert sum(b.operations[OPERATIONS.index("special")] for b in rest) == 1.0
    assert any(a.buffer == "dense" for block in rest for a in block.reads)
    assert program.buffers["W"].shape == (3072, 768)
    assert program.flops >= 2 * 128 * 3072 * 768


@pytest.mark.tvm
def test_a_padding_chooses_and_computes_nothing() -> None:
    program = parse_program(zoo_program("conv2d-n1-h14-w14-ci32-co32-k3-s1-p1"))
    (padded,) = (block for block in program.blocks if "pad" in block.name)
    assert padded.operations[OPERATIONS.index("select")] == 1.0
    assert padded.operations[OPERATIONS.index("special")] == 0.0


@pytest.mark.tvm
def test_what_is_compared_or_called_tells_its_class() -> None:
    from tvm import ir, te, tirx

    a = te.placeholder((8,), "float32", name="A")
    b = te.placeholder((8,), "int32", name="B")
    floats = te.compute((8,), lambda i: tirx.Select(a[i] > 1.0, tirx.exp(a[i]), 0.0), name="C")
    whole = te.compute((8,), lambda i: tirx.Select(b[i] > 1, b[i] >> 2, 0), name="D")
    module = ir.IRModule({"main": te.create_prim_func([a, b, floats, whole])})
    of_floats, of_whole = parse_program(ir.save_json(module)).blocks
    names = [{n: c for n, c in zip(OPERATIONS, block.operations, strict=True) if c}
             for block in (of_floats, of_whole)]  # fmt: skip
    assert names[0] == {"compare": 1.0, "select": 1.0, "special": 1.0}
    assert names[1] == {"select": 1.0, "integer": 2.0}


@pytest.mark.tvm
def test_a_database_holds_the_same_program() -> None:
    text = zoo_program("dense-m128-n3072-k768-bias-gelu")
    encoded = base64.b64encode(struct.pack("<Q", len(text)) + text.encode()).decode()
    assert parse_program(encoded) == parse_program(text)


def test_an_old_tvm_wrote_strings(shared_logs: Path) -> None:
    folder = shared_logs / "meta_schedule" / "cuda-a100" / "resnet34"
    with gzip.open(folder / "database_workload.json.gz", "rt") as lines:
        programs = [parse_program(json.loads(line)[1]) for line in lines]
    assert len(programs) == 20
    conv = next(b for b in programs[0].blocks if b.name == "conv2d_nchw")
    assert [i.extent for i in conv.iterators] == [1, 512, 7, 7, 256, 1, 1]
    assert [i.is_reduction for i in conv.iterators] == [False] * 4 + [True] * 3
    padded = conv.reads[0]
    assert padded.buffer == "pad_temp"
    strided = Index("*", 0, (Index("var", 2), Index("const", 2)))
    assert padded.indices[2] == Index("+", 0, (strided, Index("var", 5)))


@pytest.mark.parametrize("folder", ["rwkv-raven-3b", "vicuna-v1-7b"])
def test_programs_with_symbolic_shapes_are_read(folder: str, shared_logs: Path) -> None:
    path = shared_logs / "meta_schedule" / "metal-apple" / folder / "database_workload.json.gz"
    with gzip.open(path, "rt") as lines:
        for line in lines:
            assert parse_program(json.loads(line)[1]).blocks


@pytest.mark.tvm
def test_of_an_index_map_and_its_inverse_it_is_the_map() -> None:
    tvm = pytest.importorskip("tvm")
    from wmhub.tvm_compat import IndexMap

    made = IndexMap.from_func(
        lambda i, j: [j // 8, i, j % 8],
        inverse_index_map=lambda a, b, c: [b, a * 8 + c],
        index_dtype="int32",
    )
    count, indices = parse_index_map(str(tvm.ir.save_json(made)))
    assert (count, [index.op for index in indices]) == (2, ["//", "var", "%"])


def test_an_index_map_that_takes_too_long_to_walk_is_refused() -> None:
    nodes: list[dict[str, Any]] = [{"type": "None"}, {"type": "ir.Var"}]
    for at in range(1, 40):
        nodes.append({"type": "prim.Add", "data": {"a": at, "b": at}})
    nodes += [{"type": "ffi.Array", "data": [1]}, {"type": "ffi.Array", "data": [40]}]
    nodes.append({"type": "IndexMap", "data": {"initial_indices": 41, "final_indices": 42}})
    with pytest.raises(InvalidInputError, match="steps"):
        parse_index_map(json.dumps({"root_index": 43, "nodes": nodes}))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "{}", "[]", "AAAA", "not base64!", '{"nodes": []}',
        '{"root_index": 0, "nodes": []}',
        '{"root_index": 0, "nodes": [{"type": "ir.IRModule", "data": {"functions": 0}}]}',
        '{"root_index": 5, "nodes": [{"type": "None"}]}',
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_program(text)


def test_a_graph_that_points_at_itself_ends() -> None:
    node = {"type": "tirx.For", "data": {"loop_var": 1, "extent": 2, "body": 3}}
    document = {
        "root_index": 4,
        "nodes": [
            {"type": "None"},
            {"type": "ir.Var", "data": {"name": 5}},
            {"type": "ir.IntImm", "data": {"value": 6}},
            node,
            {"type": "tirx.PrimFunc", "data": {"params": 7, "body": 3}},
            {"type": "ffi.String", "data": "i"},
            {"type": "int", "data": 4},
            {"type": "ffi.Array", "data": []},
        ],
    }
    with pytest.raises(InvalidInputError, match="nests too deeply"):
        parse_program(json.dumps(document))


def graph_of(body: list[dict[str, Any]], extent: Any = 4) -> str:
    """A function whose body is the last of the nodes ``body``, the first of which is number 10."""
    nodes: list[dict[str, Any]] = [
        {"type": "None"},
        {"type": "ir.Var", "data": {"name": 5}},
        {"type": "ir.IntImm", "data": {"value": 6}},
        {"type": "None"},
        {"type": "tirx.PrimFunc", "data": {"params": 7, "body": 9 + len(body)}},
        {"type": "ffi.String", "data": "i"},
        {"type": "int", "data": extent},
        {"type": "ffi.Array", "data": []},
        {"type": "None"},
        {"type": "None"},
        *body,
    ]
    return json.dumps({"root_index": 4, "nodes": nodes})


def test_a_graph_with_more_paths_than_can_be_walked_is_refused() -> None:
    """Forty lists of statements, each of which names the one before it twice."""
    body: list[dict[str, Any]] = [{"type": "tirx.Evaluate", "data": {}}]
    for _ in range(40):
        child = 10 + len(body) - 1
        body.append({"type": "ffi.Array", "data": [child, child]})
        body.append({"type": "tirx.SeqStmt", "data": {"seq": 10 + len(body) - 1}})
    with pytest.raises(InvalidInputError, match="more than 200,000 steps"):
        parse_program(graph_of(body))


def test_an_extent_beyond_64_bits_is_refused() -> None:
    body: list[dict[str, Any]] = [
        {"type": "tirx.Evaluate", "data": {}},
        {"type": "tirx.For", "data": {"loop_var": 1, "extent": 2, "body": 10}},
    ]
    with pytest.raises(InvalidInputError, match="holds no block"):
        parse_program(graph_of(body))
    for extent in (10**400, 2**63):
        with pytest.raises(InvalidInputError, match="more than 64 bits"):
            parse_program(graph_of(body, extent=extent))
    with pytest.raises(InvalidInputError, match="an extent of -4"):
        parse_program(graph_of(body, extent=-4))


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_what_is_no_integer_is_refused(number: str) -> None:
    with pytest.raises(InvalidInputError, match="not a serialised IRModule"):
        parse_program(f'{{"nodes": [], "root_index": {number}}}')


def block_of(reads: list[int], values: list[int]) -> str:
    """A function of one block ``C`` over one iterator, which reads a tensor of no axes."""
    body: list[dict[str, Any]] = [
        {"type": "ffi.String", "data": "C"},
        {"type": "ir.Range", "data": {"min": 2, "extent": 2}},
        {"type": "tirx.IterVar", "data": {"var": 1, "dom": 11, "iter_type": 0}},
        {"type": "ffi.Array", "data": [12]},
        {"type": "tirx.Buffer", "data": {"name": 10, "shape": 7, "dtype": "float32"}},
        {"type": "tirx.BufferRegion", "data": {"buffer": 14, "region": 7}},
        {"type": "ffi.Array", "data": [15] * len(reads)},
        {"type": "tirx.Evaluate", "data": {}},
        {
            "type": "tirx.SBlock",
            "data": {
                "iter_vars": 13, "name_hint": 10, "reads": 16, "writes": 7, "body": 17, "init": 0
            },
        },
        {"type": "ffi.Array", "data": values},
        {"type": "tirx.SBlockRealize", "data": {"block": 18, "iter_values": 19, "predicate": 2}},
    ]  # fmt: skip
    return graph_of(body)


def test_each_iterator_of_a_block_has_a_value() -> None:
    (block,) = parse_program(block_of([15], [1])).blocks
    assert len(block.reads) == 1
    with pytest.raises(InvalidInputError, match="2 values for 1 iterators"):
        parse_program(block_of([15], [1, 1]))


def test_what_blocks_name_again_and_again_is_counted() -> None:
    with pytest.raises(InvalidInputError, match="more than 200,000 steps"):
        parse_program(block_of([15] * 200_001, [1]))


def test_operations_beyond_floats_are_infinite() -> None:
    iterators = tuple(Iterator(f"i{n}", 2**62, False) for n in range(20))
    block = Block("b", iterators, (), (), (), (1.0,) * len(OPERATIONS), False)
    assert Program((block,), {}).flops == math.inf


_JSON: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 99), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"root_index": _JSON, "nodes": _JSON}), st.binary(max_size=64))
def test_hostile_documents_are_refused(document: Any, raw: bytes) -> None:
    for text in (json.dumps(document), base64.b64encode(raw).decode()):
        with pytest.raises(InvalidInputError):
            parse_program(text)


def index_map(*finals: str) -> str:
    """JSON text as TVM writes it of ``lambda a, b: finals``, each ``a``, ``b``, or ``a // 16``."""
    nodes: list[dict[str, Any]] = [{"type": "None"}, {"type": "ir.Var"}, {"type": "ir.Var"}]

    def add(**node: Any) -> int:
        nodes.append(node)
        return len(nodes) - 1

    def expression(text: str) -> int:
        words = text.split()
        variable = 1 + "ab".index(words[0])
        if len(words) == 1:
            return variable
        number = add(type="ir.IntImm", data={"value": add(type="int", data=int(words[2]))})
        kind = {"//": "prim.FloorDiv", "%": "prim.FloorMod", "*": "prim.Mul"}[words[1]]
        return add(type=kind, data={"a": variable, "b": number})

    before = add(type="ffi.Array", data=[1, 2])
    after = add(type="ffi.Array", data=[expression(text) for text in finals])
    root = add(type="tirx.IndexMap", data={"initial_indices": before, "final_indices": after})
    return json.dumps({"root_index": root, "nodes": nodes})


def test_an_index_map_is_read() -> None:
    a, b, width = Index("var", 0), Index("var", 1), Index("const", 16)
    assert parse_index_map(index_map("b", "a")) == (2, (b, a))
    panels = (Index("//", 0, (a, width)), b, Index("%", 0, (a, width)))
    assert parse_index_map(index_map("a // 16", "b", "a % 16")) == (2, panels)


@pytest.mark.tvm
def test_an_index_map_of_tvm_is_read() -> None:
    tvm = pytest.importorskip("tvm")
    from wmhub.tvm_compat import IndexMap

    made = IndexMap.from_func(lambda i, j: [j // 8, i, j % 8], index_dtype="int32")
    count, indices = parse_index_map(str(tvm.ir.save_json(made)))
    assert count == 2
    assert [index.op for index in indices] == ["//", "var", "%"]
    assert indices[0].args == indices[2].args == (Index("var", 1), Index("const", 8))


@pytest.mark.parametrize(
    "text",
    ["", "lambda a: a", "{}", '{"nodes": []}', '{"nodes": [{"type": "IndexMap"}]}', "[" * 9999],
)
def test_what_is_no_index_map_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="index map"):
        parse_index_map(text)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        ("float32", 4.0),
        ("float0", 4.0),  # No type at all, and no size to divide by.
        ("float32x0", 4.0),
        ("float16", 2.0),
        ("bfloat16", 2.0),
        ("int8", 1.0),
        ("uint1", 0.125),
        ("bool", 1.0),
        ("int64", 8.0),
        ("int8x4", 4.0),
        ("float16x8", 16.0),
        ("float8_e4m3fn", 1.0),
        ("float8_e4m3fnx4", 4.0),
        ("float8_e5m2fnuz", 1.0),
        ("float4_e2m1fn", 0.5),
        ("handle", 4.0),
        ("", 4.0),
    ],
)
def test_the_name_of_a_type_tells_its_bytes(dtype: str, size: float) -> None:
    assert Buffer("A", dtype, (8,)).element_bytes == size


def test_integers_of_a_sum_that_has_nothing_else_are_its_operations() -> None:
    """A quantised product is one; what divides its indices is no part of it."""

    def flops(is_reduction: bool, **operations: float) -> float:
        counts = tuple(operations.get(name, 0.0) for name in OPERATIONS)
        block = Block("b", (Iterator("i", 8, is_reduction),), (), (), (), counts, has_init=False)
        return Program((block,), {}).flops

    assert flops(True, integer=2.0) == flops(True, integer=6.0) == 16.0
    assert flops(True, integer=1.0) == 8.0
    assert flops(True, add=1.0, integer=6.0) == 8.0
    # What chooses where an input is padded, and a share of an epilogue, are beside the product.
    assert flops(True, add=1 / 16, integer=9.0) == 16.5
    assert flops(True, select=1.0, integer=9.0) == 24.0
    assert flops(False, integer=6.0) == 0.0


def test_what_follows_a_dot_in_a_name_is_no_memory() -> None:
    text = (Path(__file__).parent / "program_tvm_0_27.json").read_text()
    named = text.replace('"A"', '"fc.weight"').replace('"B"', '"fc_weight"')
    program = parse_program(named)
    hints = {name: buffer.hint for name, buffer in program.buffers.items()}
    assert hints["fc_weight"] == "fc.weight"
    assert hints["fc_weight_1"] == "fc_weight"
    assert [read.tensor for read in program.blocks[0].reads] == ["fc_weight", "fc_weight_1"]


@pytest.mark.parametrize("version", ["0_25", "0_26", "0_27"])
def test_each_version_s_form_is_the_same_program(version: str) -> None:
    """A product and an addition, as ``tvm.ir.save_json`` of that version wrote them."""
    text = (Path(__file__).parent / f"program_tvm_{version}.json").read_text()
    assert f'"tvm_version":"{version.replace("_", ".")}.' in text
    program = parse_program(text)
    product, addition = program.blocks
    assert [(i.extent, i.is_reduction) for i in product.iterators] == [
        (64, False), (48, False), (32, True),
    ]  # fmt: skip
    assert [extent for _, extent, _ in addition.loops] == [64, 48]
    assert product.operations[OPERATIONS.index("mul")] == 1.0
    assert addition.operations[OPERATIONS.index("add")] == 1.0
    assert {(b.dtype, b.shape) for b in program.buffers.values()} == {
        ("float32", (64, 32)), ("float32", (32, 48)), ("float32", (64, 48)),
    }  # fmt: skip
    assert [block.is_whole for block in program.blocks] == [True, True]
