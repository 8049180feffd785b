"""Which checkpoint fits a machine best, and why each other does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from wmhub.hardware.profile import HardwareProfile
from wmhub.hardware.table import lookup
from wmhub.names import HardwareKey

#: What two devices of one backend are compared by: field, weight of its log2 ratio, words for it.
_COMPARED = (
    ("vector_bits", 4.0, "vector width"),
    ("cores", 1.0, "cores"),
    ("l1_bytes", 0.5, "L1"),
    ("l2_bytes", 0.5, "L2"),
    ("shared_memory_bytes", 0.5, "shared memory"),
    ("bandwidth", 0.5, "bandwidth"),
    ("peak_flops", 0.5, "peak FLOP/s"),
)
#: Distance of the same device with another number of cores, beside that number's.
_OTHER_CORES_DISTANCE = 0.125
#: Distance of a device of which nothing but the backend is known.
_UNKNOWN_DISTANCE = 16.0


class Nearest(NamedTuple):
    """The choice of ``nearest_model``."""

    name: str | None
    """The model that fits best; ``None`` where none can rank schedules for this hardware."""
    reasons: Mapping[str, str]
    """Model -> why it was chosen, or why it was not; best first."""


def nearest_model(
    hardware: HardwareKey,
    available: Mapping[str, HardwareKey],
    profiles: Callable[[HardwareKey], HardwareProfile | None] = lookup,
    origin: str = "trained on",
) -> Nearest:
    """Chooses among ``available`` (model -> its hardware) the one nearest to ``hardware``.

    The same key wins; then, within the same backend, the smallest distance between the devices'
    profiles (vector width first). A model of another backend is never chosen, because it has
    learned from schedules that do not exist here. ``origin`` is how the reasons begin.
    """
    compared = ((*_compare(hardware, key, profiles), name) for name, key in available.items())
    ranked = sorted(compared, key=lambda item: (item[0], item[2]))
    reasons: dict[str, str] = {}
    chosen: str | None = None
    for distance, reason, name in ranked:
        whole = f"{origin} {available[name]}{reason}"
        if chosen is None and math.isfinite(distance):
            chosen = name
            whole = whole if distance == 0 else f"nearest to {hardware}: {whole}"
        reasons[name] = whole
    return Nearest(chosen, reasons)


def _compare(
    here: HardwareKey,
    there: HardwareKey,
    profiles: Callable[[HardwareKey], HardwareProfile | None],
) -> tuple[float, str]:
    """Distance of two devices, infinite where one says nothing of the other, and its reason."""
    if here == there:
        return 0.0, ", the same hardware"
    if here.backend != there.backend:
        return math.inf, f": schedules of {there.backend}, not of {here.backend}"
    if here.device == there.device:
        ratio = abs(math.log2((there.cores or 1) / (here.cores or 1)))
        cores = (f"{key.cores or 'an unknown number of'} cores" for key in (there, here))
        return _OTHER_CORES_DISTANCE + ratio, f": same device, {' instead of '.join(cores)}"
    mine, other = profiles(here), profiles(there)
    if mine is None or other is None:
        unknown = here if mine is None else there
        return _UNKNOWN_DISTANCE, f": same backend, but {unknown} is not in the table"
    distance, differences, equals = 1.0, [], []
    for field, weight, words in _COMPARED:
        a, b = getattr(mine, field), getattr(other, field)
        if a == b:
            equals += [words] if a else []
        elif a > 0 and b > 0:
            distance += weight * abs(math.log2(b / a))
            differences.append(f"{b / a:.2g}x {words}")
        else:
            distance += weight
    same = f"same {', '.join(equals)}" if equals else ""
    unlike = f"{', '.join(differences)}" if differences else ""
    return distance, ": " + "; ".join(part for part in (same, unlike) if part)
