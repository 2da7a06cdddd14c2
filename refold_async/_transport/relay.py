"""A coroutine under a deadline that moves, for a caller who may leave.

`asyncio.timeout` cancels the task it runs in, and a cancelled task takes along whatever it awaits.
Here the coroutine is stepped by hand and its caller waits on a future between the steps. So a
deadline can be moved for the price of a timer, and a caller that is cancelled leaves the coroutine
behind, to be driven to its end by a task of the client's own. A task for every call would do the
same for about a tenth more CPU per call.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Relays:
    """The relays under way, and one timer of the loop for the deadlines of all.

    A timer for each would cost more than all else a relay does. This one is set to the earliest
    deadline or to a time before it: that a relay has ended or a deadline was moved on shows when
    it rings.
    """

    def __init__(self) -> None:
        self._under_way: set[Relay[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf  # loop seconds

    def __len__(self) -> int:
        return len(self._under_way)

    def add(self, relay: Relay[Any]) -> None:
        """Watch over a relay's deadline from now on."""
        self._under_way.add(relay)

    def discard(self, relay: Relay[Any]) -> None:
        """Forget a relay that is over."""
        self._under_way.discard(relay)

    def ring_by(self, when: float) -> None:
        """Look at the deadlines at a time in the loop's seconds, at the latest."""
        if when < self._rings_at:
            self.stop_timer()
            self._timer = asyncio.get_running_loop().call_at(when, self._ring)
            self._rings_at = when

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        now = asyncio.get_running_loop().time()
        for relay in [*self._under_way]:
            if relay.due <= now:
                relay.expire()
        self.ring_by(min((relay.due for relay in self._under_way), default=math.inf))

    def abort(self) -> None:
        """Cancel all coroutines; they can tell by `aborted`."""
        for relay in [*self._under_way]:
            relay.abort()

    def stop_timer(self) -> None:
        """Let no deadline strike any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = None, math.inf


class Relay(Generic[T]):
    """Drives one coroutine, for its caller or on its own."""

    __slots__ = (
        "_awaited",
        "_coroutine",
        "_left",
        "_others",
        "_told",
        "_wakeup",
        "aborted",
        "due",
        "expired",
        "handed_over",
    )

    def __init__(self, others: Relays) -> None:
        self.due = math.inf  # the deadline, in the loop's seconds
        self.expired = False  # it has passed
        self.aborted = False  # its owner wants it to end
        self.handed_over = False  # its caller has left
        self._others = others
        self._told = False  # the coroutine was cancelled for either
        self._coroutine: Coroutine[Any, Any, T] | None = None
        self._wakeup: asyncio.Future[None] | None = None  # what the driver waits on
        self._awaited: asyncio.Future[Any] | None = None  # what the coroutine waits on
        self._left: Callable[[Coroutine[Any, Any, T]], None] | None = None

    @property
    def outlives(self) -> bool:
        """Whether the coroutine goes on when its caller is cancelled; asked when that happens."""
        return True

    def reschedule(self, when: float) -> None:
        """Move the deadline, in the loop's seconds."""
        self.due = when
        self._others.ring_by(when)

    def expire(self) -> None:
        """Cancel the coroutine because its deadline has passed; it can tell by `expired`."""
        self.due = math.inf
        self.expired = True
        self._interrupt()

    def abort(self) -> None:
        """Cancel the coroutine, whoever drives it; it can tell by `aborted`."""
        self.aborted = True
        self._interrupt()

    def _interrupt(self) -> None:
        self._told = self._awaited is not None
        if self._awaited is not None:
            self._awaited.cancel()

    def _wake(self, _: object) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def run(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        left: Callable[[Coroutine[Any, Any, T]], None] | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Drive the coroutine to its end: `await relay.run(...)`.

        Args:
            coroutine: what to drive; cancelled at the deadline, which it can tell by `expired`.
            left: takes the rest of a coroutine that outlives its caller, to have it run by somebody
                else; None if it is to end with its caller.
        """
        self._coroutine, self._left = coroutine, left
        self._others.add(self)
        return self._drive()

    async def _drive(self) -> T:
        coroutine, loop = self._coroutine, asyncio.get_running_loop()
        assert coroutine is not None  # noqa: S101 - `run` gave it
        cancelled: BaseException | None = None
        try:
            while True:
                if self._awaited is None:
                    try:
                        if cancelled is None:
                            self._awaited = coroutine.send(None)
                        else:
                            self._awaited = coroutine.throw(cancelled)
                            cancelled = None
                    except StopIteration as end:
                        return end.value  # type: ignore[no-any-return]
                try:
                    if self._awaited is None:  # a bare yield: `asyncio.sleep(0)`
                        await asyncio.sleep(0)
                        continue
                    # Waited for at one remove: cancelling us does not cancel it.
                    self._wakeup = loop.create_future()
                    self._awaited.add_done_callback(self._wake)
                    if (self.expired or self.aborted) and not self._told:
                        self._interrupt()
                    await self._wakeup
                except asyncio.CancelledError as error:
                    if self._left is not None and self.outlives and not self.expired:
                        self._hand_over(self._left)
                        raise
                    if self._awaited is None or not self._awaited.cancel():
                        cancelled = error
                self._awaited = None
        finally:
            if self._awaited is None:
                self._forget()

    def _forget(self) -> None:
        """Let go of the ended coroutine: as a cycle it would wait for the garbage collector."""
        self._others.discard(self)
        self._coroutine = self._wakeup = self._left = None

    def _hand_over(self, left: Callable[[Coroutine[Any, Any, T]], None]) -> None:
        self.handed_over, self._left = True, None
        left(self._drive())
