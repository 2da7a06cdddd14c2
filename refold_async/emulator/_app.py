"""From a request on a socket to an operation, and back with whatever goes wrong on the way."""

import asyncio
import math
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, cast

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from . import _catalogue, _executions, _lists, _starts, _webhooks
from ._behaviour import Behaviour
from ._bodies import check_headers, read_body
from ._faults import Fault, Faults
from ._real_time import RealTime
from ._records import Recorded, Requests
from ._replies import RefusedError, Reply, Silence, http_date, refusal
from ._service import Call, Service
from ._starts import Held
from ._time import VirtualTime
from ._traffic import Exchange, Traffic

Handler = Callable[[Service, Call], Reply | Held]

_V2 = "/api/v2/public"
_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", f"{_V2}/workflow/{{workflow_id}}/execute", _starts.execute),
    ("POST", "/api/v1/workflow/{workflow_id}/execute", _starts.execute_v1),
    ("GET", f"{_V2}/execution/{{execution_id}}", _executions.get_execution),
    ("GET", "/api/v1/execution/{execution_id}/response", _executions.get_response),
    ("GET", f"{_V2}/execution", _lists.list_executions),
    ("POST", f"{_V2}/execution/{{execution_id}}/stop", _executions.stop),
    ("POST", f"{_V2}/execution/{{execution_id}}/rerun", _starts.rerun),
    (
        "GET",
        f"{_V2}/execution/{{execution_id}}/nodes/{{node_id}}/batches",
        _executions.list_batches,
    ),
    ("POST", f"{_V2}/event/trigger", _starts.trigger_event),
    ("POST", f"{_V2}/event/{{slug}}", _starts.trigger_event),
    ("GET", f"{_V2}/workflow/enabled", _catalogue.enabled_workflows),
    ("GET", f"{_V2}/workflow/request-structure/{{workflow_id}}", _catalogue.request_structure),
    ("GET", f"{_V2}/workflow/{{workflow_id}}", _catalogue.get_workflow),
    ("GET", f"{_V2}/workflow", _catalogue.list_workflows),
    ("POST", f"{_V2}/session-token", _catalogue.create_session_token),
    ("POST", f"{_V2}/webhook", _webhooks.create_webhook),
    ("GET", f"{_V2}/webhook", _webhooks.list_webhooks),
    ("GET", f"{_V2}/webhook/{{webhook_id}}", _webhooks.get_webhook),
    ("PUT", f"{_V2}/webhook/{{webhook_id}}", _webhooks.update_webhook),
    ("DELETE", f"{_V2}/webhook/{{webhook_id}}", _webhooks.delete_webhook),
    ("PUT", f"{_V2}/webhooks/group/edit", _webhooks.edit_webhook_group),
    ("POST", f"{_V2}/session-token/revoke", _catalogue.revoke_session_token),
)
_PATTERNS = tuple(
    (method, re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path)), handler)
    for method, path, handler in _ROUTES
)
_NO_IDS: Mapping[str, str] = {}
_NO_QUERY: Mapping[str, str] = {}

# A held run may be stopped or finished by hand, and its clock may be a test's: look this often.
_LONGEST_NAP = 0.05
_OUR_CLIENT = "refold-async/"
"""What the User-Agent of a client begins with that may share the emulator's time."""


