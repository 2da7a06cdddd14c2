"""Whose call failed, and what to do about it: said once, where a call leaves the transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refold_async._errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RefoldError,
)
from refold_async._protocol.requests import Operation

if TYPE_CHECKING:
    from refold_async._protocol.requests import Request

_SHED = 503


def explained(error: RefoldError, request: Request, *, credential: str) -> RefoldError:
    """Give a copy of an error that says whose call it ended, and what to do about it.

    A copy, since calls may share a failure (a closed client, a token that could not be had), and
    since it brings no frames of the inside along.

    Args:
        error: how the call ended.
        request: what was asked.
        credential: what was used, and where it came from: `the API key given as api_key`.
    """
    return error.fresh().about(**request.names, advice=_advice(error, request, credential))


def _advice(error: RefoldError, request: Request, credential: str) -> str | None:
    """Say what to do where the cause is known; a guess is worse than nothing."""
    if isinstance(error, AuthenticationError):
        return (
            f"Check {credential}: mistyped, expired or revoked, or not of the deployment at"
            " base_url."
        )
    if isinstance(error, PermissionDeniedError):
        return f"Check that {credential} may do this, and for this linked account."
    if isinstance(error, NotFoundError | BadRequestError) and _is_unknown_event(error):
        return "Check the event's name, and that slug is the application it belongs to."
    if isinstance(error, NotFoundError):
        return _not_found(request, credential)
    if isinstance(error, BadRequestError) and request.operation is Operation.EXECUTE:
        return (
            "Check that the workflow is published and this linked account's, that slug is its"
            " application, and that the payload fits it."
        )
    if isinstance(error, BadRequestError | ConflictError) and request.operation is Operation.STOP:
        return "The run may be over: read its status; one that has ended needs no stop."
    if isinstance(error, RateLimitError) or (isinstance(error, ApiError) and error.status == _SHED):
        return (
            "The service takes less than it is asked for: lower rate_limit, or raise"
            " RetryPolicy.patience."
        )
    return None


def _is_unknown_event(error: ApiError) -> bool:
    return "INVALID_EVENT" in {error.error_code, error.error}


def _not_found(request: Request, credential: str) -> str | None:
    what = "run" if request.execution_id else "workflow" if request.workflow_id else None
    if what is None:
        return None
    return (
        f"Check the id, and that the {what} belongs to this linked account and to the environment"
        f" (test or production) of {credential}."
    )
