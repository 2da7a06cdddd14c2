"""Answers before they are bytes on a socket: JSON, the error envelopes, a proxy's page."""

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from itertools import count
from typing import Any

import attrs

from ._strict_json import dump

_JSON = "application/json; charset=utf-8"
_request_numbers = count(1)

_ERROR_TYPES = {
    400: ("BAD_REQUEST", "Bad request"),
    403: ("FORBIDDEN", "Forbidden"),
    415: ("UNSUPPORTED_MEDIA_TYPE", "Unsupported media type"),
    413: ("PAYLOAD_TOO_LARGE", "Payload too large"),
    429: ("TOO_MANY_REQUESTS", "Too many requests, please retry later"),
    501: ("NOT_IMPLEMENTED", "Not implemented"),
    502: ("BAD_GATEWAY", "Bad gateway"),
    503: ("SERVICE_UNAVAILABLE", "Service overloaded, please retry later"),
    504: ("GATEWAY_TIMEOUT", "Gateway timeout"),
}


@attrs.frozen
class Reply:
    """One answer.

    Attributes:
        status: The HTTP status.
        body: The bytes of the body.
        headers: Headers beyond Date and Content-Length.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = {"Content-Type": _JSON}


class Silence:
    """No answer: the request hangs until its client gives up."""


class RefusedError(Exception):
    """Raised where a request goes no further; carries the answer."""

    def __init__(self, reply: Reply | Silence) -> None:
        super().__init__(reply)
        self.reply = reply


def json_reply(document: Any, status: int = 200) -> Reply:
    """An answer that carries a JSON document."""
    return Reply(status, dump(document))


def raw_reply(body: str | bytes, status: int) -> Reply:
    """An answer that calls itself JSON and carries whatever it is given."""
    return Reply(status, body.encode() if isinstance(body, str) else body)


def html_reply(status: int) -> Reply:
    """The page an nginx in front of the service would answer."""
    title = f"{status} {_phrase(status)}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n"
        "</body>\r\n</html>\r\n"
    )
    return Reply(status, page.encode(), {"Content-Type": "text/html", "Server": "nginx/1.22.1"})


def refusal(status: int, message: str | None = None, **fields: str) -> Reply:
    """The envelope the service documents for an error status, or one of the same family.

    Args:
        status: The HTTP status.
        message: What it says, else the usual.
        fields: What else it says, as `error`.
    """
    return json_reply({**_envelope(status, message), **fields}, status)


def execute_refusal(detail: str, status: int = 400) -> Reply:
    """The envelope only the execute endpoint uses."""
    return json_reply({"message": "Server Error", "error": detail}, status)


def http_date(seconds: float) -> str:
    """A time in epoch seconds as HTTP headers write it."""
    return formatdate(seconds, usegmt=True)


def _envelope(status: int, message: str | None) -> dict[str, Any]:
    if status == HTTPStatus.UNAUTHORIZED:
        return {
            "status_code": 401,
            "http_error_type": "UNAUTHORIZED",
            "error": "SERVER_ERROR",
            "message": message or "Invalid Credentials",
        }
    if status == HTTPStatus.NOT_FOUND:
        return {
            "status_code": 404,
            "http_error_type": "NOT_FOUND",
            "error_code": "RESOURCE_NOT_FOUND",
            "message": message or "Execution not found",
        }
    kind, text = _ERROR_TYPES.get(status, ("INTERNAL_SERVER_ERROR", _phrase(status)))
    return {
        "status_code": status,
        "http_error_type": kind,
        "error_code": kind,
        "message": message or text,
        "request_id": f"req_{next(_request_numbers):08x}",
    }


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown Error"
