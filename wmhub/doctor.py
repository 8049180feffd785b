"""``doctor``: is this installation, and this machine, fit for the work; and what mends it."""

from __future__ import annotations

import enum
import http.client
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from wmhub import tvm_compat
from wmhub.children import code_command
from wmhub.errors import WmhubError

_OFFLINE_SECONDS = 4.0
_TRIAL_SECONDS = 120.0


class Severity(str, enum.Enum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Something does without it, or is slower or less exact."""
    PROBLEM = "problem"
    """The main job does not work."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """What was looked at, in a word or two."""
    severity: Severity
    said: str
    """What was found."""
    remedy: str = ""
    """What to do about it; empty where nothing is to be done."""


def examine() -> list[Finding]:
    """Everything that ``wmhub doctor`` looks at, in the order of the layers."""
    found: list[Finding] = []
    for look in (
        _python,
        _packages,
        _tvm,
        _tvm_at_work,
        _compiler,
        _cpu,
        _threads,
        _gpu,
        _model,
        _hub,
    ):
        try:
            found += look()
        except Exception as error:  # What is broken here must not hide what else was found.
            said = str(error) if isinstance(error, WmhubError) else f"{error!r}"[:300]
            found.append(Finding(look.__name__.strip("_"), Severity.PROBLEM, said))
    return found


def _python() -> Iterator[Finding]:
    fits = sys.version_info >= (3, 10)
    yield Finding(
        "python",
        Severity.OK if fits else Severity.PROBLEM,
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if fits else "install Python 3.10 or newer",
    )


def _packages() -> Iterator[Finding]:
    """The requirements of the installed distribution against what is installed."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("wmhub") or []
    except metadata.PackageNotFoundError:
        yield Finding(
            "packages", Severity.NOTE, "wmhub itself is not installed", "pip install -e ."
        )
        return
    good = []
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            remedy = f'pip install "{requirement.name}{requirement.specifier}"'
            yield Finding(requirement.name, Severity.PROBLEM, "is not installed", remedy)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            good.append(f"{requirement.name} {version}")
        else:
            remedy = f'pip install "{requirement.name}{requirement.specifier}"'
            said = f"{version} does not fit {requirement.specifier}"
            yield Finding(requirement.name, Severity.PROBLEM, said, remedy)
    yield Finding("packages", Severity.OK, ", ".join(good))


def _tvm() -> Iterator[Finding]:
    versions = tvm_compat.tvm_versions()
    core, ffi = versions["apache-tvm"], versions["apache-tvm-ffi"]
    if core is None:
        said = "apache-tvm is not installed: nothing can be tuned or measured here"
        yield Finding("tvm", Severity.PROBLEM, said, 'pip install "wmhub[tvm]"')
        return
    problem = tvm_compat.version_problem(core, ffi)
    said, _, remedy = (problem or "").rpartition(": ")
    yield Finding(
        "tvm",
        Severity.OK if problem is None else Severity.PROBLEM,
        f"apache-tvm {core} with apache-tvm-ffi {ffi}" if problem is None else said,
        remedy,
    )
    boosters = metadata.packages_distributions().get("xgboost")
    if boosters:
        yield Finding("xgboost", Severity.OK, metadata.version(boosters[0]))
    else:
        said = "missing; `wmhub train` grows trees with it, and `wmhub bench` compares with it"
        yield Finding("xgboost", Severity.NOTE, said, 'pip install "wmhub[train]"')


#: Builds, saves and runs a kernel; a crash takes only the process that tries it.
_TRIAL = """
import json, time
began = time.monotonic()
from wmhub.tvm_compat import llvm_cpu, llvm_target, llvm_version, tvm, use_target
from tvm import te
x = te.placeholder((1024,), name="x")
y = te.compute((1024,), lambda i: x[i] + 1.0, name="y")
module = tvm.IRModule({"main": te.create_prim_func([x, y]).with_attr("global_symbol", "main")})
tvm.ir.load_json(tvm.ir.save_json(module))
built = tvm.compile(module, target=use_target(llvm_target()))
device = tvm.runtime.device("cpu", 0)
import numpy
given = tvm.runtime.tensor(numpy.zeros(1024, "float32"), device)
result = tvm.runtime.tensor(numpy.zeros(1024, "float32"), device)
built(given, result)
assert result.numpy().sum() == 1024.0
print(json.dumps([llvm_version(), llvm_cpu(), time.monotonic() - began]))
"""


def _tvm_at_work() -> Iterator[Finding]:
    versions = tvm_compat.tvm_versions()
    core = versions["apache-tvm"]
    if core is None or tvm_compat.version_problem(core, versions["apache-tvm-ffi"]) is not None:
        return
    try:
        done = subprocess.run(
            code_command(_TRIAL), capture_output=True, text=True, timeout=_TRIAL_SECONDS
        )
    except subprocess.TimeoutExpired:
        said = f"a kernel of one line took more than {_TRIAL_SECONDS:.0f} s"
        yield Finding("tvm at work", Severity.PROBLEM, said, "stop other work on this machine")
        return
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"signal or status {done.returncode}"]
        remedy = 'pip install --force-reinstall "wmhub[tvm]" -c constraints.txt'
        yield Finding("tvm at work", Severity.PROBLEM, lines[-1][:300], remedy)
        return
    llvm, cpu, seconds = json.loads(done.stdout.splitlines()[-1])
    said = f"LLVM {llvm} compiles for {cpu}; import, build and run of a kernel took {seconds:.1f} s"
    yield Finding("tvm at work", Severity.OK, said)


