"""The one door to TVM: absorbs its moving namespaces and what it costs to import.

``from wmhub.tvm_compat import meta_schedule as ms`` imports TVM on first use, after ``check_tvm``
has looked at the installed versions, and without the tensor intrinsics of other vendors, see
`wmhub.tvm_intrinsics`.

Written for apache-tvm 0.25 to 0.27.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from wmhub.errors import InvalidInputError, MissingDependencyError
from wmhub.garbage import uncollected
from wmhub.hardware.machine import read_cpu
from wmhub.tvm_intrinsics import leave_out_intrinsics, load_intrinsics

#: Name that this module offers -> module of TVM, and attribute in it or ``""`` for the module.
_NAMES = {
    "tvm": ("tvm", ""),
    "relax": ("tvm.relax", ""),
    "meta_schedule": ("tvm.s_tir.meta_schedule", ""),
    "Schedule": ("tvm.s_tir", "Schedule"),
    "Trace": ("tvm.s_tir.schedule", "Trace"),
    "derived_object": ("tvm.ir.utils", "derived_object"),
    "normalize": ("tvm.s_tir.meta_schedule.tune_context", "_normalize_mod"),
    "IndexMap": ("tvm.tirx", "IndexMap"),
    "estimate_flops": ("tvm.s_tir.analysis", "estimate_tir_flops"),
}

#: Release of apache-tvm -> releases of apache-tvm-ffi that it works with, oldest first. Each pair
#: was tried: the others lack a symbol at import, or (0.1.15) crash in ``tvm.ir.save_json``.
_FFI_OF: dict[tuple[int, ...], tuple[str, ...]] = {
    (0, 25): ("0.1.12",),
    (0, 26): ("0.1.13", "0.1.14"),
    (0, 27): ("0.1.14",),
}

tvm: Any
relax: Any
meta_schedule: Any
Schedule: Any
Trace: Any
derived_object: Any
normalize: Any
IndexMap: Any
estimate_flops: Any


def __getattr__(name: str) -> Any:
    if name in globals():
        return globals()[name]  # This module itself asks; the versions need be read but once.
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_tvm()
    module_name, attribute = _NAMES[name]
    try:
        with uncollected():
            module = importlib.import_module(module_name)
            leave_out_intrinsics()
    except ImportError as error:
        raise MissingDependencyError(
            f"TVM {tvm_versions()['apache-tvm'] or 'without a version'} is installed but has no "
            f'MetaSchedule of 0.25 to 0.27 ({error}): pip install "wmhub[tvm]"'
        ) from error
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value
    return value


def tvm_versions() -> dict[str, str | None]:
    """Installed versions of ``apache-tvm`` and ``apache-tvm-ffi``, without importing either."""
    versions: dict[str, str | None] = {}
    for package in ("apache-tvm", "apache-tvm-ffi"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def is_tvm_here() -> bool:
    """Whether there is a TVM to import; one built from source has no version to ask for."""
    is_installed = tvm_versions()["apache-tvm"] is not None
    return is_installed or importlib.util.find_spec("tvm") is not None


def check_tvm() -> None:
    """Raises ``MissingDependencyError`` where TVM is missing, unfit, or is known to crash.

    Looks at the versions alone, because the crash is a segmentation fault that no handler sees.
    """
    versions = tvm_versions()
    core, ffi = versions["apache-tvm"], versions["apache-tvm-ffi"]
    if core is None:
        if "tvm" in sys.modules or is_tvm_here():
            return
        raise MissingDependencyError.named("apache-tvm", "searching and measuring", "tvm")
    problem = version_problem(core, ffi)
    if problem is not None:
        raise MissingDependencyError(problem)


def version_problem(core: str, ffi: str | None) -> str | None:
    """What is wrong with ``apache-tvm core`` beside ``apache-tvm-ffi ffi``, and the remedy."""
    release = tuple(int(part) for part in core.split(".")[:2] if part.isdigit())
    if release < (0, 25):
        return (
            f"apache-tvm {core} is older than 0.25, whose MetaSchedule lives elsewhere: "
            'pip install "wmhub[tvm]" (a classic TVM of 0.8 to 0.19 with auto_scheduler is served '
            "by Evaluator.auto_scheduler_model())"
        )
    fitting = _FFI_OF.get(release)
    if fitting is None:
        return None  # Newer than what was tried; `wmhub doctor` tries it out.
    remedy = f'pip install "apache-tvm-ffi=={fitting[-1]}.*"'
    if ffi is None:
        return f"apache-tvm {core} is installed without apache-tvm-ffi: {remedy}"
    if ".".join(ffi.split(".")[:3]) in fitting:
        return None
    if _numbers(ffi) > _numbers(fitting[-1]):
        return (
            f"apache-tvm {core} with apache-tvm-ffi {ffi} crashes (a segmentation fault in "
            f"tvm.ir.save_json, that is in every tuning run, or a missing symbol): {remedy}"
        )
    return f"apache-tvm {core} does not load with apache-tvm-ffi {ffi}: {remedy}"


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version before its ``post`` or ``rc``."""
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def without_torch() -> None:
    """Keeps TVM from importing torch in this process, which takes longer than TVM itself.

    TVM's ffi does so where torch is installed, to avoid a conflict on Windows. For processes of our
    own that build and time programs; in one that also uses torch it would be a disaster.
    """
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]


