"""The workload zoo: named programs in the shapes of real networks and around them.

A name says it all and parses: family, sizes, flags, as in
``conv2d-n1-h56-w56-ci64-co64-k3-s1-p1-bn-relu`` or ``dense-m128-n3072-k768-bias-gelu``. Sizes and
flags may stand in any order and sizes with a default may be left out; ``str`` of an entry is the
one canonical form. ``get`` takes any well-formed name, listed or not.

Part of the zoo is held out: every shape of the networks in ``HELD_OUT_NETWORKS``. Whoever trains
must leave these workloads out, and whoever reports on unseen workloads uses these.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any

from wmhub.errors import InvalidInputError, UnknownNameError, nearest
from wmhub.measure.epilogue import ACTIVATIONS
from wmhub.measure.networks import HELD_OUT_NETWORKS, SHAPES
from wmhub.measure.operators import FAMILIES

__all__ = ["HELD_OUT", "HELD_OUT_NETWORKS", "ZooEntry", "build", "get", "names"]

_SIZE = re.compile(r"([a-z]+)([1-9][0-9]{0,7}|0)\Z")
_MOST_ELEMENTS = 1 << 28
_MAY_BE_ZERO = frozenset({"p", "pt"})
#: What TVM and its operator library raise for sizes that do not fit.
_NO_PROGRAM = (AssertionError, ValueError, TypeError, ZeroDivisionError, RuntimeError)


@dataclass(frozen=True)
class ZooEntry:
    """One workload of the zoo."""

    family: str
    """Key of ``operators.FAMILIES``."""
    sizes: tuple[tuple[str, int], ...]
    """Every size of the family, in its order, in elements."""
    flags: tuple[str, ...]
    """What is fused to it (``bias``, ``relu``) and how it is laid out (``nchw``)."""
    networks: tuple[str, ...] = ()
    """Networks in which it occurs; empty for a name that is not listed."""
    held_out: bool = False
    """Whether it must never be trained on."""

    @classmethod
    def parse(cls, name: str) -> ZooEntry:
        """Parses a name; raises ``UnknownNameError`` for the family, else ``InvalidInputError``."""
        family_name, *tokens = name.split("-")
        family = FAMILIES.get(family_name)
        if family is None:
            close = nearest(family_name, FAMILIES) or sorted(FAMILIES)
            raise UnknownNameError(
                f"workload {name[:120]!r}: no operator family {family_name[:40]!r}; there are "
                f"{', '.join(close)}"
            )
        given: dict[str, int] = {}
        for token in tokens:
            size = _SIZE.match(token)
            meaning = size[1] if size else token
            if meaning in given or meaning not in (family.sizes if size else family.flags):
                raise InvalidInputError(
                    f"workload {name[:120]!r}: {token[:40]!r} is repeated or not part of "
                    f"{family_name}, which has {' '.join([*family.sizes, *family.flags])}"
                )
            given[meaning] = int(size[2]) if size else 1
        if len(active := [flag for flag in given if flag in ACTIVATIONS]) > 1:
            raise InvalidInputError(
                f"workload {name[:120]!r}: {' and '.join(active)} are two activations; it has one"
            )
        sizes = {**family.defaults, **given}
        for size_name in family.sizes:
            if sizes.get(size_name, 0) == 0 and size_name not in _MAY_BE_ZERO:
                raise InvalidInputError(
                    f"workload {name[:120]!r}: the size {size_name!r} is missing or 0, as in "
                    f"{family_name}-{'-'.join(size + '8' for size in family.sizes)}"
                )
        return cls(
            family=family_name,
            sizes=tuple((size_name, sizes[size_name]) for size_name in family.sizes),
            flags=tuple(flag for flag in family.flags if flag in given),
        )

    def __str__(self) -> str:
        # Dilation and groups are named only where they say something; all else always.
        defaults = FAMILIES[self.family].defaults
        usual = {size: defaults[size] for size in ("d", "g") if size in defaults}
        shown = [f"{size}{value}" for size, value in self.sizes if usual.get(size) != value]
        return "-".join([self.family, *shown, *self.flags])

    def build(self) -> Any:
        """The workload as a ``tvm.IRModule`` whose one function is ``main``.

        Raises ``InvalidInputError`` for sizes that make no program (a kernel larger than its
        input, channels that groups do not divide) or tensors above 2^28 elements.
        """
        from wmhub.tvm_compat import tvm

        try:
            tensors = FAMILIES[self.family].build(dict(self.sizes), frozenset(self.flags))
            shapes = [[int(extent) for extent in tensor.shape] for tensor in tensors]
        except _NO_PROGRAM as error:
            raise InvalidInputError(f"workload {self}: the sizes do not fit: {error}") from error
        if any(min(shape) < 1 or math.prod(shape) > _MOST_ELEMENTS for shape in shapes):
            raise InvalidInputError(f"workload {self}: a tensor would be of shape {shapes}")
        function = tvm.te.create_prim_func(tensors)
        return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def _read_networks() -> dict[str, ZooEntry]:
    networks: dict[str, list[str]] = {}
    for network, shapes in SHAPES.items():
        for shape in shapes:
            networks.setdefault(str(ZooEntry.parse(shape)), []).append(network)
    return {
        name: dataclasses.replace(
            ZooEntry.parse(name),
            networks=tuple(found),
            # A shape of both a held-out and another network is held out.
            held_out=not HELD_OUT_NETWORKS.isdisjoint(found),
        )
        for name, found in networks.items()
    }


_ENTRIES = _read_networks()

#: Canonical names of the workloads that must never be trained on.
HELD_OUT = frozenset(name for name, entry in _ENTRIES.items() if entry.held_out)


def names(*, held_out: bool | None = None) -> list[str]:
    """Canonical names of the listed workloads: all, only held-out ones, or only the others."""
    return [
        name for name, entry in _ENTRIES.items() if held_out is None or entry.held_out == held_out
    ]


def get(name: str) -> ZooEntry:
    """The entry of ``name``, listed or not; see ``ZooEntry.parse`` for the errors."""
    entry = ZooEntry.parse(name)
    return _ENTRIES.get(str(entry), entry)


def build(name: str) -> Any:
    """The ``tvm.IRModule`` of ``name``, whose one function is ``main``; see ``ZooEntry.build``."""
    return get(name).build()