class App:
    """The handler of every request: find, record, fail, perform, answer.

    Args:
        service: What answers.
        prefix: What comes before every path.
        time: What answers are held by.
    """

    def __init__(self, service: Service, prefix: str, time: RealTime | VirtualTime) -> None:
        self.faults = Faults()
        self.requests = Requests()
        self.counts: Counter[str] = Counter()
        self.recording = True
        self.traffic = Traffic(service.now)
        self._service = service
        self._prefix = prefix
        self._time = time
        self._waiting: set[asyncio.Task[Any]] = set()
        self._date = (0, "")
        self._kept_alive = _keep_alive(service.behaviour)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        handler, ids = self._find(request)
        operation = "unknown" if handler is None else handler.__name__
        with self.traffic.noted(operation, request, kept=self.recording) as exchange:
            return await self._answer(request, exchange, handler, ids)

    async def _answer(
        self,
        request: web.BaseRequest,
        exchange: Exchange,
        handler: Handler | None,
        ids: Mapping[str, str],
    ) -> web.StreamResponse:
        operation = exchange.operation
        body, refused = await self._read(request)
        self.counts[operation] += 1
        if self.recording:
            self.requests.append(self._record(operation, request, body))
        headers = self._let_through(request.headers)
        call = Call(operation, ids, _query(request), headers, body, refused)
        fault = self.faults.next(operation, ids.get("execution_id"))
        if fault is None:
            answer = self._perform(handler, call)
            reply = await self._finished(answer, ours=_is_ours(request))
            exchange.status = reply.status
            return web.Response(
                body=reply.body, status=reply.status, headers=self._headers(reply.headers)
            )
        exchange.fault = str(fault)
        response = await self._fail(request, fault, handler, call)
        exchange.status = None if fault.drop else response.status
        return response

    async def _read(self, request: web.BaseRequest) -> tuple[bytes, Reply | Silence | None]:
        """The body, or why nothing can be made of the request."""
        try:
            check_headers(value for _, value in request.raw_headers)
            return await read_body(request, self._service.max_body_bytes), None
        except RefusedError as error:
            return b"", error.reply

    async def end_waiting(self) -> None:
        """End all held and delayed requests without an answer."""
        waiting = list(self._waiting)
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)

    def _find(self, request: web.BaseRequest) -> tuple[Handler | None, Mapping[str, str]]:
        path = request.path
        if path.startswith(self._prefix):
            path = path[len(self._prefix) :]
            for method, pattern, handler in _PATTERNS:
                if request.method == method and (match := pattern.fullmatch(path)):
                    return handler, match.groupdict()
        return None, _NO_IDS

    def _perform(self, handler: Handler | None, call: Call) -> Reply | Silence | Held:
        if handler is None:
            return refusal(404, "Cannot find this path")
        try:
            self._service.admit(call)
            if call.refused is not None:
                return call.refused
            return handler(self._service, call)
        except RefusedError as error:
            return error.reply

    async def _finished(self, answer: Reply | Silence | Held, *, ours: bool) -> Reply:
        if isinstance(answer, Reply):
            return answer
        while isinstance(answer, Silence):
            await self._nap(math.inf, ours=ours)  # ends when the client leaves, or the emulator
        run, now = answer.run, self._service.now
        while not run.is_over(now()):
            left = math.inf if run.ends_at is None else run.ends_at - now()
            left = math.inf if left < 0 else max(left, 0.001)
            longest = math.inf if self._time.skips else _LONGEST_NAP
            await self._nap(min(left, longest), run, ours=ours)
        return answer.reply()

    async def _fail(
        self, request: web.BaseRequest, fault: Fault, handler: Handler | None, call: Call
    ) -> web.StreamResponse:
        answer: Reply | Silence | Held | None = fault.false_reply()
        if fault.performs:
            performed = self._perform(handler, call)
            answer = answer or performed
        if fault.delay:
            await self._nap(fault.delay, ours=_is_ours(request))
        if answer is None or fault.drop is not None:
            return _reset(request)
        reply = await self._finished(answer, ours=_is_ours(request))
        headers = self._headers({**reply.headers, **fault.headers})
        if fault.truncate:
            return await _cut_short(request, reply, headers)
        return web.Response(body=reply.body, status=reply.status, headers=headers)

    async def _nap(self, seconds: float, about: Any = None, *, ours: bool) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._waiting.add(task)
        try:
            await self._time.keep_waiting(seconds, about, ours=ours)
        finally:
            self._waiting.discard(task)

    def _let_through(self, headers: CIMultiDictProxy[str]) -> Mapping[str, str]:
        if not self._service.behaviour.drop_underscore_headers:
            return headers
        return CIMultiDict((name, value) for name, value in headers.items() if "_" not in name)

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        second = int(self._service.now())
        if self._date[0] != second:
            self._date = (second, http_date(second))
        return {"Date": self._date[1], **self._kept_alive, **headers}

    def _record(self, operation: str, request: web.BaseRequest, body: bytes) -> Recorded:
        return Recorded(
            operation,
            request.method,
            request.path,
            _query(request),
            request.headers,
            body,
            self._service.now(),
        )


def _keep_alive(behaviour: Behaviour) -> Mapping[str, str]:
    if behaviour.keepalive is None or not behaviour.keepalive_announced:
        return {}
    return {"Keep-Alive": f"timeout={int(behaviour.keepalive)}"}


def _is_ours(request: web.BaseRequest) -> bool:
    return request.headers.get("User-Agent", "").startswith(_OUR_CLIENT)


def _query(request: web.BaseRequest) -> Mapping[str, str]:
    return request.query if request.query_string else _NO_QUERY


def _reset(request: web.BaseRequest) -> web.Response:
    transport = request.transport
    if transport is not None:
        # Without lingering the peer sees a reset, not an orderly end.
        peer = transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def _cut_short(
    request: web.BaseRequest, reply: Reply, headers: Mapping[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=headers)
    response.content_length = len(reply.body)
    await response.prepare(request)
    await response.write(reply.body[: len(reply.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
