"""``examine``: everything that ``wmhub doctor`` looks at."""

from __future__ import annotations

from wmhub.doctor import hubs, installation, this_machine
from wmhub.doctor.finding import Finding, Severity
from wmhub.errors import WmhubError


def examine() -> list[Finding]:
    """Everything that ``wmhub doctor`` looks at, in the order of the layers."""
    found: list[Finding] = []
    for look in (
        installation.python,
        installation.packages,
        installation.tvm,
        installation.tvm_at_work,
        this_machine.compiler,
        this_machine.cpu,
        this_machine.threads,
        this_machine.gpu,
        hubs.checkpoint,
        hubs.hub,
    ):
        try:
            found += look()
        except Exception as error:  # What is broken here must not hide what else was found.
            said = str(error) if isinstance(error, WmhubError) else f"{error!r}"[:300]
            found.append(Finding(look.__name__.replace("_", " "), Severity.PROBLEM, said))
    return found