def use_target(target: Any, intrinsics: bool = True) -> Any:
    """The ``tvm.target.Target`` of a dictionary or target, with its tensor intrinsics registered.

    Without ``intrinsics`` programs can be compiled, but not be scheduled with ``Tensorize``. Raises
    ``InvalidInputError`` for what TVM refuses, with TVM's reason.
    """
    target_class = __getattr__("tvm").target.Target
    if not isinstance(target, target_class):
        if isinstance(target, str) and " " in target:
            raise InvalidInputError(
                f'target {target!r}: TVM takes a dictionary, such as {{"kind": "llvm", '
                '"mcpu": "emeraldrapids", "num-cores": 2}'
            )
        try:
            target = target_class(target)
        except Exception as error:  # TVM raises its own kinds, which differ by version.
            reason = last_line(error) or type(error).__name__
            raise InvalidInputError(f"target {target!r}: {reason}") from error
    if intrinsics:
        load_intrinsics(target)
    return target


def cuda_compiler(forks: bool) -> dict[str, str]:
    """Environment variables that have TVM compile for CUDA with nvcc.

    TVM's own choice is NVRTC, which speaks with the driver when it compiles: a process that has
    done so and then ``forks`` has children that cannot run programs. What the user has set stays.
    Raises ``MissingDependencyError`` without a compiler that will do.
    """
    if "TVM_CUDA_COMPILE_MODE" in os.environ:
        return {}
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        has_nvrtc = all(importlib.util.find_spec(name) for name in ("cuda", "cuda.bindings"))
        if has_nvrtc and not forks:
            return {}
        raise MissingDependencyError(
            "candidates for CUDA are compiled with nvcc, which is not in PATH: add the bin folder "
            "of the CUDA toolkit"
        )
    chosen = {"TVM_CUDA_COMPILE_MODE": "nvcc"}
    # TVM looks two folders above nvcc, which may be a script that stands elsewhere.
    for home in (Path(nvcc).resolve().parent.parent, Path("/usr/local/cuda")):
        if (home / "include" / "cuda_runtime.h").is_file() and "CUDA_PATH" not in os.environ:
            chosen["CUDA_PATH"] = str(home)
            break
    return chosen


@contextlib.contextmanager
def compiling_for(kind: str) -> Iterator[None]:
    """Meanwhile this process, and those that it starts, compile as `cuda_compiler` has it where
    ``kind`` is that of a target of NVIDIA."""
    chosen = cuda_compiler(forks=False) if kind == "cuda" else {}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name in chosen:
            os.environ.pop(name, None)


