"""Time that is skipped: a clock that jumps to what is due next, as soon as nothing is under way.

The emulator and its clients share one `VirtualTime`. It stands still while anything happens, and
moves when all of this holds:

- somebody waits: a caller within the SDK, a test in `sleep` or `advance`, or a foreign HTTP client
  whose answer is held;
- no request is on its way: those that clients have in flight are those the emulator holds;
- nobody holds it: no workflow function runs, no webhook is being delivered, no `hold` is open;
- on the loop of each who waits, and on the emulator's, three turns in a row found nothing to run,
  and nothing was told meanwhile.

Then it takes the earliest timer. Looks at runs that go on would show nothing new: they wait for the
first of these runs to end, unless somebody watches one. Only who waits moves the time; retries of
webhooks and the like happen on the way. All of it may be used from several threads, each with a
loop of its own.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import attrs

from ._agenda import Agenda, Waiter
from ._quiet import Loop, Quiet, running_loop
from ._seconds import LONGEST, check_seconds
from ._timers import NEVER, Timer, TimerQueue


@attrs.define(eq=False)
class _Hold:
    """Something that is under way; not while somebody waits within it."""

    what: str
    within: "_Hold | None"
    waiters: int = 0
    is_over: bool = False

    def count(self, waiters: int) -> None:
        """Note that so many more wait within it, and so within those around it."""
        self.waiters += waiters
        if self.within is not None:
            self.within.count(waiters)


logger = logging.getLogger("refold_async.emulator")

STANDSTILL = 5.0
"""Real seconds after which it is said why time does not move."""

LEAST = 1e-6
"""Seconds by which time moves at least: what is less would be lost in rounding once much of it has
passed, and who asks for it again and again would stop the time."""

_holding: ContextVar[_Hold | None] = ContextVar("refold_emulator_hold", default=None)
_limited: ContextVar[Callable[[], bool]] = ContextVar(
    "refold_emulator_limit", default=lambda: False
)


class VirtualTime:
    """The time of an emulator made with `skip_time=True`; `Emulator.time` gives it.

    It stands still while anything happens, and jumps to what is due next as soon as somebody waits
    and nothing is under way. Durations are seconds.
    """

    skips = True

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._began = float(int(time.time()))
        self._passed = 0.0  # seconds since then
        self._queue = TimerQueue()
        self._looks = TimerQueue()  # of looks at pending runs
        self._about: dict[Any, set[Timer]] = {}
        self._waiters: set[Waiter] = set()
        self._where: Counter[Loop] = Counter()  # how many of them wait on which loop
        self._holds: set[_Hold] = set()
        self._outside = 0  # requests that clients have in flight
        self._begun = 0  # of these, all there have been
        self._held = 0  # answers to those that the emulator holds
        self._firing: Counter[Loop] = Counter()  # callbacks that are due and have not run
        self._news = 0  # counts whatever is told
        self._quiet = Quiet(
            self._lock,
            loops=self._loops,
            news=lambda: self._news,
            wanted=self._may_move,
            found=self._move,
        )
        self.home: Loop | None = None  # the emulator's loop
        self.agenda: Agenda | None = None  # the emulator's

    # -- what everybody reads -----------------------------------------------------------------

    def monotonic(self) -> float:
        """Seconds since the clock was made, and then some."""
        return 1_000.0 + self._passed

    def time(self) -> float:
        """Seconds since the epoch; begins with the machine's own time, in whole seconds."""
        return self._began + self._passed

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """Call back in `delay` seconds, on the running loop."""
        return self._set(self._timer(delay, callback), self._queue)

    def look_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """Call back to look at pending runs, in `delay` seconds or when there is news of them."""
        return self._set(self._timer(delay, callback), self._looks)

    # -- tests --------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass, with all that is due in them; done when all is quiet again.

        What is due at its very end has happened too, webhooks that were delivered included.

        Raises:
            ValueError: `seconds` is no number of seconds from 0 to 100 years, or more than that
                would have passed in all.
        """
        seconds = self.passable(seconds)
        woken = asyncio.get_running_loop().create_future()
        timer = self._timer(seconds, partial(_wake, woken))
        with self.waiting(f"a sleep of {seconds:g} s"):
            self._set(timer, self._queue, last=True)
            try:
                await woken
            finally:
                timer.cancel()

    def passable(self, seconds: object) -> float:
        """Give seconds back that may pass; `sleep` raises as this does."""
        checked = check_seconds(seconds, "time passes by")
        if self._passed + checked > LONGEST:
            raise ValueError(
                f"time passes by a number of seconds to 100 years in all, not {seconds!r} more:"
                f" {self._passed / 86_400:.0f} days have passed. Make a new emulator"
            )
        return checked

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass: `sleep` by the name that tests use.

        Raises:
            ValueError: `seconds` is no number of seconds from 0 to 100 years.
        """
        await self.sleep(seconds)

    def advance_blocking(self, seconds: float) -> None:
        """Let so many seconds pass, from a thread without an event loop of its own.

        Raises:
            RuntimeError: the emulator runs on no loop, or on the caller's own.
            ValueError: `seconds` is no number of seconds from 0 to 100 years.
        """
        home = self.home
        if home is None or not home.is_running() or home is running_loop():
            raise RuntimeError("the emulator does not run in another thread: await advance(...)")
        asyncio.run_coroutine_threadsafe(self.sleep(seconds), home).result()

    @contextmanager
    def hold(self, what: str = "hold()") -> Iterator[None]:
        """Let no time pass within the block: for threads, databases, sockets of your own.

        While somebody within it waits in the SDK, or sleeps, it does pass.
        """
        hold = _Hold(what, _innermost())
        _holding.set(hold)  # for good: it may be left in another context, and ends by itself
        with self._lock:
            self._holds.add(hold)
            self._news += 1
        try:
            yield
        finally:
            with self._lock:
                hold.is_over = True
                self._holds.discard(hold)
                self._told()

    # -- told by clients ----------------------------------------------------------------------

    @contextmanager
    def waiting(
        self,
        what: str,
        fail: Callable[[BaseException], object] | None = None,
        *,
        watches: bool = False,
    ) -> Iterator[None]:
        """Note that somebody waits, and with `fail` one who would do so for ever."""
        loop = asyncio.get_running_loop()
        waiter = Waiter(what, self._passed, loop, fail, watches, _limited.get())
        hold = _innermost()
        with self._lock:
            self._waiters.add(waiter)
            self._where[waiter.loop] += 1
            if hold is not None:
                hold.count(1)
            self._told()
        try:
            yield
        finally:
            with self._lock:
                self._waiters.discard(waiter)
                _take_one(self._where, waiter.loop)
                if hold is not None:
                    hold.count(-1)
                self._told()

    @contextmanager
    def limited(self, by: Callable[[], bool]) -> Iterator[None]:
        """Note that waits within the block end by themselves, for as long as `by` says so."""
        before = _limited.get()
        _limited.set(by)
        try:
            yield
        finally:
            _limited.set(before)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Note that a request is in flight."""
        with self._lock:
            self._outside += 1
            self._begun += 1
            self._news += 1
        try:
            yield
        finally:
            with self._lock:
                self._outside -= 1
                self._told()

    # -- told by the emulator -----------------------------------------------------------------

    async def nap(self, seconds: float, about: Any = None, *, holds: bool = False) -> None:
        """Sleep without moving the time, or until something is told about a thing.

        Args:
            seconds: how long; may be infinite.
            about: what `stir` wakes it for.
            holds: whether a client of this clock waits for an answer meanwhile.
        """
        woken = asyncio.get_running_loop().create_future()
        timer = self._timer(seconds, partial(_wake, woken), about=about, holds=holds)
        self._set(timer, self._queue)
        try:
            await woken
        finally:
            timer.cancel()

    async def keep_waiting(self, seconds: float, about: Any = None, *, ours: bool) -> None:
        """Nap while somebody waits for an answer: a client of this clock, or one that is foreign.

        The foreign one knows no clock, so its waiting has to be noted here.
        """
        if ours:
            await self.nap(seconds, about, holds=True)
            return
        with self.waiting("an answer that is held"):
            await self.nap(seconds, about)

    def tick(self) -> None:
        """Let a millisecond pass, as it takes to start a run: else all were made in the same one.

        No list could tell a thousand of those apart, and no real one has to.
        """
        with self._lock:
            self._passed += 0.001

    def stir(self, *about: Any) -> None:
        """Wake all naps about these things."""
        with self._lock:
            for each in about:
                self._fire(self._about.get(each, ()))
            self._told()

    async def report_standstill(self) -> None:
        """Say so whenever somebody waits and nothing comes of it for a while: a test that hangs."""
        while True:
            with self._lock:
                before, waiters = (self._passed, self._begun), {*self._waiters}
            await asyncio.sleep(STANDSTILL)
            with self._lock:
                waiters &= self._waiters  # all the while
                if waiters and before == (self._passed, self._begun):
                    waited = ", ".join(sorted({waiter.what for waiter in waiters}))
                    logger.warning(
                        "time stands still: waited for is %s; under way is %s",
                        waited,
                        ", ".join(self._under_way()) or "nothing that is known here",
                    )

    def _under_way(self) -> Iterator[str]:
        yield from (hold.what for hold in self._holds if not hold.waiters)
        if self._outside != self._held:
            yield f"{self._outside - self._held} requests"
        if blocked := self._loops() & self._firing.keys():
            yield f"{len(blocked)} event loops that are blocked, or spin"

    # -- timers -------------------------------------------------------------------------------

    def _timer(self, delay: float, callback: Callable[[], object], **more: Any) -> Timer:
        delay = max(delay, LEAST) if delay > 0 else 0.0
        return Timer(self._passed + delay, callback, self._forget, **more)

    def _set(self, timer: Timer, queue: TimerQueue, *, last: bool = False) -> Timer:
        with self._lock:
            self._held += timer.holds
            if timer.about is not None:
                self._about.setdefault(timer.about, set()).add(timer)
            if timer.due <= self._passed and not last:
                self._fire([timer])
            else:
                queue.add(timer, last=last)
            self._told()
        return timer

    def _forget(self, timer: Timer) -> None:
        with self._lock:
            if timer.callback is not None:
                timer.callback = None
                self._release(timer)
                self._told()

    def _release(self, timer: Timer) -> None:
        self._held -= timer.holds
        timer.holds = False
        if timer.about is not None and (of := self._about.get(timer.about)):
            of.discard(timer)
            if not of:
                del self._about[timer.about]

    def _fire(self, timers: Iterable[Timer]) -> None:
        """Have callbacks run on their loops; time stands until those that have to be quiet did."""
        part = self._loops()
        for timer in [*timers]:
            self._release(timer)  # it holds nothing any more, whether its task has run or not
            callback, timer.callback = timer.callback, None
            if callback is None or timer.loop.is_closed():
                continue
            counted = timer.loop in part  # any other may be blocked, by whoever waits here
            if counted:
                self._firing[timer.loop] += 1
            soon = timer.loop.call_soon
            if timer.loop is not running_loop():
                soon = timer.loop.call_soon_threadsafe
            soon(self._run, callback, timer.loop if counted else None, context=timer.context)

    def _run(self, callback: Callable[[], object], counted: Loop | None) -> None:
        try:
            callback()
        finally:
            with self._lock:
                if counted is not None:
                    _take_one(self._firing, counted)
                self._told()

    # -- moving on ----------------------------------------------------------------------------

    def _loops(self) -> set[Loop]:
        """Give the loops that have to be quiet: of all who wait, and the emulator's."""
        loops = {*self._where, *filter(None, [self.home])}
        return {loop for loop in loops if loop.is_running()}

    def _told(self) -> None:
        """Note that something has changed, and see whether time may move."""
        self._news += 1
        if self._may_move():
            self._quiet.look()

    def _may_move(self) -> bool:
        return (
            bool(self._waiters)
            and self._outside == self._held
            and not (self._firing and self._loops() & self._firing.keys())
            and all(hold.waiters for hold in self._holds)
        )

    def _move(self) -> None:
        """Go to what is due next; all is quiet."""
        looks, agenda = self._looks.first(), self.agenda
        if agenda is not None:
            if lost := agenda.lost(self._waiters, self._passed):
                self._give_up(lost, agenda)
                return
            if looks != NEVER:
                blind = agenda.blind_for(self._waiters)
                looks = max(looks, (self._passed + blind, False))
        when = min(self._queue.first(), looks)
        if when < NEVER:  # else what is told next may change that
            self._passed = max(self._passed, when[0])
            self._fire([*self._queue.take(when), *self._looks.take(when)])
            self._told()

    def _give_up(self, lost: list[Waiter], agenda: Agenda) -> None:
        for waiter in lost:
            assert waiter.fail is not None  # noqa: S101 - else it would not be lost
            error = agenda.complaint(waiter, len(lost) - 1, self._passed)
            waiter.loop.call_soon_threadsafe(waiter.fail, error)
            waiter.fail = None


def _innermost() -> _Hold | None:
    """Give the hold that the running code is within."""
    hold = _holding.get()
    while hold is not None and hold.is_over:
        hold = hold.within
    return hold


def _take_one(counts: Counter[Loop], loop: Loop) -> None:
    counts[loop] -= 1
    if not counts[loop]:
        del counts[loop]


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
