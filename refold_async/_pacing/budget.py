"""One client's slots: the right to have a request in flight, starting now.

A slot is a token of the rate and a place in flight, granted at the same moment and before a
request's timeouts start. Handing out a token first and a place later would let a queue of stale
tokens leave as one burst. The rate is the service's business, so clients of one event loop with the
same base URL and credential share it; places are a client's own connections.
"""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from refold_async._clock import SystemClock, done_within
from refold_async._pacing.pace import LONGEST_STOP, Pace
from refold_async._pacing.turns import Priority, Turns, Waiter
from refold_async._stats import BudgetStats

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from refold_async._clock import Clock
    from refold_async._config import RateLimit
    from refold_async._errors import RefoldError


_shared: WeakValueDictionary[Hashable, Pace] = WeakValueDictionary()
"""The paces in use, by event loop, service and credential; they go with their last client."""


_NONE = object()


class Budget:
    """The places of one client, and who waits for one."""

    def __init__(self, limit: RateLimit | None, places: int, clock: Clock) -> None:
        self.limit = limit
        self.queues: tuple[Turns, ...] = tuple(Turns() for _ in Priority)
        self.pace = Pace(clock)
        self._clock = clock
        self._places = places
        self._in_flight: dict[Hashable, int] = {}  # by account
        self._free = places
        self._left_over = math.ceil(places / 4) if places > 1 else 0  # by any one of several
        self._account: Hashable = _NONE  # that asked last
        self._one_account = True  # and no other so far
        self._granted = [0] * len(Priority)
        self._refused = 0
        self.pace.enter(self)

    def join(self, key: Hashable) -> None:
        """Share the pace with all budgets of the same key, those of other clients."""
        # A clock of its own (in tests) tells another time; after a fork all begin anew.
        own = None if isinstance(self._clock, SystemClock) else id(self._clock)
        pace = _shared.setdefault((key, own, os.getpid()), self.pace)
        if pace is not self.pace:
            self.pace.leave(self)
            self.pace = pace
            pace.enter(self)

    def take(self, priority: Priority, account: Hashable = None) -> int | None:
        """Take a slot if there is one for a caller who does not wait; None if there isn't."""
        pace = self.pace
        if account != self._account:
            self._one_account = self._account is _NONE
            self._account = account
        if pace.waiting or not self._has_place(account) or not pace.take(self._clock.monotonic()):
            return None
        self._occupy(priority, account)
        return pace.throttle.phase

    async def acquire(
        self,
        priority: Priority = Priority.START,
        deadline: float | None = None,
        *,
        account: Hashable = None,
        patience: float = LONGEST_STOP,
        again: bool = False,
    ) -> int | None:
        """Take a slot when one comes.

        Args:
            priority: whom to let go first.
            deadline: monotonic seconds until which to wait, or None.
            account: for whom; accounts take turns.
            patience: seconds for which the service may hold the call up, serving nothing.
            again: whether it was sent before: then it goes ahead of the account's others, behind
                those that were too.

        Returns:
            The phase of the throttle in which the request leaves, to be told with its reply; None
            once the deadline has passed.

        Raises:
            RateLimitError, ServerError: the service stopped all requests for longer than that, or
                than until the deadline; nothing was sent.
        """
        pace, now = self.pace, self._clock.monotonic()
        if deadline is not None and deadline <= now:
            return None
        phase = self.take(priority, account)
        if phase is not None:
            return phase
        granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiter = Waiter(granted, account, deadline, patience, now, again)
        stopped = pace.stopped(now, waiter)
        if stopped is not None:
            raise stopped
        self.queues[priority].add(waiter)
        if self not in pace.waiting:
            pace.waiting.append(self)
            pace.news()
        pace.grant()
        try:
            if deadline is None:
                await granted
            else:
                await done_within(self._clock, granted, deadline - now)
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._give_back(priority, account)
            raise
        finally:
            granted.cancel()
            self.pace.grant()
        return None if granted.cancelled() else granted.result()

    def heads(self) -> Iterator[tuple[Priority, Waiter]]:
        """Give the next caller of each class in which one waits who could be sent."""
        for priority, queue in zip(Priority, self.queues, strict=True):
            head = queue.head(self._has_place) if self._free > 0 else None
            if head is not None:
                yield priority, head

    def serve(self, priority: Priority, waiter: Waiter) -> None:
        """Give a slot to a caller who waited; the token is taken."""
        self.queues[priority].pop(waiter)
        self._occupy(priority, waiter.account)
        waiter.granted.set_result(self.pace.throttle.phase)

    def _has_place(self, account: Hashable) -> bool:
        """Tell whether an account may have another place: of several none has the last quarter."""
        if self._free > self._left_over or self._one_account:
            return self._free > 0
        return self._free > 0 and self._in_flight.get(account, 0) < self._places - self._left_over

    def _occupy(self, priority: Priority, account: Hashable) -> None:
        self._free -= 1
        self._granted[priority] += 1
        self._in_flight[account] = self._in_flight.get(account, 0) + 1

    def _give_back(self, priority: Priority, account: Hashable) -> None:
        """Return a slot that was granted and not used."""
        self._vacate(account)
        self._granted[priority] -= 1
        self.pace.give_back()

    def _vacate(self, account: Hashable) -> None:
        self._free += 1
        left = self._in_flight[account] - 1
        if left:
            self._in_flight[account] = left
        else:
            del self._in_flight[account]

    def release(self, account: Hashable = None) -> None:
        """Free the place of a request that is over; its token is spent.

        Args:
            account: for whom the slot was taken.
        """
        self._vacate(account)
        if self.pace.waiting:
            self.pace.grant()

    def served(self, phase: int) -> None:
        """Tell that the service took a request."""
        self.pace.served(phase)

    def refused(self, phase: int, retry_after: float = 0.0, status: int = 429) -> None:
        """Tell that the service turned a request away as one too many.

        Args:
            phase: in which its slot was granted.
            retry_after: seconds for which the service wants no further requests.
            status: HTTP status of the refusal: who can't outlast the pause is told.
        """
        self._refused += 1
        self.pace.refuse(phase, retry_after, status)

    def shut_since(self) -> float:
        """Tell since when gates have followed each other, in monotonic seconds; `inf` for none."""
        return self.pace.shut_since

    @property
    def granted(self) -> int:
        """Slots granted so far."""
        return sum(self._granted)

    def close(self, error: RefoldError) -> None:
        """End every wait for a slot with an error."""
        for queue in self.queues:
            for waiter in queue:
                waiter.granted.set_exception(error.fresh())
            queue.clear()
        self.pace.leave(self)

    def stats(self) -> BudgetStats:
        """Show what is going on."""
        now, pace = self._clock.monotonic(), self.pace
        names = [priority.name.lower() for priority in Priority]
        waiting = [sum(1 for _ in queue) for queue in self.queues]
        return BudgetStats(
            rate=pace.rate(now),
            ceiling=pace.ceiling,
            waiting=dict(zip(names, waiting, strict=True)),
            in_flight=self._places - self._free,
            granted=dict(zip(names, self._granted, strict=True)),
            refused=self._refused,
            stopped_for=max(pace.throttle.gate - now, 0.0),
        )