def llvm_target(cores: int | None = None, mcpu: str | None = None) -> dict[str, Any]:
    """The target dictionary of this machine's CPU, as ``tvm.target.Target`` takes it.

    ``cores``: how many the schedule may use; by default those that this process may use.
    ``mcpu``: LLVM's name of the CPU; by default what this one is.
    """
    cores = read_cpu().cores if cores is None else cores
    if cores < 1:
        raise InvalidInputError(f"cores must be at least 1, not {cores}")
    return {"kind": "llvm", "mcpu": mcpu or llvm_cpu(), "num-cores": cores}


def llvm_cpu() -> str:
    """LLVM's name of this machine's CPU, such as ``emeraldrapids``, seen through a disguise."""
    named, facts = str(_codegen().llvm_get_system_cpu()), read_cpu()
    return facts.microarchitecture if facts.disguised_as == named else named


def llvm_version() -> int:
    """Major version of the LLVM in TVM."""
    return int(_codegen().llvm_version_major())


def _codegen() -> Any:
    return __getattr__("tvm").target.codegen


def use_threads(count: int) -> None:
    """Lets kernels of this process, and of those that it starts, use ``count`` threads.

    To be called before the first kernel runs. Without it TVM takes half of an x86 machine's CPUs,
    because it counts each as half a core; a virtual machine without hyper-threads then idles.
    """
    os.environ["TVM_NUM_THREADS"] = str(count)


def dtype_of(variable: Any) -> str:
    """Data type of a variable of a program: TVM 0.27 keeps it in the variable's type."""
    known = getattr(variable, "dtype", None)
    return str(variable.ty.dtype if known is None else known)


def tensor_type(variable: Any) -> tuple[str, list[int]] | None:
    """Data type and shape of a variable of Relax; ``None`` for no tensor of constant shape.

    TVM 0.27 keeps them in the variable's type.
    """
    known: Any = getattr(variable, "ty", None) or getattr(variable, "struct_info", None)
    shape = getattr(getattr(known, "shape", None), "values", None)
    integer = __getattr__("tvm").tirx.IntImm
    if shape is None or not all(isinstance(extent, integer) for extent in shape):
        return None
    return str(known.dtype), [int(extent) for extent in shape]


def reads_argument(read: Any, function: Any, number: int) -> bool:
    """Whether a block's ``read`` is of argument ``number`` of ``function``. TVM 0.27 has no buffers
    beside the arguments."""
    argument = function.params[number]
    if hasattr(function, "buffer_map"):
        return bool(read.buffer.same_as(function.buffer_map[argument]))
    return bool(read.source.same_as(argument))


def raw_trace(trace: Any) -> tuple[Any, Any]:
    """Instructions and decisions of a ``Trace`` without its post-processing, as TVM containers.

    ``plain`` makes JSON values of them; ``same_structure`` tells cheaply which instructions agree.
    """
    to_json = importlib.import_module("tvm.s_tir.schedule")._ffi_api.TraceAsJSON
    instructions, decisions = to_json(trace, True)
    return instructions, decisions


def same_structure(value: Any) -> int:
    """A hash of a TVM container, equal for equal contents."""
    return int(importlib.import_module("tvm_ffi").structural_hash(value))


def plain(value: Any) -> Any:
    """The JSON value of a TVM container; what JSON cannot hold becomes ``tvm.ir.save_json`` text.

    ``Trace.as_json`` leaves TVM's own integers inside, which ``json`` refuses.
    """
    ffi = importlib.import_module("tvm_ffi")
    if isinstance(value, (ffi.Array, list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (ffi.Map, dict)):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    module = __getattr__("tvm")
    if isinstance(value, (module.tirx.IntImm, module.tirx.FloatImm)):
        return value.value
    return module.ir.save_json(value)


def last_line(message: object) -> str:
    """The last line of TVM's many that says something; empty where none does."""
    lines = [line.strip() for line in str(message or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""
