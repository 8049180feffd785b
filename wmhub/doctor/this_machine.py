"""What this machine has to compile with, to run on, and to measure."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from wmhub import tvm_compat
from wmhub.children import code_command
from wmhub.doctor.finding import Finding, Severity
from wmhub.doctor.installation import TRIAL_SECONDS
from wmhub.hardware.machine import read_cpu


def compiler() -> Iterator[Finding]:
    """What links libraries."""
    # What TVM looks for: the one that the environment names, and no other then.
    named = os.environ.get("CXX") or os.environ.get("CC")
    names = [named] if named else ["g++", "gcc", "clang++", "clang", "c++", "cc"]
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found:
        yield Finding("linker", Severity.OK, found)
    else:
        what = f"{named!r}, which CXX or CC names, is not there" if named else "no C++ compiler"
        said = f"{what}: schedules are found, but not written as libraries"
        remedy = "name one that is, or none" if named else "install g++ or clang++"
        yield Finding("linker", Severity.NOTE, said, remedy)


def cpu() -> Iterator[Finding]:
    """Its key and what is known of it, with what makes its measurements doubtful."""
    from wmhub.hardware.probe import examine as examine_hardware

    probed = examine_hardware(quick=True)
    profile = probed.profile
    said = (
        f"{profile.key}: {profile.name}, {profile.cores} cores, {profile.vector_bits}-bit vectors, "
        f"L2 {profile.l2_bytes >> 10} KiB, L3 {profile.l3_bytes >> 20} MiB"
    )
    yield Finding("cpu", Severity.OK, said)
    for warning in probed.warnings:
        yield Finding("cpu", Severity.NOTE, warning)


def threads() -> Iterator[Finding]:
    """How many CPUs may be used, and what the environment says of threads."""
    available = read_cpu().usable_threads
    limited = {
        name: value
        for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS")
        if (value := os.environ.get(name)) is not None
    }
    said = f"{available} CPUs may be used"
    told = ", ".join(f"{name}={value}" for name, value in limited.items())
    # The engine sets TVM's threads itself; torch obeys the other.
    yield Finding("threads", Severity.OK, f"{said}; {told}" if told else said)


def gpu() -> Iterator[Finding]:
    """GPUs for training, and whether TVM can use those of NVIDIA."""
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        yield Finding("gpu", Severity.OK, ", ".join(sorted(names)))
    elif shutil.which("nvidia-smi") or shutil.which("rocm-smi"):
        said = f"a GPU driver is here, but torch {torch.__version__} cannot use it"
        yield Finding("gpu", Severity.NOTE, said, "install the torch build for this GPU")
    else:
        yield Finding("gpu", Severity.OK, "none; training and tuning use the CPU")
        return
    if shutil.which("nvidia-smi") and tvm_compat.is_tvm_here():
        yield _cuda_in_tvm()


def _cuda_in_tvm() -> Finding:
    """Whether candidates for a GPU of NVIDIA can be compiled and run."""
    loads = "import sys, tvm; sys.exit(not tvm.runtime.enabled('cuda'))"
    try:
        done = subprocess.run(code_command(loads), capture_output=True, timeout=TRIAL_SECONDS)
        does_load = done.returncode == 0
    except subprocess.TimeoutExpired:
        does_load = False
    if not does_load:
        said = "TVM's CUDA runtime does not load: nothing can be measured or tuned on the GPU"
        remedy = "put the libcudart that apache-tvm was built for into LD_LIBRARY_PATH"
        return Finding("cuda in tvm", Severity.NOTE, said, remedy)
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        said = "no nvcc: candidates for the GPU cannot be compiled"
        return Finding("cuda in tvm", Severity.NOTE, said, "put the CUDA toolkit's bin into PATH")
    return Finding("cuda in tvm", Severity.OK, f"TVM's CUDA runtime loads; {nvcc} compiles")
