"""Calls of the Hub's client: again where that may help, and errors that a person can act on."""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Callable
from typing import TypeVar

import httpx2
from huggingface_hub import get_session
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from wmhub.errors import HubError, UnknownNameError, WmhubError

#: Status codes of a server that may answer if it is asked again.
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_ATTEMPTS = 5
_REACH_SECONDS = 10.0
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 60.0
_SECRET = re.compile(
    r"\b(?:hf|api)_[A-Za-z0-9_]{8,}|(?<=\?)\S+|(?i:bearer)\s+\S+"
    # A login: what stands between :// and the last @, or a user with a password before one.
    r"|(?<=://)[^/\s]+(?=@)|(?<![^\s\"'(=])[^\s/:@\"'(=]+:[^\s/]+(?=@)"
)
#: The same of a text that is an address and nothing else, with or without its ``https://``.
_LOGIN = re.compile(r"^(\w+://)[^/?#]*@|^(?!\w+://).*@")
_REMEDIES = {
    401: "the login is missing or no longer valid: run `hf auth login`",
    403: "this login may not do that: ask the owner for access, or propose what you would publish "
    "with --create-pr",
    409: "it is there already, or is being changed by someone else",
    412: "someone else has published meanwhile: look at what is there and publish again",
    429: "too many requests: wait and try again",
}

#: What a disk of this machine says, and no network.
_LOCAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
#: What the client raises where an answer is not as it expects.
_CONFUSED = (ValueError, LookupError, TypeError, RuntimeError, AttributeError)

_T = TypeVar("_T")
_sleep = time.sleep
#: The client's loggers that quote URLs, which may be signed.
_LOGGERS = ("huggingface_hub.utils._http", "huggingface_hub.file_download", "huggingface_hub.lfs")


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_secrets(record.getMessage()), ()
    return True


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_without_secrets)


def patiently(
    action: Callable[[], _T],
    what: str,
    *,
    attempts: int | None = None,
) -> _T:
    """Runs ``action``, which must be safe to repeat, and again after errors that may pass.

    Raises ``UnknownNameError`` for what is not there, else ``HubError``; neither holds a token, a
    header or the query of a URL. ``what`` says what was wanted, for the message.
    """
    left = (attempts or _ATTEMPTS) - 1
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            return action()
        except Exception as error:
            cause = _cause(error)
            asked_for = _wait_that_may_help(cause)
            if asked_for is None or left == 0:
                explained = _explained(cause, what)
                if explained is None:
                    raise
                # The client's error may quote signed URLs, so it is not chained.
                raise explained from None
            left -= 1
            _sleep(min(max(wait, asked_for), _LONGEST_WAIT_SECONDS))
            wait *= 2


def require_reachable(url: str, what: str) -> None:
    """Raises ``HubError`` unless something answers at ``url``, whatever it says."""
    try:
        get_session().head(url, timeout=_REACH_SECONDS)
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        explained = _explained(error, what)
        assert explained is not None
        raise explained from None


def without_secrets(text: str) -> str:
    """``text`` without tokens, and URLs without logins and queries, which may hold signatures."""
    return _SECRET.sub("…", text)


def without_login(address: str) -> str:
    """``address`` as everyone may know it, and ask there."""
    return _LOGIN.sub(r"\1", address)


def _cause(error: BaseException) -> BaseException:
    """The HTTP error behind what the client wrapped it in, or ``error``."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, httpx2.HTTPError):
            return cause
        cause = cause.__cause__
    return error


def _wait_that_may_help(error: BaseException) -> float | None:
    """Seconds that the server asks to wait, 0 if it says nothing; ``None`` if it would not help."""
    if isinstance(error, HfHubHTTPError):
        if error.response.status_code not in _TRANSIENT:
            return None
        after = error.response.headers.get("Retry-After", "")
        return float(after) if after.isdecimal() else 0.0
    return 0.0 if isinstance(error, httpx2.TransportError) else None


def _explained(error: BaseException, what: str) -> WmhubError | None:
    detail = without_secrets(str(error).strip().splitlines()[0] if str(error).strip() else "")
    if isinstance(error, GatedRepoError):
        return HubError(f"{what}: it is gated; ask for access on its page and `hf auth login`")
    if isinstance(error, RepositoryNotFoundError):
        return UnknownNameError(
            f"{what}: there is no such repository, or this login may not see it"
        )
    if isinstance(error, RevisionNotFoundError):
        return UnknownNameError(f"{what}: there is no such revision")
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(
            f"{what}: the Hugging Face client was started offline: unset HF_HUB_OFFLINE and "
            "TRANSFORMERS_OFFLINE, and start anew"
        )
    if isinstance(error, httpx2.UnsupportedProtocol):
        return HubError(f"{what}: HF_ENDPOINT must be a URL such as https://hub.example.com")
    if isinstance(error, HFValidationError):
        return HubError(f"{what}: {detail}")
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        said = without_secrets(error.server_message or "")[:300]
        is_refusal = 400 <= status < 500 and status not in _TRANSIENT
        other = "the server refused it" if is_refusal else "the server failed; try again later"
        remedy = _REMEDIES.get(status, other)
        return HubError(f"{what}: HTTP {status}{f' ({said})' if said else ''}; {remedy}")
    if "xet-write-token" in detail:
        return HubError(f"{what}: this server has no Xet storage: set HF_HUB_DISABLE_XET=1")
    if isinstance(error, UnicodeEncodeError):
        return HubError(f"{what}: the login is not plain ASCII: run `hf auth login`")
    is_local = isinstance(error, OSError) and error.errno in _LOCAL
    if is_local and not isinstance(error, httpx2.HTTPError):
        return HubError(
            f"{what}: this machine refused it, not the Hub ({detail}); make room or allow writing "
            "there, or set HF_HOME to another place"
        )
    if isinstance(error, (httpx2.HTTPError, OSError)):
        return HubError(
            f"{what}: the Hub could not be reached ({type(error).__name__}: {detail}); check the "
            "network, or work offline with HF_HUB_OFFLINE=1"
        )
    if isinstance(error, _CONFUSED) and not isinstance(error, WmhubError):
        inner = error.__cause__ or error
        said = without_secrets(f"{type(inner).__name__}: {inner}")[:300]
        return HubError(f"{what}: the server's answer makes no sense ({said})")
    return None
