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


def translate(
    error: Exception, request: Request, *, text: str, sent: bool, expired: bool
) -> Answer:
    """Read a failure as evidence.

    Args:
        error: whatever was raised between connecting and the last byte of the reply.
        request: what was asked.
        text: what it says, without secrets.
        sent: whether bytes of it may have reached the service.
        expired: whether the call's own deadline has passed.
    """
    detail = f"{type(error).__name__}: {clip(text, 200)}" if text else type(error).__name__
    if sent:
        return Answer(evidence=Evidence.UNCERTAIN, error=_lost(error, request, detail))
    if isinstance(error, _MISCONFIGURED):
        return Answer(
            evidence=Evidence.MISCONFIGURED,
            error=ConnectionFailedError(f"{request.operation}: no secure connection ({detail})"),
        )
    if expired:
        return Answer(
            evidence=Evidence.NOT_SENT,
            error=RequestTimeoutError(
                f"{request.operation}: the call's timeout passed before a connection stood;"
                " nothing was sent",
                sent=False,
            ),
        )
    return Answer(
        evidence=Evidence.NOT_SENT,
        error=ConnectionFailedError(
            f"{request.operation}: no connection ({detail}); nothing was sent"
        ),
    )


def _lost(error: Exception, request: Request, detail: str) -> TransportError:
    if isinstance(error, UnexpectedReplyError):
        return UnexpectedReplyError(f"{request.operation}: {error}", status=error.status)
    if isinstance(error, TimeoutError):
        return RequestTimeoutError(f"{request.operation}: sent, but not answered in time")
    if isinstance(error, _BROKEN_REPLY):
        return UnexpectedReplyError(f"{request.operation}: a broken reply ({detail})")
    return TransportError(f"{request.operation}: the connection was lost ({detail})")


def out_of_time(request: Request, *, sent: bool) -> Answer:
    """Say that the call's timeout passed in the middle of an attempt."""
    return translate(TimeoutError(), request, text="", sent=sent, expired=True)


def no_slot(request: Request) -> Answer:
    """Say that the call's timeout passed while it queued for a slot."""
    return Answer(
        evidence=Evidence.NOT_SENT,
        error=RequestTimeoutError(
            f"{request.operation}: no slot came within the call's timeout; nothing was sent."
            " Raise the timeout, or rate_limit and max_connections",
            sent=False,
        ),
    )


def cut_short(request: Request, *, sent: bool) -> Answer:
    """Say that somebody cancelled an attempt, and not its caller."""
    error = TransportError(
        f"{request.operation}: its attempt was cancelled from outside", sent=sent
    )
    return Answer(evidence=Evidence.UNCERTAIN if sent else Evidence.NOT_SENT, error=error)


def lost_connector(request: Request) -> Answer:
    """Say that a lent connector was closed."""
    error = ClientClosedError(
        f"{request.operation}: the connector of the aiohttp session this client was given is"
        " closed; nothing was sent",
        execution_id=request.execution_id,
    )
    return Answer(evidence=Evidence.MISCONFIGURED, error=error)


def closed(request: Request, *, sent: bool) -> Answer:
    """Say that the client was closed in the middle of an attempt."""
    words = f"{request.operation}: the client was closed while this request was under way"
    if sent and not request.repeatable:
        return Answer(evidence=Evidence.UNCERTAIN, error=TransportError(words))
    error = ClientClosedError(words, execution_id=request.execution_id)
    return Answer(evidence=Evidence.MISCONFIGURED, error=error)
