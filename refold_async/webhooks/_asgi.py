"""A webhook's route as a plain ASGI application."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from refold_async._protocol import MAX_EVENT_BYTES
from refold_async.webhooks._receiver import BODY_WITHIN, METHODS, Receiver, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from refold_async._models import WebhookEvent
    from refold_async.webhooks._receiver import Notified

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]


def asgi(
    refold: Notified,
    *,
    api_key: str | Iterable[str] | None = None,
    on_event: Callable[[WebhookEvent], Awaitable[None]] | None = None,
) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """Make an ASGI application that takes webhooks for a client, to mount where you like.

    It answers 200 as soon as a delivery is verified and taken, 400 to what is no event, 401 to what
    is not signed, 405, 408 to a body that takes longer than 2 s, 413 beyond 1 MiB, and 503 while
    1,000 calls of `on_event` are under way: the service then delivers again. A peer that sends half
    of its headers can't be ended from here: have a proxy in front.

    Args:
        refold: the client whose handles wait. Run it on the loop that serves.
        api_key: the key or keys that sign; the client's own if None.
        on_event: called with each event that was verified, off the request's path; what it raises
            is logged. A redelivered or replayed event comes again: let it be repeatable. 200 is
            answered before it has run, so what it has under way when the process ends is lost: let
            it hand to a queue what must not be.

    Raises:
        ConfigError: the client has only a session token, and no `api_key` was given.

    See: "Webhooks".
    """
    receiver = Receiver(refold, api_key=api_key, on_event=on_event)

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await _answer(send, await _take(receiver, scope, receive))
        else:  # a websocket
            await receive()
            await send({"type": "websocket.close"})

    return application


async def _take(receiver: Receiver, scope: Message, receive: Receive) -> Verdict:
    if scope["method"] not in METHODS:
        return Verdict.WRONG_METHOD
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length[:20]) > MAX_EVENT_BYTES:
        return Verdict.TOO_LARGE
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return Verdict.NO_EVENT
                body += message.get("body", b"")
                if len(body) > MAX_EVENT_BYTES:
                    return Verdict.TOO_LARGE
                more = message.get("more_body", False)
    except TimeoutError:
        return Verdict.TOO_SLOW
    signature = headers.get(b"x-cobalt-signature")
    return receiver.take(bytes(body), None if signature is None else signature.decode("latin-1"))


async def _answer(send: Send, verdict: Verdict) -> None:
    status, word = verdict.value
    body = word.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
    ]
    if verdict is Verdict.WRONG_METHOD:
        headers.append((b"allow", ", ".join(METHODS).encode()))
    if verdict in {Verdict.TOO_SLOW, Verdict.TOO_LARGE}:  # the rest is not waited for
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    """Take part in a server's start and end, if nothing is mounted around us."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
