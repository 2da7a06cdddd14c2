"""Who sends when: the queue for slots, and the pace that all clients with one credential share.

A slot is a token of the rate and a place in flight, granted at the same moment and before a
request's timeouts start. Handing out a token first and a place later would let a queue of stale
tokens leave as one burst. The rate is the service's business, so clients of one event loop with the
same base URL and credential share it; places are a client's own connections.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from enum import IntEnum
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakSet, WeakValueDictionary

from refold_async._clock import SystemClock, done_within
from refold_async._pacing.throttle import Throttle
from refold_async._stats import BudgetStats

if TYPE_CHECKING:
    from collections.abc import Hashable

    from refold_async._clock import Clock, Timer
    from refold_async._config import RateLimit
    from refold_async._errors import RefoldError

_ROUNDING = 1e-9
_TURN = 10
"""While somebody of a lower class waits, one slot in so many is theirs."""
_TICK = 0.02
"""Seconds of learned rate that may be made up for in one go: timers are late."""
_SOON = 0.25
"""Seconds after which the rate, which changes while a token is waited for, is asked again."""


class Priority(IntEnum):
    """What a request is for; the lower the number, the sooner it is sent."""

    START = 0
    STOP = 1
    RESULT = 2
    STATUS = 3


Waiter: TypeAlias = "tuple[int, asyncio.Future[int]]"  # number of arrival, and the phase granted in


class Pace:
    """The rate of all clients that share a credential, and whose turn it is among their callers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.throttle = Throttle(None)
        self.waiting: list[Budget] = []  # those with callers in a queue
        self._members: WeakSet[Budget] = WeakSet()
        self._burst = 0.0
        self._tokens = 0.0
        self._filled_at = clock.monotonic()  # when _tokens was true
        self._passed_over = 0  # slots in a row that went to a higher class than somebody else's
        self._arrivals = itertools.count()
        self._timer: Timer | None = None  # set while a caller with a place lacks a token

    def enter(self, budget: Budget) -> None:
        """Let a client's callers in; the strictest ceiling holds for all."""
        first = not self._members
        self._members.add(budget)
        self._set_ceiling()
        if first:
            self._tokens = self._burst

    def leave(self, budget: Budget) -> None:
        """Forget a client."""
        self._members.discard(budget)
        self._set_ceiling()
        if budget in self.waiting:
            self.waiting.remove(budget)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.grant()

    def _set_ceiling(self) -> None:
        limits = [budget.limit for budget in self._members if budget.limit is not None]
        self.throttle.ceiling = min((float(limit.per_second) for limit in limits), default=None)
        self._burst = min((float(limit.burst) for limit in limits), default=1.0)
        self._tokens = min(self._tokens, self._burst)

    def queue(self, budget: Budget, priority: Priority, waiter: asyncio.Future[int]) -> None:
        """Let a caller wait for its turn."""
        budget.queues[priority].append((next(self._arrivals), waiter))
        if budget not in self.waiting:
            self.waiting.append(budget)
        self.grant()

    def take(self, now: float) -> bool:
        """Take a token, if there is one."""
        throttle = self.throttle
        if now < throttle.gate:
            return False
        rate = throttle.rate(now)
        if rate is None:
            return True
        # A service that sheds gets no bursts.
        most = min(self._burst, max(1.0, rate * _TICK)) if throttle.learned else self._burst
        gained = (now - self._filled_at) * rate
        self._tokens = min(self._tokens + gained, most)
        self._filled_at = now
        if self._tokens < 1 - _ROUNDING:
            return False
        self._tokens -= 1
        return True

    def give_back(self) -> None:
        """Return a token that was not used."""
        self._tokens += 1

    def refuse(self, phase: int, pause: float) -> None:
        """Slow everybody down, because the service refused a request."""
        now, throttle = self.clock.monotonic(), self.throttle
        throttle.refuse(now, phase, pause)
        if throttle.phase != phase:  # whoever waits leaves at the rate, after a gate too
            self._tokens, self._filled_at = min(self._tokens, 0.0), now

    def grant(self) -> None:
        """Serve callers in their order for as long as there is a slot; else come back."""
        while self.waiting and (chosen := self._choose()) is not None:
            budget, priority, passed_over = chosen
            now = self.clock.monotonic()
            if not self.take(now):
                self._come_back(now)
                return
            self._passed_over = passed_over
            _, waiter = budget.queues[priority].popleft()
            budget.occupy(priority)
            waiter.set_result(self.throttle.phase)

    def _choose(self) -> tuple[Budget, Priority, int] | None:
        """Give whose turn it is, and how often in a row a lower class then was passed over.

        Among those whose client has a place: the highest class, and within it who came first. But
        after nine slots to higher classes the one who has waited longest in the others is next.
        """
        heads: list[tuple[int, Budget, Priority]] = []
        for budget in [*self.waiting]:
            found = budget.heads()
            if not found:
                self.waiting.remove(budget)
            elif budget.places > 0:
                heads += [(number, budget, priority) for priority, number in found]
        if not heads:
            return None
        top = min(priority for *_, priority in heads)
        lower = [head for head in heads if head[2] > top]
        in_turn = bool(lower) and self._passed_over >= _TURN - 1
        candidates = lower if in_turn else [head for head in heads if head[2] == top]
        _, budget, priority = min(candidates, key=itemgetter(0))
        return budget, priority, self._passed_over + 1 if lower and not in_turn else 0

    def _come_back(self, now: float) -> None:
        if self._timer is not None:
            return
        delay = self.throttle.gate - now
        if delay <= 0:
            rate = self.throttle.rate(now)
            assert rate is not None  # noqa: S101 - or there had been a token
            delay = max((1 - self._tokens) / rate, 0.0)
            if self.throttle.learned:
                delay = min(delay, _SOON)
        self._timer = self.clock.call_later(delay, self._on_token)

    def _on_token(self) -> None:
        self._timer = None
        self.grant()


