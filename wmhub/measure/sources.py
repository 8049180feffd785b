"""Workloads from wherever they are described: the zoo, a file, a program of PyTorch.

=========================  =======================================================================
``conv2d-h56-...``         one workload of the zoo, listed or not
``resnet18``               all zoo workloads of a network
``zoo``, ``zoo:held-out``  all that may be trained on; those that must not
``conv2d-*``               zoo workloads by a glob (held-out ones are left out)
``FILE.json``              an IRModule that ``tvm.ir.save_json`` wrote
``FILE.py``                TVMScript, or Python that leaves IRModules, PrimFuncs or
                           ``torch.export.ExportedProgram`` in variables of the module
=========================  =======================================================================

A ``.py`` file is executed: it is the user's own program. Nothing that came from a repository or a
dataset is ever passed here.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib.util
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmhub.errors import (
    InvalidInputError,
    MissingInputError,
    UnknownNameError,
    nearest,
)
from wmhub.measure import zoo
from wmhub.measure.networks import SHAPES
from wmhub.measure.programs import argument_info, save_program
from wmhub.measure.sketch import REFUSALS
from wmhub.tvm_compat import last_line
from wmhub.tvm_json import parse_program

if TYPE_CHECKING:
    from wmhub.measure.whole_network import WholeNetwork

_IMPORTS = re.compile(r"^\s*(?:import|from)\s", re.MULTILINE)


@dataclass(frozen=True)
class NamedWorkload:
    """One function to be scheduled."""

    name: str
    """Readable: the zoo's name, or that of the function, task or variable."""
    mod: Any
    """``tvm.IRModule`` whose one function is ``main``."""
    weight: int = 1
    """How often it occurs in the program that it came from."""
    is_operator: bool = False
    """Whether that is a network."""


@dataclass(frozen=True)
class Found:
    """What a description gave."""

    workloads: list[NamedWorkload]
    skipped: dict[str, str] = field(default_factory=dict)
    """Name of each function that can be none, and why."""
    networks: list[WholeNetwork] = field(default_factory=list)
    """What the workloads that are operators of a network came from."""

    @classmethod
    def of(cls, parts: Iterable[Found]) -> Found:
        """All of several."""
        found = cls([])
        for part in parts:
            found.workloads.extend(part.workloads)
            found.skipped.update(part.skipped)
            found.networks.extend(part.networks)
        return found

    def require(self, what: str) -> Found:
        """Itself; raises ``InvalidInputError`` with all reasons where no workload is left of
        ``what``."""
        if self.workloads:
            return self
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.skipped.items())
        raise InvalidInputError(f"{what}{': ' if reasons else ''}{reasons}")


def load_workloads(spec: str, target: Any = None) -> Found:
    """The workloads that ``spec`` describes; see the module.

    ``target``: what the tasks of a whole network are extracted for, by default this CPU. Raises
    ``MissingInputError``, ``UnknownNameError`` or, where none is left, ``InvalidInputError``.
    """
    path = Path(spec)
    if path.suffix in (".py", ".json"):
        if not path.is_file():
            raise MissingInputError(f"{spec}: there is no such file of workloads")
        values = _from_json(path) if path.suffix == ".json" else _from_python(path)
        found = Found.of(_workloads_of(name, value, target) for name, value in values)
        return found.require(
            f"{spec}: no IRModule, PrimFunc or torch.export.ExportedProgram in it that can be tuned"
        )
    return Found([NamedWorkload(name, zoo.build(name)) for name in zoo_names(spec)])


def _workloads_of(name: str, value: Any, target: Any) -> Found:
    """`workloads_of` of one of several; where it can be none, the others are some still."""
    try:
        return workloads_of(value, target, name=name)
    except InvalidInputError as error:
        return Found([], {name: str(error)})


def zoo_names(spec: str) -> list[str]:
    """The zoo names that ``spec`` stands for; raises ``UnknownNameError`` for none."""
    if spec in ("zoo", "zoo:held-out"):
        return zoo.names(held_out=spec != "zoo")
    if spec in SHAPES:
        return list(dict.fromkeys(str(zoo.get(name)) for name in SHAPES[spec]))
    if any(sign in spec for sign in "*?["):
        matching = fnmatch.filter(zoo.names(held_out=False), spec)
        if not matching:
            raise UnknownNameError(f"{spec!r} matches no workload of the zoo")
        return matching
    try:
        return [str(zoo.get(spec))]
    except UnknownNameError:
        close = nearest(spec, [*SHAPES, *zoo.names()])
        hint = f"; near to it: {', '.join(close)}" if close else ""
        raise UnknownNameError(
            f"{spec[:120]!r} is neither a workload nor a network of the zoo, nor a .py or .json "
            f"file, such as one with a PyTorch program in a variable, by torch.export{hint}"
        ) from None


def workloads_of(value: Any, target: Any = None, *, name: str = "main") -> Found:
    """The workloads in an IRModule, a PrimFunc or an exported PyTorch program.

    A module with Relax functions is a network: its operators are fused and extracted as tasks. What
    no search can take is skipped, for the sake of the rest.
    """
    from wmhub.measure.whole_network import is_exported, is_network
    from wmhub.tvm_compat import tvm

    if is_exported(value):
        return _operators(name, value, target)
    if isinstance(value, tvm.tirx.PrimFunc):
        return _sorted_out([(name, value, 1)])
    if not isinstance(value, tvm.IRModule):
        raise InvalidInputError(
            f"{name}: a workload is an IRModule, a PrimFunc or an exported program, not "
            f"{type(value).__name__}"
        )
    if is_network(value):
        return _operators(name, value, target)
    functions = list(value.functions.items())
    return _sorted_out(
        (name if len(functions) == 1 else str(var.name_hint), function, 1)
        for var, function in functions
    )


