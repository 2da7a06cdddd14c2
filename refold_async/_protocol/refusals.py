"""A reply that is no answer → the error it becomes, in words for whoever has to mend it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from refold_async._errors import (
    ApiError,
    NotFoundError,
    UnexpectedReplyError,
    api_error_class,
    clip,
)

if TYPE_CHECKING:
    from refold_async._protocol.reply import Reply

_PAGE = re.compile(r"<(?:!doctype\s+html|html|head|body|title|h1)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_LOOKED_AT = 2_000
"""Bytes of a body that is no JSON that are looked at."""

_WEB_PAGE = "Check base_url, and any proxy on the way: a web page answered instead of the API."
_REDIRECTED = (
    "Correct base_url: redirects are not followed, as they would hand the key to another host."
)


def refusal(reply: Reply, document: Any, retry_after: float | None) -> ApiError:
    """Give the error of a reply with a status from 400 on.

    Args:
        reply: what came.
        document: its body as JSON; None if it is none (or `null`).
        retry_after: seconds the service asked to wait.

    See: "Errors".
    """
    fields = document if isinstance(document, dict) else {}
    text = _told(reply)
    message = clip(fields.get("message") or ("" if fields else text) or "no message")
    missing = "RESOURCE_NOT_FOUND" in (fields.get("error"), fields.get("error_code"))
    # Of a webhook that is not there the service says 400.
    return (NotFoundError if missing else api_error_class(reply.status))(
        message,
        status=reply.status,
        error=_optional(fields.get("error")),
        error_code=_optional(fields.get("error_code")),
        request_id=_request_id(reply, fields),
        body=clip(text) if document is None else document,
        retry_after=retry_after,
    )


def strange(reply: Reply, document: Any, *, is_json: bool) -> UnexpectedReplyError:
    """Give the error of a reply that is neither an answer nor an error."""
    status, advice = reply.status, None
    if 300 <= status < 400:  # noqa: PLR2004
        where = clip(reply.headers.get("Location", "nowhere"), 200)
        words, advice = f"redirects to {where}", _REDIRECTED
    elif is_json:
        words = f"with a JSON {type(document).__name__} that is not the documented answer"
    elif _is_page(reply):
        words, advice = f"with {_told(reply)}", _WEB_PAGE
    else:
        words = f"with a body that is no JSON: {clip(_told(reply), 120)!r}"
    error = UnexpectedReplyError(f"HTTP {status} {words}", status=status)
    fields = document if isinstance(document, dict) else {}
    return error.about(request_id=_request_id(reply, fields), advice=advice)


def _told(reply: Reply) -> str:
    """Give the text of a body; of a web page, which may show anything, no more than its title."""
    text = _text(reply)
    if not _is_page(reply):
        return text
    title = _TITLE.search(text)
    named = "" if title is None else " ".join(title[1].split())
    return f"an HTML page, {clip(named, 80)!r}" if named else "an HTML page"


def _text(reply: Reply) -> str:
    return reply.body[:_LOOKED_AT].decode("utf-8", "replace")


def _is_page(reply: Reply) -> bool:
    declared = "html" in reply.headers.get("Content-Type", "").lower()
    return declared or _PAGE.search(_text(reply)) is not None


def _request_id(reply: Reply, fields: dict[str, Any]) -> str | None:
    """Read the service's name of a request: from the body, or from the header a gateway adds."""
    return _optional(fields.get("request_id") or reply.headers.get("X-Request-Id") or None)


def _optional(value: object) -> str | None:
    return None if value is None else clip(value)
