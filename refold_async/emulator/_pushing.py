"""Deliveries: what a run's end sends to whoever has subscribed, and again if it is not answered."""

import asyncio
import hashlib
import hmac
import json
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from typing import Any

import aiohttp
import attrs

from ._real_time import RealTime
from ._runs import Run
from ._subscriptions import ORGANISATION, RUN_EVENTS, Webhooks
from ._templates import filled
from ._time import VirtualTime

_TICK = 0.01
"""Seconds between two looks at what has ended: runs end by a clock that may be a test's."""
_LOOKS = 200_000
"""Runs looked at per second."""
_STOPPED = 0.05
"""Seconds between two looks at whether stopped deliveries go on."""


@attrs.frozen(kw_only=True)
class Delivery:
    """One attempt to deliver an event.

    Attributes:
        webhook_id: The webhook.
        execution_id: The run it tells of; None for one of a connection.
        event: Its name.
        body: The raw body that was signed.
        attempt: 1 for the first.
        status: What was answered, None if nothing was.
        at: When, in epoch seconds.
        forged: Whether it came from somebody without the key.
    """

    webhook_id: str
    execution_id: str | None
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


@attrs.frozen(kw_only=True)
class _Message:
    """What is told to all who have subscribed."""

    event: str
    document: Mapping[str, Any]
    execution_id: str | None = None
    output: Any = None


class Pusher:
    """Notices what has ended, and delivers.

    Args:
        webhooks: Who has subscribed.
        api_key: The key that signs.
        now: The clock in epoch seconds.
        time: What pauses go by.
        form: How outputs are filled into templates.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        api_key: str,
        now: Callable[[], float],
        time: RealTime | VirtualTime,
        form: str,
    ) -> None:
        self.pushes = Pushes()
        self._form = form
        self._time = time
        self._webhooks = webhooks
        self._key = api_key.encode()
        self._now = now
        self._running: set[Run] = set()
        self._under_way = 0  # deliveries, their pauses included
        self._looker: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._random = random.Random(1)
        self._forger = random.Random(1)  # of its own: it shifts no sequence of the others

    def watch(self, run: Run) -> None:
        """Deliver the end of a run, unless nobody has subscribed to anything."""
        if not self._webhooks.all():
            return
        self._running.add(run)
        if self._looker is None or self._looker.done():
            self._looker = self._spawn(self._look())
        self._time.stir(self)
        if self._forger.random() < self.pushes.forged:
            message = self._message(run, RUN_EVENTS["ERRORED"], "ERRORED")
            for hook in self._subscribed(message, run):
                self._spawn(self._forge(hook, message))

    def tell(self, run: Run) -> None:
        """Deliver the end of a run that is over."""
        status = run.status(self._now())
        event = RUN_EVENTS.get(status)
        if event is not None:
            message = self._message(run, event, status)
            self._tell(message, self._subscribed(message, run))

    def tell_connection(self, event: str, linked_account_id: str, slug: str) -> None:
        """Deliver what happened to an account's connection."""
        document = {
            "linked_account_id": linked_account_id,
            "org_id": ORGANISATION,
            "environment": self._webhooks.environment,
            "type": "General",
            "event": event,
            "slug": slug,
            "createdAt": formatdate(self._now(), usegmt=True),
        }
        self._tell(_Message(event=event, document=document), self._webhooks.subscribed(event))

    def _tell(self, message: _Message, hooks: Iterable[Mapping[str, Any]]) -> None:
        if self._random.random() < self.pushes.lost:
            return
        for hook in hooks:
            for _ in range(1 + (self._random.random() < self.pushes.twice)):
                self._under_way += 1
                self._spawn(self._deliver(hook, message)).add_done_callback(self._delivered)

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

    def _subscribed(self, message: _Message, run: Run) -> list[dict[str, Any]]:
        about = run.workflow_id, run.workflow.slug
        return self._webhooks.subscribed(message.event, of_run=about)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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
            pause = max(_TICK, len(self._running) / _LOOKS)
            await self._time.nap(self._until_next_end() if self._time.skips else pause, self)

    def _until_next_end(self) -> float:
        ends = (run.ends_at for run in self._running if run.ends_at is not None)
        ahead = [end - self._now() for end in ends]
        return max(min(filter(lambda each: each > 0, ahead), default=math.inf), 0.001)

    def _delivered(self, _: object) -> None:
        self._under_way -= 1

    async def _deliver(self, hook: Mapping[str, Any], message: _Message) -> None:
        pushes = self.pushes
        await self._time.nap(self._random.uniform(*pushes.delay))
        body = self._body(hook, message)
        pause = pushes.backoff
        for attempt in range(1, pushes.retries + 2):
            while pushes.stopped:  # noqa: ASYNC110 - whoever changes it tells nobody
                await asyncio.sleep(_STOPPED)
            with self._time.hold(f"a delivery to {hook['webhook_url']}"):
                status = await self._send(hook, message, body, self._key)
            self._note(hook, message, body=body, attempt=attempt, status=status)
            if status == 200:  # noqa: PLR2004
                return
            await self._time.nap(pause)
            pause *= 2

    async def _forge(self, hook: Mapping[str, Any], message: _Message) -> None:
        body = json.dumps(message.document).encode()
        with self._time.hold(f"a forged delivery to {hook['webhook_url']}"):
            status = await self._send(hook, message, body, b"a key of their own")
        self._note(hook, message, body=body, attempt=1, status=status, forged=True)

    def _note(self, hook: Mapping[str, Any], message: _Message, **told: Any) -> None:
        self.pushes.deliveries.append(
            Delivery(
                webhook_id=hook["_id"],
                execution_id=message.execution_id,
                event=message.event,
                at=self._now(),
                **told,
            )
        )

    async def _send(
        self, hook: Mapping[str, Any], message: _Message, body: bytes, key: bytes
    ) -> int | None:
        headers = {
            "Content-Type": "application/json",
            **self._headers(hook, message),
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

    def _body(self, hook: Mapping[str, Any], message: _Message) -> bytes:
        """The body: the event itself, or a template of the subscriber's filled in."""
        template = hook.get("webhook_body")
        if hook["webhook_type"] != "custom" or template is None:
            return json.dumps(message.document).encode()
        if not isinstance(template, str):
            template = json.dumps(template)
        return filled(template, message.document, message.output, self._form).encode(
            errors="replace"
        )

    def _headers(self, hook: Mapping[str, Any], message: _Message) -> dict[str, str]:
        """The subscriber's own headers, templates as well in a `custom` webhook."""
        headers: Mapping[str, str] = hook.get("webhook_headers", {})
        if hook["webhook_type"] != "custom":
            return {**headers}
        return {
            name: filled(str(value), message.document, message.output)
            for name, value in headers.items()
        }

    def _message(self, run: Run, event: str, status: str) -> _Message:
        now = self._now()
        document: dict[str, Any] = {
            "linked_account_id": run.linked_account_id,
            "instance_id": run.execution_id,
            "workflow_id": run.workflow_id,
            "config_id": run.config_id,
            "environment": self._webhooks.environment,
            "event": event,
            "workflow_name": run.workflow.name,
            "status": status,
        }
        if event == "Workflow Errored":
            document["failed_node"] = {"node_name": run.workflow.nodes[run.progress(now).node]}
        return _Message(
            event=event,
            document=document,
            execution_id=run.execution_id,
            output=run.output(now),
        )
