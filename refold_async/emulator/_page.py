"""The page that shows an emulator at work, and what it asks for: `GET /_emulator/`.

It is for people on this machine alone. What it asks is no request to the service: nothing of it is
counted or recorded, meets a fault, or has a part in virtual time. It goes by real time: somebody
looks at it.
"""

import asyncio
import base64
import hashlib
import ipaddress
import json
import re
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from . import _switches
from ._app import App
from ._bodies import read_body
from ._pushing import Pusher
from ._real_time import RealTime
from ._replies import RefusedError
from ._runs import Run
from ._service import Service
from ._showing import Feed, Showing
from ._strict_json import load
from ._time import VirtualTime

PATH = "/_emulator/"
"""Where the page is, below the emulator's prefix."""

_PAUSE = 0.2
"""Seconds between two looks at what is new."""
_EFFORT = 20.0
"""How many times as long as a look took the next one is away: it takes 5 % of the CPU at most."""
_KEEP_ALIVE = 10.0
"""Seconds of silence after which something is sent, so that nobody in between hangs up."""
_MOST_STREAMS = 20
_FORBIDDEN = "The emulator's page is for this machine alone: open it at http://127.0.0.1."
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Page:
    """Answers what is asked of the page, and hands everything else on.

    Args:
        service: What it shows, and starts runs at.
        app: What answers everything else.
        pusher: Its deliveries.
        time: Its time, which may be advanced.
        prefix: What comes before every path.
        finish: Ends a run now, by its id.
    """

    def __init__(
        self,
        service: Service,
        app: App,
        pusher: Pusher,
        time: RealTime | VirtualTime,
        *,
        prefix: str,
        finish: Callable[[str], None],
    ) -> None:
        self.showing = Showing(service, app, pusher, time)
        self._service, self._app, self._pusher, self._time = service, app, pusher, time
        self._root = f"{prefix}{PATH}"
        self._finish = finish
        self._streams: set[asyncio.Task[Any]] = set()
        self._advance: asyncio.Task[None] | None = None
        self._actions: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "start": self._start_run,
            "stop": self._stop_run,
            "finish": self._finish_run,
            "switch": self._turn_switch,
            "advance": self._advance_time,
        }

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if not request.path.startswith(self._root):
            if request.path == self._root.removesuffix("/"):
                return web.Response(status=308, headers={"Location": self._root})
            return await self._app(request)
        if not _is_local(request):
            return _told(403, _FORBIDDEN)
        asked = request.method, request.path.removeprefix(self._root)
        if asked == ("GET", ""):
            return web.Response(
                text=_document().text,
                content_type="text/html",
                headers={**_HEADERS, "Content-Security-Policy": _document().policy},
            )
        if not _is_of_the_page(request):
            return _told(403, "Another site may neither read the emulator's page nor change it.")
        if asked == ("GET", "events"):
            return await self._stream(request)
        if request.method == "POST" and (action := self._actions.get(asked[1])):
            return await self._act(request, action)
        return _told(404, "The emulator's page has no such part.")

    async def aclose(self) -> None:
        """End all streams, and an advance that is under way."""
        tasks = [*self._streams, *filter(None, [self._advance])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- what is seen -------------------------------------------------------------------------

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Tell what is new until the browser leaves."""
        task = asyncio.current_task()
        if task is None or len(self._streams) >= _MOST_STREAMS:
            return _told(503, f"{_MOST_STREAMS} pages watch already: close some.")
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        feed = Feed(self.showing, request.query.get("run"))
        self._streams.add(task)
        try:
            await response.prepare(request)
            quiet_since = time.monotonic()
            while True:
                began = time.monotonic()
                news = feed.news()
                took = time.monotonic() - began
                if news or began - quiet_since > _KEEP_ALIVE:
                    # Waits for who reads slowly: nothing piles up, and the next look sees it all.
                    await response.write(f"data: {json.dumps(news)}\n\n".encode())
                    quiet_since = began
                await asyncio.sleep(max(_PAUSE, _EFFORT * took))
        finally:
            self._streams.discard(task)

    # -- what is done -------------------------------------------------------------------------

    async def _act(
        self,
        request: web.BaseRequest,
        action: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    ) -> web.Response:
        try:
            if request.content_type != "application/json":
                return _told(415, "The body is JSON.")
            document = load(await read_body(request, self._service.max_body_bytes))
            if not isinstance(document, dict):
                return _told(400, "The body is a JSON object.")
            return web.json_response(action(document), headers=_HEADERS)
        except RefusedError as refused:
            return _told(400, _message(refused))
        except ValueError as error:
            return _told(400, str(error))

    def _start_run(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        workflow = self._service.state.workflow(_text(document, "workflow"))
        account, tag = _text(document, "account"), document.get("tag") or None
        payload = document.get("payload", {})
        if workflow is None or not workflow.published:
            raise ValueError("there is no such workflow, or it is not published")
        if not isinstance(payload, dict):
            raise ValueError("a payload is a JSON object")  # noqa: TRY004 - a field of a body
        if tag is not None and not isinstance(tag, str):
            raise ValueError("a tag is text")
        self._service.check_account(account)
        if not workflow.owned_by(account):
            raise ValueError(f"the account {account!r} does not own this workflow")
        if complaints := workflow.complaints(payload):
            raise ValueError("; ".join(f"{field or 'payload'}: {why}" for field, why in complaints))
        run = self._service.state.start(workflow, payload, account=account, instance_tag=tag)
        return {"run": run.execution_id}

    def _stop_run(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        run = self._going(document)
        self._service.stop(run)
        return {"run": run.execution_id}

    def _finish_run(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        run = self._going(document)
        self._finish(run.execution_id)
        return {"run": run.execution_id}

    def _going(self, document: Mapping[str, Any]) -> Run:
        run = self._service.state.run(_text(document, "run"))
        if run is None:
            raise ValueError("there is no such run")
        if run.is_over(self._service.now()):
            raise ValueError("the run is over")
        return run

    def _turn_switch(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        name, on, share = (document.get(key) for key in ("name", "on", "share"))
        _switches.turn(self._app.faults, self._pusher.pushes, name=name, on=on, share=share)
        return {}

    def _advance_time(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Begin to let time pass: it takes as long as what is due on the way."""
        if not isinstance(self._time, VirtualTime):
            raise ValueError("this emulator goes by real time")  # noqa: TRY004 - not of a type
        seconds = self._time.passable(document.get("seconds"))
        if self._advance is not None and not self._advance.done():
            raise ValueError("time is being advanced already; something is still under way")
        self._advance = asyncio.create_task(self._time.sleep(seconds))
        return {}


class _Document:
    """The page itself, and what it may do: nothing but what is written in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.policy = (
            "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none';"
            " form-action 'none'; frame-ancestors 'none';"
            f" script-src {_digest('script', text)}; style-src {_digest('style', text)}"
        )


@cache
def _document() -> _Document:
    return _Document(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))


def _digest(tag: str, text: str) -> str:
    """The one element of a kind that there is, as a policy names it."""
    (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"


def _is_local(request: web.BaseRequest) -> bool:
    """Whether somebody on this machine asks, by a name that is its own whatever DNS says."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1:
        return False
    try:
        name = urlsplit(f"//{hosts[0]}").hostname or ""
    except ValueError:
        return False
    return _is_loopback(request.remote or "") and (name == "localhost" or _is_loopback(name))


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _is_of_the_page(request: web.BaseRequest) -> bool:
    """Whether the page itself asks, not another site that is open in the same browser."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    origin = request.headers.get("Origin")
    if origin is None:  # browsers send it with whatever changes something
        return request.method == "GET"
    return origin == f"http://{request.headers['Host']}"


def _text(document: Mapping[str, Any], field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field} is text that is not empty")
    return value


def _message(refused: RefusedError) -> str:
    body = getattr(refused.reply, "body", b"{}")
    return str(json.loads(body).get("message", "refused"))


def _told(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=_HEADERS)
