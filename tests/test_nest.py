"""Loop nests of many candidates at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmhub.nest import Axis, Loop, Stage, extents, fuse_loops, span, split_loop
from wmhub.program import Index


def axis(extent: int, name: str = "i") -> Axis:
    return Axis(name, extents(extent), False)


def values(loops: list[Loop]) -> list[list[int]]:
    return [loop.extent.tolist() for loop in loops]


def test_a_split_infers_the_missing_factor_and_rounds_up() -> None:
    loop = Loop.over(axis(10))
    assert values(split_loop(loop, [None, extents(4)])) == [[3], [4]]
    assert values(split_loop(loop, [extents(4), None])) == [[4], [3]]


def test_a_split_of_many_candidates_at_once() -> None:
    made = split_loop(Loop.over(axis(16)), [None, np.array([2, 4]), np.array([8, 1])])
    assert values(made) == [[1, 4], [2, 4], [8, 1]]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_perfect_tiles_cover_their_axis(factors: list[int]) -> None:
    whole = axis(int(np.prod(factors)))
    stage = Stage("s", [whole], split_loop(Loop.over(whole), [extents(f) for f in factors]))
    for depth in range(len(factors) + 1):
        assert stage.tiles(depth)[0].tolist() == [int(np.prod(factors[depth:]))]
    (every,) = stage.tiles_by_depth()
    assert every.tolist() == [stage.tiles(depth)[0].tolist() for depth in range(len(factors) + 1)]


@given(st.lists(st.integers(1, 5), min_size=2, max_size=3), st.integers(1, 5), st.integers(1, 5))
def test_a_fused_loop_splits_back_into_its_parts(sizes: list[int], a: int, b: int) -> None:
    axes = [axis(size * a * b, str(n)) for n, size in enumerate(sizes)]
    fused = fuse_loops([Loop.over(one) for one in axes])
    inner = int(axes[-1].extent[0])
    outer_loop, inner_loop = split_loop(fused, [None, extents(inner)])
    assert [part[0] for part in inner_loop.parts] == [axes[-1]]
    stage = Stage("s", axes, [outer_loop, inner_loop])
    assert [t.tolist() for t in stage.tiles(0)] == [one.extent.tolist() for one in axes]
    assert outer_loop.extent * inner_loop.extent == fused.extent


def test_what_a_split_takes_of_fused_parts_depends_on_no_other_candidate() -> None:
    def dealt(*inner: int) -> list[list[int]]:
        fused = fuse_loops([Loop.over(axis(8, "a")), Loop.over(axis(8, "b"))])
        _, made = split_loop(fused, [None, np.array(inner)])
        steps = {id(one): extent for one, extent in made.parts}
        names = {one.name: id(one) for one, _ in fused.parts}
        return [np.broadcast_to(steps.get(names[n], 1), len(inner)).tolist() for n in "ab"]

    assert dealt(32) == [[4], [8]]
    assert dealt(4) == [[1], [4]]
    assert dealt(32, 4) == [[4, 1], [8, 4]]


def test_a_split_that_does_not_come_out_even_reaches_into_the_next_part() -> None:
    fused = fuse_loops([Loop.over(axis(56, "a")), Loop.over(axis(12, "b"))])
    outer, inner = split_loop(fused, [None, extents(16)])
    assert [part[1].tolist() for part in inner.parts] == [[2], [12]]
    assert [part[1].tolist() for part in outer.parts] == [[28]]
    outer, inner = split_loop(fused, [None, extents(8)])
    assert [part[1].tolist() for part in inner.parts] == [[8]]
    assert [part[1].tolist() for part in outer.parts] == [[56], [2]]


def test_of_unknown_parts_a_split_takes_what_it_asks_for() -> None:
    fused = fuse_loops([Loop.over(axis(6, "a")), Loop.over(axis(0, "b"))])
    outer, inner = split_loop(fused, [None, extents(16)])
    assert [part[1].tolist() for part in inner.parts] == [[16]]
    assert [part[1].tolist() for part in outer.parts] == [[6], [0]]


def test_coprime_splits_of_fused_loops_end() -> None:
    fused = fuse_loops([Loop.over(axis(3, "a")), Loop.over(axis(5, "b"))])
    made = split_loop(fused, [None, extents(4)])
    assert values(made) == [[4], [4]]


def brute_span(index: Index, tiles: list[int]) -> int:
    """Counts the values between the smallest and the largest, by trying all iterations."""

    def value(node: Index, point: tuple[int, ...]) -> int:
        if node.op == "var":
            return point[node.value]
        if node.op == "const":
            return node.value
        left, right = (value(arg, point) for arg in node.args)
        return {"+": left + right, "-": left - right, "*": left * right}[node.op]

    found = [value(index, point) for point in np.ndindex(*tiles)]
    return max(found) - min(found) + 1


_VAR = st.builds(lambda v: Index("var", v), st.integers(0, 2))
_AFFINE = st.recursive(
    _VAR,
    lambda inner: st.one_of(
        st.builds(lambda a, b: Index("+", 0, (a, b)), inner, st.builds(
            lambda c: Index("const", c), st.integers(-3, 3))),
        st.builds(lambda a, c: Index("*", 0, (a, Index("const", c))), inner, st.integers(0, 3)),
    ),
    max_leaves=4,
)  # fmt: skip


@given(_AFFINE, st.tuples(*[st.integers(1, 4)] * 3))
def test_the_span_of_an_affine_index_is_exact(index: Index, tiles: tuple[int, ...]) -> None:
    arrays = [extents(t) for t in tiles]
    assert span(index, arrays).tolist() == [brute_span(index, list(tiles))]


def test_a_convolution_reads_its_window() -> None:
    # h * 2 + r: a tile of 4 rows and 3 taps reads 2 * 3 + 2 + 1 rows.
    doubled = Index("*", 0, (Index("var", 0), Index("const", 2)))
    index = Index("+", 0, (doubled, Index("var", 1)))
    assert span(index, [extents(4), extents(3)]).tolist() == [9]


@pytest.mark.parametrize(("tile", "expected"), [(4, 1), (8, 1), (16, 2), (24, 3)])
def test_a_group_index_counts_its_groups(tile: int, expected: int) -> None:
    index = Index("//", 0, (Index("var", 0), Index("const", 8)))
    assert span(index, [extents(tile)]).tolist() == [expected]
