"""The convolutions of the workload zoo; see ``operators`` for what the builders take and give."""

from __future__ import annotations

from typing import Any

from wmhub.measure.epilogue import Flags, Sizes, finish, tensor


def conv1d(s: Sizes, flags: Flags) -> list[Any]:
    """Convolution of rows."""
    from tvm import topi

    groups = s["g"]
    if "nchw" in flags:
        x = tensor("X", s["n"], s["ci"], s["l"])
        w = tensor("W", s["co"], s["ci"] // groups, s["k"])
        layouts, channel = ("NCW", "OIW"), 1
    else:
        x = tensor("X", s["n"], s["l"], s["ci"])
        w = tensor("W", s["k"], s["ci"] // groups, s["co"])
        layouts, channel = ("NWC", "WIO"), 2
    y = topi.nn.conv(x, w, s["s"], [s["p"], s["p"]], s["d"], groups, *layouts, "float32")
    return finish([x, w], y, channel, flags)


def conv2d(s: Sizes, flags: Flags) -> list[Any]:
    """Convolution of images."""
    from tvm import topi

    groups, k = s["g"], s["k"]
    if "nchw" in flags:
        x = tensor("X", s["n"], s["ci"], s["h"], s["w"])
        w = tensor("W", s["co"], s["ci"] // groups, k, k)
        layouts, channel = ("NCHW", "OIHW"), 1
    else:
        x = tensor("X", s["n"], s["h"], s["w"], s["ci"])
        w = tensor("W", k, k, s["ci"] // groups, s["co"])
        layouts, channel = ("NHWC", "HWIO"), 3
    y = topi.nn.conv(x, w, s["s"], [s["p"]] * 4, s["d"], groups, *layouts, "float32")
    return finish([x, w], y, channel, flags)


def conv3d(s: Sizes, flags: Flags) -> list[Any]:
    """Convolution of films and volumes; ``t`` counts frames or slices, ``kt`` spans them."""
    from tvm import topi

    groups, k, image = s["g"], s["k"], (s["t"], s["h"], s["w"])
    if "nchw" in flags:
        x = tensor("X", s["n"], s["ci"], *image)
        w = tensor("W", s["co"], s["ci"] // groups, s["kt"], k, k)
        layouts, channel = ("NCDHW", "OIDHW"), 1
    else:
        x = tensor("X", s["n"], *image, s["ci"])
        w = tensor("W", s["kt"], k, k, s["ci"] // groups, s["co"])
        layouts, channel = ("NDHWC", "DHWIO"), 4
    strides, padding = [s["st"], s["s"], s["s"]], [s["pt"], s["p"], s["p"]] * 2
    y = topi.nn.conv(x, w, strides, padding, 1, groups, *layouts, "float32")
    return finish([x, w], y, channel, flags)


def capsule2d(s: Sizes, flags: Flags) -> list[Any]:
    """Convolution of images whose every channel is a pose: a ``c`` by ``c`` matrix.

    As in matrix capsules with EM routing (Hinton et al., ICLR 2018): a weight is a matrix as well,
    and every product is one of matrices.
    """
    from tvm import te, topi

    k, stride, size = s["k"], s["s"], s["c"]
    x = tensor("X", s["n"], s["h"], s["w"], size, size, s["ci"])
    w = tensor("W", k, k, size, size, s["ci"], s["co"])
    padded = topi.nn.pad(x, [0, s["p"], s["p"], 0, 0, 0])
    height, width = ((s[side] + 2 * s["p"] - k) // stride + 1 for side in ("h", "w"))
    axes = _reduced(kh=k, kw=k, pose=size, ci=s["ci"])

    def output(n: Any, i: Any, j: Any, row: Any, column: Any, c: Any) -> Any:
        kh, kw, pose, ci = axes
        read = padded[n, i * stride + kh, j * stride + kw, row, pose, ci]
        return te.sum(read * w[kh, kw, pose, column, ci, c], axis=axes)

    shape = (s["n"], height, width, size, size, s["co"])
    return [x, w, te.compute(shape, output, name="conv2d_capsule")]


def _reduced(**extents: int) -> list[Any]:
    """Axes that are summed over, by name, in elements."""
    from tvm import te

    return [te.reduce_axis((0, extent), name=name) for name, extent in extents.items()]


def depthwise2d(s: Sizes, flags: Flags) -> list[Any]:
    """Convolution of each channel by itself."""
    from tvm import topi

    k, padding = s["k"], [s["p"]] * 4
    if "nchw" in flags:
        x, w = tensor("X", s["n"], s["c"], s["h"], s["w"]), tensor("W", s["c"], 1, k, k)
        y = topi.nn.depthwise_conv2d_nchw(x, w, s["s"], padding, s["d"])
        return finish([x, w], y, 1, flags)
    x, w = tensor("X", s["n"], s["h"], s["w"], s["c"]), tensor("W", k, k, s["c"], 1)
    y = topi.nn.depthwise_conv2d_nhwc(x, w, s["s"], padding, s["d"])
    return finish([x, w], y, 3, flags)


def deconv2d(s: Sizes, flags: Flags) -> list[Any]:
    """Transposed convolution, channels first as PyTorch programs have it, or last (``nhwc``)."""
    from tvm import topi

    if "nhwc" in flags:
        x, w, y = _deconv2d_channels_last(s)
        return finish([x, w], y, 3, flags)
    x = tensor("X", s["n"], s["ci"], s["h"], s["w"])
    w = tensor("W", s["ci"], s["co"], s["k"], s["k"])
    strides, padding = (s["s"], s["s"]), [s["p"]] * 4
    y = topi.nn.conv2d_transpose_nchw(x, w, strides, padding, "float32", (0, 0))
    return finish([x, w], y, 1, flags)


def _deconv2d_channels_last(s: Sizes) -> tuple[Any, Any, Any]:
    """Image, weight and output; zeros between the pixels are read, not written down first."""
    from tvm import te, tirx, topi

    k, stride = s["k"], s["s"]
    x, w = tensor("X", s["n"], s["h"], s["w"], s["ci"]), tensor("W", k, k, s["ci"], s["co"])
    before = k - 1 - s["p"]
    if before < 0:
        raise ValueError(f"a padding of {s['p']} is wider than the window of {k} reaches")
    rim = -(-before // stride)
    padded = topi.nn.pad(x, [0, rim, rim, 0], [0, rim, rim, 0])
    height, width = ((s[side] - 1) * stride - 2 * s["p"] + k for side in ("h", "w"))
    axes = _reduced(kh=k, kw=k, ci=s["ci"])

    def pixel(n: Any, i: Any, j: Any) -> Any:
        read = padded[n, i // stride, j // stride, axes[2]]
        there = tirx.all(i % stride == 0, j % stride == 0)
        return read if stride == 1 else tirx.if_then_else(there, read, tirx.const(0, "float32"))

    def output(n: Any, i: Any, j: Any, c: Any) -> Any:
        kh, kw, ci = axes
        at = [i + kh + rim * stride - before, j + kw + rim * stride - before]
        return te.sum(pixel(n, *at) * w[k - 1 - kh, k - 1 - kw, ci, c], axis=axes)

    y = te.compute((s["n"], height, width, s["co"]), output, name="conv2d_transpose")
    return x, w, y
