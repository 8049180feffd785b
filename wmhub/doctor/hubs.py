"""Which checkpoint there is for this machine, and whether the hub can be used."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from wmhub.doctor.finding import Finding, Severity

_OFFLINE_SECONDS = 4.0


def checkpoint() -> Iterator[Finding]:
    """The known checkpoint that is nearest to this CPU."""
    from wmhub.hub import known_hardware, nearest_model
    from wmhub.hub.artifact import MODEL
    from wmhub.search.choose import this_hardware

    here = this_hardware(None)
    known = known_hardware(MODEL)
    choice = nearest_model(here, known)
    if choice.name is None:
        said = f"no known checkpoint fits {here}"
        yield Finding("checkpoint", Severity.NOTE, said, "train one: wmhub train --help")
    elif known[choice.name] == here:
        yield Finding("checkpoint", Severity.OK, f"{choice.name} was trained on this hardware")
    else:
        said = f"none for {here}; {choice.name} is the nearest ({choice.reasons[choice.name]})"
        remedy = f"take it with --model {choice.name} --allow-other-hardware"
        yield Finding("checkpoint", Severity.NOTE, said, remedy)


def hub() -> Iterator[Finding]:
    """Whether the place that names are looked up at is there."""
    from wmhub.hub.patience import without_login, without_secrets
    from wmhub.hub.settings import is_offline, open_hub

    spec = os.environ.get("WMHUB_HUB") or "hf-hub"
    if spec != "hf-hub":
        place = open_hub(spec)
        if place.exists():
            yield Finding("hub", Severity.OK, place.location)
        else:
            said = f"{place.location}, which WMHUB_HUB names, is no folder yet"
            remedy = "name another one, or publish something: `wmhub push` makes it"
            yield Finding("hub", Severity.NOTE, said, remedy)
        return
    # Whether it answers can be asked without a login, and no login is anyone's business here.
    endpoint = without_login(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    shown = without_secrets(endpoint.rstrip("/"))
    if is_offline(None):
        yield Finding(
            "hub",
            Severity.OK,
            f"{shown}, not asked: offline by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE",
        )
        return
    began = time.monotonic()
    problem = _unreachable(endpoint)
    if problem is None:
        milliseconds = 1e3 * (time.monotonic() - began)
        yield Finding("hub", Severity.OK, f"{shown} answered in {milliseconds:.0f} ms")
    else:
        said = f"{shown} cannot be reached ({without_secrets(problem)[:160]})"
        yield Finding(
            "hub",
            Severity.NOTE,
            f"{said}; embedded checkpoints and the cache still work",
            "set HF_ENDPOINT to a mirror, WMHUB_HUB=folder:PATH, or HF_HUB_OFFLINE=1",
        )


def _unreachable(endpoint: str) -> str | None:
    """Why nothing answers at ``endpoint``, a URL without a login; ``None`` if something does."""
    if not endpoint.startswith(("https://", "http://")):
        return "HF_ENDPOINT is no URL"
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_OFFLINE_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # It answered.
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error))
    return None