_shared: WeakValueDictionary[Hashable, Pace] = WeakValueDictionary()
"""The paces in use, by event loop, service and credential; they go with their last client."""


class Budget:
    """One client's slots: the right to have a request in flight, starting now."""

    def __init__(self, limit: RateLimit | None, places: int, clock: Clock) -> None:
        self.limit = limit
        self.places = places  # free ones
        self.queues: tuple[deque[Waiter], ...] = tuple(deque() for _ in Priority)  # done ones too
        self._clock = clock
        self._all_places = places
        self._granted = [0] * len(Priority)
        self._refused = 0
        self._pace = Pace(clock)
        self._pace.enter(self)

    def join(self, key: Hashable) -> None:
        """Share the pace with all budgets of the same key, those of other clients."""
        # A clock of its own (in tests) tells another time.
        own = None if isinstance(self._clock, SystemClock) else id(self._clock)
        pace = _shared.setdefault((key, own), self._pace)
        if pace is not self._pace:
            self._pace.leave(self)
            self._pace = pace
            pace.enter(self)

    def take(self, priority: Priority) -> int | None:
        """Take a slot if there is one for a caller who does not wait; None if there isn't."""
        pace = self._pace
        if pace.waiting or self.places <= 0 or not pace.take(self._clock.monotonic()):
            return None
        self.occupy(priority)
        return pace.throttle.phase

    async def acquire(
        self, priority: Priority = Priority.START, deadline: float | None = None
    ) -> int | None:
        """Take a slot when one comes.

        Args:
            priority: whom to let go first.
            deadline: monotonic seconds until which to wait, or None.

        Returns:
            The phase of the throttle in which the request leaves, to be told with its reply; None
            once the deadline has passed.
        """
        pace, now = self._pace, self._clock.monotonic()
        if deadline is not None and deadline <= now:
            return None
        phase = self.take(priority)
        if phase is not None:
            return phase
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        pace.queue(self, priority, waiter)
        try:
            if deadline is None:
                await waiter
            else:
                await done_within(self._clock, waiter, deadline - now)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(priority)
            raise
        finally:
            waiter.cancel()
            pace.grant()
        return None if waiter.cancelled() else waiter.result()

    def occupy(self, priority: Priority) -> None:
        """Take the place that goes with a token."""
        self.places -= 1
        self._granted[priority] += 1

    def _give_back(self, priority: Priority) -> None:
        """Return a slot that was granted and not used."""
        self.places += 1
        self._granted[priority] -= 1
        self._pace.give_back()

    def release(self) -> None:
        """Free the place of a request that is over; its token is spent."""
        self.places += 1
        if self._pace.waiting:
            self._pace.grant()

    def served(self, phase: int) -> None:
        """Tell that the service took a request."""
        self._pace.throttle.serve(self._clock.monotonic(), phase)

    def refused(self, phase: int, pause: float) -> None:
        """Tell that the service turned a request away as one too many.

        Args:
            phase: in which its slot was granted.
            pause: seconds for which the service wants no further requests.
        """
        self._refused += 1
        self._pace.refuse(phase, pause)

    def heads(self) -> list[tuple[Priority, int]]:
        """Give the classes in which callers wait, with the number of the first of each."""
        found = []
        for priority, queue in zip(Priority, self.queues, strict=True):
            while queue and queue[0][1].done():
                queue.popleft()
            if queue:
                found.append((priority, queue[0][0]))
        return found

    def close(self, error: RefoldError) -> None:
        """End every wait for a slot with an error."""
        for queue in self.queues:
            for _, waiter in queue:
                if not waiter.done():
                    waiter.set_exception(error.fresh())
            queue.clear()
        self._pace.leave(self)

    def stats(self) -> BudgetStats:
        """Show what is going on."""
        now, throttle = self._clock.monotonic(), self._pace.throttle
        waiting = (sum(not waiter.done() for _, waiter in queue) for queue in self.queues)
        names = [priority.name.lower() for priority in Priority]
        return BudgetStats(
            rate=throttle.rate(now),
            ceiling=throttle.ceiling,
            waiting=dict(zip(names, waiting, strict=True)),
            in_flight=self._all_places - self.places,
            granted=dict(zip(names, self._granted, strict=True)),
            refused=self._refused,
            stopped_for=max(throttle.gate - now, 0.0),
        )
