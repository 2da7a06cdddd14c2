"""The pace that all clients with one credential share: rate, gate, and whose turn it is."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from refold_async._clock import ROUNDING
from refold_async._errors import api_error_class
from refold_async._logs import Log
from refold_async._pacing.throttle import TICK, Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from refold_async._clock import Clock, Timer
    from refold_async._config import RateLimit
    from refold_async._errors import ApiError
    from refold_async._pacing.turns import Priority, Turns, Waiter

logger = Log("pacing")

LONGEST_STOP = 120.0
"""Seconds for which a Retry-After holds everybody at most; then one request asks again."""
_LONG_STOP = 5.0
"""Seconds from which on a stop that makes nobody fail is worth a warning."""
_FOLLOWS = 30.0
"""Seconds after a gate has opened in which another one follows it: the refusal was on its way."""
_ROUNDING = 1e-9
"""Of a token, that may be missing from one."""
_SOON = 0.25
"""Seconds after which the rate, which changes while a token is waited for, is asked again."""


class Member(Protocol):
    """A client that shares the pace."""

    limit: RateLimit | None
    queues: tuple[Turns, ...]

    def heads(self) -> Iterable[tuple[Priority, Waiter]]:
        """Give the next caller of each class in which one waits who could be sent."""

    def serve(self, priority: Priority, waiter: Waiter) -> None:
        """Give a slot to a caller who waited; the token is taken."""


class Pace:
    """Tokens of the rate, handed out in turns among classes, clients and accounts."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.throttle = Throttle(None)
        self.waiting: list[Member] = []  # those with callers in a queue
        self._turns = 0  # that were had so far
        self._members: WeakSet[Member] = WeakSet()
        self.news: Callable[[], object] = lambda: None  # told of queues that begin, gates, lessons
        self._burst = 0.0
        self._tokens = 0.0
        self._filled_at = clock.monotonic()  # when _tokens was true
        self._served: set[Priority] = set()  # classes that had their turn in this round
        self._timer: Timer | None = None  # set while a caller with a place lacks a token
        self._stop_ends = -math.inf  # monotonic seconds, as the service said
        self._stop_status = 0  # of the refusal that said so
        self._stop_told = -math.inf  # the end that was logged; -inf while the gate is open
        self.shut_since = math.inf  # when the first of the gates that follow each other was shut
        self._is_new = True  # no client has come yet
        self._kept: Timer | None = None  # see `leave`

    @property
    def part(self) -> float:
        """The part of the rate that is ours, of what other processes take too; 1 without any."""
        return self.throttle.part

    @part.setter
    def part(self, part: float) -> None:
        if part != self.throttle.part:
            self.throttle.part = part
            self._set_ceiling()
            self.start_again()

    def rate(self, now: float) -> float | None:
        """Give the requests per second that may leave here now; None for any number."""
        rate = self.throttle.rate(now)
        return None if rate is None else rate * self.throttle.part

    @property
    def ceiling(self) -> float | None:
        """The most that this ever is."""
        ceiling = self.throttle.ceiling
        return None if ceiling is None else ceiling * self.throttle.part

    def enter(self, member: Member) -> None:
        """Let a client's callers in; the strictest ceiling holds for all."""
        self._members.add(member)
        self._set_ceiling()
        if self._is_new:
            self._tokens, self._is_new = self._burst, False
        if self._kept is not None:
            self._kept.cancel()
            self._kept = None

    def leave(self, member: Member) -> None:
        """Forget a client.

        The last one leaves its pace to the next that comes: for as long as a gate is shut, or less
        than a burst may leave.
        """
        self._members.discard(member)
        if self._members:
            self._set_ceiling()
        else:
            self._keep()
        if member in self.waiting:
            self.waiting.remove(member)
        self.start_again()

    def _keep(self) -> None:
        """Stay, though no client is left, until there is nothing to be remembered."""
        now, rate = self.clock.monotonic(), self.rate(self.clock.monotonic())
        full_at = now if rate is None else self._filled_at + (self._burst - self._tokens) / rate
        left = max(full_at, self.throttle.gate) - now
        if left > 0:
            self._kept = self.clock.call_later(left, self._forget)

    def _forget(self) -> None:
        self._kept = None

    def start_again(self) -> None:
        """Serve who can be served, now that the rate may be another."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.grant()

    @property
    def own_ceiling(self) -> float | None:
        """Requests per second at most, as the clients here say."""
        return min((float(limit.per_second) for limit in self._limits()), default=None)

    def _limits(self) -> list[RateLimit]:
        return [member.limit for member in self._members if member.limit is not None]

    def _set_ceiling(self) -> None:
        self._burst = min((float(limit.burst) for limit in self._limits()), default=1.0)
        self._burst = max(self._burst * self.throttle.part, 1.0)
        self.throttle.ceiling = self.own_ceiling
        self._tokens = min(self._tokens, self._burst)

    def take(self, now: float) -> bool:
        """Take a token, if there is one."""
        throttle = self.throttle
        if now < throttle.gate:
            return False
        if self._stop_told > 0:
            self._stop_told = -math.inf
            logger.info("the pause is over: requests leave again")
        rate = self.rate(now)
        if rate is None:
            return True
        # A service that sheds gets no bursts; but timers are late, which is made up for.
        most = min(self._burst, max(1.0, rate * TICK)) if throttle.learned else self._burst
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

    def served(self, phase: int) -> None:
        """Take note that the service took a request."""
        throttle, known = self.throttle, self.throttle.changes
        throttle.serve(self.clock.monotonic(), phase)
        self.shut_since = math.inf
        if throttle.changes != known:
            self.news()

    def refuse(self, phase: int, pause: float, status: int) -> None:
        """Slow everybody down, because the service refused a request."""
        now, throttle = self.clock.monotonic(), self.throttle
        known = throttle.changes
        if now >= throttle.gate:
            self._stop_ends = self._stop_told = -math.inf
        self._refused_at(now)
        throttle.refuse(now, phase)
        throttle.shut(now, now + min(pause, LONGEST_STOP))
        if now < throttle.gate:  # then who waits leaves one after another
            self._start_with(1.0)
        elif throttle.phase != phase:
            self._tokens, self._filled_at = min(self._tokens, 0.0), now
        if now + pause > self._stop_ends:
            self._stop_ends, self._stop_status = max(now + pause, throttle.gate), status
        if now < throttle.gate or throttle.changes != known:
            self.news()
        # Requests that were under way come back one after another, each with the same pause.
        if now < throttle.gate and self._stop_ends > self._stop_told + 1:
            self._stop_told = self._stop_ends
            self._tell(now)

    def _start_with(self, most: float) -> None:
        """Have so many tokens when the gate opens, at most: no more than are earned by then."""
        gate, ceiling = self.throttle.gate, self.ceiling
        if ceiling is not None:
            most = min(most, self._tokens + (gate - self._filled_at) * ceiling)
        self._tokens, self._filled_at = most, gate

    def _refused_at(self, now: float) -> None:
        """Take note, before a gate is shut, whether it follows one with nothing served since."""
        follows = now <= self.throttle.gate + _FOLLOWS
        self.shut_since = min(self.shut_since, now) if follows else now

    def learn(self, lesson: str, told_at: float) -> None:
        """Take what refusals have taught another process.

        Args:
            lesson: as of `Throttle.tell`.
            told_at: monotonic seconds.

        Raises:
            ValueError: it is none.
        """
        now, throttle = self.clock.monotonic(), self.throttle
        before = throttle.rate(now) or math.inf
        throttle.learn(lesson, told_at)
        if (throttle.rate(now) or math.inf) < before:
            # As if we had been refused, but not all processes at once.
            self._tokens, self._filled_at = min(self._tokens, random.random()), now
        self.start_again()

    def stop(self, pause: float) -> None:
        """Let nothing leave for so long, because another process was told to wait."""
        now, throttle = self.clock.monotonic(), self.throttle
        self._refused_at(now)
        throttle.shut(now, now + min(pause, LONGEST_STOP))
        # Not all processes at once, when it opens.
        self._start_with(random.random())
        if throttle.gate > self._stop_ends:
            self._stop_ends, self._stop_status = throttle.gate, 429
        self._stop_told = self._stop_ends
        self._tell(now)
        self.start_again()

    def _tell(self, now: float) -> None:
        """Let everybody know of a gate: who can't outlast it is told at once."""
        failed = waiting = 0
        for waiter in (w for member in self.waiting for queue in member.queues for w in queue):
            error = self.stopped(now, waiter)
            failed += error is not None
            waiting += error is None
            if error is not None:
                waiter.granted.set_exception(error)
        length = self.throttle.gate - now
        tell = logger.warning if failed or length >= _LONG_STOP else logger.info
        tell(
            "the service refused a request (HTTP %d): for %.3g s none leaves; %d queued calls wait,"
            " %d that would not wait so long fail",
            *(self._stop_status, length, waiting, failed),
        )

    def stopped(self, now: float, waiter: Waiter) -> ApiError | None:
        """Give the refusal that shut the gate, if a caller can't outlast it."""
        shut_since = min(self.shut_since, now)
        if now >= self.throttle.gate or waiter.can_outlast(shut_since, self._stop_ends):
            return None
        left = self._stop_ends - now
        return api_error_class(self._stop_status)(
            "not sent: the service refused an earlier request and wants no other so soon; this call"
            f" would wait no longer than its timeout, and patience of {waiter.patience:.3g} s",
            status=self._stop_status,
            retry_after=left,
        )

    def grant(self) -> None:
        """Serve callers in their turns for as long as there is a slot; else come back."""
        while self.waiting and (chosen := self._choose()) is not None:
            now = self.clock.monotonic()
            if not self.take(now):
                self._come_back(now)
                return
            priority, member, waiter, classes = chosen
            self._served.add(priority)
            if self._served >= classes:
                self._served.clear()
            self._turns += 1
            member.queues[priority].turn = self._turns
            member.serve(priority, waiter)

    def _choose(self) -> tuple[Priority, Member, Waiter, set[Priority]] | None:
        """Give whose turn it is, and the classes in which callers wait.

        Classes take turns, the highest first; within a class clients do, and their accounts.
        """
        heads: dict[Priority, tuple[Member, Waiter]] = {}
        for member in [*self.waiting]:
            if not any(member.queues):  # all were served, or are gone
                self.waiting.remove(member)
            for priority, waiter in member.heads():
                first = heads.get(priority)
                if first is None or member.queues[priority].turn < first[0].queues[priority].turn:
                    heads[priority] = member, waiter
        if not heads:
            return None
        priority = min(heads.keys() - self._served or heads)
        return priority, *heads[priority], {*heads}

    def _come_back(self, now: float) -> None:
        if self._timer is not None:
            return
        delay = self.throttle.gate - now
        if delay <= 0:
            rate = self.rate(now)
            assert rate is not None  # noqa: S101 - or there had been a token
            delay = max((1 - self._tokens) / rate, ROUNDING)
            if self.throttle.learned:
                delay = min(delay, _SOON)
        self._timer = self.clock.call_later(delay, self._on_token)

    def _on_token(self) -> None:
        self._timer = None
        self.grant()
