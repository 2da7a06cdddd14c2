"""What a client is made of: put together, seen with other options, and taken down."""

from __future__ import annotations

import asyncio
import copy
import functools
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._clock import to_the_end
from refold_async._config import name_of
from refold_async._handle import Services
from refold_async._pacing import Budget
from refold_async._starting import KeyLooks, Listed, Reconciler, Starter
from refold_async._stats import Counters, Stats
from refold_async._transport import Api, Authenticator, Connections, Transport, Wire
from refold_async._waiting import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from refold_async._clock import Clock
    from refold_async._config import (
        Credential,
        PollPolicy,
        RateLimit,
        RetryPolicy,
        Shared,
        Timeouts,
    )
    from refold_async._models import WorkflowEvent
    from refold_async._shared import Ear, Once, Rate


class Sharing:
    """What is shared with other processes; most clients share nothing, and import nothing for it.

    Args:
        shared: the Redis, if there is one.
        name: by which things are shared.
        budget: the client's own.
        clock: what tells the time.
    """

    def __init__(self, shared: Shared | None, name: str, budget: Budget, clock: Clock) -> None:
        self.shared = shared
        self.name = name
        self._budget = budget
        self._clock = clock
        self._rate: Rate | None = None
        self.ear: Ear | None = None

    @functools.cached_property
    def once(self) -> Once:
        """The keys of `once`."""
        from refold_async._shared import Once  # noqa: PLC0415

        return Once(self.shared, self.name, self._clock)

    def share_rate(self) -> None:
        """Share the rate, from the client's first call on."""
        from refold_async._shared import Rate  # noqa: PLC0415

        assert self.shared is not None  # noqa: S101 - or there is nobody to share it with
        self._rate = Rate.enter(self._budget, self.shared, self.name, self._clock)

    def listen(self, tracker: Tracker) -> None:
        """Hear what others are told, from the first wait on, or the first thing to tell them."""
        from refold_async._shared import Ear  # noqa: PLC0415

        assert self.shared is not None  # noqa: S101 - or there is nobody to listen to
        if self.ear is None:
            self.ear = Ear(self.shared, self.name, self._clock, tracker)
        self.ear.listen()

    def pass_on(self, execution_id: str, account: str | None, tracker: Tracker) -> None:
        """Let the others know what was told here; without a running loop it stays here."""
        if self.shared is None:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self.listen(tracker)
        assert self.ear is not None  # noqa: S101 - made just now
        self.ear.tell(execution_id, account)

    async def aclose(self) -> None:
        """Let the others know."""
        async with AsyncExitStack() as stack:  # from the last to the first
            if self._rate is not None:
                stack.push_async_callback(self._rate.leave, self._budget)
            if "once" in vars(self):
                stack.push_async_callback(self.once.aclose)
            if self.ear is not None:
                stack.push_async_callback(self.ear.aclose)


