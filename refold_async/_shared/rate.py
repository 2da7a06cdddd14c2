"""One rate for all processes: each beats four times a second and is told its share.

What is shared is the rate, not its tokens, so no call waits for Redis: the pace of this process
goes on as usual, at its share. Shares are fair by demand: who wants little has that, the others the
rest in equal parts. A share grows only into what the others have let go, so that together they keep
to the ceiling.

What refusals teach is one lesson for all. Whoever lowers the rate, or has judged it, puts its own
in place of the one it knew; who comes second takes the first one's. With each beat each adds the
replies it had, and hears those of all.
"""

from __future__ import annotations

import asyncio
import os
import random
from contextvars import Context
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from refold_async._clock import done_within, pause, to_the_end
from refold_async._errors import SharedStateError
from refold_async._logs import Log
from refold_async._shared.dividing import DIVIDE, LEAVE
from refold_async._shared.link import Link

if TYPE_CHECKING:
    from refold_async._clock import Clock
    from refold_async._config import Shared
    from refold_async._pacing import Budget, Pace

logger = Log("shared")

BEAT = 0.25
"""Seconds between two beats."""
LONGEST_STOP = 120.0
"""Seconds for which a gate holds everybody at most."""
_GONE = 3.0
"""Seconds without a beat after which a member is gone, and its share the others'."""
_YOUNG = 1.0
"""Seconds in which all beat twice: while Redis remembers no more, no share grows, for there
may be members that it has forgotten."""
_ROOM = 1.25
"""How much more than it has used lately a process that doesn't queue may want next."""
_FIRST = 0.1
"""The part of the rate that a process takes at first, until Redis has answered, or is away."""
_HUNGRY = -1

_of_paces: WeakKeyDictionary[Pace, Rate] = WeakKeyDictionary()
"""One for each pace, whatever the number of clients that share it."""


