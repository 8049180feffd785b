from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wmhub.errors import InvalidInputError, UnknownNameError
from wmhub.measure import zoo
from wmhub.measure.epilogue import ACTIVATIONS
from wmhub.measure.operators import FAMILIES
from wmhub.measure.zoo import ZooEntry


def test_the_zoo_is_large_and_covers_every_family() -> None:
    names = zoo.names()
    assert len(names) >= 300
    assert len(set(names)) == len(names)
    assert {zoo.get(name).family for name in names} == set(FAMILIES)


def test_names_are_canonical_and_parse() -> None:
    for name in zoo.names():
        assert str(ZooEntry.parse(name)) == name


def test_the_held_out_part_is_disjoint_and_covers_most_families() -> None:
    held_out, others = zoo.names(held_out=True), zoo.names(held_out=False)
    assert set(held_out) == zoo.HELD_OUT
    assert not set(held_out) & set(others)
    assert sorted([*held_out, *others]) == sorted(zoo.names())
    assert 50 <= len(held_out) <= len(others) / 4
    assert len({zoo.get(name).family for name in held_out}) >= 18


def test_a_shape_of_a_held_out_network_is_held_out_wherever_else_it_occurs() -> None:
    for name in zoo.names():
        entry = zoo.get(name)
        assert entry.networks
        assert entry.held_out == bool(zoo.HELD_OUT_NETWORKS & set(entry.networks))


def test_the_workloads_of_the_demonstrations_are_there() -> None:
    for name in (
        "conv2d-n1-h56-w56-ci64-co64-k3-s1-p1-bn-relu",
        "dense-m128-n3072-k768-bias-gelu",
    ):
        assert name in zoo.names(held_out=False)


def test_order_and_defaults_do_not_matter() -> None:
    entry = zoo.get("conv2d-relu-co64-k3-ci64-bn-h56-w56-p1")
    assert str(entry) == "conv2d-n1-h56-w56-ci64-co64-k3-s1-p1-bn-relu"
    assert "resnet18" in entry.networks


def test_a_shape_that_is_not_listed_is_a_workload_too() -> None:
    entry = zoo.get("matmul-m3-n5-k7")
    assert (entry.networks, entry.held_out) == ((), False)


def test_an_unknown_family_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="softmax"):
        zoo.get("sofmax-m8-n8")


@pytest.mark.parametrize(
    "name",
    [
        "matmul",
        "matmul-m8-n8",
        "matmul-m8-n8-k0",
        "matmul-m8-n8-k8-m8",
        "matmul-m8-n8-k8-relu-relu",
        "matmul-m8-n8-k8-relu-gelu",
        "matmul-m8-n8-k8-z3",
        "matmul-m8-n8-k8-nope",
        "matmul-m08-n8-k8",
        "matmul-m-8-n8-k8",
        "matmul-m999999999-n8-k8",
        "matmul--m8-n8-k8",
        "softmax-m8-n8-bias",
    ],
)
def test_a_name_that_makes_no_sense_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        zoo.get(name)


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        entry = ZooEntry.parse(text)
    except (InvalidInputError, UnknownNameError):
        return
    assert ZooEntry.parse(str(entry)) == entry


@given(st.data(), st.sampled_from(sorted(FAMILIES)))
def test_every_entry_is_its_name(data: st.DataObject, family: str) -> None:
    of = FAMILIES[family]
    sizes = tuple((name, data.draw(st.integers(1, 5000))) for name in of.sizes)
    chosen = data.draw(st.sets(st.sampled_from(of.flags)) if of.flags else st.just(set()))
    # One activation at most.
    last = next((flag for flag in ACTIVATIONS if flag in chosen), None)
    kept = [f for f in of.flags if f in chosen and (f == last or f not in ACTIVATIONS)]
    entry = ZooEntry(family, sizes, tuple(kept))
    assert ZooEntry.parse(str(entry)) == entry


