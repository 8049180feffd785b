# ruff: noqa: N803, N805, N806, N812 (TVMScript has its own names)
"""Programs that misbehave in one way each, for the engine's tests; all take one float32 [16]."""

from __future__ import annotations

from typing import Any


def program(kind: str) -> str:
    """The JSON text of a program; ``fine`` and ``slow`` are the ones that run."""
    from tvm.script import ir as I
    from tvm.script import tirx as T

    from wmhub.measure.programs import save_program

    calls: dict[str, Any] = {
        "crash": ("abort", ()),
        "exit": ("_exit", (7,)),
        "hang": ("pause", ()),
        "slow": ("usleep", (30_000,)),
        "kill": ("raise", (9,)),
    }
    name, arguments = calls.get(kind, ("abs", (1,)))

    if kind == "hungry":

        @I.ir_module
        class Hungry:
            @T.prim_func(s_tir=True)
            def main(A: T.Buffer((16,), "float32")):
                B = T.alloc_buffer((1 << 40,))
                for i in T.serial(1 << 40):
                    with T.sblock("fill"):
                        vi = T.axis.spatial(1 << 40, i)
                        B[vi] = A[0]
                for i in T.serial(16):
                    with T.sblock("copy"):
                        vi = T.axis.spatial(16, i)
                        A[vi] = B[vi * 7]

        return save_program(Hungry)

    @I.ir_module
    class Calls:
        @T.prim_func(s_tir=True)
        def main(A: T.Buffer((16,), "float32")):
            for i in T.serial(16):
                with T.sblock("write"):
                    vi = T.axis.spatial(16, i)
                    A[vi] = A[vi] + T.float32(1)
            with T.sblock("call"):
                T.evaluate(T.call_extern("int32", name, *arguments))

    return save_program(Calls)
