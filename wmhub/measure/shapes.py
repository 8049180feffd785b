"""Rows of sizes to workload names of the zoo; each function takes the flags that all rows share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_Rows = Iterable[tuple[int, ...]]


def convs(rows: _Rows, *flags: str) -> Iterator[str]:
    """Rows of (image, channels in, channels out, kernel, stride), padded to keep the size."""
    for image, ci, co, k, s in rows:
        yield "-".join([f"conv2d-h{image}-w{image}-ci{ci}-co{co}-k{k}-s{s}-p{k // 2}", *flags])


def groups(rows: _Rows, *flags: str) -> Iterator[str]:
    """Rows of (image, channels, stride, groups): grouped 3 by 3 convolutions."""
    for image, c, s, g in rows:
        yield "-".join([f"conv2d-h{image}-w{image}-ci{c}-co{c}-k3-s{s}-p1-g{g}", *flags])


def dilated(rows: _Rows, *flags: str) -> Iterator[str]:
    """Rows of (image, channels in, channels out, dilation): dilated 3 by 3 convolutions."""
    for image, ci, co, d in rows:
        yield "-".join([f"conv2d-h{image}-w{image}-ci{ci}-co{co}-k3-s1-p{d}-d{d}", *flags])


def depthwise(rows: _Rows, *flags: str) -> Iterator[str]:
    """Rows of (image, channels, kernel, stride)."""
    for image, c, k, s in rows:
        yield "-".join([f"depthwise2d-h{image}-w{image}-c{c}-k{k}-s{s}-p{k // 2}", *flags])


def pools(kind: str, rows: _Rows, *flags: str) -> Iterator[str]:
    """Rows of (image, channels, kernel, stride) of ``maxpool2d`` or ``avgpool2d``."""
    for image, c, k, s in rows:
        yield "-".join([f"{kind}-h{image}-w{image}-c{c}-k{k}-s{s}", *flags])


def deconvs(rows: _Rows, *flags: str) -> Iterator[str]:
    """Rows of (image, channels in, channels out, kernel, stride, padding)."""
    for image, ci, co, k, s, p in rows:
        yield "-".join([f"deconv2d-h{image}-w{image}-ci{ci}-co{co}-k{k}-s{s}-p{p}", *flags])


def conv1ds(rows: _Rows, *flags: str) -> Iterator[str]:
    """Rows of (length, channels in, channels out, kernel, stride, padding, dilation)."""
    for length, ci, co, k, s, p, d in rows:
        yield "-".join([f"conv1d-l{length}-ci{ci}-co{co}-k{k}-s{s}-p{p}-d{d}", *flags])


def conv3ds(rows: _Rows, *flags: str) -> Iterator[str]:
    """Rows of (frames, image, channels in, channels out, kernel over frames, kernel, stride).

    Padded to keep the size; the stride is that of the dimensions that the kernel spans, of all
    where it spans none.
    """
    for frames, image, ci, co, kt, k, s in rows:
        strides = f"st{s if kt > 1 or k == 1 else 1}-s{s if k > 1 or kt == 1 else 1}"
        sizes = f"t{frames}-h{image}-w{image}-ci{ci}-co{co}-kt{kt}-k{k}"
        yield "-".join([f"conv3d-{sizes}-{strides}-pt{kt // 2}-p{k // 2}", *flags])


def depthwise3d(rows: _Rows, *flags: str) -> Iterator[str]:
    """Rows of (frames, image, channels): each channel by itself, three by three by three."""
    for frames, image, c in rows:
        (name,) = conv3ds([(frames, image, c, c, 3, 3, 1)])
        yield "-".join([name, f"g{c}", *flags])


def capsules(rows: _Rows) -> Iterator[str]:
    """Rows of (image, capsules in, capsules out, kernel, stride, padding)."""
    for image, ci, co, k, s, p in rows:
        yield f"capsule2d-h{image}-w{image}-ci{ci}-co{co}-k{k}-s{s}-p{p}"


def dense(rows: _Rows, *flags: str) -> Iterator[str]:
    """Rows of (rows, units out, units in)."""
    for m, n, k in rows:
        yield "-".join([f"dense-m{m}-n{n}-k{k}", *flags])


def each(family: str, sizes: str, rows: _Rows, *flags: str) -> Iterator[str]:
    """``family`` with the space-separated ``sizes`` named, one workload per row."""
    for row in rows:
        pairs = zip(sizes.split(), row, strict=True)
        yield "-".join([family, *(f"{size}{value}" for size, value in pairs), *flags])


def transformer(tokens: int, width: int, inner: int, heads: int, act: str) -> Iterator[str]:
    """One block for ``tokens`` rows: projections, feed-forward, attention pieces, norm, softmax."""
    head = width // heads
    yield from dense([(tokens, width, width)], "bias", "add")
    yield from dense([(tokens, 3 * width, width)], "bias")
    yield from dense([(tokens, inner, width)], "bias", act)
    yield from dense([(tokens, width, inner)], "bias")
    yield f"layernorm-m{tokens}-n{width}-add"
    if tokens > 1:
        yield f"scores-b{heads}-m{tokens}-n{tokens}-d{head}"
        yield f"context-b{heads}-m{tokens}-n{tokens}-d{head}"
        yield f"softmax-m{heads * tokens}-n{tokens}"


def decoder(width: int, inner: int, past: int, heads: int) -> Iterator[str]:
    """One token of a decoder with a gated feed-forward layer and ``past`` tokens in its cache."""
    yield from dense([(1, width, width), (1, inner, width), (1, width, inner)])
    yield f"rmsnorm-m1-n{width}"
    yield f"glu-m1-n{inner}-silu"
    yield f"scores-b{heads}-m1-n{past}-d{width // heads}-softmax"
    yield f"context-b{heads}-m1-n{past}-d{width // heads}"
