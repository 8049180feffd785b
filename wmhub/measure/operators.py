"""The operator families of the workload zoo, as tensor expressions: name and sizes to a program.

Each builder takes the sizes and flags of a ``ZooEntry`` and returns the placeholders and the
output. Shapes are float32 and static; images are channel-last unless the flag ``nchw`` is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Family(NamedTuple):
    """One operator family."""

    sizes: tuple[str, ...]
    """Names of the sizes that an entry must give, in the order in which a name prints them."""
    defaults: Mapping[str, int]
    """Sizes that a name may leave out, and what they are then."""
    flags: tuple[str, ...]
    """Flags that it knows, in the order in which a name prints them."""
    build: Callable[[Mapping[str, int], frozenset[str]], list[Any]]
    """Sizes and flags to ``[placeholder, ..., output]``."""


_Sizes = Mapping[str, int]
_Flags = frozenset[str]

#: What may follow a contraction, in this order: a bias, folded batch norm, one activation.
_EPILOGUE = ("bias", "bn", "add", "relu", "clip", "gelu", "silu", "sigmoid", "tanh", "hswish")


def _tensor(name: str, *shape: int) -> Any:
    from tvm import te

    return te.placeholder(shape, name=name, dtype="float32")


def _activation(x: Any, flags: _Flags) -> Any:
    from tvm import te, tirx, topi

    def each(name: str, scalar: Callable[[Any], Any]) -> Any:
        return te.compute(x.shape, lambda *i: scalar(x(*i)), name=name)

    if "relu" in flags:
        return topi.nn.relu(x)
    if "clip" in flags:
        return topi.clip(x, 0.0, 6.0)
    if "gelu" in flags:
        return each("gelu", lambda v: v * 0.5 * (1.0 + tirx.erf(v * 0.70710678)))
    if "silu" in flags:
        return each("silu", lambda v: v * tirx.sigmoid(v))
    if "sigmoid" in flags:
        return topi.sigmoid(x)
    if "tanh" in flags:
        return topi.tanh(x)
    if "hswish" in flags:
        zero, six = tirx.const(0.0, "float32"), tirx.const(6.0, "float32")
        return each("hswish", lambda v: v * te.min(te.max(v + 3.0, zero), six) * (1.0 / 6.0))
    return x


def _finish(inputs: list[Any], x: Any, channel_axis: int, flags: _Flags) -> list[Any]:
    """Adds the epilogue that ``flags`` name to ``x``; vectors run along ``channel_axis``."""
    from tvm import te

    channels = int(x.shape[channel_axis])

    def along(name: str, combine: Callable[[Any, Any], Any], x: Any) -> Any:
        vector = _tensor(name, channels)
        inputs.append(vector)
        body = lambda *i: combine(x(*i), vector[i[channel_axis]])  # noqa: E731
        return te.compute(x.shape, body, name=f"add_{name}" if name != "scale" else "mul_scale")

    if "bias" in flags:
        x = along("bias", lambda a, b: a + b, x)
    if "bn" in flags:
        x = along("scale", lambda a, b: a * b, x)
        x = along("shift", lambda a, b: a + b, x)
    if "add" in flags:
        other = _tensor("residual", *(int(extent) for extent in x.shape))
        inputs.append(other)
        left = x
        x = te.compute(x.shape, lambda *i: left(*i) + other(*i), name="add_residual")
    return [*inputs, _activation(x, flags)]


def _matmul(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import te

    a, b = _tensor("A", s["m"], s["k"]), _tensor("B", s["k"], s["n"])
    k = te.reduce_axis((0, s["k"]), name="k")
    c = te.compute((s["m"], s["n"]), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="matmul")
    return _finish([a, b], c, 1, flags)


def _dense(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import te

    x, w = _tensor("X", s["m"], s["k"]), _tensor("W", s["n"], s["k"])
    k = te.reduce_axis((0, s["k"]), name="k")
    y = te.compute((s["m"], s["n"]), lambda i, j: te.sum(x[i, k] * w[j, k], axis=k), name="dense")
    return _finish([x, w], y, 1, flags)


def _bmm(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import te

    x = _tensor("X", s["b"], s["m"], s["k"])
    k = te.reduce_axis((0, s["k"]), name="k")
    shape = (s["b"], s["m"], s["n"])
    if "nt" in flags:
        y = _tensor("Y", s["b"], s["n"], s["k"])
        body = lambda b, i, j: te.sum(x[b, i, k] * y[b, j, k], axis=k)  # noqa: E731
    else:
        y = _tensor("Y", s["b"], s["k"], s["n"])
        body = lambda b, i, j: te.sum(x[b, i, k] * y[b, k, j], axis=k)  # noqa: E731
    return [x, y, te.compute(shape, body, name="batch_matmul")]


def _scores(s: _Sizes, flags: _Flags) -> list[Any]:
    """Attention scores of ``b`` heads: queries times keys, scaled, as far as softmax if flagged."""
    from tvm import te, topi

    q, key = _tensor("Q", s["b"], s["m"], s["d"]), _tensor("K", s["b"], s["n"], s["d"])
    d = te.reduce_axis((0, s["d"]), name="d")
    shape = (s["b"], s["m"], s["n"])
    product = te.compute(
        shape, lambda b, i, j: te.sum(q[b, i, d] * key[b, j, d], axis=d), name="scores"
    )
    scaled = te.compute(shape, lambda *i: product(*i) * s["d"] ** -0.5, name="scaled")
    return [q, key, topi.nn.softmax(scaled, axis=2) if "softmax" in flags else scaled]


def _context(s: _Sizes, flags: _Flags) -> list[Any]:
    """Probabilities times values, heads merged: the output is [rows, heads, d]."""
    from tvm import te

    p, v = _tensor("P", s["b"], s["m"], s["n"]), _tensor("V", s["b"], s["n"], s["d"])
    n = te.reduce_axis((0, s["n"]), name="n")
    shape = (s["b"], s["m"], s["d"])
    y = te.compute(shape, lambda b, i, j: te.sum(p[b, i, n] * v[b, n, j], axis=n), name="context")
    merged = (s["m"], s["b"], s["d"])
    return [p, v, te.compute(merged, lambda i, b, j: y[b, i, j], name="merge_heads")]


def _conv1d(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import topi

    groups = s["g"]
    if "nchw" in flags:
        x = _tensor("X", s["n"], s["ci"], s["l"])
        w = _tensor("W", s["co"], s["ci"] // groups, s["k"])
        layouts, channel = ("NCW", "OIW"), 1
    else:
        x = _tensor("X", s["n"], s["l"], s["ci"])
        w = _tensor("W", s["k"], s["ci"] // groups, s["co"])
        layouts, channel = ("NWC", "WIO"), 2
    y = topi.nn.conv(x, w, s["s"], [s["p"], s["p"]], s["d"], groups, *layouts, "float32")
    return _finish([x, w], y, channel, flags)


def _conv2d(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import topi

    groups, k = s["g"], s["k"]
    if "nchw" in flags:
        x = _tensor("X", s["n"], s["ci"], s["h"], s["w"])
        w = _tensor("W", s["co"], s["ci"] // groups, k, k)
        layouts, channel = ("NCHW", "OIHW"), 1
    else:
        x = _tensor("X", s["n"], s["h"], s["w"], s["ci"])
        w = _tensor("W", k, k, s["ci"] // groups, s["co"])
        layouts, channel = ("NHWC", "HWIO"), 3
    y = topi.nn.conv(x, w, s["s"], [s["p"]] * 4, s["d"], groups, *layouts, "float32")
    return _finish([x, w], y, channel, flags)


def _depthwise2d(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import topi

    k, padding = s["k"], [s["p"]] * 4
    if "nchw" in flags:
        x, w = _tensor("X", s["n"], s["c"], s["h"], s["w"]), _tensor("W", s["c"], 1, k, k)
        y = topi.nn.depthwise_conv2d_nchw(x, w, s["s"], padding, s["d"])
        return _finish([x, w], y, 1, flags)
    x, w = _tensor("X", s["n"], s["h"], s["w"], s["c"]), _tensor("W", k, k, s["c"], 1)
    y = topi.nn.depthwise_conv2d_nhwc(x, w, s["s"], padding, s["d"])
    return _finish([x, w], y, 3, flags)


def _deconv2d(s: _Sizes, flags: _Flags) -> list[Any]:
    """Transposed convolution, channels first as PyTorch programs have it, or last (``nhwc``)."""
    from tvm import topi

    if "nhwc" in flags:
        x, w, y = _deconv2d_channels_last(s)
        return _finish([x, w], y, 3, flags)
    x = _tensor("X", s["n"], s["ci"], s["h"], s["w"])
    w = _tensor("W", s["ci"], s["co"], s["k"], s["k"])
    strides, padding = (s["s"], s["s"]), [s["p"]] * 4
    y = topi.nn.conv2d_transpose_nchw(x, w, strides, padding, "float32", (0, 0))
    return _finish([x, w], y, 1, flags)


def _deconv2d_channels_last(s: _Sizes) -> tuple[Any, Any, Any]:
    """Image, weight and output; zeros between the pixels are read, not written down first."""
    from tvm import te, tirx, topi

    k, stride = s["k"], s["s"]
    x, w = _tensor("X", s["n"], s["h"], s["w"], s["ci"]), _tensor("W", k, k, s["ci"], s["co"])
    before = k - 1 - s["p"]
    if before < 0:
        raise ValueError(f"a padding of {s['p']} is wider than the window of {k} reaches")
    rim = -(-before // stride)
    padded = topi.nn.pad(x, [0, rim, rim, 0], [0, rim, rim, 0])
    height, width = ((s[side] - 1) * stride - 2 * s["p"] + k for side in ("h", "w"))
    axes = [te.reduce_axis((0, extent), name=n) for extent, n in ((k, "kh"), (k, "kw"))]
    axes.append(te.reduce_axis((0, s["ci"]), name="ci"))

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


def _pool2d(kind: str) -> Callable[[_Sizes, _Flags], list[Any]]:
    def build(s: _Sizes, flags: _Flags) -> list[Any]:
        from tvm import topi

        layout, axis = ("NCHW", 1) if "nchw" in flags else ("NHWC", 3)
        shape = [s["n"], s["h"], s["w"]]
        shape.insert(axis, s["c"])
        x = _tensor("X", *shape)
        window = ((s["k"], s["k"]), (s["s"], s["s"]), (1, 1), (s["p"],) * 4)
        return [x, topi.nn.pool2d(x, *window, kind, layout=layout)]

    return build


def _global_pool(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import topi

    if "nchw" in flags:
        x = _tensor("X", s["n"], s["c"], s["h"], s["w"])
        return [x, topi.nn.adaptive_pool(x, (1, 1), "avg", layout="NCHW")]
    x = _tensor("X", s["n"], s["h"], s["w"], s["c"])
    return [x, topi.nn.adaptive_pool(x, (1, 1), "avg", layout="NHWC")]


def _softmax(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import topi

    x = _tensor("X", s["m"], s["n"])
    return [x, topi.nn.log_softmax(x) if "log" in flags else topi.nn.softmax(x, axis=1)]


def _layernorm(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import te, topi

    x, gamma, beta = _tensor("X", s["m"], s["n"]), _tensor("gamma", s["n"]), _tensor("beta", s["n"])
    if "add" not in flags:
        return [x, gamma, beta, topi.nn.layer_norm(x, gamma, beta, [1])]
    other = _tensor("residual", s["m"], s["n"])
    total = te.compute((s["m"], s["n"]), lambda i, j: x[i, j] + other[i, j], name="add_residual")
    return [x, other, gamma, beta, topi.nn.layer_norm(total, gamma, beta, [1])]


def _rmsnorm(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import topi

    x, weight = _tensor("X", s["m"], s["n"]), _tensor("weight", s["n"])
    return [x, weight, topi.nn.rms_norm(x, weight, [1])]


def _groupnorm(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import topi

    x = _tensor("X", s["n"], s["c"], s["h"], s["w"])
    gamma, beta = _tensor("gamma", s["c"]), _tensor("beta", s["c"])
    y = topi.nn.group_norm(x, gamma, beta, s["g"], 1, [2, 3])
    return [x, gamma, beta, _activation(y, flags)]


def _reduce(kind: str) -> Callable[[_Sizes, _Flags], list[Any]]:
    def build(s: _Sizes, flags: _Flags) -> list[Any]:
        from tvm import topi

        x = _tensor("X", s["m"], s["n"])
        # Along the rows, or with the flag down the columns.
        return [x, getattr(topi, kind)(x, axis=0 if "columns" in flags else 1)]

    return build


def _norm(s: _Sizes, flags: _Flags) -> list[Any]:
    """Euclidean norm of each of ``b`` matrices: nothing but a reduction can be parallel."""
    from tvm import te

    x = _tensor("X", s["b"], s["m"], s["n"])
    i, j = te.reduce_axis((0, s["m"]), name="i"), te.reduce_axis((0, s["n"]), name="j")
    total = te.compute(
        (s["b"],), lambda b: te.sum(x[b, i, j] * x[b, i, j], axis=[i, j]), name="squares"
    )
    return [x, te.compute((s["b"],), lambda b: te.sqrt(total[b]), name="norm")]


def _chain(s: _Sizes, flags: _Flags) -> list[Any]:
    """Elementwise: optional bias, batch norm and residual, then one activation."""
    x = _tensor("X", s["m"], s["n"])
    return _finish([x], x, 1, flags)


def _glu(s: _Sizes, flags: _Flags) -> list[Any]:
    """Gated activation: activation(gate) * up, as in SwiGLU and GEGLU."""
    from tvm import te

    gate, up = _tensor("gate", s["m"], s["n"]), _tensor("up", s["m"], s["n"])
    left = _activation(gate, flags)
    product = te.compute((s["m"], s["n"]), lambda i, j: left[i, j] * up[i, j], name="gated")
    return [gate, up, product]


def _transpose(s: _Sizes, flags: _Flags) -> list[Any]:
    from tvm import te

    x = _tensor("X", s["m"], s["n"])
    return [x, te.compute((s["n"], s["m"]), lambda i, j: x[j, i], name="transpose")]


_IMAGE = ("n", "h", "w")
_WINDOW = ("k", "s", "p")
_ACTIVATIONS = _EPILOGUE[3:]

FAMILIES: Mapping[str, Family] = {
    "matmul": Family(("m", "n", "k"), {}, _EPILOGUE, _matmul),
    "dense": Family(("m", "n", "k"), {}, _EPILOGUE, _dense),
    "bmm": Family(("b", "m", "n", "k"), {}, ("nt",), _bmm),
    "scores": Family(("b", "m", "n", "d"), {}, ("softmax",), _scores),
    "context": Family(("b", "m", "n", "d"), {}, (), _context),
    "conv1d": Family(
        ("n", "l", "ci", "co", *_WINDOW, "d", "g"),
        {"n": 1, "s": 1, "p": 0, "d": 1, "g": 1},
        ("nchw", *_EPILOGUE),
        _conv1d,
    ),
    "conv2d": Family(
        (*_IMAGE, "ci", "co", *_WINDOW, "d", "g"),
        {"n": 1, "s": 1, "p": 0, "d": 1, "g": 1},
        ("nchw", *_EPILOGUE),
        _conv2d,
    ),
    "depthwise2d": Family(
        (*_IMAGE, "c", *_WINDOW, "d"),
        {"n": 1, "s": 1, "p": 0, "d": 1},
        ("nchw", *_EPILOGUE),
        _depthwise2d,
    ),
    "deconv2d": Family(
        (*_IMAGE, "ci", "co", *_WINDOW), {"n": 1, "s": 1, "p": 0}, ("nhwc", *_EPILOGUE), _deconv2d
    ),
    "maxpool2d": Family(
        (*_IMAGE, "c", *_WINDOW), {"n": 1, "s": 1, "p": 0}, ("nchw",), _pool2d("max")
    ),
    "avgpool2d": Family(
        (*_IMAGE, "c", *_WINDOW), {"n": 1, "s": 1, "p": 0}, ("nchw",), _pool2d("avg")
    ),
    "globalpool2d": Family((*_IMAGE, "c"), {"n": 1}, ("nchw",), _global_pool),
    "softmax": Family(("m", "n"), {}, ("log",), _softmax),
    "layernorm": Family(("m", "n"), {}, ("add",), _layernorm),
    "rmsnorm": Family(("m", "n"), {}, (), _rmsnorm),
    "groupnorm": Family((*_IMAGE, "c", "g"), {"n": 1}, _ACTIVATIONS, _groupnorm),
    "sum": Family(("m", "n"), {}, ("columns",), _reduce("sum")),
    "max": Family(("m", "n"), {}, ("columns",), _reduce("max")),
    "argmax": Family(("m", "n"), {}, ("columns",), _reduce("argmax")),
    "norm": Family(("b", "m", "n"), {"b": 1}, (), _norm),
    "chain": Family(("m", "n"), {}, _EPILOGUE, _chain),
    "glu": Family(("m", "n"), {}, _ACTIVATIONS, _glu),
    "transpose": Family(("m", "n"), {}, (), _transpose),
}