class Rate:
    """The part of this process's pace in what all processes with its name may send.

    Args:
        shared: the Redis.
        name: by which they share.
        pace: what is given its share.
        clock: what tells the time.
    """

    def __init__(self, shared: Shared, name: str, pace: Pace, clock: Clock) -> None:
        self._link = Link(shared.url, clock, "each process keeps to its last share of the rate")
        self._keys = [f"refold:{name}:rate", f"refold:{name}:lesson"]
        self._alone = shared.members
        self._pace = pace
        self._clock = clock
        self._me = os.urandom(8).hex()
        self._budgets: list[Budget] = []
        self._granted = 0
        self._beaten_at = clock.monotonic()
        self._used = 0.0  # requests per second, lately
        self._members = 0  # when Redis was last there; 0: it never was
        self._heard_at = clock.monotonic()
        self._gate_told = 0.0  # the end of the last gate, monotonic seconds, that Redis knows of
        self._gate_heard = ""  # the last one, as Redis keeps it: each is heard once
        self._said = 0  # our demand, as Redis knows it
        self._epoch = ""  # names the lesson that we know
        self._lessons = 0  # that we have put forward
        self._known = 0  # changes of the throttle that Redis knows of
        self._hurry: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @staticmethod
    def enter(budget: Budget, shared: Shared, name: str, clock: Clock) -> Rate:
        """Let a client share its rate; needs the running loop."""
        pace = budget.pace
        rate = _of_paces.get(pace)
        if rate is None:
            rate = _of_paces[pace] = Rate(shared, name, pace, clock)
            rate._budgets.append(budget)
            rate._begin()
        else:
            rate._budgets.append(budget)
        return rate

    def _begin(self) -> None:
        self._pace.part = 1 / self._alone if self._alone else _FIRST
        self._pace.news = self._at_once
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._beat_on(), context=Context())

    def _at_once(self) -> None:
        """Beat now, if there is something that Redis doesn't know."""
        throttle = self._pace.throttle
        known = throttle.gate <= self._gate_told and throttle.changes == self._known
        news = self._said != _HUNGRY or not known
        if news and self._hurry is not None and not self._hurry.done():
            self._hurry.set_result(None)

    async def _beat_on(self) -> None:
        while True:
            self._hurry = asyncio.get_running_loop().create_future()
            try:
                await self._beat()
            except SharedStateError:
                self._without()
                await pause(self._clock, BEAT)
            await done_within(self._clock, self._hurry, BEAT * random.uniform(0.9, 1.1))

    async def _beat(self) -> None:
        now, throttle = self._clock.monotonic(), self._pace.throttle
        gate, changes = throttle.gate, throttle.changes
        untold = gate - now if gate > self._gate_told + 1e-3 else 0.0
        divided = throttle.rate(now)
        self._said = self._demand(now)
        self._lessons += 1
        share, members, shut, told, *lesson = await self._link.run(
            DIVIDE,
            self._keys,
            self._me,
            self._said,
            0 if divided is None else _milli(divided),
            _milli(max(untold, 0.0)),
            _milli(self._pace.rate(now) or 0.0),
            _milli(_GONE),
            _milli(LONGEST_STOP),
            _milli(_YOUNG),
            self._epoch,
            f"{self._me}:{self._lessons}",
            "" if changes == self._known else throttle.tell(now),
            "{}:{}".format(*throttle.counted),
        )
        heard = self._clock.monotonic()
        self._heard_at, self._members = heard, members
        self._gate_told = max(self._gate_told, gate)
        if told != self._gate_heard and heard + shut / 1000 > throttle.gate + BEAT / 10:
            self._pace.stop(shut / 1000)
            self._gate_told = throttle.gate
        self._gate_heard = told
        self._heed(heard, changes, *lesson)
        rate = throttle.rate(heard)
        if rate is None or divided is None:  # one that was learned meanwhile: the next beat tells
            self._pace.part = 1 / members
        else:
            self._pace.part = min(share / 1000 / rate, 1.0)

    def _heed(
        self, now: float, told: int, epoch: str, lesson: str, ago: int, served: int, refused: int
    ) -> None:
        """Take what all have learned, after having told of so many changes of our own."""
        throttle = self._pace.throttle
        self._epoch, self._known = epoch, told
        if not epoch and throttle.learned:
            self._known = -1  # forgotten: what we know is told anew
        elif lesson:
            try:
                self._pace.learn(lesson, now - ago / 1000)
            except ValueError:
                logger.warning("what other processes have learned can't be read, and is ignored")
            self._known = throttle.changes
        if throttle.changes == told or lesson:
            throttle.hear(now, served, refused)
        if throttle.changes != self._known:
            self._at_once()

    def _demand(self, now: float) -> int:
        """Say how many requests per second are wanted, or that callers queue."""
        granted = sum(budget.granted for budget in self._budgets)
        passed = max(now - self._beaten_at, 1e-3)
        weight = min(passed, 1.0)
        self._used += (max(granted - self._granted, 0) / passed - self._used) * weight
        self._granted, self._beaten_at = granted, now
        return _HUNGRY if self._pace.waiting else _milli(self._used * _ROOM)

    def _without(self) -> None:
        """Keep the last share while the others count us in; then take an equal one.

        They have divided ours by then, if Redis is away for us alone: so all together exceed the
        ceiling by no more than that. Who never had one takes the part that was said, or all.
        """
        if self._clock.monotonic() - self._heard_at > _GONE:
            self._pace.part = 1 / (self._members or self._alone or 1)

    async def leave(self, budget: Budget) -> None:
        """Let a client go; the share goes with the last one, also if the caller is cancelled."""
        if budget in self._budgets:
            self._granted -= budget.granted
            self._budgets.remove(budget)
        if self._budgets or self._task is None:
            return
        # Before anything is awaited: the next client may come meanwhile, and share the pace anew.
        _of_paces.pop(self._pace, None)
        self._pace.news = _nobody
        self._pace.part = 1.0
        task, self._task = self._task, None
        task.cancel()
        await to_the_end(self._take_leave(task))

    async def _take_leave(self, beating: asyncio.Task[None]) -> None:
        """Tell the others, once we beat no more."""
        try:
            await asyncio.wait([beating])
            await self._link.run(LEAVE, self._keys[:1], self._me)
        except SharedStateError:
            pass  # it lapses by itself
        finally:
            await self._link.aclose()


def _nobody() -> None:
    """Hear of nothing more."""


def _milli(value: float) -> int:
    return int(value * 1000)
