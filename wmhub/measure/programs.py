"""The calls into TVM that building and timing one program need; everything else is above."""

from __future__ import annotations

import base64
import ctypes
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wmhub.records import Scheduler, Workload, workload_id

#: Larger than any last-level cache of a GPU, in bytes.
_GPU_FLUSH_BYTES = 256 << 20
#: What TVM can fill: bits of floating-point numbers, and bytes. As a wider integer such bits are an
#: index far outside of everything, and it knows no number below a byte.
_RANDOM = re.compile(r"b?float(8|16|32|64)(?![0-9])|u?int8(?![0-9])")


#: DLPack's CPU, and what TVM's RPC adds multiples of to a type of device (``RPC_SESS_MASK``).
_CPU, _SESSION_MASK = 1, 128
#: Variables of a device's driver that say which of several are visible.
_VISIBLE = {
    "cuda": ("CUDA_VISIBLE_DEVICES",),
    "rocm": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
}


def load_program(text: str) -> Any:
    """The ``tvm.IRModule`` that ``save_program`` wrote."""
    from wmhub.tvm_compat import tvm

    return tvm.ir.load_json(text)


def save_program(module: Any) -> str:
    """``module`` as JSON text."""
    from wmhub.tvm_compat import tvm

    return str(tvm.ir.save_json(module))


def workload_of(module: Any) -> Workload:
    """The workload that ``module`` is, as a database holds it."""
    from wmhub.tvm_compat import meta_schedule as ms

    key, program = (str(text) for text in ms.database.Workload(module).as_json())
    id_ = workload_id(Scheduler.META_SCHEDULE, key, base64.b64decode(program))
    return Workload(id_, Scheduler.META_SCHEDULE, key, program)


def compile_program(module: Any, target: Any, packs_weights: bool = False) -> Any:
    """Compiles as TVM's ``default_build`` does, but for its import of every vendor's intrinsics.

    So weights (``layout_free_buffers``) are to come in the layout that the schedule wants, as they
    would from a whole network; or with ``packs_weights`` as the program has them.
    """
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    from wmhub.tvm_compat import tvm

    if not packs_weights:
        module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
    # The compiler of a GPU's code asks for the current target, and without one for the device,
    # after which this process cannot be forked.
    with target:
        return tvm.compile(module, target=target)


def trivial_program(target: Any) -> Any:
    """An ``IRModule`` that adds one to 64 numbers, bound to threads where ``target`` is a GPU."""
    from wmhub.tvm_compat import Schedule, tvm

    x = tvm.te.placeholder((64,), name="x", dtype="float32")
    y = tvm.te.compute((64,), lambda i: x[i] + 1.0, name="y")
    schedule = Schedule(tvm.te.create_prim_func([x, y]))
    if "gpu" in target.keys:
        (loop,) = schedule.get_loops(schedule.get_sblock("y"))
        block, thread = schedule.split(loop, [None, 32])
        schedule.bind(block, "blockIdx.x")
        schedule.bind(thread, "threadIdx.x")
    return schedule.mod


def entry_arguments(module: Any) -> list[Any]:
    """TVM's ``ArgInfo`` of the entry function's arguments: a schedule may want weights in another
    layout than the program that it is of."""
    from wmhub.tvm_compat import meta_schedule as ms

    return list(ms.arg_info.ArgInfo.from_entry_func(module, remove_preproc=True))


def argument_info(module: Any) -> list[Any]:
    """`entry_arguments`, ``["TENSOR", dtype, shape]`` each, as in a record."""
    from wmhub.tvm_compat import plain

    return [plain(item.as_json()) for item in entry_arguments(module)]


def measure_candidate(schedule: Any) -> Any:
    """MetaSchedule's ``MeasureCandidate`` of a ``Schedule``."""
    from wmhub.tvm_compat import meta_schedule as ms

    return ms.search_strategy.MeasureCandidate(schedule, entry_arguments(schedule.mod))