def _compiler() -> Iterator[Finding]:
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


def _cpu() -> Iterator[Finding]:
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


def _threads() -> Iterator[Finding]:
    available = len(os.sched_getaffinity(0))
    limited = {
        name: value
        for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS")
        if (value := os.environ.get(name)) is not None
    }
    said = f"{available} CPUs may be used"
    told = ", ".join(f"{name}={value}" for name, value in limited.items())
    # The engine sets TVM's threads itself; torch obeys the other.
    yield Finding("threads", Severity.OK, f"{said}; {told}" if told else said)


def _gpu() -> Iterator[Finding]:
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
    if shutil.which("nvidia-smi") and tvm_compat.tvm_versions()["apache-tvm"] is not None:
        yield _cuda_in_tvm()


def _cuda_in_tvm() -> Finding:
    """Whether candidates for a GPU of NVIDIA can be compiled and run."""
    loads = "import sys, tvm; sys.exit(not tvm.runtime.enabled('cuda'))"
    try:
        done = subprocess.run(code_command(loads), capture_output=True, timeout=_TRIAL_SECONDS)
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


def _model() -> Iterator[Finding]:
    from wmhub.hub import known_hardware, nearest_model
    from wmhub.hub.artifact import MODEL
    from wmhub.search.choose import this_hardware

    here = this_hardware(None)
    known = known_hardware(MODEL)
    choice = nearest_model(here, known)
    if choice.name is None:
        said = f"no known checkpoint fits {here}"
        yield Finding("checkpoint", Severity.NOTE, said, "train one: wmhub train --help")
    elif known[choice.name] == here:
        yield Finding("checkpoint", Severity.OK, f"{choice.name} was trained on this hardware")
    else:
        said = f"none for {here}; {choice.name} is the nearest ({choice.reasons[choice.name]})"
        remedy = f"take it with --model {choice.name} --allow-other-hardware"
        yield Finding("checkpoint", Severity.NOTE, said, remedy)


def _hub() -> Iterator[Finding]:
    from wmhub.hub.patience import without_login, without_secrets
    from wmhub.hub.settings import is_offline, open_hub

    spec = os.environ.get("WMHUB_HUB") or "hf-hub"
    if spec != "hf-hub":
        yield Finding("hub", Severity.OK, open_hub(spec).location)
        return
    # Whether it answers can be asked without a login, and no login is anyone's business here.
    endpoint = without_login(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    shown = without_secrets(endpoint.rstrip("/"))
    if is_offline(None):
        yield Finding(
            "hub",
            Severity.OK,
            f"{shown}, not asked: offline by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE",
        )
        return
    began = time.monotonic()
    problem = _unreachable(endpoint)
    if problem is None:
        milliseconds = 1e3 * (time.monotonic() - began)
        yield Finding("hub", Severity.OK, f"{shown} answered in {milliseconds:.0f} ms")
    else:
        said = f"{shown} cannot be reached ({without_secrets(problem)[:160]})"
        yield Finding(
            "hub",
            Severity.NOTE,
            f"{said}; embedded checkpoints and the cache still work",
            "set HF_ENDPOINT to a mirror, WMHUB_HUB=folder:PATH, or HF_HUB_OFFLINE=1",
        )


def _unreachable(endpoint: str) -> str | None:
    """Why nothing answers at ``endpoint``, a URL without a login; ``None`` if something does."""
    if not endpoint.startswith(("https://", "http://")):
        return "HF_ENDPOINT is no URL"
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_OFFLINE_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # It answered.
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error))
    return None