def run(name: str, given: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """The output of a workload, unscheduled."""
    from wmhub.tvm_compat import llvm_target, tvm

    compiled = tvm.compile(zoo.build(name), target=tvm.target.Target(llvm_target(cores=1)))
    tensors = [tvm.runtime.tensor(array) for array in (*given, np.empty(shape, np.float32))]
    compiled["main"](*tensors)
    return np.asarray(tensors[-1].numpy())


@pytest.mark.tvm
class TestPrograms:
    def test_every_workload_builds_and_no_two_are_the_same(self) -> None:
        pytest.importorskip("tvm")
        from wmhub.tvm_compat import meta_schedule as ms

        hashes = [ms.database.Workload(zoo.build(name)).as_json()[0] for name in zoo.names()]
        assert len(set(hashes)) == len(hashes)

    def test_flags_change_the_program_and_sizes_its_shapes(self) -> None:
        pytest.importorskip("tvm")
        from wmhub.measure.programs import argument_info

        plain = argument_info(zoo.build("dense-m4-n6-k8"))
        assert plain == [
            ["TENSOR", "float32", [4, 8]],
            ["TENSOR", "float32", [6, 8]],
            ["TENSOR", "float32", [4, 6]],
        ]
        fused = argument_info(zoo.build("dense-m4-n6-k8-bias-gelu"))
        assert len(fused) == len(plain) + 1

    @pytest.mark.parametrize(
        ("size", "stride", "padding"), [(4, 2, 1), (3, 1, 1), (2, 2, 0), (3, 2, 1), (5, 3, 0)]
    )
    def test_channels_last_a_transposed_convolution_is_what_it_is_first(
        self, size: int, stride: int, padding: int
    ) -> None:
        pytest.importorskip("tvm")
        h, w, ci, co = 5, 7, 3, 4
        random = np.random.default_rng(0)
        image = random.standard_normal((1, h, w, ci)).astype(np.float32)
        weight = random.standard_normal((size, size, ci, co)).astype(np.float32)
        wanted = torch.nn.functional.conv_transpose2d(
            torch.from_numpy(image).permute(0, 3, 1, 2),
            torch.from_numpy(weight).permute(2, 3, 0, 1),
            stride=stride, padding=padding,
        ).permute(0, 2, 3, 1)  # fmt: skip
        name = f"deconv2d-h{h}-w{w}-ci{ci}-co{co}-k{size}-s{stride}-p{padding}-nhwc"
        np.testing.assert_allclose(run(name, [image, weight], wanted.shape), wanted, atol=1e-5)

    @pytest.mark.parametrize("flag", ["", "-nchw"])
    @pytest.mark.parametrize(
        ("window", "stride", "padding", "groups"),
        [((3, 3), (1, 1), (1, 1), 1), ((1, 3), (1, 2), (0, 1), 2), ((3, 1), (2, 1), (0, 0), 6)],
    )
    def test_a_convolution_of_volumes_spans_frames_on_its_own(
        self, flag: str, window: tuple[int, int], stride: tuple[int, int],
        padding: tuple[int, int], groups: int,
    ) -> None:  # fmt: skip
        pytest.importorskip("tvm")
        (kt, k), (st, s), (pt, p), ci, co = window, stride, padding, 6, 12
        random = np.random.default_rng(0)
        film = random.standard_normal((1, ci, 5, 6, 7)).astype(np.float32)
        weight = random.standard_normal((co, ci // groups, kt, k, k)).astype(np.float32)
        wanted = torch.nn.functional.conv3d(
            torch.from_numpy(film), torch.from_numpy(weight),
            stride=(st, s, s), padding=(pt, p, p), groups=groups,
        )  # fmt: skip
        inputs = [film, weight]
        if not flag:
            wanted = wanted.permute(0, 2, 3, 4, 1)
            inputs = [film.transpose(0, 2, 3, 4, 1), weight.transpose(2, 3, 4, 1, 0)]
        sizes = f"t5-h6-w7-ci{ci}-co{co}-kt{kt}-k{k}-st{st}-s{s}-pt{pt}-p{p}-g{groups}"
        found = run(f"conv3d-{sizes}{flag}", [*map(np.ascontiguousarray, inputs)], wanted.shape)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)

    def test_a_convolution_of_capsules_multiplies_matrices(self) -> None:
        pytest.importorskip("tvm")
        random = np.random.default_rng(0)
        image = random.standard_normal((1, 5, 6, 2, 2, 3)).astype(np.float32)
        weight = random.standard_normal((3, 3, 2, 2, 3, 4)).astype(np.float32)
        padded = np.pad(image, [(0, 0), (1, 1), (1, 1), (0, 0), (0, 0), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        wanted = np.einsum("nxyijchw,hwjkcd->nxyikd", windows[:, ::2, ::2], weight)
        name = "capsule2d-h5-w6-ci3-co4-c2-k3-s2-p1"
        np.testing.assert_allclose(run(name, [image, weight], wanted.shape), wanted, atol=1e-5)

    def test_heads_that_stand_side_by_side_are_taken_apart_first(self) -> None:
        pytest.importorskip("tvm")
        random = np.random.default_rng(0)
        draw = lambda *shape: random.standard_normal(shape).astype(np.float32)  # noqa: E731
        q, k = draw(5, 3, 8), draw(7, 3, 8)
        wanted = np.einsum("ihd,jhd->hij", q, k) * 8**-0.5
        found = run("scores-b3-m5-n7-d8-split", [q, k], (3, 5, 7))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        p, v = draw(3, 5, 7), draw(7, 3, 8)
        wanted = np.einsum("hij,jhd->ihd", p, v)
        found = run("context-b3-m5-n7-d8-split", [p, v], (5, 3, 8))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)

    def test_a_norm_is_one_number_for_each_matrix(self) -> None:
        pytest.importorskip("tvm")
        x = np.random.default_rng(0).standard_normal((3, 5, 7)).astype(np.float32)
        found = run("norm-b3-m5-n7", [x], (3,))
        np.testing.assert_allclose(found, np.linalg.norm(x, axis=(1, 2)), rtol=1e-5)

    @pytest.mark.parametrize(
        "name",
        [
            "conv2d-h4-w4-ci8-co8-k7",
            "conv2d-h8-w8-ci6-co8-k1-g4",
            "deconv2d-h4-w4-ci8-co8-k2-s1-p2-nhwc",
            "matmul-m9999999-n9999999-k1",
        ],
    )
    def test_sizes_that_make_no_program_are_refused(self, name: str) -> None:
        pytest.importorskip("tvm")
        with pytest.raises(InvalidInputError, match=name.split("-")[0]):
            zoo.build(name)
