"""What may follow an operator of the workload zoo in the same program: bias, norm, activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Sizes = Mapping[str, int]
Flags = frozenset[str]
#: Sizes and flags to ``[placeholder, ..., output]``.
Build = Callable[[Sizes, Flags], list[Any]]

#: The flags for it, in their order: a bias, folded batch norm, a residual, one activation.
EPILOGUE = ("bias", "bn", "add", "relu", "clip", "gelu", "silu", "sigmoid", "tanh", "hswish")
ACTIVATIONS = EPILOGUE[3:]


def tensor(name: str, *shape: int) -> Any:
    """An input of that shape, float32."""
    from tvm import te

    return te.placeholder(shape, name=name, dtype="float32")


def activation(x: Any, flags: Flags) -> Any:
    """``x`` after the one activation that ``flags`` name, if they do."""
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


def finish(inputs: list[Any], x: Any, channel_axis: int, flags: Flags) -> list[Any]:
    """Adds the epilogue that ``flags`` name to ``x``; vectors run along ``channel_axis``."""
    from tvm import te

    channels = int(x.shape[channel_axis])

    def along(name: str, combine: Callable[[Any, Any], Any], x: Any) -> Any:
        vector = tensor(name, channels)
        inputs.append(vector)
        body = lambda *i: combine(x(*i), vector[i[channel_axis]])  # noqa: E731
        return te.compute(x.shape, body, name=f"add_{name}" if name != "scale" else "mul_scale")

    if "bias" in flags:
        x = along("bias", lambda a, b: a + b, x)
    if "bn" in flags:
        x = along("scale", lambda a, b: a * b, x)
        x = along("shift", lambda a, b: a + b, x)
    if "add" in flags:
        other = tensor("residual", *(int(extent) for extent in x.shape))
        inputs.append(other)
        left = x
        x = te.compute(x.shape, lambda *i: left(*i) + other(*i), name="add_residual")
    return [*inputs, activation(x, flags)]