def _sorted_out(functions: Iterable[tuple[str, Any, int]]) -> Found:
    """Which of functions, or modules of one, can be workloads; each with its name and weight."""
    from wmhub.tvm_compat import normalize, tvm

    found = Found([])
    for name, function, weight in functions:
        reason = f"{type(function).__name__} is no program that TVM can schedule"
        if isinstance(function, (tvm.tirx.PrimFunc, tvm.IRModule)):
            mod = normalize(function)
            reason = _unfit(mod)
            if not reason:
                found.workloads.append(NamedWorkload(name, mod, weight))
        if reason:
            found.skipped[name] = reason
    return found


def _unfit(mod: Any) -> str:
    """Why no search can take a program; empty where it can."""
    try:
        argument_info(mod)
    except REFUSALS as error:
        return f"a task needs arguments of constant shape: {last_line(error)}"
    try:
        parse_program(save_program(mod))
    except InvalidInputError as error:
        return f"a program that cannot be scheduled: {error.__cause__ or error}"
    return ""


def extract(specs: Sequence[str], target: Any = None) -> Found:
    """The distinct workloads of all ``specs``, with names that tell them apart."""
    taken: set[str] = set()
    every = Found.of(load_workloads(spec, target) for spec in specs)
    found = Found([], every.skipped)
    for workload in every.workloads:
        if workload.name in taken and zoo_name(workload.name):
            continue
        name = next(name for name in numbered(workload.name) if name not in taken)
        taken.add(name)
        found.workloads.append(NamedWorkload(name, workload.mod, workload.weight))
    return found


def numbered(name: str) -> Iterator[str]:
    """``name``, and then with numbers."""
    yield name
    # A file name has room for so much and a number.
    yield from (f"{name[:100]}-{number}" for number in itertools.count(2))


def zoo_name(name: str) -> bool:
    """Whether ``name`` is a well-formed name of the zoo, and so describes its workload fully."""
    try:
        zoo.get(name)
    except (UnknownNameError, InvalidInputError):
        return False
    return True


def _stem(path: Path) -> str:
    """A name for what is in ``path``; a file's own may be no text, which no journal could hold."""
    return os.fsencode(path.stem).decode(errors="replace")


def _from_json(path: Path) -> Iterable[tuple[str, Any]]:
    from wmhub.tvm_compat import tvm

    try:
        value = tvm.ir.load_json(path.read_text())
    except Exception as error:  # TVM raises its own kinds, which differ by version.
        raise InvalidInputError(f"{path}: no serialised IRModule: {error}"[:400]) from error
    return [(_stem(path), value)]


def _from_python(path: Path) -> Iterable[tuple[str, Any]]:
    from wmhub.tvm_compat import tvm

    try:
        text = path.read_text(encoding="utf-8")
        if not _IMPORTS.search(text):
            # As `module.script()` prints it: its imports are comments.
            return [(_stem(path), tvm.script.from_source(text))]
        found = importlib.util.spec_from_file_location(f"wmhub_workloads_{path.stem}", path)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        # Decorators of classes look for their module there: TVMScript's and dataclasses'.
        sys.modules[found.name] = module
        with _importable(path.resolve().parent):
            found.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # Whatever it raises is what the user must mend.
        raise InvalidInputError(f"{path}: {type(error).__name__}: {error}"[:400]) from error
    # Two names of one object are one workload, by the first.
    workloads: dict[int, tuple[str, Any]] = {}
    for name, value in vars(module).items():
        if _is_workload(value):
            workloads.setdefault(id(value), (name, value))
    return list(workloads.values())


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules that lie in ``folder`` can be imported meanwhile, but stand in for none that is
    installed."""
    if str(folder) in sys.path:
        yield
        return
    sys.path.append(str(folder))
    try:
        yield
    finally:
        # What ran there may have changed it, too.
        with suppress(ValueError):
            sys.path.remove(str(folder))


def _is_workload(value: Any) -> bool:
    from wmhub.measure.whole_network import is_exported
    from wmhub.tvm_compat import tvm

    return isinstance(value, (tvm.IRModule, tvm.tirx.PrimFunc)) or is_exported(value)


def _operators(name: str, value: Any, target: Any) -> Found:
    """The operators of the network that ``value`` is.

    Raises ``InvalidInputError`` for one that TVM cannot lower.
    """
    from wmhub.measure.whole_network import extracted, whole_network
    from wmhub.tvm_compat import llvm_target, use_target

    target = use_target(llvm_target() if target is None else target)
    network = whole_network(name, value, target)
    operators = extracted(network, target)
    found = _sorted_out((one.name, one.mod, one.calls) for one in operators if not one.is_scheduled)
    found.workloads[:] = [dataclasses.replace(one, is_operator=True) for one in found.workloads]
    done = [one.name for one in operators if one.is_scheduled]
    found.skipped.update(dict.fromkeys(done, "it is scheduled already"))
    found.networks.append(network)
    return found
