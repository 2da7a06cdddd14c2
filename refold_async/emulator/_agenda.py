"""What is due for those who wait, by what the emulator knows: asked before virtual time moves."""

import math
from collections.abc import Callable, Collection

import attrs

from ._quiet import Loop
from ._runs import TERMINAL
from ._state import State

LIMIT = 30 * 86_400.0
"""Seconds for which somebody may wait after the last thing that was due for it."""


class NothingIsDueError(RuntimeError):
    """A wait would never end: nothing is due that could end it. Says what is waited for."""


@attrs.define(eq=False)
class Waiter:
    """Who waits.

    Attributes:
        what: For what: the id of a run, or anything else.
        since: Since when, in seconds of the clock.
        loop: Where.
        fail: How it is told that this never comes; None for a wait that ends by itself.
        watches: Whether it wants to know what happens on the way.
        limited: Tells whether something else ends it, though what it waits for never comes.
    """

    what: str
    since: float
    loop: Loop
    fail: Callable[[BaseException], object] | None
    watches: bool
    limited: Callable[[], bool]

    @property
    def is_endless(self) -> bool:
        """Whether it lasts until what it waits for comes."""
        return self.fail is not None and not self.limited()


class Agenda:
    """When runs end.

    Args:
        state: The runs.
        delivers: Whether somebody is still being told of an end, which may lead to more.
    """

    def __init__(self, state: State, delivers: Callable[[], bool]) -> None:
        self._state, self._delivers = state, delivers
        self._limit_from = LIMIT  # before, nobody can have waited for so long

    def blind_for(self, waiters: Collection[Waiter]) -> float:
        """Seconds in which looks at runs would show nothing new: the first has to end before.

        If one has ended, and who waits for it does not know yet, there are none.
        """
        left = [self._left(waiter.what) for waiter in waiters]
        known = [seconds for seconds in left if seconds is not None]
        if not known or any(waiter.watches for waiter in waiters):
            return 0.0
        return max(min(known), 0.0)

    def lost(self, waiters: Collection[Waiter], now: float) -> list[Waiter]:
        """Find who waits for what never comes.

        Args:
            waiters: All who wait.
            now: Seconds of the clock.
        """
        if all(w.is_endless and self._left(w.what) == math.inf for w in waiters):
            return [] if self._anything_due() else [*waiters]
        if now < self._limit_from:
            return []
        self._limit_from = now + LIMIT / 100
        return [w for w in waiters if w.is_endless and self._idle(w, now) > LIMIT]

    def complaint(self, waiter: Waiter, others: int, now: float) -> NothingIsDueError:
        """Say what somebody waits for in vain, with how many others."""
        run = self._state.run(waiter.what)
        workflow = "" if run is None else f" of workflow {run.workflow_id!r}"
        more = f" (and {others} more like it)" if others else ""
        return NothingIsDueError(
            f"nothing is due that would end the wait for execution {waiter.what}{workflow}{more};"
            f" {now - waiter.since:,.0f} s have been skipped since it began. Give the workflow a"
            " duration, let emulator.finish(...) end the run before it is awaited, or wait with a"
            " timeout, in a batch with timeout= and drain="
        )

    def _left(self, execution_id: str) -> float | None:
        """Seconds until a run ends, inf for never, None for one that is not known."""
        run = self._state.run(execution_id)
        if run is None:
            return None
        # One whose function runs ends some time, and that waits for something else meanwhile.
        if run.ends_at is None or run.ending not in TERMINAL:
            return math.inf
        return run.ends_at - self._state.now()

    def _anything_due(self) -> bool:
        ends = (self._left(run.execution_id) for run in self._state.runs)
        return self._delivers() or any(end is not None and 0 < end < math.inf for end in ends)

    def _idle(self, waiter: Waiter, now: float) -> float:
        """Seconds since anything was due for somebody."""
        left = self._left(waiter.what)
        since = waiter.since if left is None or left == math.inf else now + left
        return now - max(waiter.since, since)
