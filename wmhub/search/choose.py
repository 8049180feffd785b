"""Which hardware, which checkpoint: the decisions before a search."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmhub.errors import HardwareMismatchError, InvalidInputError
from wmhub.hardware.table import architecture, lookup
from wmhub.hub import evaluator_of, known_hardware, nearest_model
from wmhub.hub.artifact import MODEL
from wmhub.names import HardwareKey
from wmhub.search.output import REPORT

if TYPE_CHECKING:
    from wmhub.evaluator import Evaluator


def refuse_measuring(
    baselines: bool, rpc: str | None, builder: str | None, seconds: float | None, search: str
) -> None:
    """Raises ``InvalidInputError`` for an option that says how to measure."""
    given = {
        "baselines": baselines,
        "rpc": rpc is not None,
        "builder": builder is not None,
        "seconds": seconds is not None,
        "the evolutionary search": search == "evolutionary",
    }
    if named := [option for option, is_given in given.items() if is_given]:
        raise InvalidInputError(
            f"without trials nothing is measured: leave out {' and '.join(named)}"
        )


def require_measurable(
    trials: int, seconds: float | None, rpc: str | None, hardware: HardwareKey | str | None
) -> None:
    """Raises ``InvalidInputError`` where what is asked for cannot be measured."""
    if trials < 0 or (seconds is not None and not seconds > 0):
        raise InvalidInputError("trials must not be negative, and seconds must be positive")
    if rpc is not None and hardware is None:
        raise InvalidInputError(
            "rpc: name with hardware what the devices are, such as cuda-a100; else schedules would "
            "be chosen and compiled for this machine"
        )


def this_hardware(hardware: HardwareKey | str | None) -> HardwareKey:
    """The hardware that was named, or else this machine's CPU."""
    if isinstance(hardware, HardwareKey):
        return hardware
    if hardware is not None:
        return HardwareKey.parse(hardware)
    from wmhub.hardware.probe import probe

    return probe(quick=True).key


def machine_for(named: HardwareKey, allow_other_hardware: bool) -> tuple[HardwareKey, str | None]:
    """What measures here for ``named``, and a sentence where it is not the same.

    Hardware that is alike (see ``alike``) passes with a note. Raises ``HardwareMismatchError`` for
    any other without ``allow_other_hardware``, ``MeasureError`` where there is no such device.
    """
    from wmhub.hardware.probe import PROBED, probe

    if named.backend not in PROBED:
        return named, f"{named.backend} cannot be probed: taken on trust that this is {named}"
    here = probe(named.backend, quick=True).key
    if here == named:
        return here, None
    said = f"measured on this machine, which is {here}, not {named}"
    if not (alike(here, named) or allow_other_hardware):
        raise HardwareMismatchError(
            f"this machine is {here}, not {named}: measure there (--rpc), leave out the hardware, "
            "or measure here all the same with --allow-other-hardware"
        )
    return here, said


def measured_on(database: Path) -> tuple[str, ...]:
    """Keys of the hardware that measured the records of the folder ``database``, as its report has
    them; none without one.

    TVM's records name a target, and devices as different as an H100 and an H200 have the same.
    """
    try:
        found = json.loads((database / REPORT).read_bytes())["measured_on"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else ()


def going_on(
    database: Path, measured: Sequence[str], hardware: HardwareKey, allow_other_hardware: bool
) -> str | None:
    """A sentence where the records of the folder ``database``, ``measured_on`` these keys, may not
    be of ``hardware``.

    Raises ``HardwareMismatchError`` for any other without ``allow_other_hardware``.
    """
    if not measured:
        return f"{database} has no report of a run: taken on trust that {hardware} measured it"
    there = ", ".join(key for key in measured if key != str(hardware))
    if not there:
        return None
    if not allow_other_hardware:
        raise HardwareMismatchError(
            f"{database} was measured on {there}, not on {hardware}: leave it out, or go on from "
            "it all the same with --allow-other-hardware"
        )
    return (
        f"{database} was measured on {there}: what it has of the same target is taken for that of "
        f"{hardware}"
    )


def choose_evaluator(
    model: str | os.PathLike[str] | Evaluator | None,
    hardware: HardwareKey,
    allow_other_hardware: bool,
    locked: str | os.PathLike[str] | None = None,
) -> tuple[Evaluator, str | None]:
    """The evaluator, and a sentence where it is not what it might be taken for.

    ``locked``: a lock file that must name the model, as ``from_pretrained`` takes it;
    ``InvalidInputError`` with an evaluator, which is loaded already.

    Without ``model``, the known checkpoint for ``hardware``, or with ``allow_other_hardware`` the
    nearest. Hardware that is alike (see ``alike``) passes with a note, anything else raises
    ``HardwareMismatchError`` that names the nearest fitting one, and why.
    """
    known = known_hardware(MODEL)
    choice = nearest_model(hardware, known)
    if model is None:
        if choice.name is None:
            raise HardwareMismatchError(
                f"no checkpoint is known for {hardware}"
                + "".join(f"\n  {name}: {why}" for name, why in choice.reasons.items())
                + "\nTrain one with `wmhub train`, or name one with --model."
            )
        if not (alike(known[choice.name], hardware) or allow_other_hardware):
            raise HardwareMismatchError(
                f"no checkpoint is known for {hardware}; the nearest is {choice.name} "
                f"({choice.reasons[choice.name]}). Take it with --model {choice.name} "
                "--allow-other-hardware"
            )
        model = choice.name
    evaluator = evaluator_of(model, locked)
    if evaluator.hardware == hardware:
        return evaluator, None
    said = f"{evaluator.name} was trained on {evaluator.hardware}, not on {hardware}"
    if not (alike(evaluator.hardware, hardware) or allow_other_hardware):
        nearest = (
            f"the nearest fitting is {choice.name} ({choice.reasons[choice.name]})"
            if choice.name is not None
            else f"no known checkpoint fits {hardware}"
        )
        raise HardwareMismatchError(
            f"{said}; {nearest}. Use it all the same with --allow-other-hardware"
        )
    return evaluator, said


def alike(one: HardwareKey, other: HardwareKey) -> bool:
    """Whether schedules for one are worth trying on the other without being asked: the same key, or
    CPUs of one architecture with as many cores and as wide vectors. (Virtual machines often name
    another microarchitecture of the same family than the one below them.)
    """
    if one == other:
        return True
    first, second = lookup(one), lookup(other)
    if first is None or second is None or one.backend != "llvm" or other.backend != "llvm":
        return False
    return (one.cores, first.vector_bits, architecture(one.device)) == (
        other.cores, second.vector_bits, architecture(other.device)
    )  # fmt: skip


def target_for(
    hardware: HardwareKey, target: dict[str, Any] | None, *, runs_here: bool
) -> dict[str, Any]:
    """The target dictionary of ``hardware``, unless ``target`` gives it.

    What ``runs_here`` on a CPU is compiled for this machine's, whatever the key calls it. Raises
    ``HardwareMismatchError`` for a target that ``hardware`` cannot run.
    """
    if target is not None:
        from wmhub.measure.targets import given_target

        return given_target(target, hardware)
    if hardware.backend == "llvm" and runs_here:
        from wmhub.tvm_compat import llvm_target

        return llvm_target(cores=hardware.cores)
    from wmhub.measure.targets import target_of

    return target_of(hardware)
