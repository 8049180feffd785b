"""Names as types: each parses, prints and compares, and ``str`` is the inverse of ``parse``.

=================  ==========================================================================
``HardwareKey``    ``cuda-a100``, ``rocm-mi50``, ``llvm-emeraldrapids-2c``
``ModelId``        ``wm-cuda-a100``, ``org/name@v1.2.0``, ``hf-hub:org/name``, ``local-dir:PATH``
``DatasetId``      the same forms, and ``org/name/cuda-a100/ada``, a folder of a repository
=================  ==========================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import Self

from wmhub.errors import InvalidNameError

#: Code generators of TVM that a hardware key may begin with.
BACKENDS = ("llvm", "cuda", "rocm", "metal", "vulkan", "opencl", "webgpu", "hexagon")

#: Kinds of TVM's targets that make code for a CPU.
CPU_KINDS = ("llvm", "c")
#: Interfaces that drive the GPUs of one vendor each.
_NATIVE = {"cuda", "rocm", "metal"}
_DEVICE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_CORES = re.compile(r"(?P<device>.+)-(?P<cores>[1-9][0-9]{0,3})c\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?\Z")
_REVISION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,127})\Z")
_MOST_CHARACTERS = 96


@dataclass(frozen=True, order=True)
class HardwareKey:
    """The hardware that something was measured on: ``<backend>-<device>[-<cores>c]``.

    The key is told by the user or probed on the machine that measures, never read from a target
    string: V100 and K80 logs carry the same target and differ by 6x in latency.
    """

    backend: str
    """Code generator of TVM, one of ``BACKENDS``."""
    device: str
    """Lower-case device name, such as ``a100`` or ``emeraldrapids``; words joined by ``-``."""
    cores: int | None = None
    """CPU cores that the schedule may use; ``None`` for other devices."""

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise InvalidNameError(
                f"hardware key {self}: {self.backend!r} is none of {', '.join(BACKENDS)}"
            )
        if not _DEVICE.match(self.device) or len(str(self)) > _MOST_CHARACTERS:
            raise InvalidNameError(
                f"hardware key {str(self)[:120]!r}: the device must be lower-case letters, digits "
                f"and single dashes, at most {_MOST_CHARACTERS} characters in all"
            )
        if self.cores is None and _CORES.match(self.device):
            raise InvalidNameError(f"hardware key {self}: the cores belong in their own field")
        if self.cores is not None and not 1 <= self.cores <= 9999:
            raise InvalidNameError(f"hardware key {self}: cores must be between 1 and 9999")

    @classmethod
    def parse(cls, text: str) -> HardwareKey:
        """Parses ``text``; raises ``InvalidNameError`` with an example."""
        backend, dash, rest = text.partition("-")
        if not dash or not rest or len(text) > _MOST_CHARACTERS:
            raise InvalidNameError(
                f"hardware key {text[:120]!r} is not <backend>-<device>, such as cuda-a100 or "
                "llvm-emeraldrapids-2c"
            )
        cores = _CORES.match(rest)
        if cores:
            return cls(backend, cores["device"], int(cores["cores"]))
        return cls(backend, rest)

    def runs(self, target_kind: str) -> bool:
        """Whether it can have run what was compiled for a TVM target of that kind; ``""``, which
        is not known, passes."""
        if not target_kind:
            return True
        if target_kind in CPU_KINDS or self.backend == "llvm":
            return target_kind in CPU_KINDS and self.backend == "llvm"
        # Vulkan or OpenCL may drive any GPU.
        return target_kind == self.backend or not {target_kind, self.backend} <= _NATIVE

    def misfit(self, target_kind: str) -> str:
        """What to warn of where a model of it is asked for a target it does not run; else ""."""
        if self.runs(target_kind):
            return ""
        return f"trained on {self}, and asked for a target of {target_kind}"

    def __str__(self) -> str:
        suffix = f"-{self.cores}c" if self.cores is not None else ""
        return f"{self.backend}-{self.device}{suffix}"


@dataclass(frozen=True)
class _ArtifactId:
    """A published thing: where to look, whose it is, its name, and which version."""

    name: str
    """Repository name, or for ``local-dir`` the path as given."""
    org: str | None = None
    """Owner on a hub; ``None`` leaves it to the registry of short names."""
    revision: str | None = None
    """Tag, branch or commit; ``None`` is the version that the registry pins, or the newest."""
    place: str | None = None
    """``hf-hub``, ``local-dir``, or ``None`` for the registry (bare) or the default hub."""
    folder: str | None = None
    """Folder of the repository, for a repository that collects several datasets."""

    _HAS_FOLDERS: ClassVar[bool] = False
    _KIND: ClassVar[str] = "name"
    _EXAMPLE: ClassVar[str] = "org/name@v1.2.0"

    def __post_init__(self) -> None:
        if self.place == "local-dir":
            if (self.org, self.revision, self.folder) != (None, None, None):
                raise self._invalid("a local-dir: path has no owner and no @revision")
            if not self.name or "\0" in self.name:
                raise self._invalid("the path is empty or holds a NUL")
            return
        if self.place not in (None, "hf-hub"):
            raise self._invalid("the place must be hf-hub: or local-dir:")
        if self.folder is not None and (self.org is None or not self._HAS_FOLDERS):
            raise self._invalid("it has more parts than owner and name")
        inside = self.folder.split("/") if self.folder is not None else []
        for segment in (self.org, self.name, *inside):
            if segment is None:
                continue
            if not _SEGMENT.match(segment) or ".." in segment or "--" in segment:
                raise self._invalid(
                    "each part is letters, digits, '.', '_' and '-', begins and ends with a "
                    "letter or digit, and holds no '..' or '--'"
                )
            if segment.endswith(".git"):
                raise self._invalid("a name must not end in .git")
        if self.place == "hf-hub" and self.org is None:
            raise self._invalid("hf-hub: needs an owner, as hf-hub:org/name")
        if self.revision is not None and (
            not _REVISION.match(self.revision)
            or any(part in ("", ".", "..") for part in self.revision.split("/"))
        ):
            raise self._invalid("the revision after @ must be a tag, branch or commit")

    def _invalid(self, reason: str) -> InvalidNameError:
        return InvalidNameError(f"{self._KIND} {str(self)[:160]!r}: {reason}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses ``text``; raises ``InvalidNameError`` with the rule that it breaks."""
        place, colon, rest = text.partition(":")
        if colon and place == "local-dir":
            return cls(name=rest, place=place)
        if not colon:
            place, rest = "", text
        path, at, revision = rest.partition("@")
        owner, slash, name = path.partition("/")
        name, deeper, folder = name.partition("/")
        if not slash:
            owner, name = "", path
        if slash and not owner:
            raise InvalidNameError(
                f"{cls._KIND} {text[:160]!r} is no name such as {cls._EXAMPLE}; a folder is given "
                "as local-dir:PATH"
            )
        return cls(
            name=name,
            org=owner if slash else None,
            revision=revision if at else None,
            place=place if colon else None,
            folder=folder if deeper else None,
        )

    def __str__(self) -> str:
        place = f"{self.place}:" if self.place is not None else ""
        org = f"{self.org}/" if self.org is not None else ""
        revision = f"@{self.revision}" if self.revision is not None else ""
        folder = f"/{self.folder}" if self.folder is not None else ""
        return f"{place}{org}{self.name}{folder}{revision}"


@dataclass(frozen=True)
class ModelId(_ArtifactId):
    """A checkpoint: ``wm-cuda-a100``, ``org/name@v1.2.0``, ``hf-hub:org/name``, ``local-dir:…``."""

    _KIND: ClassVar[str] = "model"
    _EXAMPLE: ClassVar[str] = "wm-cuda-a100 or org/name@v1.2.0"


@dataclass(frozen=True)
class DatasetId(_ArtifactId):
    """A dataset: the forms of ``ModelId``, and ``org/name/FOLDER@v1.2.0``."""

    _HAS_FOLDERS: ClassVar[bool] = True
    _KIND: ClassVar[str] = "dataset"
    _EXAMPLE: ClassVar[str] = "cuda-a100 or org/name@v1.2.0"
