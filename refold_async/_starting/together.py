"""One reading of a list for all the questions that wait for one.

Who comes while a reading is under way waits for the next: each reads what the list was like after
its caller had asked. Lists don't wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from refold_async._clock import done_within
from refold_async._telemetry import shared_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async._clock import Clock

W = TypeVar("W", bound=Hashable)
Q = TypeVar("Q")
R = TypeVar("R")


@attrs.define(eq=False, repr=False)
class _Reading(Generic[Q, R]):
    """A reading that has not begun yet, or is under way."""

    questions: list[Q] = attrs.field(factory=list)
    waiting: int = 0
    task: asyncio.Task[R] | None = None


class Together(Generic[W, Q, R]):
    """Puts the questions about a list into as few readings as will do.

    Args:
        read: answers all questions about a list by one reading.
        clock: whose seconds deadlines are in.
    """

    def __init__(self, read: Callable[[W, list[Q]], Awaitable[R]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._next: dict[W, _Reading[Q, R]] = {}
        self._under_way: dict[W, asyncio.Task[R]] = {}

    async def ask(self, where: W, question: Q, deadline: float | None) -> R | None:
        """Have a question answered by the next reading; None if the deadline comes before.

        Whoever leaves disturbs nobody; a reading that nobody waits for any more is given up.

        Raises:
            RefoldError: the list can't be read.
        """
        reading = self._next.get(where)
        if reading is None:
            reading = self._next[where] = _Reading()
        reading.questions.append(question)
        reading.waiting += 1
        if reading.task is None:  # it may begin at once, and needs the question
            reading.task = asyncio.get_running_loop().create_task(
                self._run(where, reading), context=shared_context()
            )
            # Those who waited may all have left in the moment it failed.
            reading.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        left = None if deadline is None else deadline - self._clock.monotonic()
        try:
            done = await done_within(self._clock, reading.task, left)
            return reading.task.result() if done else None
        finally:
            reading.waiting -= 1
            if not reading.waiting and not reading.task.done():
                reading.task.cancel()
                self._closed(where, reading)

    async def _run(self, where: W, reading: _Reading[Q, R]) -> R:
        try:
            await asyncio.sleep(0)  # who asks in the same turn shares it, with eager tasks too
            before = self._under_way.get(where)
            if before is not None:
                await asyncio.wait([before])
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - it is one
            self._under_way[where] = task
        finally:
            self._closed(where, reading)
        try:
            return await self._read(where, reading.questions)
        finally:
            if self._under_way.get(where) is task:
                del self._under_way[where]

    def _closed(self, where: W, reading: _Reading[Q, R]) -> None:
        """Let who comes from now on wait for another reading."""
        if self._next.get(where) is reading:
            del self._next[where]
