"""``HardwareProfile``: the numbers of a device that a schedule's speed depends on."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from wmhub.errors import InvalidInputError
from wmhub.names import HardwareKey


@dataclass(frozen=True)
class HardwareProfile:
    """Numbers of one device; they are model input, so each has one meaning on CPU and GPU.

    A "core" is what runs one vector instruction stream with its own L1: a CPU core, a streaming
    multiprocessor (CUDA), a compute unit (ROCm), a GPU core (Metal).
    """

    key: HardwareKey
    name: str
    """Name for people, such as ``NVIDIA A100 40 GB (SXM)``."""
    cores: int
    """Cores that a schedule may use."""
    vector_bits: int
    """Width of one vector instruction in bits: SIMD register, or warp size times 32."""
    register_bytes: int
    """Vector registers per core that a program may name (GPU: the register file), in bytes."""
    l1_bytes: int
    """L1 data cache per core, in bytes (on GPUs that share it with shared memory: both)."""
    l2_bytes: int
    """L2 cache in bytes: per core on a CPU, of the whole device on a GPU."""
    l3_bytes: int
    """Last-level cache that all cores share, in bytes; 0 where there is none."""
    shared_memory_bytes: int
    """Software-managed memory per core, in bytes; 0 on CPUs."""
    clock_hz: float
    """Sustained clock (GPU: boost clock of the data sheet), in Hz."""
    memory_bytes: int
    """Device memory in bytes; 0 where the key does not tell."""
    bandwidth: float
    """Memory bandwidth in bytes per second."""
    peak_flops: float
    """float32 FLOP/s of all ``cores``; a multiply-add counts two."""
    matrix_flops: float
    """FLOP/s of float16 products with float32 sums on matrix units, dense; ``peak_flops`` where
    the device has none."""
    origin: str
    """``data sheet`` or ``probed``."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # Also an integer beyond floats, which is below infinity, cannot be computed with.
            if isinstance(value, (int, float)) and not (0 <= value <= sys.float_info.max):
                raise InvalidInputError(
                    f"hardware profile {self.key}: {field.name} is {str(value)[:60]}; it must be "
                    "finite and not negative"
                )
        for positive in ("cores", "vector_bits", "clock_hz", "bandwidth", "peak_flops"):
            if not getattr(self, positive) > 0:
                raise InvalidInputError(f"hardware profile {self.key}: {positive} must be positive")

    @property
    def is_gpu(self) -> bool:
        """Whether the device is a GPU rather than a CPU."""
        return self.key.backend != "llvm"

    def to_json(self) -> dict[str, str | int | float]:
        """The profile as a flat JSON object; ``from_json`` is the inverse."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "key": str(self.key)}

    @classmethod
    def from_json(cls, data: Mapping[str, str | int | float]) -> HardwareProfile:
        """Reads what ``to_json`` wrote; raises ``InvalidInputError`` naming the field."""
        values: dict[str, object] = {}
        for field in dataclasses.fields(cls):
            if field.name not in data:
                raise InvalidInputError(f"hardware profile: the field {field.name!r} is missing")
            value = data[field.name]
            kinds = (str,) if field.name in ("key", "name", "origin") else (int, float)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise InvalidInputError(f"hardware profile: {field.name!r} cannot be {value!r}")
            values[field.name] = HardwareKey.parse(str(value)) if field.name == "key" else value
        return cls(**values)  # type: ignore[arg-type]
