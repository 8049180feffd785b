"""What several tests of the doctor need."""

from __future__ import annotations

from wmhub.doctor.finding import Finding


def only(findings: object) -> Finding:
    (finding,) = list(findings)  # type: ignore[call-overload]
    return finding


def versions(core: str | None, ffi: str | None) -> dict[str, str | None]:
    return {"apache-tvm": core, "apache-tvm-ffi": ffi}
