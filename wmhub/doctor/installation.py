"""Python, the packages, and TVM: are they there, do they fit each other, and do they work."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

from wmhub import tvm_compat
from wmhub.children import code_command
from wmhub.doctor.finding import Finding, Severity

#: How long a process that tries something out may take, in seconds.
TRIAL_SECONDS = 120.0


def python() -> Iterator[Finding]:
    """Its version."""
    fits = sys.version_info >= (3, 10)
    yield Finding(
        "python",
        Severity.OK if fits else Severity.PROBLEM,
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if fits else "install Python 3.10 or newer",
    )


def packages() -> Iterator[Finding]:
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


def tvm() -> Iterator[Finding]:
    """TVM and XGBoost, and whether their versions are known to crash."""
    versions = tvm_compat.tvm_versions()
    core, ffi = versions["apache-tvm"], versions["apache-tvm-ffi"]
    if not tvm_compat.is_tvm_here():
        said = "apache-tvm is not installed: nothing can be tuned or measured here"
        yield Finding("tvm", Severity.PROBLEM, said, 'pip install "wmhub[tvm]"')
        return
    problem = None if core is None else tvm_compat.version_problem(core, ffi)
    if problem is not None:
        said, _, remedy = problem.rpartition(": ")
        yield Finding("tvm", Severity.PROBLEM, said, remedy)
    elif core is None:
        yield Finding("tvm", Severity.OK, "built from source: it has no version to be checked")
    else:
        yield Finding("tvm", Severity.OK, f"apache-tvm {core} with apache-tvm-ffi {ffi}")
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


def tvm_at_work() -> Iterator[Finding]:
    """Whether a kernel can be built and run; a pair that is known to crash is not tried."""
    versions = tvm_compat.tvm_versions()
    core, ffi = versions["apache-tvm"], versions["apache-tvm-ffi"]
    does_crash = core is not None and tvm_compat.version_problem(core, ffi) is not None
    if does_crash or not tvm_compat.is_tvm_here():
        return
    try:
        done = subprocess.run(
            code_command(_TRIAL), capture_output=True, text=True, timeout=TRIAL_SECONDS
        )
    except subprocess.TimeoutExpired:
        said = f"a kernel of one line took more than {TRIAL_SECONDS:.0f} s"
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
