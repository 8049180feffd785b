"""The operator families of the workload zoo, as tensor expressions: name and sizes to a program.

Each builder takes the sizes and flags of a ``ZooEntry`` and returns the placeholders and the
output. Shapes are float32 and static; images are channel-last unless the flag ``nchw`` is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from wmhub.measure.convolutions import (
    capsule2d,
    conv1d,
    conv2d,
    conv3d,
    deconv2d,
    depthwise2d,
)
from wmhub.measure.epilogue import (
    ACTIVATIONS,
    EPILOGUE,
    Build,
    Flags,
    Sizes,
    activation,
    finish,
    tensor,
)


class Family(NamedTuple):
    """One operator family."""

    sizes: tuple[str, ...]
    """Names of the sizes that an entry must give, in the order in which a name prints them."""
    defaults: Mapping[str, int]
    """Sizes that a name may leave out, and what they are then."""
    flags: tuple[str, ...]
    """Flags that it knows, in the order in which a name prints them."""
    build: Build
    """Sizes and flags to ``[placeholder, ..., output]``."""


def _matmul(s: Sizes, flags: Flags) -> list[Any]:
    from tvm import te

    a, b = tensor("A", s["m"], s["k"]), tensor("B", s["k"], s["n"])
    k = te.reduce_axis((0, s["k"]), name="k")
    c = te.compute((s["m"], s["n"]), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="matmul")
    return finish([a, b], c, 1, flags)


def _dense(s: Sizes, flags: Flags) -> list[Any]:
    from tvm import te

    x, w = tensor("X", s["m"], s["k"]), tensor("W", s["n"], s["k"])
    k = te.reduce_axis((0, s["k"]), name="k")
    y = te.compute((s["m"], s["n"]), lambda i, j: te.sum(x[i, k] * w[j, k], axis=k), name="dense")
    return finish([x, w], y, 1, flags)


def _bmm(s: Sizes, flags: Flags) -> list[Any]:
    from tvm import te

    x = tensor("X", s["b"], s["m"], s["k"])
    k = te.reduce_axis((0, s["k"]), name="k")
    shape = (s["b"], s["m"], s["n"])
    if "nt" in flags:
        y = tensor("Y", s["b"], s["n"], s["k"])
        body = lambda b, i, j: te.sum(x[b, i, k] * y[b, j, k], axis=k)  # noqa: E731
    else:
        y = tensor("Y", s["b"], s["k"], s["n"])
        body = lambda b, i, j: te.sum(x[b, i, k] * y[b, k, j], axis=k)  # noqa: E731
    return [x, y, te.compute(shape, body, name="batch_matmul")]


def _scores(s: Sizes, flags: Flags) -> list[Any]:
    """Attention scores of ``b`` heads: queries times keys, scaled, as far as softmax if flagged."""
    from tvm import te, topi

    queries, q = _of_heads("Q", s["b"], s["m"], s["d"], flags)
    keys, key = _of_heads("K", s["b"], s["n"], s["d"], flags)
    d = te.reduce_axis((0, s["d"]), name="d")
    shape = (s["b"], s["m"], s["n"])
    product = te.compute(
        shape, lambda b, i, j: te.sum(q[b, i, d] * key[b, j, d], axis=d), name="scores"
    )
    scaled = te.compute(shape, lambda *i: product(*i) * s["d"] ** -0.5, name="scaled")
    return [queries, keys, topi.nn.softmax(scaled, axis=2) if "softmax" in flags else scaled]


def _context(s: Sizes, flags: Flags) -> list[Any]:
    """Probabilities times values, heads merged: the output is [rows, heads, d]."""
    from tvm import te

    p = tensor("P", s["b"], s["m"], s["n"])
    values, v = _of_heads("V", s["b"], s["n"], s["d"], flags)
    n = te.reduce_axis((0, s["n"]), name="n")
    shape = (s["b"], s["m"], s["d"])
    y = te.compute(shape, lambda b, i, j: te.sum(p[b, i, n] * v[b, n, j], axis=n), name="context")
    merged = (s["m"], s["b"], s["d"])
    return [p, values, te.compute(merged, lambda i, b, j: y[b, i, j], name="merge_heads")]


def _of_heads(name: str, heads: int, rows: int, d: int, flags: Flags) -> tuple[Any, Any]:
    """An input of attention, and what of it is multiplied: [heads, rows, d].

    With ``split`` heads stand side by side in a row, [rows, heads, d], as the linear layer before
    leaves them, and are taken apart first.
    """
    from tvm import te

    if "split" not in flags:
        x = tensor(name, heads, rows, d)
        return x, x
    x = tensor(name, rows, heads, d)
    apart = te.compute((heads, rows, d), lambda b, i, j: x[i, b, j], name=f"split_{name.lower()}")
    return x, apart


def _pool2d(kind: str) -> Build:
    def build(s: Sizes, flags: Flags) -> list[Any]:
        from tvm import topi

        layout, axis = ("NCHW", 1) if "nchw" in flags else ("NHWC", 3)
        shape = [s["n"], s["h"], s["w"]]
        shape.insert(axis, s["c"])
        x = tensor("X", *shape)
        window = ((s["k"], s["k"]), (s["s"], s["s"]), (1, 1), (s["p"],) * 4)
        return [x, topi.nn.pool2d(x, *window, kind, layout=layout)]

    return build


def _global_pool(s: Sizes, flags: Flags) -> list[Any]:
    from tvm import topi

    if "nchw" in flags:
        x = tensor("X", s["n"], s["c"], s["h"], s["w"])
        return [x, topi.nn.adaptive_pool(x, (1, 1), "avg", layout="NCHW")]
    x = tensor("X", s["n"], s["h"], s["w"], s["c"])
    return [x, topi.nn.adaptive_pool(x, (1, 1), "avg", layout="NHWC")]


def _softmax(s: Sizes, flags: Flags) -> list[Any]:
    from tvm import topi

    x = tensor("X", s["m"], s["n"])
    return [x, topi.nn.log_softmax(x) if "log" in flags else topi.nn.softmax(x, axis=1)]


def _layernorm(s: Sizes, flags: Flags) -> list[Any]:
    from tvm import te, topi

    x, gamma, beta = tensor("X", s["m"], s["n"]), tensor("gamma", s["n"]), tensor("beta", s["n"])
    if "add" not in flags:
        return [x, gamma, beta, topi.nn.layer_norm(x, gamma, beta, [1])]
    other = tensor("residual", s["m"], s["n"])
    total = te.compute((s["m"], s["n"]), lambda i, j: x[i, j] + other[i, j], name="add_residual")
    return [x, other, gamma, beta, topi.nn.layer_norm(total, gamma, beta, [1])]


def _rmsnorm(s: Sizes, flags: Flags) -> list[Any]:
    from tvm import topi

    x, weight = tensor("X", s["m"], s["n"]), tensor("weight", s["n"])
    return [x, weight, topi.nn.rms_norm(x, weight, [1])]


def _groupnorm(s: Sizes, flags: Flags) -> list[Any]:
    from tvm import topi

    x = tensor("X", s["n"], s["c"], s["h"], s["w"])
    gamma, beta = tensor("gamma", s["c"]), tensor("beta", s["c"])
    y = topi.nn.group_norm(x, gamma, beta, s["g"], 1, [2, 3])
    return [x, gamma, beta, activation(y, flags)]


def _reduce(kind: str) -> Build:
    def build(s: Sizes, flags: Flags) -> list[Any]:
        from tvm import topi

        x = tensor("X", s["m"], s["n"])
        # Along the rows, or with the flag down the columns.
        return [x, getattr(topi, kind)(x, axis=0 if "columns" in flags else 1)]

    return build


def _norm(s: Sizes, flags: Flags) -> list[Any]:
    """Euclidean norm of each of ``b`` matrices: nothing but a reduction can be parallel."""
    from tvm import te

    x = tensor("X", s["b"], s["m"], s["n"])
    i, j = te.reduce_axis((0, s["m"]), name="i"), te.reduce_axis((0, s["n"]), name="j")
    total = te.compute(
        (s["b"],), lambda b: te.sum(x[b, i, j] * x[b, i, j], axis=[i, j]), name="squares"
    )
    return [x, te.compute((s["b"],), lambda b: te.sqrt(total[b]), name="norm")]


def _chain(s: Sizes, flags: Flags) -> list[Any]:
    """Elementwise: optional bias, batch norm and residual, then one activation."""
    x = tensor("X", s["m"], s["n"])
    return finish([x], x, 1, flags)


def _glu(s: Sizes, flags: Flags) -> list[Any]:
    """Gated activation: activation(gate) * up, as in SwiGLU and GEGLU."""
    from tvm import te

    gate, up = tensor("gate", s["m"], s["n"]), tensor("up", s["m"], s["n"])
    left = activation(gate, flags)
    product = te.compute((s["m"], s["n"]), lambda i, j: left[i, j] * up[i, j], name="gated")
    return [gate, up, product]


def _transpose(s: Sizes, flags: Flags) -> list[Any]:
    from tvm import te

    x = tensor("X", s["m"], s["n"])
    return [x, te.compute((s["n"], s["m"]), lambda i, j: x[j, i], name="transpose")]


_IMAGE = ("n", "h", "w")
_WINDOW = ("k", "s", "p")

FAMILIES: Mapping[str, Family] = {
    "matmul": Family(("m", "n", "k"), {}, EPILOGUE, _matmul),
    "dense": Family(("m", "n", "k"), {}, EPILOGUE, _dense),
    "bmm": Family(("b", "m", "n", "k"), {}, ("nt",), _bmm),
    "scores": Family(("b", "m", "n", "d"), {}, ("split", "softmax"), _scores),
    "context": Family(("b", "m", "n", "d"), {}, ("split",), _context),
    "conv1d": Family(
        ("n", "l", "ci", "co", *_WINDOW, "d", "g"),
        {"n": 1, "s": 1, "p": 0, "d": 1, "g": 1},
        ("nchw", *EPILOGUE),
        conv1d,
    ),
    "conv2d": Family(
        (*_IMAGE, "ci", "co", *_WINDOW, "d", "g"),
        {"n": 1, "s": 1, "p": 0, "d": 1, "g": 1},
        ("nchw", *EPILOGUE),
        conv2d,
    ),
    "conv3d": Family(
        ("n", "t", "h", "w", "ci", "co", "kt", "k", "st", "s", "pt", "p", "g"),
        {"n": 1, "st": 1, "s": 1, "pt": 0, "p": 0, "g": 1},
        ("nchw", *EPILOGUE),
        conv3d,
    ),
    "capsule2d": Family(
        (*_IMAGE, "ci", "co", "c", *_WINDOW), {"n": 1, "c": 4, "s": 1, "p": 0}, (), capsule2d
    ),
    "depthwise2d": Family(
        (*_IMAGE, "c", *_WINDOW, "d"),
        {"n": 1, "s": 1, "p": 0, "d": 1},
        ("nchw", *EPILOGUE),
        depthwise2d,
    ),
    "deconv2d": Family(
        (*_IMAGE, "ci", "co", *_WINDOW), {"n": 1, "s": 1, "p": 0}, ("nhwc", *EPILOGUE), deconv2d
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
    "groupnorm": Family((*_IMAGE, "c", "g"), {"n": 1}, ACTIVATIONS, _groupnorm),
    "sum": Family(("m", "n"), {}, ("columns",), _reduce("sum")),
    "max": Family(("m", "n"), {}, ("columns",), _reduce("max")),
    "argmax": Family(("m", "n"), {}, ("columns",), _reduce("argmax")),
    "norm": Family(("b", "m", "n"), {"b": 1}, (), _norm),
    "chain": Family(("m", "n"), {}, EPILOGUE, _chain),
    "glu": Family(("m", "n"), {}, ACTIVATIONS, _glu),
    "transpose": Family(("m", "n"), {}, (), _transpose),
}
