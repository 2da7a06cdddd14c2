"""A coroutine under a deadline that moves, for a caller who may leave.

`asyncio.timeout` cancels the task it runs in, and a cancelled task takes along whatever it awaits.
Here the coroutine is stepped by hand and its caller waits on a future between the steps. So a
deadline can be moved for the price of a timer, and a caller that is cancelled leaves the coroutine
behind, to be driven to its end by a task of the client's own. A task for every call would do the
same for about a tenth more CPU per call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Relay(Generic[T]):
    """Drives one coroutine, for its caller or on its own."""

    __slots__ = (
        "_awaited",
        "_coroutine",
        "_left",
        "_outlives",
        "_timer",
        "_told",
        "_wakeup",
        "aborted",
        "expired",
    )

    def __init__(self) -> None:
        self.expired = False  # the deadline has passed
        self.aborted = False  # its owner wants it to end
        self._told = False  # the coroutine was cancelled for either
        self._coroutine: Coroutine[Any, Any, T] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakeup: asyncio.Future[None] | None = None  # what the driver waits on
        self._awaited: asyncio.Future[Any] | None = None  # what the coroutine waits on
        self._outlives: Callable[[], bool] | None = None
        self._left: Callable[[Coroutine[Any, Any, T]], None] | None = None

    def reschedule(self, when: float | None) -> None:
        """Move the deadline, in the loop's seconds."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when is not None:
            self._timer = asyncio.get_running_loop().call_at(when, self._expire)

    def abort(self) -> None:
        """Cancel the coroutine, whoever drives it; it can tell by `aborted`."""
        self.aborted = True
        self._interrupt()

    def _expire(self) -> None:
        self.expired = True
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
        outlives: Callable[[], bool] | None = None,
        left: Callable[[Coroutine[Any, Any, T]], None] | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Drive the coroutine to its end: `await relay.run(...)`.

        Args:
            coroutine: what to drive; cancelled at the deadline, which it can tell by `expired`.
            outlives: asked when the caller is cancelled: whether the coroutine goes on without it.
            left: takes the rest of the coroutine then, to have it run by somebody else.
        """
        self._coroutine = coroutine
        self._outlives, self._left = outlives, left
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
                    if self._outlives is not None and self._outlives() and not self.expired:
                        self._hand_over()
                        raise
                    if self._awaited is None or not self._awaited.cancel():
                        cancelled = error
                self._awaited = None
        finally:
            if self._awaited is None:
                self._forget()

    def _forget(self) -> None:
        """Let go of the ended coroutine: as a cycle it would wait for the garbage collector."""
        self.reschedule(None)
        self._coroutine = self._wakeup = self._outlives = self._left = None

    def _hand_over(self) -> None:
        assert self._left is not None  # noqa: S101 - given together with `outlives`
        self._outlives = None
        self._left(self._drive())
