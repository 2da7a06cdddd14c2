"""The translation table: a failure below HTTP → what it proves, and an error without secrets.

What counts is whether bytes may have left. `ClientResponseError` is aiohttp's own parse error as
well, so its status proves nothing and is never looked at.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import aiohttp

from refold_async._errors import (
    ClientClosedError,
    ConnectionFailedError,
    RequestTimeoutError,
    TransportError,
    UnexpectedReplyError,
    clip,
)
from refold_async._protocol import Answer, Evidence

if TYPE_CHECKING:
    from refold_async._protocol import Request

_MISCONFIGURED = (
    ssl.SSLError,
    ssl.CertificateError,
    aiohttp.ClientSSLError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)
_BROKEN_REPLY = (aiohttp.ClientPayloadError, aiohttp.ClientResponseError, ValueError)


def translate(error: Exception, *, text: str, sent: bool, expired: bool) -> Answer:
    """Read a failure as evidence.

    Args:
        error: whatever was raised between connecting and the last byte of the reply.
        text: what it says, without secrets.
        sent: whether bytes of it may have reached the service.
        expired: whether the call's own deadline has passed.
    """
    detail = f"{type(error).__name__}: {clip(text, 200)}" if text else type(error).__name__
    if sent:
        return Answer(evidence=Evidence.UNCERTAIN, error=_lost(error, detail))
    if isinstance(error, _MISCONFIGURED):
        return Answer(
            evidence=Evidence.MISCONFIGURED,
            error=ConnectionFailedError(f"no secure connection ({detail}); nothing was sent").about(
                advice=_remedy(error)
            ),
        )
    if expired:
        return Answer(
            evidence=Evidence.NOT_SENT,
            error=RequestTimeoutError(
                "the call's timeout passed before a connection stood; nothing was sent",
                sent=False,
            ),
        )
    return Answer(
        evidence=Evidence.NOT_SENT,
        error=ConnectionFailedError(f"no connection ({detail}); nothing was sent").about(
            advice=_remedy(error)
        ),
    )


_REMEDIES: dict[type[Exception], str] = {
    aiohttp.ClientProxyConnectionError: (
        "Check the proxy's address, and that it is up: the service itself was not reached."
    ),
    aiohttp.ClientHttpProxyError: "The proxy refuses: check its credentials and its rules.",
    ssl.SSLError: (
        "Check that base_url is the right host and port, and that this machine trusts who signed"
        " its certificate; a proxy that opens TLS signs with its own."
    ),
    aiohttp.ClientConnectorDNSError: "Check the host name in base_url, and this machine's DNS.",
    ConnectionRefusedError: (
        "Check host and port of base_url, and that the service is up: nothing listens there."
    ),
    TimeoutError: (
        "Check the network and the firewalls on the way to base_url; Timeouts.connect is how long"
        " a connection may take."
    ),
    OSError: "Check the network between this machine and base_url.",
}
"""What to do about a connection that did not come about; the first class that fits decides."""


def _remedy(error: Exception) -> str | None:
    # aiohttp's own connector errors wrap what the system said.
    system = getattr(error, "os_error", None)
    fitting = (
        remedy
        for kind, remedy in _REMEDIES.items()
        if isinstance(error, kind) or isinstance(system, kind)
    )
    return next(fitting, None)


def _lost(error: Exception, detail: str) -> TransportError:
    if isinstance(error, UnexpectedReplyError):
        return error
    if isinstance(error, TimeoutError):
        return RequestTimeoutError("sent, but not answered in time")
    if isinstance(error, _BROKEN_REPLY):
        return UnexpectedReplyError(f"a broken reply ({detail})")
    return TransportError(f"the connection was lost ({detail})")


def out_of_time(*, sent: bool) -> Answer:
    """Say that the call's timeout passed in the middle of an attempt."""
    return translate(TimeoutError(), text="", sent=sent, expired=True)


def no_slot() -> Answer:
    """Say that the call's timeout passed while it queued for a slot."""
    return Answer(
        evidence=Evidence.NOT_SENT,
        error=RequestTimeoutError(
            "no slot came within the call's timeout; nothing was sent", sent=False
        ).about(advice="Raise the timeout, or rate_limit and max_connections."),
    )


def cut_short(*, sent: bool) -> Answer:
    """Say that somebody cancelled an attempt, and not its caller."""
    error = TransportError("its attempt was cancelled from outside", sent=sent)
    return Answer(evidence=Evidence.UNCERTAIN if sent else Evidence.NOT_SENT, error=error)


def lost_connector() -> Answer:
    """Say that a lent connector was closed."""
    error = ClientClosedError(
        "the connector of the aiohttp session this client was given is closed; nothing was sent"
    )
    return Answer(evidence=Evidence.MISCONFIGURED, error=error)


def closed(request: Request, *, sent: bool) -> Answer:
    """Say that the client was closed in the middle of an attempt."""
    words = "the client was closed while this request was under way"
    if sent and not request.repeatable:
        return Answer(evidence=Evidence.UNCERTAIN, error=TransportError(words))
    error = ClientClosedError(words, execution_id=request.execution_id)
    return Answer(evidence=Evidence.MISCONFIGURED, error=error)