class Closing:
    """Tells those who feed a client with work of their own accord that it is being closed."""

    def __init__(self) -> None:
        self._has_begun = False
        self._listeners: set[Callable[[], object]] = set()

    @contextmanager
    def told(self, tell: Callable[[], object]) -> Iterator[None]:
        """Have it told as long as this lasts; at once, if closing has begun."""
        if self._has_begun:
            tell()
        self._listeners.add(tell)
        try:
            yield
        finally:
            self._listeners.discard(tell)

    def begin(self) -> None:
        """Tell them."""
        self._has_begun = True
        for tell in [*self._listeners]:
            tell()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Parts:
    """The parts of a client, which its views share, but for what they change.

    Attributes:
        transport: the one door to the network.
        services: what handles work with.
        lists: reads the lists of runs, and learns from them.
        reconciler: looks lost starts up there.
        starter: starts runs.
        sharing: what is shared with other processes.
        counters: what has been done so far.
        closing: tells batches that the client is being closed.
    """

    transport: Transport
    services: Services
    lists: Listed
    reconciler: Reconciler
    starter: Starter
    sharing: Sharing
    counters: Counters
    closing: Closing = attrs.field(factory=Closing)

    def viewed(self, retry: RetryPolicy | None, timeouts: Timeouts | None) -> Parts:
        """Give the same parts with another retry policy or other timeouts, for what they start.

        Looks at pending runs are shared by all who wait, so they stay as they are.
        """
        api, services = self.services.api, copy.copy(self.services)
        services.api = Api(self.transport, retry or api.policy, timeouts or api.timeouts)
        starter = self.starter.viewed(services)
        services.start = starter.start
        return attrs.evolve(self, services=services, starter=starter)

    def told(self, execution_id: str, account: str | None) -> bool:
        """Take a hint that a run has ended, here and in all processes that share what they hear."""
        tracker = self.services.tracker
        self.sharing.pass_on(execution_id, account, tracker)
        return tracker.notify(execution_id, account)

    def told_output(self, event: WorkflowEvent, output: Any) -> None:
        """Take the output that came with a verified event; others are told of the end alone."""
        self.services.tracker.take_output(
            event.execution_id, event.linked_account_id, event.workflow_id, output, event.raw
        )

    def stats(self) -> Stats:
        """Give the counters as they stand, and what waits where."""
        waiting = self.services.tracker.stats()
        return self.counters.snapshot(self.transport.budget.stats(), waiting)

    async def aclose(self, grace: float) -> None:
        """End what is under way, after `grace` seconds; cancelled, it is closed all the same."""
        transport = self.transport
        ended = transport.loop_has_ended()
        if not ended:
            self.closing.begin()
        try:
            if grace > 0 and not ended:
                await self.starter.drain(grace)
        finally:
            transport.shut()
            await to_the_end(self._close(only_wire=ended))

    async def _close(self, *, only_wire: bool) -> None:
        """Close all parts, each whatever comes of the others; or, after its loop, the wire."""
        transport = self.transport
        async with AsyncExitStack() as stack:  # from the last to the first
            stack.push_async_callback(transport.wire.aclose)
            if not only_wire:
                stack.push_async_callback(self.sharing.aclose)
                stack.push_async_callback(self.starter.aclose)
                stack.push_async_callback(transport.aclose)
                stack.push_async_callback(self.services.tracker.aclose)


def put_together(
    *,
    base_url: str,
    credential: Credential,
    timeouts: Timeouts,
    retry: RetryPolicy,
    polling: PollPolicy,
    rate_limit: RateLimit | None,
    connections: Connections,
    max_reply_bytes: int,
    shared: Shared | None,
    clock: Clock,
) -> Parts:
    """Make the parts of a client from settings that were checked; does no I/O."""
    counters = Counters()
    key = None if credential.api_key is None else credential.api_key.reveal()
    name = base_url if shared is None else name_of(shared, base_url, key)
    auth = Authenticator(credential, clock, timeouts.read)
    transport = Transport(
        wire=Wire(
            base_url=base_url,
            auth=auth,
            timeouts=timeouts,
            clock=clock,
            connections=connections,
            max_reply_bytes=max_reply_bytes,
        ),
        auth=auth,
        policy=retry,
        budget=Budget(rate_limit, connections.limit, clock),
        clock=clock,
        counters=counters,
    )
    sharing = Sharing(shared, name, transport.budget, clock)
    api = Api(transport)
    tracker = Tracker(
        api,
        polling,
        clock,
        counters,
        at_once=max(1, connections.limit // 4),
        patience=retry.patience,
    )
    if shared is not None:
        transport.opened = sharing.share_rate
        tracker.waited = functools.partial(sharing.listen, tracker)
    services = Services(api, tracker, polling, clock)
    lists = Listed(api, clock, polling.page_size)
    reconciler = Reconciler(lists)
    starter = Starter(services, reconciler, KeyLooks(lists), counters)
    services.start = starter.start
    services.learn = tracker.rounds.learn = lists.learn
    return Parts(
        transport=transport,
        services=services,
        lists=lists,
        reconciler=reconciler,
        starter=starter,
        sharing=sharing,
        counters=counters,
    )
