"""Deliveries: what a run's end sends to whoever has subscribed, and again if it is not answered."""

import asyncio
import hashlib
import hmac
import json
import random
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import attrs

from ._runs import Run
from ._subscriptions import RUN_EVENTS, Webhooks

_TICK = 0.01
"""Seconds between two looks at what has ended: runs end by a clock that may be a test's."""
_LOOKS = 200_000
"""Runs looked at per second."""
_STOPPED = 0.05
"""Seconds between two looks at whether stopped deliveries go on."""
_PLACE = re.compile(r"{{\s*([\w.]+)\s*}}")


@attrs.frozen(kw_only=True)
class Delivery:
    """One attempt to deliver an event.

    Attributes:
        webhook_id: The webhook.
        execution_id: The run it tells of.
        event: Its name.
        body: The raw body that was signed.
        attempt: 1 for the first.
        status: What was answered, None if nothing was.
        at: When, in epoch seconds.
        forged: Whether it came from somebody without the key.
    """

    webhook_id: str
    execution_id: str
    event: str
    body: bytes
    attempt: int
    status: int | None
    at: float
    forged: bool = False


@attrs.define(kw_only=True)
class Pushes:
    """How deliveries fare; change it whenever you like. Shares are from 0 to 1.

    Attributes:
        lost: Share of the events that are never sent.
        twice: Share of those that are sent twice.
        forged: Share of the runs of which somebody without the key says, right after the start,
            that they have failed. It is sent once.
        stopped: While it is true nothing is delivered; what is due meanwhile comes when it is false
            again. With `lost = 1.0` it never comes.
        delay: Seconds between a run's end and its delivery, drawn from this range: a wide one
            mixes up their order.
        retries: How often what was not answered 200 is sent again.
        backoff: Seconds before the first of these; each further one waits twice as long.
        timeout: Seconds an answer may take.
        deliveries: What was tried, newest last; the last 10,000 are kept.
    """

    lost: float = 0.0
    twice: float = 0.0
    forged: float = 0.0
    stopped: bool = False
    delay: tuple[float, float] = (0.0, 0.0)
    retries: int = 3
    backoff: float = 0.5
    timeout: float = 5.0
    deliveries: deque[Delivery] = attrs.field(factory=lambda: deque(maxlen=10_000), init=False)


class Pusher:
    """Notices what has ended, and delivers.

    Args:
        webhooks: Who has subscribed.
        api_key: The key that signs.
        now: The clock in epoch seconds.
    """

    def __init__(self, webhooks: Webhooks, api_key: str, now: Callable[[], float]) -> None:
        self.pushes = Pushes()
        self._webhooks = webhooks
        self._key = api_key.encode()
        self._now = now
        self._running: set[Run] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._random = random.Random(1)
        self._forger = random.Random(1)  # of its own: it shifts no sequence of the others

    def watch(self, run: Run) -> None:
        """Deliver the end of a run, unless nobody has subscribed to anything."""
        if not self._webhooks.all():
            return
        if not self._running:
            self._spawn(self._look())
        self._running.add(run)
        if self._forger.random() < self.pushes.forged:
            event = RUN_EVENTS["ERRORED"]
            for hook in self._subscribed(event, run):
                self._spawn(self._forge(hook, run, event))

    def tell(self, run: Run) -> None:
        """Deliver the end of a run that is over."""
        event = RUN_EVENTS.get(run.status(self._now()))
        if event is None or self._random.random() < self.pushes.lost:
            return
        for hook in self._subscribed(event, run):
            for _ in range(1 + (self._random.random() < self.pushes.twice)):
                self._spawn(self._deliver(hook, run, event))

    async def aclose(self) -> None:
        """End all deliveries."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _subscribed(self, event: str, run: Run) -> list[dict[str, Any]]:
        return self._webhooks.subscribed(event, run.workflow_id, run.workflow.slug)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        while self._running:
            now = self._now()
            ended = [
                run
                for run in self._running
                if run.ends_at is not None and run.ends_at <= now and run.is_over(now)
            ]
            self._running.difference_update(ended)
            for run in ended:
                self.tell(run)
            await asyncio.sleep(max(_TICK, len(self._running) / _LOOKS))

    async def _deliver(self, hook: Mapping[str, Any], run: Run, event: str) -> None:
        pushes = self.pushes
        await asyncio.sleep(self._random.uniform(*pushes.delay))
        body = _body(hook, run, self._document(run, event), self._now())
        pause = pushes.backoff
        for attempt in range(1, pushes.retries + 2):
            while pushes.stopped:  # noqa: ASYNC110 - whoever changes it tells nobody
                await asyncio.sleep(_STOPPED)
            status = await self._send(hook, body, self._key)
            self._note(hook, run, event=event, body=body, attempt=attempt, status=status)
            if status == 200:  # noqa: PLR2004
                return
            await asyncio.sleep(pause)
            pause *= 2

    async def _forge(self, hook: Mapping[str, Any], run: Run, event: str) -> None:
        document = self._document(run, event) | {"status": "ERRORED"}
        body = json.dumps(document).encode()
        status = await self._send(hook, body, b"a key of their own")
        self._note(hook, run, event=event, body=body, attempt=1, status=status, forged=True)

    def _note(self, hook: Mapping[str, Any], run: Run, **told: Any) -> None:
        self.pushes.deliveries.append(
            Delivery(webhook_id=hook["_id"], execution_id=run.execution_id, at=self._now(), **told)
        )

    async def _send(self, hook: Mapping[str, Any], body: bytes, key: bytes) -> int | None:
        headers = {
            "Content-Type": "application/json",
            **hook.get("webhook_headers", {}),
            "x-cobalt-signature": hmac.new(key, body, hashlib.sha256).hexdigest(),
        }
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.request(
                hook["method"],
                hook["webhook_url"],
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self.pushes.timeout),
                allow_redirects=False,
            ) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    def _document(self, run: Run, event: str) -> dict[str, Any]:
        document: dict[str, Any] = {
            "linked_account_id": run.linked_account_id,
            "instance_id": run.execution_id,
            "workflow_id": run.workflow_id,
            "config_id": run.config_id,
            "environment": self._webhooks.environment,
            "event": event,
            "workflow_name": run.workflow.name,
            "status": run.status(self._now()),
        }
        if event == "Workflow Errored":
            progress = run.progress(self._now())
            document["failed_node"] = {"node_name": run.workflow.nodes[progress.node]}
        return document


def _body(hook: Mapping[str, Any], run: Run, event: Mapping[str, Any], now: float) -> bytes:
    """The body: the event itself, or a template of the subscriber's filled in."""
    template = hook.get("webhook_body")
    if hook["webhook_type"] != "custom" or template is None:
        return json.dumps(event).encode()
    if not isinstance(template, str):
        template = json.dumps(template)
    values = {"event": event, "workflow_response": run.output(now)}

    def filled(place: re.Match[str]) -> str:
        value: Any = values
        for name in place[1].split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value if isinstance(value, str) else json.dumps(value)

    return _PLACE.sub(filled, template).encode()
