"""What webhooks deliver, shown as it comes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from rich.text import Text

from refold_async.cli import _documents as documents
from refold_async.cli._endings import BadUsageError
from refold_async.cli._terminal import clean, clipped, emit, make_console
from refold_async.cli._views import colour
from refold_async.webhooks import ConnectionEvent, WebhookEvent, WorkflowEvent, aiohttp_handler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from refold_async.cli._performing import Job

_LEAVES = 1.0
"""Seconds that an answer which is under way may take at the end."""


class Listener:
    """Takes verified events, and shows them one after the other.

    Args:
        job: what the command works with.

    Raises:
        BadUsageError: there is no key to verify with.
    """

    def __init__(self, job: Job) -> None:
        if not job.refold.webhook_keys:
            raise BadUsageError(
                "webhooks are signed with the API key: set REFOLD_API_KEY in place of"
                " REFOLD_SESSION_TOKEN"
            )
        self._job = job
        self._events: asyncio.Queue[WebhookEvent] = asyncio.Queue()
        self.handle = aiohttp_handler(job.refold, on_event=self._events.put)

    async def show(self, limit: int | None = None) -> None:
        """Show what comes until so many have come, or for ever."""
        console = make_console()
        as_json = self._job.settings.as_json
        count = 0
        while limit is None or count < limit:
            self._job.interrupted = f"interrupted; {count} event{'s' * (count != 1)} came"
            event = await self._events.get()
            if count == 0 and not as_json:
                console.print(_row("Time", "Event", "Account", "What"), style="dim", soft_wrap=True)
            count += 1
            if as_json:
                emit(documents.of_delivered(event))
            else:
                console.print(_event_row(event), soft_wrap=True)


@asynccontextmanager
async def listening(listener: Listener, host: str, port: int) -> AsyncIterator[str]:
    """Serve deliveries on every path of a port; give the URL.

    Raises:
        BadUsageError: the port can't be had.
    """
    from aiohttp import web  # noqa: PLC0415 - no other command needs a server

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", listener.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LEAVES)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise BadUsageError(f"can't listen on {host}:{port}: {error.strerror}") from None
        name = f"[{host}]" if ":" in host else host
        yield f"http://{name}:{site.port}/"
    finally:
        await runner.cleanup()


def _event_row(event: WebhookEvent) -> Text:
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    kind = "(unnamed)" if event.kind is None else clipped(event.kind, 40)
    style = ""
    if isinstance(event, WorkflowEvent):
        what = [event.execution_id, event.workflow_name or event.workflow_id]
        what.append(event.failed_node and f"failed at node '{event.failed_node}'")
        style = "" if event.status is None else colour(event.status)
    else:
        what = [event.slug if isinstance(event, ConnectionEvent) else None]
    account = clean(event.linked_account_id or "")
    return _row(now, kind, account, ", ".join(clipped(w, 100) for w in what if w), style=style)


def _row(time: str, kind: str, account: str, what: str, *, style: str = "") -> Text:
    return Text(f"{time:<10}").append(f"{kind:<20}", style).append(f"{account:<20}  {what}")
