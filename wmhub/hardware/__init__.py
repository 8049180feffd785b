"""Hardware: profiles, the table of known devices, and the one function that reads this machine."""

from __future__ import annotations

from wmhub.hardware.profile import HardwareProfile
from wmhub.hardware.table import Known, known, lookup

__all__ = ["HardwareProfile", "Known", "known", "lookup"]
