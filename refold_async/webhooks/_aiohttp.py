"""A webhook's route as a handler of aiohttp's server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from refold_async._protocol import MAX_EVENT_BYTES
from refold_async.webhooks._receiver import BODY_WITHIN, METHODS, Receiver, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp import web

    from refold_async._models import WebhookEvent
    from refold_async.webhooks._receiver import Notified


def aiohttp_handler(
    refold: Notified,
    *,
    api_key: str | Iterable[str] | None = None,
    on_event: Callable[[WebhookEvent], Awaitable[None]] | None = None,
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make a handler that takes webhooks for a client: `app.router.add_post(path, handler)`.

    What it answers, and its arguments, are those of `asgi`; the application's `client_max_size`
    plays no part.

    Raises:
        ConfigError: the client has only a session token, and no `api_key` was given.

    See: "Webhooks".
    """
    from aiohttp import web  # noqa: PLC0415 - a client alone needs no server

    receiver = Receiver(refold, api_key=api_key, on_event=on_event)

    async def handle(request: web.Request) -> web.StreamResponse:
        verdict = await _take(receiver, request)
        status, word = verdict.value
        response = web.Response(status=status, text=word)
        if verdict is Verdict.WRONG_METHOD:
            response.headers["Allow"] = ", ".join(METHODS)
        if verdict in {Verdict.TOO_SLOW, Verdict.TOO_LARGE}:
            await _answer_and_close(request, response)
        return response

    return handle


async def _answer_and_close(request: web.Request, response: web.Response) -> None:
    """Close the connection right behind the answer: aiohttp would read on for ten seconds."""
    response.force_close()
    await response.prepare(request)
    await response.write_eof()
    if request.transport is not None:
        request.transport.close()


async def _take(receiver: Receiver, request: web.Request) -> Verdict:
    from aiohttp.http_exceptions import PayloadEncodingError  # noqa: PLC0415

    if request.method not in METHODS:
        return Verdict.WRONG_METHOD
    if (request.content_length or 0) > MAX_EVENT_BYTES:
        return Verdict.TOO_LARGE
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_EVENT_BYTES:
                    return Verdict.TOO_LARGE
    except TimeoutError:
        return Verdict.TOO_SLOW
    except (ConnectionError, PayloadEncodingError):  # it has left, or can't write chunks
        return Verdict.NO_EVENT
    return receiver.take(bytes(body), request.headers.get("x-cobalt-signature"))
