"""Requests as they come off the wire: read no further than they may be, refused if unreadable."""

import zlib
from collections.abc import Iterable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ._replies import RefusedError, refusal

_AS_IT_IS = frozenset({"", "identity"})
_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """Read a body of at most `limit` bytes, whatever it says of itself.

    Raises:
        RefusedError: It is too large (413), compressed in an unknown way (415), or broken (400).
    """
    if not request.body_exists:
        return b""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _AS_IT_IS and encoding not in _WINDOW:
        raise RefusedError(refusal(415, "Content-Encoding must be identity, gzip or deflate"))
    if (request.content_length or 0) > limit:
        raise RefusedError(refusal(413))
    body = bytearray()
    try:
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > limit:
                raise RefusedError(refusal(413))
    except (HttpProcessingError, web.RequestPayloadError):
        raise RefusedError(refusal(400, "Request body is broken")) from None
    return bytes(body) if encoding in _AS_IT_IS else _inflated(body, _WINDOW[encoding], limit)


def _inflated(body: bytearray, window: int, limit: int) -> bytes:
    inflater = zlib.decompressobj(window)
    try:
        whole = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise RefusedError(refusal(400, "Request body is not what Content-Encoding says")) from None
    if len(whole) > limit:
        raise RefusedError(refusal(413))
    if not inflater.eof or inflater.unused_data:
        raise RefusedError(refusal(400, "Request body is not what Content-Encoding says"))
    return whole


def check_headers(values: Iterable[bytes]) -> None:
    """Refuse headers that are no text.

    Raises:
        RefusedError: One of them is not UTF-8.
    """
    try:
        b"\n".join(values).decode()
    except UnicodeDecodeError:
        raise RefusedError(refusal(400, "Request headers must be UTF-8")) from None
