"""TVM's tensor intrinsics, loaded by target.

``tvm.s_tir.tensor_intrin`` parses those of every vendor (15 to 28 CPU seconds, CUDA alone 11), and
every ``TuneContext`` and every build worker imports it. `wmhub.tvm_compat` puts an empty package in
its place; from then on a ``TuneContext`` of this process, whoever makes it, loads those of its
target (0.3 s for x86), and so does ``use_target``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import inspect
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

#: Two threads that replace a function and put it back could leave the replacement.
_PATCHING = threading.RLock()
_INTRINSICS = "tvm.s_tir.tensor_intrin"
#: Submodules of ``tensor_intrin`` by target kind; ``llvm`` goes by the machine's architecture.
_INTRINSICS_OF = {
    "cuda": ("cuda",),
    "rocm": ("dot_product_common", "rocm"),
    "metal": ("metal",),
    "hexagon": ("hexagon",),
    "x86": ("dot_product_common", "x86"),
    "aarch64": ("dot_product_common", "arm_cpu"),
    "arm": ("dot_product_common", "arm_cpu"),
    "riscv": ("riscv_cpu",),
}


def leave_out_intrinsics() -> None:
    """Puts an empty ``tensor_intrin`` in place, whose submodules can still be imported.

    The folder stays its ``__path__``, so that a later import of one submodule works as ever.
    """
    if _INTRINSICS in sys.modules:
        return
    parent = importlib.import_module("tvm.s_tir")
    _load_with_contexts(importlib.import_module("tvm.s_tir.meta_schedule").TuneContext)
    module = ModuleType(_INTRINSICS, "Tensor intrinsics, imported by target (wmhub).")
    module.__spec__ = importlib.machinery.ModuleSpec(_INTRINSICS, None, is_package=True)
    module.__path__ = [str(Path(str(parent.__file__)).parent / "tensor_intrin")]
    sys.modules[_INTRINSICS] = module
    parent.tensor_intrin = module  # type: ignore[attr-defined]


def load_intrinsics(target: Any) -> None:
    """Registers the intrinsics of ``target``, a ``tvm.target.Target``."""
    names = [f"{_INTRINSICS}.{name}" for name in _INTRINSICS_OF.get(_architecture(target), ())]
    if all(name in sys.modules for name in names):
        return
    with _short_stacks():
        for name in names:
            importlib.import_module(name)


def _load_with_contexts(context_class: Any) -> None:
    """Has TVM's ``TuneContext`` load its target's intrinsics, as its own import of all would.

    Searches that are not started by us, such as ``tune_tir`` with a cost model of ours or none, may
    share this process.
    """
    begin = context_class.__init__

    @functools.wraps(begin)
    def loading(self: Any, *arguments: Any, target: Any = None, **options: Any) -> None:
        if target is not None:
            known = importlib.import_module("tvm.target").Target
            target = target if isinstance(target, known) else known(target)
            load_intrinsics(target)
        begin(self, *arguments, target=target, **options)

    context_class.__init__ = loading


@contextlib.contextmanager
def _short_stacks() -> Iterator[None]:
    """Meanwhile ``inspect.stack`` gives frames without their source.

    TVM's parser calls it for each intrinsic, for the variables around it; the source would tell
    whether it is one of a class, which none is. Finding the source of each frame looks through all
    modules that are loaded, which with torch among them takes longer than all the parsing: 0.7 s of
    0.9.
    """

    def stack(context: int = 1) -> list[inspect.FrameInfo]:
        frames, frame = [], inspect.currentframe()
        while frame is not None and (frame := frame.f_back) is not None:
            code = frame.f_code
            place = (code.co_filename, frame.f_lineno, code.co_name)
            frames.append(inspect.FrameInfo(frame, *place, None, None))
        return frames

    with _PATCHING:
        whole, inspect.stack = inspect.stack, stack
        try:
            yield
        finally:
            inspect.stack = whole


def _architecture(target: Any) -> str:
    kind = str(target.kind.name)
    if kind != "llvm":
        return kind
    codegen = importlib.import_module("tvm.target.codegen")
    triple = str(target.attrs.get("mtriple", "") or codegen.llvm_get_system_triple())
    family = triple.partition("-")[0]
    if family.startswith("riscv"):
        return "riscv"
    return {"x86_64": "x86", "i686": "x86", "arm64": "aarch64"}.get(family, family)
