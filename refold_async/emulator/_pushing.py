"""Deliveries: what a run's end sends to whoever has subscribed, and again if it is not answered."""

import asyncio
import hashlib
import hmac
import json
import math
import random
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import attrs

from ._real_time import RealTime
from ._runs import Run
from ._subscriptions import RUN_EVENTS, Webhooks
from ._time import VirtualTime

_TICK = 0.01
"""Seconds between two looks at what has ended: runs end by a clock that may be a test's."""
_LOOKS = 20_000
"""Runs looked at per second."""
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
    """

    webhook_id: str
    execution_id: str
    event: str
    body: bytes
    attempt: int
    status: int | None
    at: float


@attrs.define(kw_only=True)
class Pushes:
    """How deliveries fare; change it whenever you like. Shares are from 0 to 1.

    Attributes:
        lost: Share of the events that are never sent.
        twice: Share of those that are sent twice.
        delay: Seconds between a run's end and its delivery, drawn from this range: a wide one
            mixes up their order.
        retries: How often what was not answered 200 is sent again.
        backoff: Seconds before the first of these; each further one waits twice as long.
        timeout: Seconds an answer may take.
        deliveries: What was tried, newest last; the last 10,000 are kept.
    """

    lost: float = 0.0
    twice: float = 0.0
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
        time: What pauses go by.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        api_key: str,
        now: Callable[[], float],
        time: RealTime | VirtualTime,
    ) -> None:
        self.pushes = Pushes()
        self._time = time
        self._webhooks = webhooks
        self._key = api_key.encode()
        self._now = now
        self._running: set[Run] = set()
        self._under_way = 0  # deliveries, their pauses included
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._random = random.Random(1)

    def watch(self, run: Run) -> None:
        """Deliver the end of a run, unless nobody has subscribed to anything."""
        if not self._webhooks.all():
            return
        if not self._running:
            self._spawn(self._look())
        self._running.add(run)
        self._time.stir(self)

    def tell(self, run: Run) -> None:
        """Deliver the end of a run that is over."""
        event = RUN_EVENTS.get(run.status(self._now()))
        if event is None or self._random.random() < self.pushes.lost:
            return
        for hook in self._webhooks.subscribed(event, run.workflow_id, run.workflow.slug):
            for _ in range(1 + (self._random.random() < self.pushes.twice)):
                self._under_way += 1
                self._spawn(self._deliver(hook, run, event))

    @property
    def delivers(self) -> bool:
        """Whether deliveries are under way, or will be tried again."""
        return self._under_way > 0

    async def aclose(self) -> None:
        """End all deliveries."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        while self._running:
            now = self._now()
            ended = [run for run in self._running if run.is_over(now)]
            self._running.difference_update(ended)
            for run in ended:
                self.tell(run)
            pause = max(_TICK, len(self._running) / _LOOKS)
            await self._time.nap(self._until_next_end() if self._time.skips else pause, self)

    def _until_next_end(self) -> float:
        ends = (run.ends_at for run in self._running if run.ends_at is not None)
        ahead = [end - self._now() for end in ends]
        return max(min(filter(lambda each: each > 0, ahead), default=math.inf), 0.001)

    async def _deliver(self, hook: Mapping[str, Any], run: Run, event: str) -> None:
        try:
            await self._try(hook, run, event)
        finally:
            self._under_way -= 1

    async def _try(self, hook: Mapping[str, Any], run: Run, event: str) -> None:
        pushes = self.pushes
        await self._time.nap(self._random.uniform(*pushes.delay))
        body = _body(hook, run, self._document(run, event), self._now())
        signature = hmac.new(self._key, body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            **hook.get("webhook_headers", {}),
            "x-cobalt-signature": signature,
        }
        pause = pushes.backoff
        for attempt in range(1, pushes.retries + 2):
            with self._time.hold(f"a delivery to {hook['webhook_url']}"):
                status = await self._send(hook, body, headers)
            pushes.deliveries.append(
                Delivery(
                    webhook_id=hook["_id"],
                    execution_id=run.execution_id,
                    event=event,
                    body=body,
                    attempt=attempt,
                    status=status,
                    at=self._now(),
                )
            )
            if status == 200:  # noqa: PLR2004
                return
            await self._time.nap(pause)
            pause *= 2

    async def _send(
        self, hook: Mapping[str, Any], body: bytes, headers: Mapping[str, str]
    ) -> int | None:
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