def trace_text(trace: Any) -> str:
    """``[instructions, decisions]`` of a ``Trace`` as compact JSON, post-processing included."""
    from tvm.s_tir.schedule import _ffi_api

    from wmhub.tvm_compat import plain

    return json.dumps(plain(_ffi_api.TraceAsJSON(trace, False)), separators=(",", ":"))


def device_name(kind: str) -> str:
    """What TVM's runtime calls the device of a target kind."""
    return {"llvm": "cpu", "c": "cpu"}.get(kind, kind)


def device_here(target: Mapping[str, Any]) -> str:
    """What tells the device that programs of ``target`` run on from others of this machine: of
    several GPUs, a part of a file name for the first that is visible; empty for the CPU."""
    name = device_name(str(target["kind"]))
    if name == "cpu":
        return ""
    visible = (os.environ.get(variable) for variable in _VISIBLE.get(name, ()))
    first = next((text for text in visible if text is not None), "").split(",")[0].strip()
    # What is named in another way may be the first, and had better wait for it.
    return f"{name}-{first if first.isdecimal() and first.isascii() else 0}"


def random_arguments(info: Sequence[Any], device: Any, fill: Any = None) -> list[Any]:
    """Tensors on ``device``, one per item of ``argument_info``: random floating-point numbers and
    bytes, zeros of every other type, which are an index into anything.

    ``fill``: the random generator of a remote device; by default this process's.
    """
    from wmhub.tvm_compat import tvm

    fill = fill or tvm.get_global_func("tvm.contrib.random.random_fill_for_measure")
    tensors = []
    for _, dtype, shape in info:
        tensor = tvm.runtime.empty(shape, dtype, device)
        (fill if _RANDOM.match(dtype) else _fill_with_zeros)(tensor)
        tensors.append(tensor)
    return tensors


class Arguments:
    """Arguments of the programs of one group: a tensor for each place, however it is laid out.

    Schedules that move weights into a layout of their own differ in their shapes alone. Tensors of
    each would take the memory of all, and to make them anew for each round most of its time.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self._flat: dict[tuple[int, str], Any] = {}

    def of(self, info: Sequence[Any]) -> list[Any]:
        """One tensor per item of ``argument_info``, filled as by `random_arguments`; other calls
        gave the same memory."""
        views = []
        for place, (_, dtype, shape) in enumerate(info):
            count = math.prod(shape)
            flat = self._flat.get((place, dtype))
            if flat is None or flat.shape[0] < count:
                # Not both at once: memory may be short.
                flat = None
                self._flat.pop((place, dtype), None)
                (flat,) = random_arguments([["TENSOR", dtype, [count]]], self._device)
                self._flat[place, dtype] = flat
            views.append(flat._create_view(shape))
        return views


def _fill_with_zeros(tensor: Any) -> None:
    """Zeros of any type, on any device; numpy knows no types below a byte."""
    from tvm_ffi import dtype

    from wmhub.tvm_compat import tvm

    kind = dtype(str(tensor.dtype))
    count = (math.prod(tensor.shape) * kind.bits * kind.lanes + 7) // 8
    copy = tvm.get_global_func("runtime.TVMTensorCopyFromBytes")
    copy(tensor, ctypes.cast(ctypes.create_string_buffer(count), ctypes.c_void_p), count)


def evaluator(
    linked: Any, device: Any, number: int, repeats: int, flush_cache: bool
) -> Callable[..., Sequence[float]]:
    """A function of the arguments to ``repeats`` mean times over ``number`` runs, in seconds."""
    options: dict[str, Any] = {}
    # Of a remote device, TVM adds 128 for each session.
    on_cpu = device.dlpack_device_type() % _SESSION_MASK == _CPU
    if flush_cache:
        number = 1
        if on_cpu:
            options["f_preproc"] = "cache_flush_cpu_non_first_arg"
        else:
            options["cache_flush_bytes"] = _GPU_FLUSH_BYTES
    timer = linked.time_evaluator(
        linked.entry_name, device, number=number, repeat=repeats, **options
    )
    return lambda *arguments: [float(seconds) for seconds in timer(*arguments).results]
